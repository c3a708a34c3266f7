//! One boot of a worker: the real coordinator, with its clock and its clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coordinator_lib::claim;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::{
    Coordinator, CoordinatorConfig, CoordinatorParts, HeartbeatRun,
};
use coordinator_lib::identity::AccountId;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::Store;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;
use whatsapp::media::MediaFetcher;
use worker::account::AccountConfig;
use worker::media::MediaStore;
use worker::messages::inbox::InboxConfig;
use worker::outbox::OutboxConfig;
use worker::supervisor::{Supervisor, SupervisorConfig, SupervisorHandle, SupervisorParts};
use worker::webhooks::{HookBook, Post, WebhookConfig};

use crate::clock::VirtualClock;
use crate::desk::Desk;
use crate::engine::{EngineMaker, Engines};
use crate::link::Link;
use crate::plan::DRAIN_LIMIT;
use crate::port::Port;
use crate::process::{Domain, Process, Running};
use crate::sea::Sea;
use crate::server::Server;
use crate::work::{self, Prefetched, Tools};
use crate::world::Cast;

/// Before a worker that could not begin a session is started again.
const RESTART: Duration = Duration::from_secs(2);

/// So often a message is tried: here none is given up, for every one that was
/// accepted shall arrive.
const ATTEMPTS_MAX: u32 = 1_000;

/// What all workers of a run have in common.
pub(crate) struct Fleet {
    pub(crate) sea: Arc<Sea>,
    pub(crate) server: Arc<Server>,
    pub(crate) config: CoordinatorConfig,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) pace: Arc<BTreeMap<AccountId, Duration>>,
    pub(crate) has_long_frames: bool,
    /// Where the worker itself runs.
    pub(crate) cast: Option<Arc<Cast>>,
}

/// What one worker is made with.
pub(crate) struct Boot {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) capacity: u32,
    pub(crate) rate_ppm: i64,
    pub(crate) seed: u64,
    /// Requests in a thousand that something happens to.
    pub(crate) trouble_permille: u64,
}

/// A worker.
pub struct Worker {
    /// Its process.
    pub process: Arc<Process>,
    /// Accounts that it owns at most.
    pub capacity: u32,
    /// The work's way to the store, and the heartbeat's.
    pub links: [Arc<Link>; 2],
    /// Its clock.
    pub clock: Arc<VirtualClock>,
    /// Its API, where the worker itself runs.
    pub(crate) desk: Option<Arc<Desk>>,
    store: Store,
    coordinator: Arc<Mutex<Option<Coordinator>>>,
    supervisor: Arc<Mutex<Option<SupervisorHandle>>>,
    tracker: TaskTracker,
    draining: Mutex<bool>,
}

impl Worker {
    /// Starts it.
    pub(crate) fn start(fleet: &Fleet, boot: Boot) -> Arc<Self> {
        let sea = &fleet.sea;
        let process = Process::new(Arc::clone(&sea.timeline), boot.number, &boot.name);
        let clock = Arc::new(VirtualClock::of_a_worker(
            Arc::clone(&sea.timeline),
            Arc::clone(&process),
            boot.rate_ppm,
        ));
        let links = [Arc::new(Link::default()), Arc::new(Link::default())];
        for link in &links {
            link.set_trouble(boot.trouble_permille);
        }
        let tracker = TaskTracker::new();
        let prefetched = Arc::new(Prefetched::default());
        let store: Store = Arc::new(Port::new(
            Arc::clone(sea),
            Arc::clone(&process),
            Domain::Work,
            Arc::clone(&links[0]),
            boot.seed,
            Arc::clone(&prefetched),
        ));
        let desk = fleet.cast.as_ref().map(|cast| {
            Arc::new(Desk {
                process: Arc::clone(&process),
                store: Arc::clone(&store),
                keys: Arc::clone(&cast.keys),
                clock: Arc::clone(&clock) as SharedClock,
                rng: SeededRng::shared(boot.seed ^ 0x6465_736b),
                tracker: tracker.clone(),
            })
        });
        let worker = Arc::new(Self {
            process,
            capacity: boot.capacity,
            links,
            clock,
            desk,
            store,
            coordinator: Arc::default(),
            supervisor: Arc::default(),
            tracker,
            draining: Mutex::new(false),
        });
        sea.record.reached("worker started");
        sea.record.note(&boot.name, format_args!("starts"));
        worker.run(fleet, boot, prefetched);
        worker
    }

    fn run(&self, fleet: &Fleet, boot: Boot, prefetched: Arc<Prefetched>) {
        let store = Arc::clone(&self.store);
        let beats: Store = Arc::new(Port::new(
            Arc::clone(&fleet.sea),
            Arc::clone(&self.process),
            Domain::Heartbeat,
            Arc::clone(&self.links[1]),
            boot.seed + 1,
            Arc::clone(&prefetched),
        ));
        let wanted = if fleet.cast.is_some() {
            worker::supervisor::wanted::is_wanted_document
        } else {
            claim::is_wanted
        };
        let tools = Arc::new(Tools {
            sea: Arc::clone(&fleet.sea),
            server: Arc::clone(&fleet.server),
            process: Arc::clone(&self.process),
            store: Arc::clone(&store),
            clock: Arc::clone(&self.clock) as SharedClock,
            rng: SeededRng::shared(boot.seed + 2),
            tracker: self.tracker.clone(),
            connections: Arc::clone(&fleet.connections),
            prefetched,
            pace: Arc::clone(&fleet.pace),
            has_long_frames: fleet.has_long_frames,
        });
        let parts = {
            let (process, tracker) = (Arc::clone(&self.process), self.tracker.clone());
            let (clock, config) = (Arc::clone(&self.clock), fleet.config.clone());
            move |attempt: u64| {
                let (beats, process, tracker) =
                    (Arc::clone(&beats), Arc::clone(&process), tracker.clone());
                CoordinatorParts {
                    store: Arc::clone(&store),
                    heartbeat: HeartbeatRun {
                        store: Arc::new(move || {
                            let store = Arc::clone(&beats);
                            Box::pin(async move { Ok(store) })
                        }),
                        spawn: {
                            let tracker = tracker.clone();
                            Arc::new(move |heartbeat| {
                                tracker.spawn(Running::new(&process, Domain::Heartbeat, heartbeat));
                            })
                        },
                    },
                    clock: Arc::clone(&clock) as SharedClock,
                    rng: SeededRng::shared(boot.seed.wrapping_add(3 + attempt)),
                    config: config.clone(),
                    name: boot.name.clone(),
                    capacity: boot.capacity,
                    version: "simulated".to_owned(),
                    address: None,
                    wanted,
                    presence: None,
                    tracker,
                }
            }
        };
        let shown = Arc::clone(&self.coordinator);
        let supervisor = Arc::clone(&self.supervisor);
        let cast = fleet.cast.clone();
        let main = async move {
            let coordinator = begin(parts, &tools).await;
            *shown.lock() = Some(coordinator.clone());
            match cast {
                Some(cast) => {
                    *supervisor.lock() = Some(supervise(&tools, &cast, coordinator, boot.seed));
                }
                None => stand_in(tools, coordinator).await,
            }
        };
        self.tracker
            .spawn(Running::new(&self.process, Domain::Work, main));
    }

    /// The worker session that it has now, if it has begun one.
    pub fn session(&self) -> Option<String> {
        let coordinator = self.coordinator.lock();
        let me = coordinator.as_ref()?.me();
        Some(me.session_id.as_str().to_owned())
    }

    /// Whether it runs and was not told to end.
    pub fn is_there(&self) -> bool {
        self.process.is_alive() && !*self.draining.lock()
    }

    /// Tells it to hand its accounts off and end, as SIGTERM does.
    pub fn drain(&self, sea: &Arc<Sea>) {
        *self.draining.lock() = true;
        let Some(coordinator) = self.coordinator.lock().clone() else {
            // Not even begun.
            self.process.kill();
            return;
        };
        let (process, sea) = (Arc::clone(&self.process), Arc::clone(sea));
        let supervisor = self.supervisor.lock().clone();
        let drain = async move {
            let orderly = match supervisor {
                Some(supervisor) => supervisor.shutdown(DRAIN_LIMIT).await,
                None => coordinator.drain(DRAIN_LIMIT).await,
            };
            sea.record.reached(if orderly {
                "drained"
            } else {
                "drained too slowly"
            });
            sea.record
                .note(process.name(), format_args!("drained, orderly: {orderly}"));
            process.kill();
        };
        self.tracker
            .spawn(Running::new(&self.process, Domain::Work, drain));
    }
}

/// Starts the coordinator, again and again if it has to.
async fn begin(parts: impl Fn(u64) -> CoordinatorParts, tools: &Tools) -> Coordinator {
    let mut attempt = 0;
    loop {
        match Coordinator::start(parts(attempt)).await {
            Ok(coordinator) => return coordinator,
            Err(error) => {
                tools.sea.record.note(
                    tools.process.name(),
                    format_args!("does not start: {error}"),
                );
                tools.clock.sleep(RESTART).await;
                attempt += 1;
            }
        }
    }
}

/// Works for what is claimed, in the place of the worker.
async fn stand_in(tools: Arc<Tools>, coordinator: Coordinator) {
    while let Some(ownership) = coordinator.next().await {
        let work = Box::pin(work::run(Arc::clone(&tools), ownership));
        tools
            .tracker
            .spawn(Running::new(&tools.process, Domain::Work, work));
    }
}

/// Starts the worker's own supervisor.
fn supervise(tools: &Tools, cast: &Cast, coordinator: Coordinator, seed: u64) -> SupervisorHandle {
    let engines = Engines {
        sea: Arc::clone(&tools.sea),
        server: Arc::clone(&tools.server),
        post: Arc::clone(&cast.post),
        process: Arc::clone(&tools.process),
        clock: Arc::clone(&tools.clock),
        rng: Arc::clone(&tools.rng),
        tracker: tools.tracker.clone(),
        connections: Arc::clone(&tools.connections),
        coordinator: coordinator.clone(),
        has_long_frames: tools.has_long_frames,
    };
    // No webhooks: receivers are no part of the simulated world.
    let rng = SeededRng::shared(seed ^ 0x686f_6f6b);
    let hooks = HookBook::new(
        Arc::clone(&tools.store),
        Arc::clone(&tools.clock),
        Arc::clone(&rng),
        Arc::clone(&cast.keys),
    );
    let post = Post::new(WebhookConfig::default(), Arc::clone(&tools.clock), rng);
    Supervisor::spawn(SupervisorParts {
        store: Arc::clone(&tools.store),
        keys: Arc::clone(&cast.keys),
        hooks,
        post: Arc::new(post),
        links: Arc::new(EngineMaker(Arc::new(engines))),
        clock: Arc::clone(&tools.clock),
        rng: SeededRng::shared(seed ^ 0x7375_7065),
        coordinator,
        account: AccountConfig::default(),
        outbox: OutboxConfig {
            attempts_max: ATTEMPTS_MAX,
            ..OutboxConfig::default()
        },
        inbox: InboxConfig::default(),
        media: MediaStore::default(),
        // Files are no part of that world either.
        fetcher: MediaFetcher::new(None, Arc::clone(&tools.clock)),
        config: SupervisorConfig::default(),
    })
}
