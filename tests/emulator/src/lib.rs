//! Google's official Firestore emulator, for tests.
//!
//! Either the one that `FIRESTORE_EMULATOR_HOST` names (`tests/run` starts one
//! for a whole level), or one of the test's own, on a free port. Tests share an
//! emulator without seeing each other: each takes a project of its own, from
//! [`project_id`]. Whoever stops an emulator needs its own.
//!
//! The emulator is Java. It ends with the [`Emulator`], and with the thread
//! that started it, however that ends (`setpriv --pdeathsig`). Its data is in
//! memory and ends with it.

// Tests wait in real time for a real process.
#![allow(
    clippy::disallowed_methods,
    reason = "deadlines of tests are real time"
)]

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

/// Names a running emulator, as Google's own tools do: `host:port`.
pub const HOST_VARIABLE: &str = "FIRESTORE_EMULATOR_HOST";

/// Names the emulator's jar instead of looking for it.
pub const JAR_VARIABLE: &str = "FIRESTORE_EMULATOR_JAR";

/// Installs what is missing.
pub const INSTALL_COMMAND: &str = "tests/run installs it; by hand, with Google's repository set \
    up (https://cloud.google.com/sdk/docs/install#deb): \
    apt-get install google-cloud-cli-firestore-emulator default-jre-headless";

const JAR: &str = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar";

/// Where Google's SDK is, by the ways to install it.
const SDK_FOLDERS: [&str; 4] = [
    "/usr/lib/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/snap/google-cloud-cli/current",
];

/// A JVM on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether the emulator listens.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const NOT_OURS: &str = "the emulator is not ours";

/// A running emulator; one of our own ends when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    host: String,
    own: Option<Own>,
}

/// What one of our own has.
#[derive(Debug)]
struct Own {
    process: Child,
    size: Size,
    /// Has the emulator's port, and does not listen: so that the port is nobody
    /// else's while the emulator starts, or starts again.
    _port: TcpSocket,
}

/// What a run is for decides how much memory the emulator gets: it keeps every
/// version of every document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Some tests: little memory, and it starts quickly.
    Small,
    /// Minutes of traffic, and answers in time all along.
    Large,
    /// Half an hour of it: gigabytes of versions, which are collected beside the
    /// work rather than in pauses that are longer than the workers' patience.
    Huge,
}

impl Size {
    /// Java's options. Without a cap on the heap it takes 2 GB at once.
    fn options(self) -> &'static [&'static str] {
        match self {
            Size::Small => &["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            Size::Large => &["-Xmx3g", "-XX:+UseSerialGC"],
            Size::Huge => &["-Xmx10g", "-XX:+UseG1GC"],
        }
    }
}

impl Emulator {
    /// The emulator of [`HOST_VARIABLE`], or a new small one.
    ///
    /// # Errors
    /// As for [`Emulator::start`].
    pub async fn shared() -> Result<Self> {
        match env::var(HOST_VARIABLE) {
            Ok(host) if !host.is_empty() => Ok(Self { host, own: None }),
            Ok(_) | Err(_) => Self::start(Size::Small).await,
        }
    }

    /// A new emulator, which listens when this returns.
    ///
    /// # Errors
    /// No emulator or no Java on this machine, which the error says how to
    /// install; or it does not start.
    pub async fn start(size: Size) -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, size).await
    }

    /// The same at another address of this machine, for workers in networks of
    /// their own.
    ///
    /// # Errors
    /// As for [`Emulator::start`].
    pub async fn start_at(address: Ipv4Addr, size: Size) -> Result<Self> {
        let port = TcpSocket::new_v4()?;
        // Without it the emulator could not listen here beside this socket.
        port.set_reuseaddr(true)?;
        port.bind(SocketAddr::from((address, 0)))?;
        let host = port.local_addr()?.to_string();
        let mut own = Own {
            process: spawn(&host, size)?,
            size,
            _port: port,
        };
        until_listening(&mut own.process, &host).await?;
        Ok(Self {
            host,
            own: Some(own),
        })
    }

    /// Where it listens: `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Stops the process where it is (SIGSTOP): connections stay, and nothing
    /// is answered.
    ///
    /// # Errors
    /// It is not ours, or has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// As for [`Emulator::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends the process at once (SIGKILL), and its data with it.
    ///
    /// # Errors
    /// As for [`Emulator::pause`].
    pub fn kill(&mut self) -> Result<()> {
        let own = self.own.as_mut().context(NOT_OURS)?;
        own.process.kill()?;
        own.process.wait()?;
        Ok(())
    }

    /// Starts it again where it was, empty.
    ///
    /// # Errors
    /// As for [`Emulator::start`], or it is not ours.
    pub async fn restart(&mut self) -> Result<()> {
        let own = self.own.as_mut().context(NOT_OURS)?;
        own.process = spawn(&self.host, own.size)?;
        until_listening(&mut own.process, &self.host).await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let own = self.own.as_ref().context(NOT_OURS)?;
        let pid = i32::try_from(own.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has an id")?, signal)?;
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A process that has ended already is no failure here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until_listening(emulator: &mut Child, host: &str) -> Result<()> {
    let started = Instant::now();
    while TcpStream::connect(host).await.is_err() {
        if let Some(status) = emulator.try_wait()? {
            bail!("the Firestore emulator ended as it started: {status}; by hand it says why");
        }
        if started.elapsed() > START_LIMIT {
            bail!("the Firestore emulator does not listen after {START_LIMIT:?}");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// A project that no other test has.
pub fn project_id() -> String {
    format!("test-{}", Uuid::new_v4().simple())
}

fn jar() -> Result<PathBuf> {
    if let Some(jar) = env::var_os(JAR_VARIABLE) {
        return Ok(PathBuf::from(jar));
    }
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join("google-cloud-sdk"));
    SDK_FOLDERS
        .iter()
        .map(PathBuf::from)
        .chain(home)
        .map(|folder| folder.join(JAR))
        .find(|jar| jar.is_file())
        .with_context(|| format!("there is no Firestore emulator here; {INSTALL_COMMAND}"))
}

fn spawn(host: &str, size: Size) -> Result<Child> {
    let (address, port) = host.rsplit_once(':').context("a host has a port")?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "java"])
        .args(size.options())
        .args(["-Duser.language=en", "-cp"])
        .arg(jar()?)
        .arg("com.google.cloud.datastore.emulator.firestore.CloudFirestore")
        .args([format!("--host={address}"), format!("--port={port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("setpriv (of util-linux) cannot be run")
}
