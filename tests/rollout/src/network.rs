//! A network for each pod, as in a cluster: a namespace with an address of its own,
//! joined to all others by a bridge.
//!
//! ```text
//!   driver's namespace                           a pod's namespace
//!   WhatsApp, emulator, clients, the Service
//!   127.77.0.1 ── bridge `pods` ── pod-3 ┄┄┄┄┄┄ eth0 127.77.0.4 ── worker, port 8080
//! ```
//!
//! The driver leaves the machine's network for one of its own before it starts
//! anything, so nothing of this is seen outside, and nothing has to be tidied up: a
//! namespace ends, with its links, once no process and no open file holds it, however
//! the driver ends.
//!
//! Addresses are of the loopback range, which Linux lets out of a machine where
//! `route_localnet` is on: the simulation build of the worker speaks to no others, and
//! an API without keys listens at no others.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use harness::worker::WorkerSetup;
use nix::sched::{CloneFlags, setns, unshare};

/// Where pods find what is not a pod.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

/// Every pod's worker listens here, as in the manifest.
const PORT: u16 = 8080;

/// Lets addresses of the loopback range out.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// The loopback interface keeps one address; the rest of its range is elsewhere.
const LOOPBACK: &str = "link set lo up\n\
    addr del 127.0.0.1/8 dev lo\n\
    addr add 127.0.0.1/32 dev lo\n";

/// Installs `ip`.
const INSTALL_COMMAND: &str = "`ip` cannot be run; on Debian: apt-get install iproute2";

/// Which network pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkKind {
    /// Namespaces where they are permitted, else the loopback interface
    Auto,
    /// A namespace and an address for each pod; needs root
    Namespaces,
    /// The machine's loopback interface, for all
    Loopback,
}

/// The network that the driver and its pods are in.
#[derive(Debug)]
pub(crate) enum Network {
    /// All share the loopback interface: a process that ends takes its connections
    /// along, and says so to the other side.
    Loopback,
    /// See the module.
    Namespaces(Bridge),
}

/// What the pods' links are joined by.
#[derive(Debug)]
pub(crate) struct Bridge {
    namespace: Namespace,
    links: AtomicU8,
}

impl Network {
    /// Moves this thread, and all that it will start, into the chosen network. To be
    /// called while there is no other thread.
    ///
    /// # Errors
    /// Namespaces were asked for, and are not permitted here.
    pub(crate) fn enter(kind: NetworkKind) -> Result<Self> {
        let entered = match kind {
            NetworkKind::Loopback => return Ok(Self::Loopback),
            NetworkKind::Auto | NetworkKind::Namespaces => Bridge::enter(),
        };
        match entered {
            Ok(bridge) => Ok(Self::Namespaces(bridge)),
            Err(error) if kind == NetworkKind::Auto => {
                println!("The pods share the loopback interface: {error:#}");
                Ok(Self::Loopback)
            }
            Err(error) => Err(error.context("a network for each pod needs root")),
        }
    }

    /// Where what is outside the pods listens, for the pods.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Namespaces(_) => OUTSIDE,
        }
    }

    /// A network for one pod; `None` if it shares the machine's.
    ///
    /// # Errors
    /// The kernel refuses it, or all addresses are taken.
    pub(crate) fn pod(&self) -> Result<Option<PodNetwork>> {
        match self {
            Self::Loopback => Ok(None),
            Self::Namespaces(bridge) => bridge.pod().map(Some),
        }
    }
}

impl Bridge {
    fn enter() -> Result<Self> {
        let commands = format!(
            "{LOOPBACK}\
             link add pods type bridge\n\
             addr add {OUTSIDE}/16 dev pods\n\
             link set pods up\n"
        );
        let namespace = Namespace::new(commands)?;
        setns(&namespace.file, CloneFlags::CLONE_NEWNET).context("entering a network")?;
        Ok(Self {
            namespace,
            links: AtomicU8::new(0),
        })
    }

    fn pod(&self) -> Result<PodNetwork> {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let Some(host) = number.checked_add(2).filter(|host| *host < u8::MAX) else {
            bail!("there were {number} pods, and there are no more addresses");
        };
        let [a, b, c, _] = OUTSIDE.octets();
        let address = Ipv4Addr::new(a, b, c, host);
        let link = format!("pod-{number}");
        let commands = format!(
            "{LOOPBACK}\
             link add eth0 type veth peer name {link} netns {}\n\
             addr add {address}/16 dev eth0\n\
             link set eth0 up\n",
            self.namespace.path()
        );
        let namespace = Namespace::new(commands)?;
        ip(&format!("link set {link} master pods up\n"))?;
        Ok(PodNetwork {
            namespace,
            address,
            link,
        })
    }
}

/// A pod's namespace, link and address, which outlive its worker's restarts. They go
/// when this is dropped and its worker has ended.
#[derive(Debug)]
pub(crate) struct PodNetwork {
    namespace: Namespace,
    address: Ipv4Addr,
    link: String,
}

impl PodNetwork {
    /// The worker, to be started in here.
    pub(crate) fn inside(&self, setup: WorkerSetup) -> WorkerSetup {
        let namespace = format!("--net={}", self.namespace.path());
        // It ends with the driver, however that ends.
        let launcher = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "nsenter",
            &namespace,
            "--",
        ];
        WorkerSetup {
            listen: format!("{}:{PORT}", self.address),
            launcher: launcher.map(str::to_owned).to_vec(),
            ..setup
        }
    }

    /// From now on nothing comes in or goes out, and nobody is told: neither FIN nor
    /// RST.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn cut(&self) -> Result<()> {
        ip(&format!("link set {} down\n", self.link))
    }
}

/// A network of the kernel, which lives as long as this, and what is in it.
#[derive(Debug)]
struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes one, and sets it up by commands of `ip` that are run in it.
    fn new(commands: String) -> Result<Self> {
        // A thread is in the network that it chose, and takes it along when it ends.
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network")?;
            std::fs::write(ROUTE_LOCALNET, "1").context(ROUTE_LOCALNET)?;
            ip(&commands)?;
            let file = File::open("/proc/thread-self/ns/net").context("opening a network")?;
            Ok(Self { file })
        });
        match made.join() {
            Ok(made) => made,
            Err(_) => bail!("the thread that makes a network panicked"),
        }
    }

    /// Where other programs find it, while this is there.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

/// Runs commands of `ip` in this thread's network.
fn ip(commands: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context(INSTALL_COMMAND)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.as_bytes())?;
    }
    let Output { status, stderr, .. } = child.wait_with_output()?;
    if !status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(())
}
