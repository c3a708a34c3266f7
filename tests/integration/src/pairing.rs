//! Linking an account by QR code.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use serde_json::{Value, json};
use wa_sim::fault::Disconnect;

use crate::cluster::{Cluster, StoreKind, until_met};

/// The first of a pairing's codes is valid for 60 s, the others for 20 s each.
const CODES_LIMIT: Duration = Duration::from_secs(60 + 5 * 20 + 30);

#[tokio::test(flavor = "multi_thread")]
async fn account_pairs_by_qr_and_stores_its_first_message() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(worker.api(), "sales").await?;

        let view = worker.api().account(&account.id).await?;
        assert_eq!(view.name, "sales");
        assert!(view.jid.unwrap().contains(account.number()));
        assert_eq!(view.owner.unwrap().worker, "alice");
        assert!(view.last_error.is_none());

        let first = scene.write(&peer, &account, "first")?;
        let stored =
            scene::until_stored(worker.api(), &account, &first.text, DELIVERY_LIMIT).await?;
        assert_eq!(stored.wa_message_id, first.message_id);
        assert!(!stored.offline);
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_served_as_text_picture_and_drawing() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let phone = scene.account_phone("owner")?;
        let linked = Linked {
            id: api.create_account("shown").await?.id,
            phone,
        };
        api.until_status(&linked.id, &["qr_ready"], LINK_LIMIT)
            .await?;

        let path = format!("/v1/accounts/{}/qr", linked.id);
        for (accept, content_type, begins) in [
            ("application/json", "application/json", &b"{"[..]),
            ("image/png", "image/png", b"\x89PNG"),
            ("image/svg+xml", "image/svg+xml", b"<"),
        ] {
            let headers = [("Accept", accept)];
            let answer = api
                .request(harness::api::Method::Get, &path, &headers, None)
                .await?;
            let answer = answer.expect(200)?;
            assert!(
                answer.content_type.starts_with(content_type),
                "{}",
                answer.content_type
            );
            assert!(answer.body.starts_with(begins), "{accept}");
        }

        scene.scan(api, &linked).await?;
        api.until_status(&linked.id, &["connected"], LINK_LIMIT)
            .await?;
        let answer = api.get(&path).await?;
        assert_eq!(answer.code(), "nothing_to_scan", "{}", answer.text());
        Ok(())
    })
    .await
}

/// 408 of an unpaired account: it stops and waits to be asked, it does not loop.
#[tokio::test(flavor = "multi_thread")]
async fn codes_that_nobody_scans_run_out_and_a_new_one_comes_on_request() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let phone = scene.account_phone("owner")?;
        let linked = Linked {
            id: api.create_account("slow").await?.id,
            phone,
        };
        api.until_status(&linked.id, &["qr_ready"], LINK_LIMIT)
            .await?;
        let first = api.qr(&linked.id).await?.unwrap();

        let next = wait::until("the next code", CODES_LIMIT, async || {
            let code = api.qr(&linked.id).await?;
            Ok(Look::some(
                code.filter(|code| code.qr != first.qr),
                "the first code",
            ))
        })
        .await?;
        assert!(next.seq > first.seq);

        let given_up = api
            .until_status(&linked.id, &["needs_qr"], CODES_LIMIT)
            .await?;
        assert_eq!(given_up.last_disconnect_reason.unwrap().code, 408);
        let answer = api.get(&format!("/v1/accounts/{}/qr", linked.id)).await?;
        assert_eq!(answer.code(), "nothing_to_scan", "{}", answer.text());

        api.act(&linked.id, "start").await?;
        scene.scan(api, &linked).await?;
        api.until_status(&linked.id, &["connected"], LINK_LIMIT)
            .await?;
        Ok(())
    })
    .await
}

/// Asks for a code to be typed into this phone.
async fn pairing_code(scene: &Scene, api: &Api, linked: &Linked) -> Result<String> {
    let path = format!("/v1/accounts/{}/pairing-code", linked.id);
    let body = json!({ "phone": format!("+{}", linked.number()) });
    let answer: Value = api.post(&path, body).await?.expect(200)?.json()?;
    let code = answer["code"].as_str().context("`code`")?.to_owned();
    ensure!(answer["expiresAt"].is_string(), "{answer}");
    scene.plant("pairing code", &code);
    scene.plant("pairing code", &code.replace('-', ""));
    Ok(code)
}

/// An account at this worker that waits for its phone.
async fn waiting(scene: &Scene, api: &Api, name: &str) -> Result<Linked> {
    let linked = Linked {
        id: api.create_account(name).await?.id,
        phone: scene.account_phone(name)?,
    };
    api.until_status(&linked.id, &["qr_ready"], LINK_LIMIT)
        .await?;
    Ok(linked)
}

/// The code is asked of one worker and drawn by the owner, whichever that is.
#[tokio::test(flavor = "multi_thread")]
async fn account_is_linked_by_a_typed_code_through_any_worker() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let workers = cluster.start(["alice", "bob"]).await?;
        until_met(&workers.iter().collect::<Vec<_>>()).await?;
        let api = workers[0].api();
        for (number, worker) in workers.iter().enumerate() {
            let linked = waiting(scene, api, &format!("typed {number}")).await?;
            let replaced = pairing_code(scene, worker.api(), &linked).await?;
            let code = pairing_code(scene, worker.api(), &linked).await?;
            ensure!(linked.phone.enter_code(&replaced).await.is_err());
            linked.phone.enter_code(&code).await?;
            scene::until_connected(scene, api, &linked, LINK_LIMIT).await?;
            let peer = scene.contact("Peer")?;
            let text = scene.write(&peer, &linked, "in")?.text;
            scene::until_stored(api, &linked, &text, DELIVERY_LIMIT).await?;

            let path = format!("/v1/accounts/{}/pairing-code", linked.id);
            let answer = api.post(&path, json!({})).await?;
            ensure!(answer.code() == "account_state", "{}", answer.text());
            let answer = api
                .get(&format!("/v1/accounts/{}/passkey", linked.id))
                .await?;
            ensure!(answer.code() == "account_state", "{}", answer.text());
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_one_worker_shows_is_seen_through_any() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let workers = cluster.start(["alice", "bob"]).await?;
        until_met(&workers.iter().collect::<Vec<_>>()).await?;
        let id = workers[0].api().create_account("seen").await?.id;
        let [alice, bob] = [workers[0].api(), workers[1].api()];
        let first = wait::until("a code", LINK_LIMIT, async || {
            // In turns, so that either may be the first that shows it.
            let at = [alice.qr(&id).await?, bob.qr(&id).await?];
            let first = at.iter().position(Option::is_some);
            Ok(Look::some(first, "no code"))
        })
        .await?;
        let other = [bob, alice][first];
        ensure!(other.qr(&id).await?.is_some(), "the other one, at once");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn logged_out_account_is_linked_anew_and_keeps_its_threads() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;
        let peer = scene.contact("Peer")?;
        let before = scene.write(&peer, &account, "before")?.text;
        scene::until_stored(api, &account, &before, DELIVERY_LIMIT).await?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::DeviceRemoved);
        api.until_status(&account.id, &["logged_out"], LINK_LIMIT)
            .await?;

        api.act(&account.id, "start").await?;
        scene.scan(api, &account).await?;
        scene::until_connected(scene, api, &account, LINK_LIMIT).await?;
        let after = scene.write(&peer, &account, "after")?.text;
        scene::until_stored(api, &account, &after, DELIVERY_LIMIT).await?;
        let messages = api.all_messages(&account.id).await?;
        let texts: Vec<_> = messages.iter().filter_map(|m| m.text.as_deref()).collect();
        ensure!(texts.contains(&before.as_str()) && texts.contains(&after.as_str()));
        ensure!(
            api.threads(&account.id).await?.len() == 1,
            "one conversation"
        );
        Ok(())
    })
    .await
}

/// Accounts that link at the same time.
const CROWD: usize = 20;
/// What that may cost at most: a debug build, with everything that stays.
const CROWD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most memory that the worker ever had, in bytes.
fn peak_memory(worker: &Worker) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_link_at_once_within_a_bound_of_memory() -> Result<()> {
    play(async |scene| {
        let worker = scene
            .worker("alice")?
            .with(&["--capacity", "40"])
            .start()
            .await?;
        let api = worker.api();
        // The first one brings what is there once.
        scene.link(api, "first").await?;
        let before = peak_memory(&worker)?;
        let links =
            (0..CROWD).map(async |number| scene.link(api, &format!("account {number}")).await);
        try_join_all(links).await?;
        let grown = peak_memory(&worker)? - before;
        println!(
            "{CROWD} accounts linked at once: {} MiB before, {} MiB more at the peak",
            before >> 20,
            grown >> 20
        );
        ensure!(grown < CROWD_BYTES_MAX, "{} MiB", grown >> 20);
        Ok(())
    })
    .await
}
