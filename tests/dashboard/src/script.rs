//! A script of `browser/`, in a Node process of its own. It writes a line of
//! JSON for each thing that it asks of the stage, and reads a line in answer.
//! What it has to say for people goes to standard error.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::stage::{Ask, Stage};

/// Debian's; no other is looked for.
const CHROMIUM: &str = "/usr/bin/chromium";
/// For a whole script, on a busy machine.
const LIMIT: Duration = Duration::from_secs(220);

/// Plays a script to its end. `about` is what it is told at the beginning.
///
/// # Errors
/// What it needs is not installed; it failed, and said why on standard error;
/// it did not come to its end in time.
pub(crate) async fn play(script: &str, stage: &Stage<'_>, about: Value) -> Result<()> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !home.join("node_modules/playwright-core").is_dir() {
        bail!("playwright is not installed; run: npm ci --prefix tests/dashboard");
    }
    if !Path::new(CHROMIUM).is_file() {
        bail!("Chromium is not installed; run: apt-get install chromium");
    }
    let mut process = Command::new("node")
        .arg(home.join("browser").join(script))
        .env("CHROMIUM", CHROMIUM)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting Node")?;
    let mut stdin = process.stdin.take().context("stdin is piped")?;
    let stdout = process.stdout.take().context("stdout is piped")?;
    let played = async {
        stdin.write_all(format!("{about}\n").as_bytes()).await?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            let ask: Ask = serde_json::from_str(&line).with_context(|| format!("line {line}"))?;
            let answer = match stage.obey(ask).await {
                Ok(answer) => json!({ "answer": answer }),
                Err(error) => json!({ "error": format!("{error:#}") }),
            };
            stdin.write_all(format!("{answer}\n").as_bytes()).await?;
        }
        let status = process.wait().await?;
        match status.success() {
            true => Ok(()),
            false => bail!("{script} failed: {status}; it says why above"),
        }
    };
    timeout(LIMIT, played)
        .await
        .with_context(|| format!("{script} is not at its end after {LIMIT:?}"))?
}
