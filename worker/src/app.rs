//! The worker as a whole: what is built in which order, and how it ends.
//!
//! Start: program check → data folder → key ring → store → media store → port → worker session
//! → supervisor. Each step's failure ends the program with a line that says what
//! to do; nothing that comes later has happened then. Requests are answered
//! only once the accounts may start.
//!
//! End ([`App::drain`]): not ready → accounts are handed off and the worker
//! session is closed → the API stops → the store closes.

pub mod backend;
pub mod data_dir;
pub mod key_ring;
pub mod lifecycle;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use coordinator_lib::clock::{Boottime, Clock, SharedClock, SystemClock};
use coordinator_lib::coordinator::{
    self, Coordinator, CoordinatorConfig, CoordinatorParts, HeartbeatRun, StartError,
};
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::{Rng, SharedRng, SystemRng};
use coordinator_lib::store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use whatsapp::EngineConfig;
use whatsapp::media::MediaFetcher;

use self::backend::Backend;
pub use self::lifecycle::{Lifecycle, Phase};
use crate::account::link::EngineLinks;
use crate::auth::{KeyBook, KeyBookParts};
use crate::commands::Desk;
use crate::config::duration::format_duration;
use crate::config::{Config, HttpConfig};
use crate::events::Streams;
use crate::events::feed::FeedParts;
use crate::exit::{self, Failure};
use crate::health::monitor::StoreMonitor;
use crate::http::{self, Api, ApiParts, Server};
use crate::media::MediaStore;
use crate::media::sweep::{Sweep, SweepError};
use crate::messages::inbox::InboxConfig;
use crate::operator::OperatorParts;
use crate::purge::resume::{LEFT_AFTER, PurgeSweep};
use crate::supervisor::{Supervisor, SupervisorConfig, SupervisorHandle, SupervisorParts, wanted};
use crate::sweep::RecordSweep;
use crate::telemetry::gauges::{self, Sources};
use crate::webhooks::{HookBook, Post};

/// For the media store to answer when a worker starts; it is no reason to wait.
const MARK_LIMIT: Duration = Duration::from_secs(10);

/// Who this worker is. Nothing in it changes.
#[derive(Debug, Clone)]
pub struct WorkerInfo {
    /// The name that people know it by.
    pub worker_name: String,
    /// The deployment it belongs to.
    pub deployment_id: String,
    /// Most accounts that it owns.
    pub capacity: u32,
    /// How long an idempotency key is remembered.
    pub idempotency_ttl: Duration,
    /// Durations of its leases.
    pub lease: LeaseConfig,
    /// The store's kind.
    pub store_backend: &'static str,
    /// Where its data is, for people.
    pub data_dir: PathBuf,
    /// Where its key ring is, for people.
    pub key_ring: String,
    /// When it began, by the monotonic clock.
    pub started: Boottime,
    /// When it began, by the wall clock.
    pub started_wall: DateTime<Utc>,
}

/// Who reaches the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever has a key.
    Keys,
    /// Programs of this machine: there is no key yet.
    ThisMachine,
    /// Everybody: something else guards the port.
    Everybody,
}

/// A running worker.
pub struct App {
    info: Arc<WorkerInfo>,
    lifecycle: Lifecycle,
    address: SocketAddr,
    access: Access,
    supervisor: SupervisorHandle,
    backend: Backend,
    stop: CancellationToken,
    streams: Streams,
    tasks: TaskTracker,
    /// Tasks of the coordinator.
    coordination: TaskTracker,
}

impl App {
    /// Builds everything, in the order of the module's description.
    ///
    /// # Errors
    /// What went wrong, in a line that says what to do, and the exit code.
    pub async fn start(config: Config) -> Result<Self, Failure> {
        check_program(&config)?;
        let clock = SystemClock::shared();
        let rng = SystemRng::shared();
        let name = worker_name(&config, rng.as_ref());
        data_dir::prepare(&config.store.data_dir)?;
        let keys = Arc::new(key_ring::load_or_generate(&config.store, rng.as_ref())?);
        let media = media_store(&config)?;
        let backend = Backend::open(&config.store, &config.lease.lease(), &clock, &rng).await?;
        let store = Arc::clone(&backend.store);
        key_ring::check(&store, &keys).await?;
        let book = KeyBook::new(KeyBookParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            rate: config.http.api_rate,
            burst: config.http.api_burst,
        });
        let is_open = check_access(&config.http, &book).await?;
        let sweep = Sweep {
            store: Arc::clone(&store),
            media: media.clone(),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
        };
        // Before there is anything to give back.
        mark_media(&sweep).await?;
        let server = Server::bind(config.http.listen)
            .await
            .map_err(|error| port_failure(config.http.listen, &error))?;
        let address = server.address();

        let info = Arc::new(worker_info(&config, name, &store, clock.as_ref()));
        let lifecycle = Lifecycle::default();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let monitor = StoreMonitor::new(Arc::clone(&store), Arc::clone(&clock));
        monitor.look(true).await;
        tasks.spawn(monitor.clone().run(stop.clone()));
        tasks.spawn(key_ring::follow(
            key_ring::provider(&config.store)?,
            Arc::clone(&keys),
            Arc::clone(&clock),
            stop.clone(),
        ));

        let coordination = TaskTracker::new();
        let parts = coordinator_parts(&config, &info, &backend, &clock, &rng, &coordination);
        let coordinator = Coordinator::start(parts).await.map_err(session_failure)?;
        let hooks = HookBook::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::clone(&rng),
            Arc::clone(&keys),
        );
        tasks.spawn(hooks.clone().run(stop.clone()));
        let post = Arc::new(Post::new(
            config.webhooks.webhooks(),
            Arc::clone(&clock),
            Arc::clone(&rng),
        ));
        let fetcher = MediaFetcher::new(
            config.whatsapp.whatsapp_media_url.clone(),
            Arc::clone(&clock),
        );
        let supervisor = Supervisor::spawn(SupervisorParts {
            hooks,
            post: Arc::clone(&post),
            store: Arc::clone(&store),
            keys: Arc::clone(&keys),
            links: Arc::new(EngineLinks {
                config: EngineConfig {
                    history_bytes_max: config.history.fetched_bytes_max(),
                    ..config.whatsapp.engine()
                },
                clock: Arc::clone(&clock),
                rng: Arc::clone(&rng),
            }),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
            coordinator,
            account: config.account.account(),
            outbox: config.outbox.outbox(),
            inbox: InboxConfig {
                history: config.history.history(),
                keep_media: config.media.keep(),
                ..config.inbox.inbox()
            },
            media: media.clone(),
            fetcher: fetcher.clone(),
            config: SupervisorConfig {
                version: config.whatsapp.version(),
                version_url: config.whatsapp.whatsapp_version_url.clone(),
                ..config.connects.supervisor()
            },
        });
        let desk = Desk {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            answering: Arc::new(supervisor.clone()),
        };
        tasks.spawn(desk.run(stop.clone()));
        tasks.spawn(sweep.run(stop.clone()));
        let records = RecordSweep {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
            retention: config.events.event_retention,
            audit_retention: config.events.audit_retention,
            archive_retention: config.account.archive_retention,
        };
        tasks.spawn(records.run(stop.clone()));
        gauges::install(Sources {
            measured: Arc::new(supervisor.clone()),
            monitor: monitor.clone(),
            lifecycle: lifecycle.clone(),
            capacity: config.worker.capacity,
            clock: Arc::clone(&clock),
        });
        let streams = Streams::new(
            FeedParts {
                store: Arc::clone(&store),
                clock: Arc::clone(&clock),
                rng: Arc::clone(&rng),
            },
            config.events.streams(),
            stop.clone(),
        );
        let operator = OperatorParts {
            store: Arc::clone(&store),
            heartbeat: Arc::clone(&backend.heartbeat),
            presence: backend.presence.clone(),
            keys: Arc::clone(&keys),
            clock: Arc::clone(&clock),
            rng: Arc::clone(&rng),
            lease: config.lease.lease(),
        };
        let purges = PurgeSweep {
            operator: operator.clone(),
            media: media.clone(),
            left_after: LEFT_AFTER,
        };
        tasks.spawn(purges.run(stop.clone()));
        let api = Api::new(ApiParts {
            store,
            clock,
            rng,
            keys,
            worker: Arc::new(supervisor.clone()),
            book,
            info: Arc::clone(&info),
            lifecycle: lifecycle.clone(),
            monitor,
            media,
            fetcher,
            streams: streams.clone(),
            post,
            operator,
        });
        tasks.spawn(server.run(
            http::router(api, &config.http, &config.telemetry),
            stop.clone(),
        ));
        tasks.close();
        lifecycle.set(Phase::Active);
        Ok(Self {
            info,
            lifecycle,
            address,
            access: match (is_open, config.http.is_local()) {
                (false, _) => Access::Keys,
                (true, true) => Access::ThisMachine,
                (true, false) => Access::Everybody,
            },
            supervisor,
            backend,
            stop,
            streams,
            tasks,
            coordination,
        })
    }

    /// The address of the API: port 0 has become a real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who reached the API when it started.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Who this worker is.
    pub fn info(&self) -> &WorkerInfo {
        &self.info
    }

    /// Stops the accounts, gives their leases back, and closes everything.
    /// Requests are answered until the accounts have stopped.
    ///
    /// # Errors
    /// Not everything stopped within `grace`. Nothing that was acknowledged is
    /// lost: the next owner takes over what is left.
    pub async fn drain(self, grace: Duration) -> Result<(), Failure> {
        self.lifecycle.set(Phase::Draining);
        // Their clients go on elsewhere while the accounts do.
        self.streams.leave();
        let is_done = self.supervisor.shutdown(grace).await;
        self.stop.cancel();
        self.tasks.wait().await;
        if is_done {
            self.coordination.close();
            self.coordination.wait().await;
        }
        self.backend.close().await;
        self.lifecycle.set(Phase::Closed);
        if is_done {
            return Ok(());
        }
        Err(Failure::new(
            exit::UNFINISHED,
            format!(
                "some accounts had not stopped after {}; they are taken over once their leases \
                 end. Give more time with --grace",
                format_duration(grace)
            ),
        ))
    }
}

/// Refuses a program that would talk to a forged WhatsApp.
fn check_program(config: &Config) -> Result<(), Failure> {
    whatsapp::assert_chain_is_verified().map_err(|error| Failure::new(exit::SOFTWARE, error))?;
    whatsapp::assert_endpoint_is_allowed(&config.whatsapp.whatsapp_url)
        .map_err(|error| Failure::new(exit::CONFIG, error))
}

/// Refuses to be open to other machines as long as there is no key. True if
/// there is none.
async fn check_access(http: &HttpConfig, book: &KeyBook) -> Result<bool, Failure> {
    let is_open = book
        .is_open()
        .await
        .map_err(|error| Failure::new(exit::BUSY, format!("the API's keys: {error}")))?;
    if is_open && !http.is_local() && !http.insecure_no_auth {
        return Err(Failure::new(
            exit::CONFIG,
            format!(
                "--listen {} can be reached from other machines, and there is no API key: make one \
                 with `worker apikeys create --name admin --scope admin`, listen on 127.0.0.1, or \
                 add --insecure-no-auth if something else guards the port",
                http.listen
            ),
        ));
    }
    Ok(is_open)
}

/// The name to go by; one that is made up is another one at every start.
pub fn worker_name(config: &Config, rng: &dyn Rng) -> String {
    let hostname = std::env::var("HOSTNAME").ok();
    config.worker.name(hostname.as_deref(), &rng.nonce())
}

fn worker_info(
    config: &Config,
    worker_name: String,
    store: &Store,
    clock: &dyn Clock,
) -> WorkerInfo {
    WorkerInfo {
        deployment_id: config
            .worker
            .deployment_id
            .clone()
            .unwrap_or_else(|| worker_name.clone()),
        worker_name,
        capacity: config.worker.capacity,
        idempotency_ttl: config.outbox.idempotency_ttl,
        lease: config.lease.lease(),
        store_backend: store.backend(),
        data_dir: config.store.data_dir.clone(),
        key_ring: key_ring::place(&config.store),
        started: clock.boottime(),
        started_wall: clock.wall(),
    }
}

fn coordinator_parts(
    config: &Config,
    info: &WorkerInfo,
    backend: &Backend,
    clock: &SharedClock,
    rng: &SharedRng,
    tracker: &TaskTracker,
) -> CoordinatorParts {
    CoordinatorParts {
        store: Arc::clone(&backend.store),
        heartbeat: HeartbeatRun {
            store: Arc::clone(&backend.heartbeat),
            spawn: coordinator::on_own_thread(),
        },
        clock: Arc::clone(clock),
        rng: Arc::clone(rng),
        config: CoordinatorConfig {
            lease: config.lease.lease(),
            ..CoordinatorConfig::default()
        },
        name: info.worker_name.clone(),
        capacity: info.capacity,
        version: crate::VERSION.to_owned(),
        address: None,
        wanted: wanted::is_wanted_document,
        presence: backend.presence.clone(),
        tracker: tracker.clone(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn session_failure(error: StartError) -> Failure {
    match &error {
        StartError::Config(_) => Failure::new(exit::CONFIG, error),
        StartError::Session(source) => Failure::new(exit::BUSY, format!("{error}: {source}")),
    }
}

fn port_failure(listen: SocketAddr, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let (code, help) = if error.kind() == ErrorKind::AddrInUse {
        (
            exit::BUSY,
            "another program listens there: choose another port with --listen, such as --listen 127.0.0.1:0 for a free one",
        )
    } else if error.kind() == ErrorKind::AddrNotAvailable {
        (
            exit::CONFIG,
            "this machine has no such address: choose another one with --listen",
        )
    } else if error.kind() == ErrorKind::PermissionDenied {
        (
            exit::CONFIG,
            "this user may not use that port: choose one above 1023 with --listen",
        )
    } else {
        (exit::CONFIG, "choose another address with --listen")
    };
    Failure::new(code, format!("cannot listen on {listen} ({error}): {help}"))
}

/// Where files are that are to be sent.
fn media_store(config: &Config) -> Result<MediaStore, Failure> {
    let place = config.media.place(&config.store);
    let scratch = config.store.data_dir.clone();
    MediaStore::open(place.as_ref(), scratch, config.media.limits()).map_err(|error| {
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
        let shown = place.map(|place| place.to_string()).unwrap_or_default();
        Failure::new(
            exit::CONFIG,
            format!("the media store {shown} cannot be used{cause}: see to --media-store"),
        )
    })
}

/// Makes sure that the place of files is this cluster's. A place that does not
/// answer is no reason not to start: files are refused until it does.
async fn mark_media(sweep: &Sweep) -> Result<(), Failure> {
    if !sweep.media.is_there() {
        return Ok(());
    }
    let Ok(marked) = tokio::time::timeout(MARK_LIMIT, sweep.mark()).await else {
        tracing::warn!("the media store did not answer in time; it is marked later");
        return Ok(());
    };
    match marked {
        Ok(()) => Ok(()),
        Err(error @ (SweepError::Foreign | SweepError::Unmarked)) => Err(Failure::new(
            exit::CONFIG,
            format!("the media store cannot be used (--media-store): {error}"),
        )),
        Err(error @ (SweepError::Store(_) | SweepError::Media(_))) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the media store was not marked");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::clock::ManualClock;
    use coordinator_lib::rng::SeededRng;
    use coordinator_lib::store::{MemoryStore, StoreTime};

    use super::*;
    use crate::auth::Scope;
    use crate::auth::book::NewKey;

    fn http(listen: &str, insecure_no_auth: bool) -> HttpConfig {
        HttpConfig {
            listen: listen.parse().unwrap(),
            insecure_no_auth,
            ..HttpConfig::default()
        }
    }

    #[tokio::test]
    async fn an_open_port_needs_a_key_or_the_word_that_it_needs_none() {
        let clock: SharedClock = Arc::new(ManualClock::new());
        let book = KeyBook::new(KeyBookParts {
            store: Arc::new(MemoryStore::new(Arc::clone(&clock))),
            clock,
            rate: 0.0,
            burst: 1,
        });
        for open in ["0.0.0.0:8080", "[::]:8080"] {
            let refused = check_access(&http(open, false), &book).await.unwrap_err();
            assert_eq!(refused.code, exit::CONFIG);
            assert!(refused.message.contains("apikeys create"), "{refused}");
            assert!(!refused.message.contains('\n'), "{refused}");
            assert!(check_access(&http(open, true), &book).await.unwrap());
        }
        assert!(check_access(&http("[::1]:0", false), &book).await.unwrap());

        let new = NewKey {
            name: "admin".to_owned(),
            scopes: vec![Scope::Admin],
            accounts: None,
        };
        let now = StoreTime::from_micros(1);
        book.create(new, now, &*SeededRng::shared(1)).await.unwrap();
        let is_open = check_access(&http("0.0.0.0:8080", false), &book).await;
        assert!(!is_open.unwrap());
    }
}
