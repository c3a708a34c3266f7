//! The coordinator of one worker: owns accounts, as many as it should.
//!
//! [`Coordinator::start`] begins a worker session. From then on
//! [`Coordinator::next`] hands out an [`Ownership`] for each account that was
//! claimed; whoever takes it starts the work behind [`Ownership::gates`], ends
//! it when [`Ownership::asked`] says so or the gates close, and then calls
//! [`Ownership::release`], or just drops it where it was lost. Heartbeats,
//! renewals, take-overs, balance, outages: all of that happens in here.
//!
//! | Module | Holds |
//! |---|---|
//! | [`operations`] | claim, renew, release, seal: one conditional commit each |
//! | [`ownership`] | an account that is owned |
//! | [`single`] | a session that claims what it is told to, for tools |
//! | [`roster`] | which worker sessions there are, and which have died |
//! | `feeds` | what is watched in the store |
//! | `regression` | notices a store that went back in time |
//! | `steward` | the task: what to claim, renew, shed and seal, and when |
//! | `session` | sessions one after another, should one be sealed |
//!
//! A session that was sealed is never used again: everything that it owned is
//! frozen at once, and once that has ended a new session begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod operations;
pub mod ownership;
pub mod roster;
pub mod single;

mod feeds;
mod regression;
mod session;
mod steward;
mod uneven;

pub use operations::{NotClaimable, Operations, ReleaseOutcome, RenewOutcome, Wanted};
pub use ownership::{Ask, LeaseView, Ownership};

use crate::balance::BalanceConfig;
use crate::clock::{Boottime, SharedClock};
use crate::identity::{AccountId, WorkerIdentity};
use crate::lease::{LeaseConfig, LeaseConfigError};
use crate::presence::Presence;
use crate::rng::SharedRng;
use crate::store::{Query, Store, StoreError};
use crate::worker_session::WorkerSession;

use self::ownership::Owned;

/// What a coordinator works with.
pub struct CoordinatorParts {
    /// The documents.
    pub store: Store,
    /// How the heartbeat runs, and with which client.
    pub heartbeat: HeartbeatRun,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// Durations and limits.
    pub config: CoordinatorConfig,
    /// The worker's name, a label for people.
    pub name: String,
    /// Accounts that it owns at most.
    pub capacity: u32,
    /// The program's version, for other workers' operators.
    pub version: String,
    /// Where the worker's API answers, if others are to know.
    pub address: Option<String>,
    /// Which accounts somebody has to own.
    pub wanted: Wanted,
    /// Tells of worker sessions of this machine that are gone, where that can
    /// be known.
    pub presence: Option<Arc<dyn Presence>>,
    /// Owns the tasks.
    pub tracker: TaskTracker,
}

impl CoordinatorParts {
    /// The parts of a worker with default durations, whose heartbeat runs on a
    /// thread of its own with the same client: enough for a store in this
    /// process. Give it another client where calls share a connection.
    pub fn new(
        name: &str,
        capacity: u32,
        store: Store,
        clock: SharedClock,
        rng: SharedRng,
        tracker: TaskTracker,
    ) -> Self {
        let own = Arc::clone(&store);
        Self {
            store,
            heartbeat: HeartbeatRun {
                store: Arc::new(move || {
                    let store = Arc::clone(&own);
                    Box::pin(async move { Ok(store) })
                }),
                spawn: on_own_thread(),
            },
            clock,
            rng,
            config: CoordinatorConfig::default(),
            name: name.to_owned(),
            capacity,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: None,
            wanted: crate::claim::is_wanted,
            presence: None,
            tracker,
        }
    }
}

/// Runs each heartbeat on a thread of its own.
pub fn on_own_thread() -> Spawn {
    Arc::new(|beats| {
        // A session whose heartbeat does not run does not begin.
        if let Err(error) = crate::heartbeat::on_own_thread(beats) {
            tracing::error!(%error, "no thread for the heartbeat");
        }
    })
}

/// How a heartbeat runs: apart from the work.
#[derive(Clone)]
pub struct HeartbeatRun {
    /// Makes a client of its own. Called where the heartbeat runs, so that the
    /// client's own tasks run there too.
    pub store: StoreMaker,
    /// Runs it: [`crate::heartbeat::on_own_thread`], or as a task in a simulation.
    pub spawn: Spawn,
}

/// Makes a store's client.
pub type StoreMaker = Arc<dyn Fn() -> BoxFuture<'static, Result<Store, StoreError>> + Send + Sync>;

/// Runs a future to its end, somewhere.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// Durations and limits of a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub struct CoordinatorConfig {
    /// Leases and sessions.
    pub lease: LeaseConfig,
    /// Who takes what.
    pub balance: BalanceConfig,
    /// How often all worker sessions are read. In clusters of more than ten it
    /// is longer in proportion, so that a worker's reads do not grow.
    pub roster_interval: Duration,
    /// How often this worker's share of all accounts is looked through for what
    /// no watch told.
    pub sweep_interval: Duration,
    /// Claims that are under way at once.
    pub claims_max: usize,
    /// Without proof that the session lives for so long, what is owned is given
    /// up for lost.
    pub outage_limit: Duration,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            lease: LeaseConfig::default(),
            balance: BalanceConfig::default(),
            roster_interval: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(120),
            claims_max: 8,
            outage_limit: Duration::from_secs(120),
        }
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Durations that do not go together.
    #[error(transparent)]
    Config(#[from] LeaseConfigError),
    /// The store failed, or the machine refused.
    #[error("the worker session could not begin")]
    Session(#[source] StoreError),
}

/// What a worker session may do right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It claims and owns.
    Active,
    /// Its deadline has passed without proof that it lives: everything waits.
    Suspended,
    /// It was sealed: everything that it owned is being ended.
    Frozen,
    /// It hands its accounts off.
    Draining,
    /// It has ended.
    Closed,
}

/// The coordinator as others may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct CoordinatorView {
    /// The present worker session.
    pub me: WorkerIdentity,
    /// What it may do.
    pub standing: Standing,
    /// When the last acknowledged heartbeat was sent.
    pub beat_at: Boottime,
    /// Until when it may act without another one.
    pub deadline: Boottime,
    /// What it owns.
    pub leases: Vec<LeaseView>,
    /// All worker sessions that have not ended, as last read.
    pub sessions: Vec<WorkerSession>,
    /// Wanted accounts known to have no owner.
    pub free: usize,
    /// The store went back in time, as after a restored backup: nothing is
    /// claimed any more.
    pub went_back: bool,
}

/// A running coordinator; clones are the same one.
#[derive(Clone)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

/// What the handle and the task share.
pub(crate) struct Shared {
    pub(crate) clock: SharedClock,
    /// Asks for the end.
    pub(crate) drain: CancellationToken,
    /// Set once the last session has ended; true if in an orderly way.
    pub(crate) done: watch::Sender<Option<bool>>,
    /// Something here wants the task's attention.
    pub(crate) wake: Notify,
    /// The present session.
    pub(crate) now: Mutex<Now>,
    /// The epochs seen so far, by whichever session.
    epochs: Mutex<regression::Epochs>,
    /// Accounts that this worker leaves alone for a while.
    pub(crate) resting: Mutex<BTreeMap<AccountId, Boottime>>,
    ready: tokio::sync::Mutex<mpsc::Receiver<Ownership>>,
}

/// What the task shows of the present session.
pub(crate) struct Now {
    pub(crate) me: WorkerIdentity,
    pub(crate) vitals: Arc<crate::heartbeat::Vitals>,
    /// In the order of accounts.
    pub(crate) owned: Vec<Arc<Owned>>,
    pub(crate) sessions: Vec<Arc<WorkerSession>>,
    pub(crate) free: usize,
}

impl Coordinator {
    /// Begins a worker session, and starts to claim.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(parts: CoordinatorParts) -> Result<Self, StartError> {
        parts.config.lease.check()?;
        let parts = Arc::new(parts);
        let first = session::begin_first(&parts)
            .await
            .map_err(StartError::Session)?;
        let room = usize::try_from(parts.capacity).unwrap_or(usize::MAX).max(1);
        // Never more than the accounts that it may own.
        let (sender, ready) = mpsc::channel(room.min(tokio::sync::Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared {
            clock: Arc::clone(&parts.clock),
            drain: CancellationToken::new(),
            done: watch::Sender::new(None),
            wake: Notify::new(),
            now: Mutex::new(Now {
                me: first.me.clone(),
                vitals: Arc::clone(&first.vitals),
                owned: Vec::new(),
                sessions: Vec::new(),
                free: 0,
            }),
            epochs: Mutex::default(),
            resting: Mutex::default(),
            ready: tokio::sync::Mutex::new(ready),
        });
        parts.tracker.spawn(session::run(
            Arc::clone(&parts),
            Arc::clone(&shared),
            first,
            sender,
        ));
        Ok(Self { shared })
    }

    /// The next account that was claimed; `None` once it has drained.
    ///
    /// # Cancel safety
    /// No account is lost.
    pub async fn next(&self) -> Option<Ownership> {
        self.shared.ready.lock().await.recv().await
    }

    /// The present worker session.
    pub fn me(&self) -> WorkerIdentity {
        self.shared.now.lock().me.clone()
    }

    /// What it owns and knows, without waiting for anything.
    pub fn view(&self) -> CoordinatorView {
        let boottime = self.shared.clock.boottime();
        let draining = self.shared.drain.is_cancelled();
        let now = self.shared.now.lock();
        let seen = now.vitals.seen();
        let deadline = now.vitals.deadline.at();
        CoordinatorView {
            me: now.me.clone(),
            standing: standing(seen.state, draining, boottime >= deadline),
            beat_at: seen.beat_at,
            deadline,
            leases: now.owned.iter().map(|owned| owned.view()).collect(),
            sessions: now
                .sessions
                .iter()
                .map(|session| WorkerSession::clone(session))
                .collect(),
            free: now.free,
            went_back: self.shared.epochs.lock().went_back(),
        }
    }

    /// Leaves an account to others for a while, once it is not owned any more.
    pub fn rest(&self, account: &AccountId, wait: Duration) {
        let until = self.shared.clock.boottime() + wait;
        self.shared.resting.lock().insert(account.clone(), until);
        self.shared.wake.notify_one();
    }

    /// Takes a rest back.
    pub fn rested(&self, account: &AccountId) {
        if self.shared.resting.lock().remove(account).is_some() {
            self.shared.wake.notify_one();
        }
    }

    /// Claims nothing more, asks for everything that is owned, and ends the
    /// session once it is given back. False if that was not so within the
    /// limit: then the session dies by itself, and what is left is taken over.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.shared.drain.cancel();
        let mut done = self.shared.done.subscribe();
        let ended = async {
            match done.wait_for(Option::is_some).await {
                Ok(orderly) => *orderly == Some(true),
                // The task is gone.
                Err(_) => false,
            }
        };
        tokio::select! {
            biased;
            orderly = ended => orderly,
            () = self.shared.clock.sleep(limit) => false,
        }
    }
}

/// Every query that a coordinator makes, and that of the history: whoever
/// provides a store with indexes needs to know them.
pub fn queries() -> Vec<Query> {
    let mut queries = feeds::queries();
    queries.extend(AccountId::new("a").and_then(|account| crate::history::of(&account)));
    queries
}

fn standing(state: crate::worker_session::SessionState, draining: bool, is_past: bool) -> Standing {
    use crate::worker_session::SessionState;
    match state {
        SessionState::Sealed => Standing::Frozen,
        SessionState::Closed => Standing::Closed,
        SessionState::Active | SessionState::Draining if draining => Standing::Draining,
        SessionState::Active | SessionState::Draining if is_past => Standing::Suspended,
        SessionState::Active | SessionState::Draining => Standing::Active,
    }
}

#[cfg(test)]
mod tests;
