//! The command line, as people and scripts use it: what it prints, and the exit
//! codes that `worker/README.md` lists.

use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use harness::api::Api;
use harness::binary;
use harness::scene::{LINK_LIMIT, Linked, play};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const FAILED: i32 = 1;
const USAGE: i32 = 64;
const DATA: i32 = 65;
const UNAVAILABLE: i32 = 69;

/// Runs a command against a worker's API.
async fn command(api: &Api, arguments: &[&str]) -> Result<Output> {
    run(&[arguments, &["--api", api.base()]].concat()).await
}

async fn run(arguments: &[&str]) -> Result<Output> {
    let output = begin(arguments)?.wait_with_output();
    output.await.context("the program ends")
}

fn begin(arguments: &[&str]) -> Result<Child> {
    let child = Command::new(binary::worker_sim()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    child.context("the program starts")
}

/// What a command that does what it was asked prints.
fn printed(output: &Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// The one line of a command that ends with `code`.
fn refused(output: &Output, code: i32) -> Result<String> {
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code),
        "{}: {line}",
        output.status
    );
    ensure!(
        line.lines().count() == 1 && line.starts_with("error: "),
        "{line}"
    );
    Ok(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_shown_and_changed() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let empty = printed(&command(api, &["accounts", "list"]).await?)?;
        assert!(empty.contains("accounts add"), "{empty}");

        let add = ["accounts", "add", "sales", "--no-wait", "--json"];
        let made: Value = serde_json::from_str(&printed(&command(api, &add).await?)?)?;
        let id = made["id"].as_str().context("an id")?;
        api.until_status(id, &["qr_ready"], LINK_LIMIT).await?;

        let table = printed(&command(api, &["accounts", "list"]).await?)?;
        let row = table.lines().nth(1).context("a row")?;
        assert!(table.starts_with("ID "), "{table}");
        for part in [id, "sales", "qr_ready", "alice"] {
            assert!(row.contains(part), "{table}");
        }
        let listed = printed(&command(api, &["accounts", "list", "--json"]).await?)?;
        let listed: Value = serde_json::from_str(&listed)?;
        assert_eq!(listed[0]["id"], id);
        let none = ["accounts", "list", "--status", "banned", "--json"];
        assert_eq!(printed(&command(api, &none).await?)?.trim(), "[]");

        let shown = printed(&command(api, &["accounts", "show", id]).await?)?;
        assert!(
            shown.contains("owner.worker") && shown.contains("alice"),
            "{shown}"
        );
        for action in ["restart", "release", "stop", "start", "logout"] {
            let said = printed(&command(api, &["accounts", action, id]).await?)?;
            assert!(said.contains("asked for"), "{said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_waits_until_the_phone_has_scanned_the_code_that_it_draws() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let phone = scene.account_phone("owner")?;
        let arguments = ["accounts", "add", "mine", "--wait", "2m"];
        let mut adding = begin(&[&arguments[..], &["--api", api.base()]].concat())?;
        let mut lines = BufReader::new(adding.stdout.take().context("its output")?).lines();
        let drawn = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains(['█', '▀', '▄']) {
                    return Ok(());
                }
            }
            bail!("no code was drawn")
        };
        tokio::time::timeout(LINK_LIMIT, drawn).await??;

        // Not sooner: a phone that is quicker than the command leaves it no code to draw.
        let id = api
            .accounts()
            .await?
            .first()
            .context("it is made")?
            .id
            .clone();
        scene.scan(api, &Linked { id, phone }).await?;
        let mut said = String::new();
        while let Some(line) = lines.next_line().await? {
            said.push_str(&line);
        }
        let output = adding.wait_with_output().await?;
        assert!(output.status.success(), "{}", output.status);
        assert!(said.contains("is connected"), "{said}");
        let progress = String::from_utf8_lossy(&output.stderr);
        assert!(progress.contains("connected"), "{progress}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_one_line_and_its_exit_code() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let missing = command(api, &["accounts", "show", "account_none"]).await?;
        assert!(refused(&missing, FAILED)?.contains("unknown_account"));
        let strange = command(api, &["accounts", "list", "--status", "asleep"]).await?;
        assert!(refused(&strange, FAILED)?.contains("invalid_query"));
        let alone = run(&["accounts", "list", "--api", "http://127.0.0.1:9"]).await?;
        assert!(refused(&alone, UNAVAILABLE)?.contains("no worker answers"));
        let wrong = run(&["accounts", "dance"]).await?;
        refused(&wrong, USAGE)?;
        let data = worker.setup().data_folder().display().to_string();
        let unknown = run(&["apikeys", "revoke", "0", "--data-dir", &data]).await?;
        refused(&unknown, DATA)?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_is_wrong_for_people_and_for_programs() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let data = worker.setup().data_folder().display().to_string();
        let url = scene.sim().url();
        let good = ["doctor", "--data-dir", &data, "--whatsapp-url", &url];
        let lines = printed(&run(&good).await?)?;
        assert!(lines.contains("ok    whatsapp"), "{lines}");

        let away = "ws://127.0.0.1:9/ws/chat";
        let bad = [
            "doctor",
            "--json",
            "--data-dir",
            &data,
            "--whatsapp-url",
            away,
        ];
        let output = run(&bad).await?;
        assert_eq!(output.status.code(), Some(FAILED));
        let findings: Value = serde_json::from_slice(&output.stdout)?;
        let findings = findings.as_array().context("a list")?;
        let wrong: Vec<&Value> = findings.iter().filter(|one| one["ok"] == false).collect();
        let [only] = &wrong[..] else {
            anyhow::bail!("{findings:?}");
        };
        assert_eq!(only["check"], "whatsapp");
        let detail = only["detail"].as_str().context("what to do")?;
        assert!(detail.contains("--whatsapp-url"), "{detail}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_and_the_completions_are_printed_without_a_worker() -> Result<()> {
    let described: Value = serde_json::from_str(&printed(&run(&["openapi"]).await?)?)?;
    assert_eq!(described["openapi"], "3.1.0");
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef worker"),
        ("fish", "complete -c worker"),
    ] {
        let script = printed(&run(&["completions", shell]).await?)?;
        assert!(script.contains(part), "{shell}");
    }
    Ok(())
}
