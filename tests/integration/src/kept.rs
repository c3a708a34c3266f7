//! What is kept of sessions for a while, and goes: the files of an import, and
//! sessions that ended with a logout.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play, until_connected};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};

use crate::database;

/// Documents of the database whose path begins so.
fn count(data: &Path, prefix: &str) -> Result<usize> {
    let documents = database::documents(data)?;
    Ok(documents
        .keys()
        .filter(|path| path.starts_with(prefix))
        .count())
}

async fn until_gone(data: &Path, prefix: &str) -> Result<()> {
    wait::until(&format!("{prefix} is empty"), DELIVERY_LIMIT, async || {
        let left = count(data, prefix)?;
        Ok(Look::some((left == 0).then_some(()), left))
    })
    .await
}

async fn command(setup: &WorkerSetup, arguments: &[&str]) -> Result<String> {
    let (ok, said) = setup.command(arguments).await?;
    ensure!(ok, "{said}");
    Ok(said)
}

/// Runs one of `worker accounts`.
async fn accounts(worker: &Worker, arguments: &[&str]) -> Result<String> {
    let url = worker.api().base();
    let setup = worker.setup();
    let arguments = [&["accounts", "--api", url], arguments].concat();
    let (ok, said) = setup.command_without_data(&arguments).await?;
    ensure!(ok, "{said}");
    Ok(said)
}

/// An account whose session went out and was imported again.
async fn imported(scene: &Scene, worker: &Worker) -> Result<Linked> {
    let api = worker.api();
    let account = scene.link(api, "sales").await?;
    api.act(&account.id, "stop").await?;
    wait::until("the account is let go", LINK_LIMIT, async || {
        let account = api.account(&account.id).await?;
        let is_free = account.owner.is_none() && account.status == "stopped";
        Ok(Look::some(is_free.then_some(()), account.status))
    })
    .await?;
    let out = scene.folder().join("out").join(&account.id);
    std::fs::create_dir_all(scene.folder().join("out"))?;
    let out = out.display().to_string();
    command(worker.setup(), &["export-baileys", &account.id, &out]).await?;
    command(worker.setup(), &["import-baileys", &out, "--write"]).await?;
    until_connected(scene, api, &account, LINK_LIMIT).await?;
    Ok(account)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_an_import_go_once_the_session_is_well() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let data = worker.setup().data_folder();
        let account = imported(scene, &worker).await?;
        let original = format!("wa_sessions/{}/original/", account.id);
        ensure!(count(&data, &original)? > 0, "they are kept for a day");

        // A day is long; the next owner is told to wait for two seconds.
        let setup = worker.terminate().await?;
        let worker = setup
            .clone()
            .with(&["--keep-original", "2s"])
            .start()
            .await?;
        until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        until_gone(&data, &original).await?;
        // The session itself goes on, and another owner has nothing to look after.
        let contact = scene.contact("Contact")?;
        scene
            .send(worker.api(), &account, &contact, "still here")
            .await?;
        scene.settle(worker.api(), DELIVERY_LIMIT).await?;
        worker.api().act(&account.id, "stop").await?;
        let file = scene.folder().join("original.tar.gz").display().to_string();
        let said = wait::until("the lease is given back", LINK_LIMIT, async || {
            let command = ["export-baileys", &account.id, &file, "--original"];
            let (ok, said) = setup.command(&command).await?;
            ensure!(!ok, "{said}");
            Ok(Look::some(
                said.contains("no original").then_some(said.clone()),
                said,
            ))
        })
        .await?;
        ensure!(said.contains("it was removed"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_logged_out_is_kept_for_a_while_and_then_erased() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let data = worker.setup().data_folder();
        let account = scene.link(api, "sales").await?;
        let archive = format!("wa_sessions/{}/archive/", account.id);
        let said = accounts(&worker, &["archives", &account.id]).await?;
        ensure!(said.contains("no archived session"), "{said}");
        for _ in 0..2 {
            api.act(&account.id, "logout").await?;
            api.until_status(&account.id, &["logged_out"], LINK_LIMIT)
                .await?;
            api.act(&account.id, "start").await?;
            scene.scan(api, &account).await?;
            until_connected(scene, api, &account, LINK_LIMIT).await?;
        }
        let said = accounts(&worker, &["archives", &account.id]).await?;
        let epochs: Vec<&str> = said
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let [first, second] = epochs[..] else {
            anyhow::bail!("{said}")
        };
        ensure!(said.contains(account.number()), "{said}");

        let (one, both) = (format!("{archive}{second}-"), count(&data, &archive)?);
        accounts(&worker, &["erase-archive", &account.id, first]).await?;
        let left = count(&data, &archive)?;
        ensure!(
            left > 0 && left < both && left == count(&data, &one)?,
            "{left}"
        );
        let path = format!("/v1/accounts/{}/archives/{first}", account.id);
        let answer = api
            .request(harness::api::Method::Delete, &path, &[], None)
            .await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "unknown_archive")
        );

        let quick = ["--archive-retention", "1s", "--event-retention", "10s"];
        let worker = worker.terminate().await?.with(&quick).start().await?;
        until_gone(&data, &archive).await?;
        until_gone(&data, "session_archives/").await?;
        // It is linked as before.
        until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        Ok(())
    })
    .await
}
