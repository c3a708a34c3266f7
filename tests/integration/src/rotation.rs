//! The key ring is rotated while workers run, and one of them dies.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play, until_connected};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};

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
