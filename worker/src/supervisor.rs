//! Accounts that are owned against accounts that run.
//!
//! The coordinator decides what this worker owns; each account that it hands
//! over gets a task, which obeys the wishes in its own account's document and
//! gives the account back in the end.
//!
//! A task that panics is an event like any other: its engine is ended, its
//! account begins anew after a wait, and the others never notice.
//!
//! | Module | Holds |
//! |---|---|
//! | [`wanted`] | which accounts somebody should own: pure |
//! | `answers` | what other workers ask of the owner of an account |
//! | [`budget`] | how many connects an address may make: pure |
//! | [`connects`] | hands them out, over all workers of the cluster |
//! | [`pacer`] | the same within one worker, where the store does not answer |
//! | [`versions`] | the WhatsApp version that all workers announce |
//! | [`reconciler`] | the task |

pub(crate) mod answers;
pub mod budget;
pub mod connects;
pub mod pacer;
pub mod reconciler;
pub mod versions;
pub mod wanted;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::{Coordinator, Standing};
use coordinator_lib::fence::FenceLimits;
use coordinator_lib::identity::AccountId;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::Store;
use parking_lot::Mutex;
use session::KeyRing;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use whatsapp::media::MediaFetcher;
use whatsapp::{EngineConfig, WHATSAPP_VERSION_URL};

use self::budget::Budget;
use self::connects::{Connects, ConnectsParts};
use self::reconciler::Reconciler;
use self::versions::{Version, VersionParts, Versions};
use crate::account::AccountConfig;
use crate::account::link::Links;
use crate::account::observed::Observed;
use crate::account::task::AccountParts;
use crate::account::term::TermParts;
use crate::health::{OwnedAccount, SessionSight, WorkerSnapshot};
use crate::http::WorkerView;
use crate::media::MediaStore;
use crate::media::keeping::FETCHES_MAX;
use crate::messages::inbox::InboxConfig;
use crate::outbox::OutboxConfig;
use crate::telemetry::gauges::{AccountMeasure, Measured};
use crate::webhooks::{HookBook, Post};

/// What a supervisor works with.
pub struct SupervisorParts {
    /// The documents.
    pub store: Store,
    /// Opens data keys.
    pub keys: Arc<KeyRing>,
    /// Starts engines.
    pub links: Arc<dyn Links>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// Says what this worker owns.
    pub coordinator: Coordinator,
    /// How an account waits.
    pub account: AccountConfig,
    /// How an account sends.
    pub outbox: OutboxConfig,
    /// What accounts keep of what arrives.
    pub inbox: InboxConfig,
    /// Where files are that go with messages.
    pub media: MediaStore,
    /// Fetches files that came.
    pub fetcher: MediaFetcher,
    /// Where events go.
    pub hooks: HookBook,
    /// Sends them there.
    pub post: Arc<Post>,
    /// What the supervisor itself is told.
    pub config: SupervisorConfig,
}

/// Limits of the worker as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisorConfig {
    /// Connects of all workers behind one address: WhatsApp throttles an
    /// address that logs in many at once.
    pub connects: Budget,
    /// The name of that address.
    pub egress: String,
    /// The WhatsApp client version to announce.
    pub version: Version,
    /// The page that names the current one.
    pub version_url: String,
    /// The first wait before an account whose task failed begins anew.
    pub restart_base: Duration,
    /// The longest such wait.
    pub restart_max: Duration,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            connects: Budget {
                rate: 5.0,
                burst: 60,
            },
            egress: "default".to_owned(),
            version: EngineConfig::default().version,
            version_url: WHATSAPP_VERSION_URL.to_owned(),
            restart_base: Duration::from_secs(2),
            restart_max: Duration::from_secs(120),
        }
    }
}

/// For tasks that are left once the worker session is closed.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(2);

/// Starts the supervisor's task.
pub struct Supervisor;

/// A handle; clones are the same supervisor.
#[derive(Clone)]
pub struct SupervisorHandle {
    shared: Arc<Shared>,
    coordinator: Coordinator,
    tracker: TaskTracker,
    clock: SharedClock,
    rng: SharedRng,
    store: Store,
}

/// What the handle and the task share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) observed: Mutex<HashMap<AccountId, Arc<Observed>>>,
}

impl Supervisor {
    /// Starts a task for every account that the coordinator hands over.
    pub fn spawn(parts: SupervisorParts) -> SupervisorHandle {
        let shared = Arc::new(Shared::default());
        let tracker = TaskTracker::new();
        let handle = SupervisorHandle {
            shared: Arc::clone(&shared),
            coordinator: parts.coordinator.clone(),
            tracker: tracker.clone(),
            clock: Arc::clone(&parts.clock),
            rng: Arc::clone(&parts.rng),
            store: Arc::clone(&parts.store),
        };
        let config = parts.config;
        let (connects, dispenser) = Connects::new(ConnectsParts {
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            rng: Arc::clone(&parts.rng),
            budget: config.connects,
            egress: config.egress.clone(),
        });
        tracker.spawn(dispenser);
        let (versions, keeper) = Versions::new(VersionParts {
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            configured: config.version,
            url: config.version_url.clone(),
        });
        tracker.spawn(keeper);
        let accounts = Arc::new(AccountParts {
            term: TermParts {
                store: parts.store,
                keys: parts.keys,
                clock: parts.clock,
                rng: parts.rng,
                limits: FenceLimits::default(),
                tracker: tracker.clone(),
            },
            links: parts.links,
            account: parts.account,
            outbox: parts.outbox,
            inbox: parts.inbox,
            history_turn: Arc::new(Semaphore::new(1)),
            media: parts.media,
            fetcher: parts.fetcher,
            fetch_turn: Arc::new(Semaphore::new(FETCHES_MAX)),
            hooks: parts.hooks,
            post: parts.post,
            connects,
            versions,
        });
        let reconciler = Reconciler::new(accounts, parts.coordinator, config, shared);
        tracker.spawn(reconciler.run());
        handle
    }
}

impl SupervisorHandle {
    /// What the worker knows of itself and its accounts, without waiting for
    /// anything.
    pub fn snapshot(&self) -> WorkerSnapshot {
        let view = self.coordinator.view();
        let observed = self.shared.observed.lock();
        let accounts = view.leases.iter().map(|lease| {
            let account = &lease.lease.account_id;
            let own = observed.get(account).map(|observed| observed.snapshot());
            OwnedAccount::new(lease, own.unwrap_or_default())
        });
        WorkerSnapshot {
            accounts: accounts.collect(),
            session: SessionSight::new(&view),
        }
    }

    /// Claims nothing more, ends all accounts at the same time and gives their
    /// leases back. True once every task has ended and the worker session is
    /// closed; false if that is not so within the limit.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        let orderly = self.coordinator.drain(limit).await;
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => {}
            // All gates are closed: what a lost account left behind cannot act.
            () = self.clock.sleep(LEFTOVERS_LIMIT) => {}
        }
        orderly
    }
}

impl Measured for SupervisorHandle {
    fn accounts(&self) -> Vec<AccountMeasure> {
        let view = self.coordinator.view();
        let observed = self.shared.observed.lock();
        let leases = view.leases.iter();
        leases
            .map(|lease| {
                let deadline = lease.lease.deadline;
                match observed.get(&lease.lease.account_id) {
                    Some(observed) => observed.measure(deadline),
                    // Its task has not begun.
                    None => Observed::default().measure(deadline),
                }
            })
            .collect()
    }

    fn session(&self) -> SessionSight {
        SessionSight::new(&self.coordinator.view())
    }
}

impl WorkerView for SupervisorHandle {
    fn snapshot(&self) -> WorkerSnapshot {
        SupervisorHandle::snapshot(self)
    }

    fn session_id(&self) -> String {
        self.coordinator.me().session_id.as_str().to_owned()
    }

    fn standing(&self) -> Standing {
        self.coordinator.view().standing
    }

    fn rested(&self, account: &str) {
        if let Ok(account) = AccountId::new(account) {
            self.coordinator.rested(&account);
        }
    }
}
