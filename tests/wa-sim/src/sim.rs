//! The whole simulation: the server, its phones, and the admin HTTP API.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use wa_sim::{Sim, SimConfig};
//!
//! let sim = Sim::start(SimConfig::default()).await?;
//! let phone = sim.add_phone("15550001", "Ada")?;
//! println!("point the client at {}", sim.url());
//! # let code = "";
//! phone.scan(code).await?;
//! sim.wait_connected("15550001", Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use rand::{SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin,
    fault::{Disconnect, Fault, FaultError, FaultId},
    media::{self, Media},
    noise::ServerIdentity,
    oracle::Report,
    phone::{Ledger, Phone, PhoneError},
    server::{AccountView, Clock, Hub, World, serve},
};

/// Where to listen. Always at an address of the loopback range.
#[derive(Clone, Copy, Debug)]
pub struct SimConfig {
    /// For both; one that network namespaces share, or else 127.0.0.1.
    pub address: Ipv4Addr,
    /// For clients; 0 is any free port.
    pub port: u16,
    /// For the admin API; 0 is any free port.
    pub admin_port: u16,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            port: 0,
            admin_port: 0,
        }
    }
}

/// The simulator did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct StartError {
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

/// What was waited for did not happen in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} within {deadline:?}")]
pub struct WaitError {
    pub what: String,
    pub deadline: Duration,
}

/// A running simulation. Clones are the same one; it stops when told to, or
/// when the last clone is dropped.
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

struct Inner {
    world: Arc<Mutex<World>>,
    phones: Mutex<Phones>,
    media: Media,
    address: SocketAddr,
    admin_address: SocketAddr,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// A simulation, as long as somebody else holds it.
#[derive(Clone)]
pub(crate) struct WeakSim(Weak<Inner>);

impl WeakSim {
    pub(crate) fn upgrade(&self) -> Option<Sim> {
        self.0.upgrade().map(|inner| Sim { inner })
    }
}

struct Phones {
    by_number: BTreeMap<Arc<str>, Phone>,
    rng: StdRng,
}

/// What is where, for `GET /state`.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// By phone number.
    pub accounts: BTreeMap<Arc<str>, AccountView>,
    pub faults: Vec<StandingFault>,
}

/// A fault with its id.
#[derive(Clone, Debug, Serialize)]
pub struct StandingFault {
    pub id: FaultId,
    #[serde(flatten)]
    pub fault: Fault,
}

impl Sim {
    /// Starts the server and its admin API.
    ///
    /// # Errors
    /// A port is taken, or the address is not of the loopback range → [`StartError`].
    pub async fn start(config: SimConfig) -> Result<Self, StartError> {
        let (listener, address) = listen(config.address, config.port).await?;
        let (admin_listener, admin_address) = listen(config.address, config.admin_port).await?;
        #[allow(clippy::disallowed_methods, reason = "a test program")]
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let world = Arc::new(Mutex::new(World::new(Arc::new(Clock::default()))));
        let cancel = CancellationToken::new();
        let media = Media::default();
        let tasks = TaskTracker::new();
        let hub = Hub {
            world: Arc::clone(&world),
            identity: ServerIdentity::generate(&mut rng),
            cancel: cancel.child_token(),
        };
        let sim = Self {
            inner: Arc::new(Inner {
                world,
                phones: Mutex::new(Phones {
                    by_number: BTreeMap::new(),
                    rng,
                }),
                media: media.clone(),
                address,
                admin_address,
                cancel,
                tasks,
            }),
        };
        let tasks = &sim.inner.tasks;
        tasks.spawn(serve(listener, Arc::new(hub), tasks.clone()));
        tasks.spawn(admin::serve(
            admin_listener,
            admin::router(WeakSim(Arc::downgrade(&sim.inner))).merge(media::router(media)),
            sim.inner.cancel.child_token(),
        ));
        Ok(sim)
    }

    /// Where clients connect; any other path will do as well.
    pub fn url(&self) -> String {
        format!("ws://{}/ws/chat", self.inner.address)
    }

    /// For a simulated network: what it delivers from this address now it has held
    /// up for so long. A message that a connection had sent before a newer one of
    /// its device logged in is not held against it.
    pub fn note_held(&self, from: SocketAddr, held: Duration) {
        self.inner.world.lock().note_held(from, held);
    }

    /// Where the admin API is.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.inner.admin_address)
    }

    /// Where the media host is, which clients look for elsewhere: see
    /// [`crate::media`].
    pub fn media_url(&self) -> String {
        self.admin_url()
    }

    /// The media host fails every request, or works again.
    pub fn set_media_down(&self, is_down: bool) {
        self.inner.media.set_down(is_down);
    }

    /// The media host forgets all its files, as the real one does after some
    /// weeks.
    pub fn forget_media(&self) {
        self.inner.media.forget();
    }

    /// Files on the media host.
    pub fn media_count(&self) -> usize {
        self.inner.media.count()
    }

    /// A new phone with a number of digits; `name` is what others see of it.
    ///
    /// # Errors
    /// The number is none, or taken → [`PhoneError`].
    pub fn add_phone(&self, number: &str, name: &str) -> Result<Phone, PhoneError> {
        let mut phones = self.inner.phones.lock();
        let Inner { world, media, .. } = &*self.inner;
        let phone = Phone::new(world, media, number, name, &mut phones.rng)?;
        phones
            .by_number
            .insert(Arc::clone(phone.number()), phone.clone());
        let task = phone.clone().run(self.inner.cancel.child_token());
        self.inner.tasks.spawn(task);
        Ok(phone)
    }

    /// The phone with that number.
    ///
    /// # Errors
    /// [`PhoneError::UnknownNumber`]
    pub fn phone(&self, number: &str) -> Result<Phone, PhoneError> {
        let phones = self.inner.phones.lock();
        let phone = phones.by_number.get(number);
        phone.cloned().ok_or(PhoneError::UnknownNumber)
    }

    /// What the oracle knows.
    pub fn oracle(&self) -> Report {
        self.inner.world.lock().oracle.report()
    }

    /// Accounts, devices and faults as they are now.
    pub fn state(&self) -> State {
        let world = self.inner.world.lock();
        let faults = world.faults.list().iter();
        State {
            accounts: world.views(),
            faults: faults
                .map(|(id, fault)| StandingFault {
                    id: *id,
                    fault: fault.clone(),
                })
                .collect(),
        }
    }

    /// Lets something go wrong from now on.
    ///
    /// # Errors
    /// The fault makes no sense → [`FaultError`].
    pub fn inject(&self, fault: Fault) -> Result<FaultId, FaultError> {
        let mut world = self.inner.world.lock();
        let id = world.faults.add(fault)?;
        world.clock.set_offset(world.faults.clock_offset());
        Ok(id)
    }

    /// Lets one fault go. False if it is used up or was never there.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        let mut world = self.inner.world.lock();
        let known = world.faults.remove(id);
        world.clock.set_offset(world.faults.clock_offset());
        known
    }

    /// Everything works again.
    pub fn clear_faults(&self) {
        let mut world = self.inner.world.lock();
        world.faults.clear();
        world.clock.set_offset(world.faults.clock_offset());
    }

    /// Ends the connections of an account's linked devices, or of one of them.
    /// Returns how many there were.
    pub fn disconnect(&self, number: &str, device: Option<u16>, how: Disconnect) -> usize {
        self.inner.world.lock().disconnect(number, device, how)
    }

    /// Whether the account is shown as online.
    pub fn is_online(&self, number: &str) -> bool {
        self.inner.world.lock().is_online(number)
    }

    /// Waits until a linked device of the account is connected and has got what
    /// waited for it.
    ///
    /// # Errors
    /// [`WaitError`] at the deadline.
    pub async fn wait_connected(&self, number: &str, deadline: Duration) -> Result<(), WaitError> {
        let what = "no linked device connected";
        self.wait(what, deadline, || {
            let world = self.inner.world.lock();
            world.is_connected(number)
        })
        .await
    }

    /// Waits until a phone's ledger shows what is wanted.
    ///
    /// # Errors
    /// [`WaitError`] at the deadline.
    pub async fn wait_ledger(
        &self,
        phone: &Phone,
        what: &str,
        deadline: Duration,
        shows: impl Fn(&Ledger) -> bool,
    ) -> Result<(), WaitError> {
        self.wait(what, deadline, || phone.with_ledger(&shows))
            .await
    }

    /// Waits until something is so. `is_so` is asked again whenever a message,
    /// a receipt or a connection has come or gone.
    ///
    /// # Errors
    /// [`WaitError`] at the deadline.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait(
        &self,
        what: &str,
        deadline: Duration,
        is_so: impl Fn() -> bool,
    ) -> Result<(), WaitError> {
        let mut changes = self.inner.world.lock().changes();
        let waiting = async {
            while !is_so() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(deadline, waiting).await.map_err(|_| WaitError {
            what: what.to_owned(),
            deadline,
        })
    }

    /// Stops everything and waits for it. Connections end without a word.
    pub async fn shutdown(&self) {
        self.inner.cancel.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn listen(ip: Ipv4Addr, port: u16) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = SocketAddr::from((ip, port));
    let failed = |source| StartError { address, source };
    if !ip.is_loopback() {
        // Whoever reaches it may do anything.
        return Err(failed(io::ErrorKind::AddrNotAvailable.into()));
    }
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
