//! A database that is locked or full, and a WhatsApp that cannot be reached:
//! what clients are told meanwhile, and that nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::port;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Scene, play};
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use rusqlite::Connection;

use crate::media;

#[tokio::test(flavor = "multi_thread")]
async fn locked_database_is_told_and_survived() -> Result<()> {
    play(async |scene| {
        // Somebody must look if it lasts: the log may say so.
        scene.allow_error("store");
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        let path = worker.setup().data_folder().join("leasehold.db");
        let locker = Connection::open(path)?;
        locker.busy_timeout(Duration::from_secs(10))?;
        locker.execute_batch("BEGIN IMMEDIATE")?;

        let text = scene.text("while locked");
        let body = serde_json::json!({ "to": &**peer.number(), "text": text });
        let path = format!("/v1/accounts/{}/messages", account.id);
        let answer = api.post(&path, body).await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "store_unavailable")
        );
        assert!(answer.detail().contains("try again"), "{}", answer.detail());
        // Reading goes on.
        assert_eq!(api.account(&account.id).await?.name, "sales");
        // What arrives is neither stored nor acknowledged: it is kept by the server.
        let written = scene.write(&peer, &account, "while locked")?;

        locker.execute_batch("ROLLBACK")?;
        drop(locker);
        scene::until_stored(api, &account, &written.text, 2 * DELIVERY_LIMIT).await?;
        scene.send(api, &account, &peer, "after the lock").await?;
        let counts = scene.settle(api, 2 * DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.stored), (1, 1));
        Ok(())
    })
    .await
}

/// A shell that starts the worker with a limit on the size of its files: the
/// database's log cannot grow past it, as on a full disk.
const LIMITED: &str = "#!/bin/sh\ntrap '' XFSZ\nulimit -f BLOCKS\nexec WORKER \"$@\"\n";
/// 512-byte blocks: room to start and to link an account, not for much more.
const LIMIT_BLOCKS: u64 = 6_000;
/// 512-byte blocks: room for all but a large file.
const FILE_BLOCKS: u64 = 20_000;

/// A worker whose files have so many 512-byte blocks at most.
fn limited(scene: &Scene, blocks: u64) -> Result<WorkerSetup> {
    let mut setup = scene.worker("alice")?;
    let wrapper = scene.folder().join("limited");
    let script = LIMITED
        .replace("BLOCKS", &blocks.to_string())
        .replace("WORKER", &setup.binary.to_string_lossy());
    std::fs::write(&wrapper, script)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrapper, mode)?;
    setup.binary = wrapper;
    Ok(setup)
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_does_not_fit_on_the_disk_is_told_and_leaves_nothing() -> Result<()> {
    play(async |scene| {
        let worker = limited(scene, FILE_BLOCKS)?.start().await?;
        let folder = worker.setup().data_folder().join("media");
        let large = media::file(scene.folder(), "large", 1024 * FILE_BLOCKS as usize)?;
        let refused = media::upload(worker.api(), &large, "text/plain").await?;
        assert_eq!(
            (&refused["status"], &refused["code"]),
            (&serde_json::json!(507), &serde_json::json!("store_full"))
        );
        assert_eq!(media::kept(&folder)?, Vec::<String>::new());
        let small = media::file(scene.folder(), "small", 1_000)?;
        let taken = media::upload(worker.api(), &small, "text/plain").await?;
        assert_eq!(media::kept(&folder)?, [taken["mediaId"].as_str().unwrap()]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn full_database_is_told_and_nothing_accepted_is_lost() -> Result<()> {
    play(async |scene| {
        scene.allow_error("store");
        let plain = scene.worker("alice")?;
        let worker = limited(scene, LIMIT_BLOCKS)?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        // Accepted until there is no room.
        let path = format!("/v1/accounts/{}/messages", account.id);
        let refused = wait::until(
            "the database is full",
            Duration::from_secs(100),
            async || {
                let text = format!("{} {}", scene.text("fills"), "x".repeat(60_000));
                let body = serde_json::json!({ "to": &**peer.number(), "text": text });
                let answer = api.post(&path, body).await?;
                if answer.status == 202 {
                    scene.note_accepted(&account.id, &peer, &text);
                    return Ok(Look::NotYet("still room".to_owned()));
                }
                Ok(Look::Done(answer))
            },
        )
        .await?;
        assert!(matches!(refused.status, 503 | 507), "{}", refused.text());
        assert!(
            ["store_full", "store_unavailable", "outcome_unknown"].contains(&&*refused.code()),
            "{}",
            refused.text()
        );
        assert!(refused.detail().len() > 10);
        let answer = api.get("/livez").await.context("the worker is alive")?;
        assert_eq!(answer.status, 200);

        // With room again everything that was accepted is delivered.
        let mut setup = worker.kill().await?;
        setup.binary = plain.binary;
        let worker = setup.start().await?;
        scene::until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        let counts = scene.settled(worker.api(), 3 * DELIVERY_LIMIT).await?;
        assert_eq!((counts.lost, counts.duplicated), (0, 0), "{counts:?}");
        assert!(counts.sent > 0, "{counts:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_whatsapp_is_told_and_the_rest_works() -> Result<()> {
    play(async |scene| {
        let (_nobody, address) = port::nobody()?;
        let mut setup = scene.worker("alice")?;
        setup.whatsapp_url = format!("ws://{address}/ws/chat");
        let worker = setup.start().await?;
        let api = worker.api();
        let id = api.create_account("sales").await?.id;
        let account = wait::until("the failure is told", LINK_LIMIT, async || {
            let account = api.account(&id).await?;
            let told = account.last_error.is_some() && account.status == "disconnected";
            let instead = format!("{} {:?}", account.status, account.last_error);
            Ok(Look::some(told.then_some(account), instead))
        })
        .await?;
        let error = account.last_error.unwrap();
        assert_eq!(error.stage.as_deref(), Some("tcp"), "{error:?}");
        assert!(error.message.contains("refused"), "{error:?}");
        assert!(account.retry_at.is_some() || error.retry_at.is_some());

        let body = serde_json::json!({ "to": "4915500000001", "text": "for later" });
        let answer = api
            .post(&format!("/v1/accounts/{id}/messages"), body)
            .await?;
        answer.expect(202)?;
        assert_eq!(api.get("/livez").await?.status, 200);
        wait::until("`/health` shows it", LINK_LIMIT, async || {
            let accounts = api.health().await?["accounts"].take();
            let shown = (accounts["disconnected"] == 1).then_some(());
            Ok(Look::some(shown, accounts))
        })
        .await?;
        Ok(())
    })
    .await
}
