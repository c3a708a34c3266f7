//! The key ring is rotated while workers run, and one of them dies.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use harness::api::{Api, Method};
use harness::scene::{
    DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play, until_connected, until_stored,
};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};

use crate::database::{self, holds};
use crate::webhooks::{Receiver, make_webhook};

/// What `keys show` says: fingerprint and state of each key.
async fn keys(setup: &WorkerSetup) -> Result<Vec<(String, String)>> {
    let (ok, shown) = setup.command(&["keys", "show"]).await?;
    ensure!(ok, "{shown}");
    let pair = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    Ok(shown.lines().filter_map(pair).collect())
}

/// Somebody writes to each account, and each account to somebody.
async fn write(scene: &Scene, worker: &Worker, accounts: &[Linked], label: &str) -> Result<()> {
    let contact = scene.contact(label)?;
    for account in accounts {
        scene.send(worker.api(), account, &contact, label).await?;
        scene.write(&contact, account, label)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_traffic_survives_a_killed_worker() -> Result<()> {
    play(async |scene| {
        let alice = scene.worker("alice")?.start().await?;
        let bob = scene.worker("bob")?.start().await?;
        let mut accounts = Vec::new();
        for name in ["one", "two", "three"] {
            accounts.push(scene.link(bob.api(), name).await?);
        }
        // One that nobody owns.
        let idle = bob.api().create_account("idle").await?;
        bob.api().act(&idle.id, "stop").await?;
        bob.api()
            .until_status(&idle.id, &["stopped"], LINK_LIMIT)
            .await?;
        let setup = bob.setup().clone();
        let before = keys(&setup).await?;
        let [(old, state)] = &before[..] else {
            anyhow::bail!("{before:?}")
        };
        ensure!(state == "active", "{before:?}");
        let ring = setup.data_folder().join("keyring.json");
        let kept = scene.folder().join("old-keyring.json");
        std::fs::copy(&ring, &kept)?;

        write(scene, &bob, &accounts, "before").await?;
        let rotating = tokio::spawn({
            let setup = setup.clone();
            async move { setup.command(&["keys", "rotate", "--wait", "5m"]).await }
        });
        wait::until("the new key is in the ring", LINK_LIMIT, async || {
            let now = keys(&setup).await?;
            Ok(Look::some(
                (now.len() > 1).then_some(()),
                format!("{now:?}"),
            ))
        })
        .await?;
        let alice = alice.kill().await?;
        write(scene, &bob, &accounts, "meanwhile").await?;
        let (ok, said) = rotating.await.context("the command")??;
        ensure!(ok && said.contains("is retired"), "{said}");
        let after: BTreeSet<(String, String)> = keys(&setup).await?.into_iter().collect();
        ensure!(
            after.contains(&(old.clone(), "retired".to_owned())),
            "{after:?}"
        );
        let (ok, said) = setup.command(&["keys", "remove", old]).await?;
        ensure!(ok, "{said}");
        assert_eq!(keys(&setup).await?.len(), 1);

        // Whoever has the old key has nothing.
        let kept = kept.to_string_lossy();
        scene.allow_error("lacks the key");
        let thief = scene.worker("thief")?.with(&["--key-ring", &kept]);
        let (status, _) = {
            let mut process = thief.spawn()?;
            (process.wait().await?, process)
        };
        assert_eq!(status.code(), Some(65), "{}", thief.log().tail());
        let log = thief.log().text()?;
        ensure!(
            log.contains("lacks the key") && log.contains(old.as_str()),
            "{log}"
        );

        // And nothing was lost.
        let alice = alice.start().await?;
        for account in &accounts {
            until_connected(scene, alice.api(), account, LINK_LIMIT).await?;
        }
        write(scene, &alice, &accounts, "after").await?;
        scene.settle(alice.api(), DELIVERY_LIMIT).await?;
        let (ok, said) = setup.command(&["doctor"]).await?;
        ensure!(said.contains("the key ring opens all"), "{ok} {said}");
        Ok(())
    })
    .await
}

/// A message to an account, and its event at the receiver, signed.
async fn until_signed(
    scene: &Scene,
    api: &Api,
    account: &Linked,
    receiver: &Receiver,
    label: &str,
) -> Result<()> {
    let before = receiver.taken().iter().map(|taken| taken.seq).max();
    let before = before.unwrap_or_default();
    let contact = scene.contact(label)?;
    let sent = scene.write(&contact, account, label)?;
    until_stored(api, account, &sent.text, DELIVERY_LIMIT).await?;
    wait::until(
        "the webhook has an event, signed",
        DELIVERY_LIMIT,
        async || {
            let taken = receiver.taken();
            ensure!(
                taken.iter().all(|taken| taken.is_signed),
                "with another secret"
            );
            let has = taken.iter().any(|taken| taken.seq > before);
            Ok(Look::some(has.then_some(()), before))
        },
    )
    .await
}

/// What of the database names a key.
fn wrapped_for(setup: &WorkerSetup, fingerprint: &str) -> Result<Vec<String>> {
    let documents = database::documents(&setup.data_folder())?;
    let named = documents.into_iter();
    let named = named.filter(|(_, fields)| holds(fields, fingerprint.as_bytes()));
    Ok(named.map(|(path, _)| path).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_sign_on_when_the_key_that_sealed_them_is_gone() -> Result<()> {
    play(async |scene| {
        let options = ["--webhook-allow-private"];
        let worker = scene.worker("alice")?.with(&options).start().await?;
        let (api, setup) = (worker.api(), worker.setup());
        let account = scene.link(api, "sales").await?;
        let receiver = Receiver::start().await?;
        let hook = make_webhook(api, &receiver).await?;
        let idle = make_webhook(api, &Receiver::start().await?).await?;
        until_signed(scene, api, &account, &receiver, "before").await?;
        let before = database::documents(&setup.data_folder())?;
        let old = keys(setup).await?.remove(0).0;
        let sealed: Vec<String> = wrapped_for(setup, &old)?;
        assert_eq!(sealed.len(), 3, "an account and two webhooks: {sealed:?}");

        // A key that is in use is not removed.
        let (ok, said) = setup.command(&["keys", "remove", &old]).await?;
        ensure!(!ok && said.contains("not retired"), "{said}");
        let (ok, said) = setup.command(&["keys", "rotate"]).await?;
        ensure!(ok && said.contains("2 webhook(s)"), "{said}");
        let left = wrapped_for(setup, &old)?;
        ensure!(left.is_empty(), "{left:?}");
        until_signed(scene, api, &account, &receiver, "rotated").await?;

        // Somebody put a webhook's document into the place of another's: it is
        // wrapped for the old key, and opens for nobody.
        let moved = &before[&format!("webhooks/{hook}")];
        scene.allow_error("webhook cannot be used");
        database::put(&setup.data_folder(), &format!("webhooks/{idle}"), moved)?;
        let (ok, said) = setup.command(&["keys", "remove", &old]).await?;
        ensure!(
            !ok && said.contains(&format!("1 webhook(s): {idle}")),
            "{said}"
        );
        ensure!(keys(setup).await?.len() == 2, "it stays in the ring");
        let path = format!("/v1/webhooks/{idle}");
        let gone = api.request(Method::Delete, &path, &[], None).await?;
        gone.expect(204)?;
        let (ok, said) = setup.command(&["keys", "remove", &old]).await?;
        ensure!(ok, "{said}");

        until_signed(scene, api, &account, &receiver, "removed").await?;
        // Also for a worker that has never had the old key.
        let worker = worker.terminate().await?.start().await?;
        until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        until_signed(scene, worker.api(), &account, &receiver, "restarted").await?;
        let (ok, said) = worker.setup().command(&["doctor"]).await?;
        let all = "the key ring opens all 1 account(s) and 1 webhook(s)";
        ensure!(said.contains(all), "{ok} {said}");
        Ok(())
    })
    .await
}
