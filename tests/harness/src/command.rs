//! A command of the program that runs beside the test: its lines are read as
//! they come, and it can be killed.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// For a line to come: a command works on a busy machine.
const LINE_LIMIT: Duration = Duration::from_secs(60);

/// See the module. Dropped, it is killed.
#[derive(Debug)]
pub struct RunningCommand {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// All that it printed on standard output so far.
    printed: Vec<String>,
}

impl RunningCommand {
    /// Starts it; what it says on standard error is the test's.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the command")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(output).lines(),
            printed: Vec::new(),
        })
    }

    /// Reads on until a line holds `part`.
    ///
    /// # Errors
    /// It ended before, or says nothing for a minute.
    pub async fn until_line(&mut self, part: &str) -> Result<()> {
        loop {
            match self.line().await? {
                Some(line) if line.contains(part) => return Ok(()),
                Some(_) => {}
                None => bail!("it ended before {part:?}:\n{}", self.printed.join("\n")),
            }
        }
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let next = tokio::time::timeout(LINE_LIMIT, self.lines.next_line()).await;
        let next = next.with_context(|| format!("silent after {:?}", self.printed.last()))?;
        let line = next?;
        self.printed.extend(line.clone());
        Ok(line)
    }

    /// SIGKILL: the end without warning. Returns what it had printed.
    ///
    /// # Errors
    /// It had ended by itself.
    pub async fn kill(mut self) -> Result<Vec<String>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended with {status}");
        }
        self.child.kill().await?;
        // What it had written before.
        while self.line().await?.is_some() {}
        Ok(self.printed)
    }

    /// Waits for its own end: how it ended, and what it printed.
    ///
    /// # Errors
    /// It says nothing for a minute.
    pub async fn ended(mut self) -> Result<(ExitStatus, Vec<String>)> {
        while self.line().await?.is_some() {}
        Ok((self.child.wait().await?, self.printed))
    }
}
