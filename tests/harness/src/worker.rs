//! One worker process: started, signalled, killed, started again on the same
//! data.
//!
//! [`WorkerSetup`] says how; [`Worker`] is the running process. A worker that is
//! dropped is killed: no test leaves one behind. Signals go to the child that
//! was started here, by its own process id, and to nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};

use crate::api::Api;
use crate::command::RunningCommand;
use crate::log::Log;
use crate::port;
use crate::wait::{self, Look};

/// From exec to the open port; a debug build on a busy machine is slow.
const START_LIMIT: Duration = Duration::from_secs(30);
/// For a worker to be found outside a write.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);
/// Above the worker's own grace period.
const EXIT_LIMIT: Duration = Duration::from_secs(45);

/// How to start a worker. Its folder outlives the process, so a second start
/// from the same setup is a restart.
#[derive(Debug, Clone)]
pub struct WorkerSetup {
    /// The program.
    pub binary: PathBuf,
    /// The worker's name; also names its log file.
    pub name: String,
    /// Data, key ring and logs are in here.
    pub folder: PathBuf,
    /// The address of the simulated WhatsApp.
    pub whatsapp_url: String,
    /// Where to listen; port 0 picks one.
    pub listen: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further environment.
    pub environment: Vec<(String, String)>,
    /// The command that becomes the program (it ends with an `exec` of what
    /// follows it), where the program is not started directly.
    pub launcher: Vec<String>,
    /// Has the port while the worker is down, and does not listen.
    pub held: Option<Arc<TcpSocket>>,
}

impl WorkerSetup {
    /// A worker called `name` with its data in `folder`.
    pub fn new(binary: PathBuf, name: &str, folder: &Path, whatsapp_url: &str) -> Self {
        Self {
            binary,
            name: name.to_owned(),
            folder: folder.to_owned(),
            whatsapp_url: whatsapp_url.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            launcher: Vec::new(),
            held: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder of its database and key ring.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its log, which grows over restarts.
    pub fn log(&self) -> Log {
        Log::at(self.folder.join(format!("{}.log", self.name)))
    }

    /// What it prints on standard output.
    fn output_path(&self) -> PathBuf {
        self.folder.join(format!("{}.out", self.name))
    }

    /// Runs one of the program's commands on this worker's data, to its end:
    /// whether it succeeded, and all that it printed.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn command(&self, arguments: &[&str]) -> Result<(bool, String)> {
        self.finish(self.prepare(arguments)).await
    }

    /// The same for a command that talks to a running worker, and has no data.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn command_without_data(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let mut command = Command::new(&self.binary);
        command.args(arguments);
        self.finish(command).await
    }

    /// Starts one of the program's commands on this worker's data, to be looked at
    /// while it runs.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn begin(&self, arguments: &[&str]) -> Result<RunningCommand> {
        RunningCommand::start(self.prepare(arguments))
    }

    fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_folder())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn finish(&self, mut command: Command) -> Result<(bool, String)> {
        let output = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), text))
    }

    /// Makes the key ring, which workers with a store elsewhere must find.
    ///
    /// # Errors
    /// The program cannot make it.
    pub async fn generate_keys(&self) -> Result<()> {
        let output = Command::new(&self.binary)
            .args(["keys", "generate", "--data-dir"])
            .arg(self.data_folder())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("starting {}", self.binary.display()))?;
        if !output.status.success() {
            bail!(
                "no key ring was made: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Starts the process and returns at once.
    ///
    /// # Errors
    /// The program or its log files cannot be opened.
    pub fn spawn(&self) -> Result<Process> {
        std::fs::create_dir_all(&self.folder)?;
        let output = File::create(self.output_path())?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log().path())?;
        let mut command = match self.launcher.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        command
            .args(["--listen", &self.listen])
            .args(["--worker-id", &self.name])
            .args(["--whatsapp-url", &self.whatsapp_url])
            .args(["--log-format", "json"])
            .arg("--data-dir")
            .arg(self.data_folder())
            .args(&self.arguments)
            .env_remove("RUST_LOG")
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .context("a child that was just started has an id")?;
        Ok(Process {
            child,
            pid,
            setup: self.clone(),
        })
    }

    /// Starts the worker and waits until it serves.
    ///
    /// # Errors
    /// It ended, or does not serve in time; with the end of its log.
    pub async fn start(&self) -> Result<Worker> {
        let mut process = self.spawn()?;
        let listening = wait::until(&format!("{} listens", self.name), START_LIMIT, async || {
            if let Some(status) = process.child.try_wait()? {
                bail!(
                    "{} ended with {status}:\n{}",
                    self.name,
                    process.setup.log().tail()
                );
            }
            let text = std::fs::read_to_string(process.setup.output_path())?;
            Ok(Look::some(listening_address(&text), text))
        })
        .await
        .with_context(|| process.setup.log().tail())?;
        Ok(Worker {
            process,
            api: Api::at(format!("http://{listening}")),
            address: listening,
        })
    }
}

/// The address in the line that a worker prints when it is ready:
/// `{"event":"listening","addr":"127.0.0.1:8080", …}`.
fn listening_address(output: &str) -> Option<String> {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["event"] == "listening")
        .and_then(|line| line["addr"].as_str().map(ToOwned::to_owned))
}

/// Whether a process has a write lock on a file, in a list such as
/// `1: POSIX  ADVISORY  WRITE 4711 fe:00:6209552 120 120`.
fn has_write_lock(locks: &str, pid: i32, inode: u64) -> bool {
    let (pid, inode) = (pid.to_string(), format!(":{inode}"));
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [_, "POSIX", _, "WRITE", holder, file, ..]
            if *holder == pid && file.ends_with(&inode))
    })
}

/// A process that was started; it may not serve yet, or never.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    setup: WorkerSetup,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Until it is waited for, the id is this child's and nobody else's.
        if self.child.id().is_none() {
            bail!("{} has ended already", self.setup.name);
        }
        kill_process(self.pid, signal).with_context(|| format!("{signal:?} to {}", self.id()))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// It does not in time; with the end of its log.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        match tokio::time::timeout(EXIT_LIMIT, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!(
                "{} has not ended within {EXIT_LIMIT:?}:\n{}",
                self.setup.name,
                self.setup.log().tail()
            ),
        }
    }
}

/// A worker that serves.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    api: Api,
    address: String,
}

impl Worker {
    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.process.id()
    }

    /// Its log.
    pub fn log(&self) -> Log {
        self.process.setup.log()
    }

    /// How it was started.
    pub fn setup(&self) -> &WorkerSetup {
        &self.process.setup
    }

    /// The process itself, for other signals than the usual ones.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGSTOP: the process stands still, its connections stay. Never with a
    /// write lock of the embedded database, which would stop every writer: that is
    /// an outage of the store, not of a worker.
    ///
    /// # Errors
    /// It has ended, or writes all the time.
    pub async fn pause(&self) -> Result<()> {
        let what = format!(
            "{} stands still between two writes",
            self.process.setup.name
        );
        wait::until(&what, PAUSE_LIMIT, async || {
            self.process.signal(Signal::STOP)?;
            self.until_stopped().await?;
            if !self.holds_write_lock()? {
                return Ok(Look::Done(()));
            }
            self.process.signal(Signal::CONT)?;
            Ok(Look::NotYet("it writes".to_owned()))
        })
        .await
    }

    /// Waits until all threads stand still: one that was in the middle of a system
    /// call ends that first, and may get a lock by it.
    async fn until_stopped(&self) -> Result<()> {
        let folder = format!("/proc/{}/task", self.id());
        wait::until("all threads stand still", PAUSE_LIMIT, async || {
            let mut states = String::new();
            for task in std::fs::read_dir(&folder)? {
                // Of a thread that has ended meanwhile there is none.
                let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
                // The state follows the name, which is in brackets.
                let state = stat
                    .rsplit_once(") ")
                    .and_then(|(_, rest)| rest.chars().next());
                states.extend(state);
            }
            let all = !states.is_empty() && states.chars().all(|state| state == 'T');
            Ok(Look::some(all.then_some(()), states))
        })
        .await
    }

    /// Whether it holds a write lock of the embedded database, as the kernel says.
    fn holds_write_lock(&self) -> Result<bool> {
        let locks = std::fs::read_to_string("/proc/locks").context("reading /proc/locks")?;
        // Locks of the write-ahead log are on the file beside it.
        let file = self.setup().data_folder().join("leasehold.db-shm");
        let Ok(file) = std::fs::metadata(file) else {
            return Ok(false);
        };
        Ok(has_write_lock(&locks, self.id(), file.ino()))
    }

    /// SIGCONT: it goes on where it stood.
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// SIGTERM, and waits for its orderly end.
    ///
    /// # Errors
    /// It does not end in time, or with a code other than 0.
    pub async fn terminate(mut self) -> Result<WorkerSetup> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait().await?;
        if !status.success() {
            bail!("{status} after SIGTERM:\n{}", self.log().tail());
        }
        Ok(self.setup_again())
    }

    /// Waits until it ends by itself, and says how.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn ended(mut self) -> Result<(ExitStatus, WorkerSetup)> {
        let status = self.process.wait().await?;
        Ok((status, self.setup_again()))
    }

    /// Waits until it ends by itself, for `limit` at most; then SIGKILL. `None`
    /// if it had to be killed.
    ///
    /// # Errors
    /// It does not end even so.
    pub async fn ended_or_killed(
        mut self,
        limit: Duration,
    ) -> Result<(Option<ExitStatus>, WorkerSetup)> {
        if let Ok(status) = tokio::time::timeout(limit, self.process.child.wait()).await {
            return Ok((Some(status?), self.setup_again()));
        }
        self.process.signal(Signal::KILL)?;
        self.process.wait().await?;
        Ok((None, self.setup_again()))
    }

    /// SIGTERM: the worker is to drain and end; nobody waits for it here.
    ///
    /// # Errors
    /// It has ended.
    pub fn ask_to_end(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Memory that the process has now, in bytes; `None` if the kernel does not
    /// say.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// SIGKILL: the end without warning.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn kill(mut self) -> Result<WorkerSetup> {
        self.process.signal(Signal::KILL)?;
        self.process.wait().await?;
        Ok(self.setup_again())
    }

    /// For the next start: the same, at the same address, so that clients find
    /// it again.
    fn setup_again(&self) -> WorkerSetup {
        // In a network of its own it cannot be held, and nobody else takes it.
        let held = self.address.parse().ok();
        let held = held.and_then(|address| port::hold(address).ok());
        WorkerSetup {
            listen: self.address.clone(),
            held: held.map(Arc::new),
            ..self.process.setup.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_line_is_found_among_others() {
        let output = "hello\n{\"event\":\"listening\",\"addr\":\"127.0.0.1:7\"}\n";
        assert_eq!(listening_address(output).as_deref(), Some("127.0.0.1:7"));
        assert_eq!(listening_address("{\"event\":\"listen"), None);
    }

    #[test]
    fn a_write_lock_is_found_by_process_and_file() {
        let locks = "1: FLOCK  ADVISORY  WRITE 7 fe:00:31 0 EOF\n\
            2: POSIX  ADVISORY  READ 7 fe:00:31 124 124\n\
            3: POSIX  ADVISORY  WRITE 8 fe:00:31 120 120\n\
            3: -> POSIX  ADVISORY  WRITE 9 fe:00:31 120 120\n";
        assert!(has_write_lock(locks, 8, 31));
        assert!(!has_write_lock(locks, 7, 31), "shared, or of another kind");
        assert!(!has_write_lock(locks, 9, 31), "it only waits");
        assert!(!has_write_lock(locks, 8, 1), "another file");
    }

    #[tokio::test]
    async fn a_worker_that_ends_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let setup = WorkerSetup::new("/bin/false".into(), "alice", folder.path(), "ws://x");
        let error = setup.start().await.unwrap_err();
        assert!(format!("{error:#}").contains("ended with"), "{error:#}");
    }

    #[tokio::test]
    async fn a_signal_ends_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("sleeper");
        std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::process::Command::new("chmod")
            .arg("+x")
            .arg(&script)
            .status()
            .unwrap();
        let mut process = WorkerSetup::new(script, "alice", folder.path(), "ws://x")
            .spawn()
            .unwrap();
        process.signal(Signal::KILL).unwrap();
        assert!(!process.wait().await.unwrap().success());
        assert!(process.signal(Signal::KILL).is_err());
    }
}
