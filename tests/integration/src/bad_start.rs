//! A worker that cannot start says why and what to do in one line, ends with
//! the exit code for it, and leaves everything as it was.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use harness::scene::{self, LINK_LIMIT, Scene, play};
use harness::worker::WorkerSetup;

/// `sysexits.h`: wrong usage, unreadable data, busy.
const USAGE: i32 = 64;
const DATA: i32 = 65;
const BUSY: i32 = 75;

/// Starts a worker that must end with `code`, and returns its `error:` line.
async fn refuses(scene: &Scene, setup: &WorkerSetup, code: i32) -> Result<String> {
    scene.allow_error("error: ");
    let status = setup.spawn()?.wait().await?;
    let text = setup.log().text()?;
    assert_eq!(status.code(), Some(code), "{text}");
    let line = text.lines().rev().find(|line| line.starts_with("error: "));
    Ok(line
        .unwrap_or_else(|| panic!("no line begins with `error: `:\n{text}"))
        .to_owned())
}

/// A worker's setup with a data folder that a first run has made.
async fn used(scene: &Scene, name: &str) -> Result<WorkerSetup> {
    let worker = scene.worker(name)?.start().await?;
    worker.api().create_account("kept").await?;
    worker.terminate().await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_key_ring_is_refused_and_left_alone() -> Result<()> {
    play(async |scene| {
        let setup = used(scene, "alice").await?;
        let path = setup.data_folder().join("keyring.json");
        let good = std::fs::read(&path)?;
        for broken in [&b"not a key ring"[..], b"{}", &good[..good.len() / 2]] {
            std::fs::write(&path, broken)?;
            let line = refuses(scene, &setup, DATA).await?;
            assert!(line.contains("keyring.json"), "{line}");
            assert_eq!(
                std::fs::read(&path)?,
                broken,
                "a broken key ring may be all there is"
            );
        }
        // The backup is put back, and all is there.
        std::fs::write(&path, good)?;
        let worker = setup.start().await?;
        assert_eq!(worker.api().accounts().await?.len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_key_ring_is_not_replaced_by_a_new_one() -> Result<()> {
    play(async |scene| {
        let setup = used(scene, "alice").await?;
        let path = setup.data_folder().join("keyring.json");
        std::fs::remove_file(&path)?;
        let line = refuses(scene, &setup, DATA).await?;
        assert!(line.contains("key ring"), "{line}");
        assert!(!path.exists(), "a new one could not read the sessions");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn key_ring_that_others_can_read_is_refused() -> Result<()> {
    play(async |scene| {
        let setup = used(scene, "alice").await?;
        let path = setup.data_folder().join("keyring.json");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        let line = refuses(scene, &setup, DATA).await?;
        assert!(line.contains("chmod") || line.contains("600"), "{line}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_is_no_database_is_refused_and_left_alone() -> Result<()> {
    play(async |scene| {
        let setup = used(scene, "alice").await?;
        let path = setup.data_folder().join("leasehold.db");
        for beside in ["leasehold.db-wal", "leasehold.db-shm"] {
            let _ = std::fs::remove_file(setup.data_folder().join(beside));
        }
        let text = "shopping list: eggs, milk\n".repeat(200);
        std::fs::write(&path, &text)?;
        let line = refuses(scene, &setup, DATA).await?;
        assert!(line.contains("leasehold.db"), "{line}");
        assert_eq!(std::fs::read_to_string(&path)?, text);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_worker_on_the_same_data_joins_and_moves_nothing() -> Result<()> {
    play(async |scene| {
        let first = scene.worker("alice")?.start().await?;
        let account = scene.link(first.api(), "sales").await?;
        let before = first.api().account(&account.id).await?.owner.unwrap();
        let second = scene.worker("bob")?.start().await?;
        let view = scene::until_connected(scene, second.api(), &account, LINK_LIMIT).await?;
        let owner = view.owner.unwrap();
        assert_eq!((&*owner.worker, owner.epoch), ("alice", before.epoch));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use_is_refused() -> Result<()> {
    play(async |scene| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = taken.local_addr()?.to_string();
        let mut setup = scene.worker("alice")?;
        setup.listen = address.clone();
        let line = refuses(scene, &setup, BUSY).await?;
        assert!(
            line.contains(&address) && line.contains("--listen"),
            "{line}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_options_are_refused_before_anything_is_made() -> Result<()> {
    play(async |scene| {
        for arguments in [
            &["--connecting-timeout", "soon"][..],
            &["--capacity", "0"],
            &["--no-such-option"],
            &["--lease-refresh", "4m", "--lease-duration", "5m"],
        ] {
            let setup = scene.worker("alice")?.with(arguments);
            let line = refuses(scene, &setup, USAGE).await?;
            assert!(
                line.contains(arguments[0].trim_start_matches("--")),
                "{line}"
            );
            assert!(!setup.data_folder().exists(), "{arguments:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn simulation_binary_refuses_the_real_whatsapp() -> Result<()> {
    play(async |scene| {
        let mut setup = scene.worker("alice")?;
        setup.whatsapp_url = "wss://web.whatsapp.com/ws/chat".to_owned();
        let line = refuses(scene, &setup, USAGE).await?;
        assert!(
            line.contains("loopback") && line.contains("worker-sim"),
            "{line}"
        );
        Ok(())
    })
    .await
}
