//! Sessions move in by the hundred, and the importing process is killed: every
//! account is imported exactly once, and whole.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::command::RunningCommand;
use harness::scene::play;
use harness::worker::WorkerSetup;
use serde_json::Value;

use crate::database::{self, holds};

const SESSIONS: usize = 200;

/// Sessions that Baileys 7 and 6 wrote.
const FIXTURE: &str = include_str!("../../../worker/whatsapp/src/baileys/fixture.json");

fn id(number: usize) -> String {
    format!("shop-{number:03}")
}

/// A folder for each session, every second one of Baileys 6, each with a number
/// of its own.
fn write_sessions(folder: &Path) -> Result<()> {
    let fixture: Value = serde_json::from_str(FIXTURE)?;
    for number in 0..SESSIONS {
        let version = ["baileys7", "baileys6"][number % 2];
        let own = folder.join(id(number));
        std::fs::create_dir_all(&own)?;
        for (name, content) in fixture[version].as_object().context("records")? {
            let mut content = content.clone();
            if name == "creds" {
                let jid = format!("999100000{number:03}:7@s.whatsapp.net");
                content["me"]["id"] = Value::String(jid);
            }
            std::fs::write(own.join(format!("{name}.json")), content.to_string())?;
        }
    }
    Ok(())
}

fn begin(setup: &WorkerSetup, source: &Path) -> Result<RunningCommand> {
    let source = source.to_string_lossy();
    setup.begin(&["import-baileys", &source, "--write", "--stopped"])
}

/// How many lines say so.
fn count(printed: &[String], end: &str) -> usize {
    printed.iter().filter(|line| line.ends_with(end)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_imports_survive_two_kills_and_each_is_made_once() -> Result<()> {
    play(async |scene| {
        let sessions = scene.folder().join("sessions");
        write_sessions(&sessions)?;
        let setup = scene.worker("alice")?;

        // In the middle of an account: it was read, and is being written.
        let mut command = begin(&setup, &sessions)?;
        command.until_line("[67/200] shop-066: +").await?;
        let first = command.kill().await?;
        // Between two accounts.
        let mut command = begin(&setup, &sessions)?;
        command.until_line("[134/200] shop-133: imported").await?;
        let second = command.kill().await?;

        let (status, third) = begin(&setup, &sessions)?.ended().await?;
        ensure!(status.success(), "{status}: {third:?}");
        let progress = third.iter().any(|line| line.starts_with("[200/200] "));
        ensure!(progress, "{third:?}");
        ensure!(count(&first, ": imported") >= 66, "{first:?}");
        ensure!(count(&second, ": imported") >= 60, "{second:?}");
        let (imported, before) = (
            count(&third, ": imported"),
            count(&third, ": already there"),
        );
        assert_eq!(imported + before, SESSIONS);
        let tally =
            format!("{imported} imported, {before} there already, 0 checked only, 0 failed");
        ensure!(third.contains(&tally), "{tally}: {:?}", third.last());

        // Nothing of them is there twice, and none is half-written.
        let documents = database::documents(&setup.data_folder())?;
        let mut claims: BTreeMap<&str, usize> = BTreeMap::new();
        let mut accounts = 0;
        for (path, fields) in &documents {
            match &path.split('/').collect::<Vec<_>>()[..] {
                ["accounts", account] => {
                    accounts += 1;
                    ensure!(!holds(fields, b"needs_import"), "{account}");
                    ensure!(holds(fields, b"stopped"), "{account}");
                }
                ["accounts", account, "history", _] => *claims.entry(account).or_default() += 1,
                _ => {}
            }
        }
        assert_eq!(accounts, SESSIONS);
        // A claim and a release each; a kill in between costs another claim.
        let again = claims.values().filter(|count| **count > 2).count();
        ensure!(claims.len() == SESSIONS && again <= 2, "{claims:?}");
        for number in 0..SESSIONS {
            let original = format!("wa_sessions/{}/original/0000", id(number));
            ensure!(documents.contains_key(&original), "{original}");
        }
        // A backup takes only sessions whose files fit together and open.
        let file = scene.folder().join("all.backup").display().to_string();
        let (ok, said) = setup.command(&["backup", "--all", "--to", &file]).await?;
        ensure!(ok && said.matches(": taken").count() == SESSIONS, "{said}");

        // Once more changes nothing; one that is broken fails alone.
        std::fs::write(sessions.join(id(5)).join("creds.json"), "{")?;
        let (status, fourth) = begin(&setup, &sessions)?.ended().await?;
        assert_eq!(status.code(), Some(1));
        assert_eq!(count(&fourth, ": already there"), SESSIONS - 1);
        let failed = fourth.iter().any(|line| line.contains("shop-005: FAILED"));
        ensure!(failed, "{fourth:?}");
        Ok(())
    })
    .await
}
