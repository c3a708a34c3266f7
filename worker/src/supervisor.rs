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
//! | [`pacer`] | spreads connects over time |
//! | [`reconciler`] | the task |

pub mod pacer;
pub mod reconciler;
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
use tokio_util::task::TaskTracker;

use self::pacer::ConnectPacer;
use self::reconciler::Reconciler;
use crate::account::AccountConfig;
use crate::account::link::Links;
use crate::account::observed::Observed;
use crate::account::task::AccountParts;
use crate::account::term::TermParts;
use crate::commands::Answering;
use crate::health::{OwnedAccount, SessionSight, WorkerSnapshot};
use crate::http::WorkerView;
use crate::media::MediaFolder;
use crate::messages::inbox::InboxConfig;
use crate::model::command::CommandKind;
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
    /// Says what this worker owns.
    pub coordinator: Coordinator,
    /// How an account waits.
    pub account: AccountConfig,
    /// How an account sends.
    pub outbox: OutboxConfig,
    /// What accounts keep of what arrives.
    pub inbox: InboxConfig,
    /// Where files are that go with messages.
    pub media: MediaFolder,
    /// What the supervisor itself is told.
    pub config: SupervisorConfig,
}

/// Limits of the worker as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisorConfig {
    /// Engines that it starts a second in the long run: WhatsApp throttles an
    /// address that logs in many at once.
    pub connects_per_second: f64,
    /// Engines that it starts at once after a pause.
    pub connects_burst: u32,
    /// The first wait before an account whose task failed begins anew.
    pub restart_base: Duration,
    /// The longest such wait.
    pub restart_max: Duration,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            connects_per_second: 5.0,
            connects_burst: 20,
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
        };
        let config = parts.config;
        let connects = ConnectPacer::new(
            config.connects_per_second,
            config.connects_burst,
            parts.clock.boottime(),
        );
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
            media: parts.media,
            connects: Arc::new(connects),
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

impl Answering for SupervisorHandle {
    fn session_id(&self) -> String {
        WorkerView::session_id(self)
    }

    fn answer(&self, account_id: &str, kind: CommandKind) -> Option<String> {
        match kind {
            CommandKind::Inspect => {
                let account = AccountId::new(account_id).ok()?;
                let observed = self.shared.observed.lock();
                Some(observed.get(&account)?.snapshot().debug.to_string())
            }
        }
    }
}

impl WorkerView for SupervisorHandle {
    fn snapshot(&self) -> WorkerSnapshot {
        SupervisorHandle::snapshot(self)
    }

    fn session_id(&self) -> String {
        self.coordinator.view().me.session_id.as_str().to_owned()
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
