//! Documents that an earlier commit's worker wrote, read by the present one.
//!
//! `fixtures/<commit>` has the embedded store as that worker left it, its key ring
//! (of a simulation: it protects nothing), and what its API said last. The present
//! worker must say the same, and open the sessions. Made anew with
//! `cargo run -p rollout -- --write-fixture FOLDER --from PROGRAM`.
//!
//! The other way round, and both at once, are played by
//! `cargo run -p rollout -- --acts roll --from PROGRAM`: accounts go to and fro
//! between an earlier program and the present one, on one store.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use harness::{api::Api, binary};
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
/// Nobody listens there.
const NOWHERE: &str = "ws://127.0.0.1:9/ws/chat";
/// For the worker to have opened a session and tried to connect.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);

/// What is of the moment: who owns an account, and how its connection is.
const OF_THE_MOMENT: [&str; 14] = [
    "actionRequired",
    "attempt",
    "disconnectCounts",
    "lastDisconnectReason",
    "lastError",
    "lease",
    "leaseUntil",
    "owner",
    "qr",
    "retryAt",
    "stage",
    "status",
    "statusAt",
    "updatedAt",
];

#[tokio::test]
async fn what_an_earlier_commits_worker_wrote_is_read() -> Result<()> {
    let mut fixtures = 0;
    for entry in std::fs::read_dir(FIXTURES)? {
        is_read(&entry?.path()).await?;
        fixtures += 1;
    }
    assert!(fixtures > 0, "there are no fixtures in {FIXTURES}");
    Ok(())
}

async fn is_read(fixture: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let setup = WorkerSetup::new(binary::worker_sim()?, "present", folder.path(), NOWHERE);
    std::fs::create_dir_all(setup.data_folder())?;
    for file in ["leasehold.db", "keyring.json"] {
        let copy = setup.data_folder().join(file);
        std::fs::copy(fixture.join(file), &copy)?;
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o600))?;
    }
    let worker = setup.start().await?;
    let api = worker.api().clone();

    let answers = std::fs::read_to_string(fixture.join("answers.json"))?;
    let answers: BTreeMap<String, Value> = serde_json::from_str(&answers)?;
    assert!(answers.len() > 8, "{}", answers.len());
    for (path, then) in &answers {
        let now: Value = api.get(path).await?.json()?;
        let mut differences = Vec::new();
        compare(then, &now, path, &mut differences);
        assert!(
            differences.is_empty(),
            "{}: {differences:#?}",
            fixture.display()
        );
    }
    sessions_are_opened(&api, &answers["/v1/accounts"]).await?;
    worker.terminate().await.map(drop)
}

/// Whoever is wanted and was linked gets as far as WhatsApp's address, which takes
/// its identity out of the session's files.
async fn sessions_are_opened(api: &Api, accounts: &Value) -> Result<()> {
    let accounts = accounts["accounts"].as_array().into_iter().flatten();
    let linked = accounts
        .filter(|account| account["desired"] == "running" && !account["jid"].is_null())
        .filter_map(|account| account["id"].as_str());
    let mut tried = 0;
    for id in linked {
        wait::until("the account tried to connect", ATTEMPT_LIMIT, async || {
            let seen = api.account(id).await?;
            assert_ne!(seen.status, "failed", "{seen:?}");
            let error = seen.last_error.as_ref();
            let stage = error.and_then(|error| error.stage.clone());
            Ok(Look::some(stage.filter(|_| seen.attempt > 0), seen))
        })
        .await?;
        tried += 1;
    }
    assert!(tried > 0, "no account was linked");
    Ok(())
}

/// Notes where `now` does not have what `then` had. Lists may have grown at their
/// newer end, which comes first.
fn compare(then: &Value, now: &Value, place: &str, differences: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            for (key, then) in then {
                if OF_THE_MOMENT.contains(&key.as_str()) {
                    continue;
                }
                let now = now.get(key).unwrap_or(&Value::Null);
                compare(then, now, &format!("{place}.{key}"), differences);
            }
        }
        (Value::Array(then), Value::Array(now)) if now.len() >= then.len() => {
            let older = &now[now.len() - then.len()..];
            for (at, (then, now)) in then.iter().zip(older).enumerate() {
                compare(then, now, &format!("{place}[{at}]"), differences);
            }
        }
        (then, now) if then == now => {}
        (then, now) => differences.push(format!("{place}: {then} then, {now} now")),
    }
}
