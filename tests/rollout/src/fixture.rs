//! A store as one version's worker leaves it, with what its API said last: for the
//! test that another version reads all of it.
//!
//!     cargo run -p rollout -- --write-fixture FOLDER --from PROGRAM
//!
//! `PROGRAM` is a `worker-sim` of the earlier commit. `tests/compatibility.rs` has
//! the fixtures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use harness::api::Api;
use harness::scene::{DELIVERY_LIMIT, Linked, Scene, until_stored};
use harness::worker::WorkerSetup;
use serde_json::Value;

/// What is kept of the data folder.
const FILES: [&str; 2] = ["leasehold.db", "keyring.json"];
/// What the API said last, by path.
const ANSWERS: &str = "answers.json";

/// Links accounts, has them chat, ends the worker, and keeps what it leaves.
///
/// # Errors
/// The worker does not do as it should, or the folder cannot be written.
pub(crate) async fn write(scene: &Scene, binary: PathBuf, folder: &Path) -> Result<()> {
    let setup = WorkerSetup::new(binary, "alice", scene.folder(), &scene.sim().url());
    scene.watch(&setup);
    let worker = setup.start().await?;
    let api = worker.api().clone();
    let first = scene.link(&api, "first").await?;
    let second = scene.link(&api, "second").await?;
    api.create_account("never linked").await?;
    let contact = scene.contact("Peer")?;
    for label in ["question one", "question two"] {
        for account in [&first, &second] {
            let sent = scene.write(&contact, account, label)?;
            until_stored(&api, account, &sent.text, DELIVERY_LIMIT).await?;
            scene.send(&api, account, &contact, "answer").await?;
        }
    }
    scene.settle(&api, DELIVERY_LIMIT).await?;
    // Nobody reads on the other side: it stays in the outbox.
    api.act(&second.id, "stop").await?;
    api.until_status(&second.id, &["stopped"], DELIVERY_LIMIT)
        .await?;
    scene.send(&api, &second, &contact, "waits").await?;

    let answers = answers(&api, &[first, second]).await?;
    let setup = worker.terminate().await?;
    std::fs::create_dir_all(folder)?;
    for file in FILES {
        std::fs::copy(setup.data_folder().join(file), folder.join(file))
            .with_context(|| file.to_owned())?;
    }
    let text = serde_json::to_string_pretty(&answers)?;
    std::fs::write(folder.join(ANSWERS), text + "\n")?;
    println!(
        "{} answers and the store are in {}",
        answers.len(),
        folder.display()
    );
    Ok(())
}

async fn answers(api: &Api, accounts: &[Linked]) -> Result<BTreeMap<String, Value>> {
    let mut paths = vec!["/v1/accounts".to_owned(), "/v1/do-not-contact".to_owned()];
    for account in accounts {
        paths.push(format!("/v1/accounts/{}", account.id));
        paths.push(format!("/v1/accounts/{}/threads", account.id));
        paths.push(format!("/v1/accounts/{}/contacts", account.id));
        paths.push(format!("/v1/accounts/{}/history", account.id));
        for thread in api.threads(&account.id).await? {
            paths.push(format!("/v1/threads/{}/messages", thread.id));
        }
    }
    let mut answers = BTreeMap::new();
    for path in paths {
        let answer = api.get(&path).await?;
        let body = answer.expect(200).with_context(|| path.clone())?.json()?;
        answers.insert(path, body);
    }
    Ok(answers)
}
