//! What a worker wrote: one JSON object a line, as with `--log-format json`.
//!
//! Two rules are checked at the end of every test. A line of level ERROR means
//! that a person must look, so one that the test did not expect fails it. And
//! no line carries a message text, a phone number or a key, so planted ones
//! (*canaries*) must not be found.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::wait::{self, Look};

/// Shorter texts would be found by chance.
const CANARY_LENGTH_MIN: usize = 7;
/// So many lines of a log are shown when a test fails.
const TAIL_LINES: usize = 60;

/// The log file of one worker, which grows over its restarts.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// The log at `path`; the file may come later.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it; empty while there is no file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn text(&self) -> Result<String> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.path.display())),
        }
    }

    /// Waits for a line with all of these parts: a worker does what it notes after
    /// what clients see of it.
    ///
    /// # Errors
    /// There is none at the deadline; or the file cannot be read.
    pub async fn until_line(&self, parts: &[&str], limit: Duration) -> Result<String> {
        wait::until(&format!("a line with {parts:?}"), limit, async || {
            let text = self.text()?;
            let is_it = |line: &&str| parts.iter().all(|part| line.contains(part));
            let line = text.lines().find(is_it).map(ToOwned::to_owned);
            Ok(Look::some(line, self.path.display()))
        })
        .await
    }

    /// The last lines, for people.
    pub fn tail(&self) -> String {
        let text = self.text().unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Fails on every ERROR line (and every panic) that holds none of `allowed`.
    ///
    /// # Errors
    /// The unexpected lines.
    pub fn check_errors(&self, allowed: &[&str]) -> Result<()> {
        let text = self.text()?;
        let unexpected: Vec<&str> = text
            .lines()
            .filter(|line| is_error(line) && !allowed.iter().any(|part| line.contains(part)))
            .collect();
        if unexpected.is_empty() {
            return Ok(());
        }
        bail!(
            "unexpected ERROR lines in {}:\n{}",
            self.path.display(),
            unexpected.join("\n")
        )
    }

    /// Fails if one of `canaries` is found. The error names its position in the
    /// list and the line, not the text.
    ///
    /// # Errors
    /// A canary was found, or is too short to mean anything.
    pub fn check_canaries(&self, canaries: &[Canary]) -> Result<()> {
        let text = self.text()?;
        check_canaries(&text, canaries).with_context(|| self.path.display().to_string())
    }
}

/// A text that must not be found where it does not belong.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary {
    /// What it is, for the message: `message text`, `phone number`.
    pub what: &'static str,
    /// The text itself.
    pub text: String,
}

impl Canary {
    /// A canary.
    pub fn new(what: &'static str, text: impl Into<String>) -> Self {
        Self {
            what,
            text: text.into(),
        }
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canary")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

/// Fails if `text` holds one of `canaries`.
///
/// # Errors
/// The first one found, with the number of its line.
pub fn check_canaries(text: &str, canaries: &[Canary]) -> Result<()> {
    for canary in canaries {
        if canary.text.len() < CANARY_LENGTH_MIN {
            bail!(
                "a {} of {} characters is no canary",
                canary.what,
                canary.text.len()
            );
        }
        if let Some(at) = text.find(&canary.text) {
            let number = text[..at].matches('\n').count() + 1;
            let line = text.lines().nth(number - 1).unwrap_or_default();
            bail!("line {number} shows a {}: {line}", canary.what);
        }
    }
    Ok(())
}

/// Whether a log line says that a person must look. What is no JSON comes from
/// outside the log: a panic's message.
fn is_error(line: &str) -> bool {
    match serde_json::from_str::<Value>(line) {
        Ok(event) => event["level"] == "ERROR",
        Err(_) => line.contains("panicked at") || line.starts_with("error:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> (tempfile::NamedTempFile, Log) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let log = Log::at(file.path());
        (file, log)
    }

    #[test]
    fn unexpected_errors_and_panics_fail() {
        let (_file, log) = log(concat!(
            "{\"level\":\"INFO\",\"message\":\"an ERROR in words\"}\n",
            "{\"level\":\"ERROR\",\"message\":\"disk on fire\"}\n",
            "thread 'main' panicked at src/lib.rs:1:2:\n",
        ));
        let error = log.check_errors(&[]).unwrap_err().to_string();
        assert!(
            error.contains("disk on fire") && error.contains("panicked"),
            "{error}"
        );
        assert!(!error.contains("in words"), "{error}");
        assert!(log.check_errors(&["on fire", "panicked"]).is_ok());
    }

    #[test]
    fn canaries_are_found_and_short_ones_refused() {
        let (_file, log) = log("one\nsent hello-4711-canary to them\n");
        let canary = Canary::new("message text", "hello-4711-canary");
        let error = format!("{:#}", log.check_canaries(&[canary]).unwrap_err());
        assert!(error.contains("line 2"), "{error}");
        assert!(
            log.check_canaries(&[Canary::new("message text", "hello-0815")])
                .is_ok()
        );
        assert!(log.check_canaries(&[Canary::new("number", "12")]).is_err());
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_empty() {
        let log = Log::at("/nonexistent/worker.log");
        assert_eq!(log.text().unwrap(), "");
        assert!(log.check_errors(&[]).is_ok());
    }
}
