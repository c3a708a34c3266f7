//! Accounts that are wanted against accounts that run.
//!
//! A reconciler: whenever the account documents change, a task ends, or a while
//! has passed, it compares what is wanted with what runs and starts what is
//! missing, up to the worker's capacity. It stops nothing: each task obeys the
//! wishes in its own account's document, which it is told of here.
//!
//! A task that panics is an event like any other: its engine is ended, its
//! account begins anew after a wait, and the others never notice.
//!
//! | Module | Holds |
//! |---|---|
//! | [`wanted`] | which accounts should run here: pure |
//! | [`pacer`] | spreads connects over time |
//! | [`reconciler`] | the task |

pub mod pacer;
pub mod reconciler;
pub mod wanted;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::Coordinator;
use coordinator_lib::fence::FenceLimits;
use coordinator_lib::identity::{AccountId, WorkerIdentity};
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::Store;
use parking_lot::Mutex;
use session::KeyRing;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::pacer::ConnectPacer;
use self::reconciler::Reconciler;
use crate::account::AccountConfig;
use crate::account::link::Links;
use crate::account::observed::Observed;
use crate::account::task::AccountParts;
use crate::account::term::TermParts;
use crate::health::WorkerSnapshot;
use crate::http::WorkerView;
use crate::outbox::OutboxConfig;

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
    /// Who this worker is.
    pub identity: WorkerIdentity,
    /// How long leases last.
    pub lease: LeaseConfig,
    /// How an account waits.
    pub account: AccountConfig,
    /// How an account sends.
    pub outbox: OutboxConfig,
    /// What the supervisor itself is told.
    pub config: SupervisorConfig,
}

/// Limits of the worker as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisorConfig {
    /// Accounts that it owns at most.
    pub capacity: usize,
    /// Engines that it starts a second in the long run: WhatsApp throttles an
    /// address that logs in many at once.
    pub connects_per_second: f64,
    /// Engines that it starts at once after a pause.
    pub connects_burst: u32,
    /// How often it looks without being told to.
    pub poll_interval: Duration,
    /// The first wait before an account whose task failed begins anew.
    pub restart_base: Duration,
    /// The longest such wait.
    pub restart_max: Duration,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            capacity: 18,
            connects_per_second: 5.0,
            connects_burst: 20,
            poll_interval: Duration::from_secs(15),
            restart_base: Duration::from_secs(2),
            restart_max: Duration::from_secs(120),
        }
    }
}

/// Starts the supervisor's task.
pub struct Supervisor;

/// A handle; clones are the same supervisor.
#[derive(Clone)]
pub struct SupervisorHandle {
    shared: Arc<Shared>,
}

/// What the handle and the task share.
pub(crate) struct Shared {
    pub(crate) observed: Mutex<HashMap<AccountId, Arc<Observed>>>,
    pub(crate) wake: Notify,
    pub(crate) drain: CancellationToken,
    pub(crate) tracker: TaskTracker,
    clock: SharedClock,
}

impl Supervisor {
    /// Starts reconciling. Accounts are claimed from now on.
    pub fn spawn(parts: SupervisorParts) -> SupervisorHandle {
        let shared = Arc::new(Shared {
            observed: Mutex::default(),
            wake: Notify::new(),
            drain: CancellationToken::new(),
            tracker: TaskTracker::new(),
            clock: Arc::clone(&parts.clock),
        });
        let config = parts.config;
        let coordinator = Coordinator::new(
            Arc::clone(&parts.store),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.rng),
            parts.lease,
            parts.identity,
        );
        let connects = ConnectPacer::new(
            config.connects_per_second,
            config.connects_burst,
            parts.clock.boottime(),
        );
        let accounts = Arc::new(AccountParts {
            term: TermParts {
                store: parts.store,
                coordinator,
                keys: parts.keys,
                clock: parts.clock,
                rng: parts.rng,
                limits: FenceLimits::default(),
                tracker: shared.tracker.clone(),
            },
            links: parts.links,
            account: parts.account,
            outbox: parts.outbox,
            connects: Arc::new(connects),
        });
        let reconciler = Reconciler::new(accounts, config, Arc::clone(&shared));
        shared.tracker.spawn(reconciler.run());
        SupervisorHandle { shared }
    }
}

impl SupervisorHandle {
    /// What the worker knows of its accounts, without waiting for anything.
    pub fn snapshot(&self) -> WorkerSnapshot {
        let observed = self.shared.observed.lock();
        let mut accounts: Vec<_> = observed
            .iter()
            .filter_map(|(account, observed)| observed.snapshot(account.as_str()))
            .collect();
        accounts.sort_by(|a, b| a.account_id.cmp(&b.account_id));
        WorkerSnapshot { accounts }
    }

    /// Something in the store may want attention.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Claims nothing more, ends all accounts at the same time and gives their
    /// leases back. True once every task has ended; false if that is not so
    /// within the limit.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        self.shared.drain.cancel();
        self.shared.tracker.close();
        tokio::select! {
            biased;
            () = self.shared.tracker.wait() => true,
            () = self.shared.clock.sleep(limit) => false,
        }
    }
}

impl WorkerView for SupervisorHandle {
    fn snapshot(&self) -> WorkerSnapshot {
        SupervisorHandle::snapshot(self)
    }

    fn wake(&self) {
        SupervisorHandle::wake(self);
    }
}
