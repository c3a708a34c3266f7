//! The task of one worker session: what to claim, renew, shed and seal, and when.
//!
//! One task has all the state. Calls of the store run beside it as *jobs*,
//! whose results come back to it, so that a slow one holds nothing up. What to
//! do is decided by pure rules: [`crate::balance`], [`super::roster`],
//! [`crate::claim`].
//!
//! | Module | Holds |
//! |---|---|
//! | `looking` | what is read, and what is learned from it |
//! | `taking` | claims, and accounts that are given up |
//! | `outcomes` | what came of the jobs |
//! | `draining` | the end |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::clock::Boottime;
use crate::coordinator::feeds::Feeds;
use crate::coordinator::operations::{
    ClaimOutcome, Operations, ReleaseOutcome, RenewOutcome, SealOutcome,
};
use crate::coordinator::ownership::{Owned, Ownership};
use crate::coordinator::roster::Roster;
use crate::coordinator::session::Session;
use crate::coordinator::uneven::Uneven;
use crate::coordinator::{CoordinatorParts, Shared};
use crate::gate::CloseReason;
use crate::heartbeat::Vitals;
use crate::identity::{AccountId, WorkerIdentity, WorkerSessionId};
use crate::observer::{self, LeaseEvent};
use crate::store::{Document, Snapshot, StoreError, StoreTime};
use crate::worker_session::{SessionState, WorkerSession};

mod draining;
mod looking;
mod outcomes;
mod taking;

/// The longest the task sleeps: it also shows that the runtime makes progress.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Before a claim is tried again that another won or that the store refused.
const CLAIM_RETRY: Duration = Duration::from_secs(5);

/// The first sweep: after the watches have told what they know. A newcomer's
/// next ones come as soon.
const FIRST_SWEEP: Duration = Duration::from_secs(15);

/// What no watch shows is forgotten after a while: by then somebody has it, or
/// the next sweep finds it again.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// The share by which intervals differ between workers.
const JITTER: f64 = 0.1;

/// How a session's task ends.
pub(super) enum End {
    /// As was asked; orderly if everything was given back.
    Drained { orderly: bool },
    /// Somebody sealed the session.
    Sealed,
}

/// A wanted account without a living owner, as far as is known.
struct Free {
    document: Document,
    since: Boottime,
    /// When this worker may claim it; `None` while it does not take any.
    due: Option<Boottime>,
    not_before: Boottime,
    seen_by: SeenBy,
}

/// An account that the store says is this session's.
struct Own {
    document: Document,
    /// While nobody here holds it: since when, or when that was last tried.
    astray_since: Boottime,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SeenBy {
    /// The watch of free accounts; one of several queries.
    Watch(usize),
    /// The watch of accounts that were handed to this session.
    Handed,
    Rescue,
    Sweep,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draining {
    /// Nobody has asked for it.
    No,
    /// The roster is read once more since then: who is to have the accounts?
    Looking(Boottime),
    /// Everything is asked back.
    Asking,
}

impl SeenBy {
    /// Whether it also tells when that is over.
    fn is_watch(self) -> bool {
        match self {
            SeenBy::Watch(_) | SeenBy::Handed => true,
            SeenBy::Rescue | SeenBy::Sweep => false,
        }
    }
}

/// What came of a job.
enum Done {
    Claimed(AccountId, Result<ClaimOutcome, StoreError>),
    Renewed(AccountId, Result<RenewOutcome, StoreError>),
    Roster(Boottime, Result<Vec<(Document, StoreTime)>, StoreError>),
    Neighbours(Boottime, Vec<WorkerSessionId>, Result<Snapshot, StoreError>),
    Sealed(WorkerSession, Result<SealOutcome, StoreError>),
    /// Accounts that may need an owner.
    Found(SeenBy, Result<Vec<Document>, StoreError>),
    Released(AccountId, Result<ReleaseOutcome, StoreError>),
    /// Sessions that ended long ago were removed.
    Swept(Result<usize, StoreError>),
}

/// An account that is owned, and what is to be done for it.
struct Held {
    owned: Arc<Owned>,
    renew_at: Boottime,
    renewing: bool,
}

pub(super) struct Steward {
    parts: Arc<CoordinatorParts>,
    shared: Arc<Shared>,
    me: WorkerIdentity,
    vitals: Arc<Vitals>,
    operations: Operations,
    ready: mpsc::Sender<Ownership>,
    feeds: Feeds,
    roster: Roster,
    held: BTreeMap<AccountId, Held>,
    /// Whether accounts have come or gone since that was last shown.
    held_changed: bool,
    /// The version of the roster that was last shown.
    shown: Option<u64>,
    claiming: BTreeSet<AccountId>,
    releasing: BTreeSet<AccountId>,
    free: BTreeMap<AccountId, Free>,
    /// What the store says is this session's, as its watch shows it: held here,
    /// or *astray*.
    own: BTreeMap<AccountId, Own>,
    /// How many of them are astray.
    strays: usize,
    sealing: BTreeSet<WorkerSessionId>,
    rescued: BTreeSet<WorkerSessionId>,
    to_shed: VecDeque<WorkerSessionId>,
    /// From which reading of the roster that was planned.
    planned_at: Boottime,
    /// Whether readings show that this worker has more than its share.
    uneven: Uneven,
    shed_at: Boottime,
    roster_at: Boottime,
    neighbours_at: Boottime,
    sweep_at: Boottime,
    retention_at: Boottime,
    reading: bool,
    looking: bool,
    draining: Draining,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Steward {
    pub(super) fn new(
        parts: &Arc<CoordinatorParts>,
        shared: &Arc<Shared>,
        session: &Session,
        ready: mpsc::Sender<Ownership>,
    ) -> Result<Self, StoreError> {
        let now = parts.clock.boottime();
        Ok(Self {
            operations: Operations::new(
                Arc::clone(&parts.store),
                Arc::clone(&parts.clock),
                Arc::clone(&parts.rng),
                parts.config.lease.clone(),
                session.me.clone(),
                parts.wanted,
            ),
            feeds: Feeds::begin(parts, &session.me.session_id)?,
            parts: Arc::clone(parts),
            shared: Arc::clone(shared),
            me: session.me.clone(),
            vitals: Arc::clone(&session.vitals),
            ready,
            roster: Roster::default(),
            held: BTreeMap::new(),
            // What the session before it showed.
            held_changed: true,
            shown: None,
            claiming: BTreeSet::new(),
            releasing: BTreeSet::new(),
            free: BTreeMap::new(),
            own: BTreeMap::new(),
            strays: 0,
            sealing: BTreeSet::new(),
            rescued: BTreeSet::new(),
            to_shed: VecDeque::new(),
            planned_at: now,
            uneven: Uneven::default(),
            shed_at: now,
            roster_at: now,
            neighbours_at: now,
            sweep_at: now + FIRST_SWEEP,
            retention_at: now + FIRST_SWEEP,
            reading: false,
            looking: false,
            draining: Draining::No,
            jobs: FuturesUnordered::new(),
        })
    }

    /// Works until the session has ended.
    pub(super) async fn run(&mut self) -> End {
        let drain = self.shared.drain.clone();
        let (clock, shared, vitals) = (
            Arc::clone(&self.parts.clock),
            Arc::clone(&self.shared),
            Arc::clone(&self.vitals),
        );
        loop {
            let now = clock.boottime();
            vitals.pulse.tick(now);
            self.tidy();
            if vitals.seen().state == SessionState::Sealed {
                return End::Sealed;
            }
            if self.draining != Draining::No {
                if let Some(end) = self.go_on_draining().await {
                    return end;
                }
            } else {
                self.act(now);
            }
            self.keep_up(now);
            self.show();
            tokio::select! {
                biased;
                _ = vitals.ended() => {}
                () = drain.cancelled(), if self.draining == Draining::No => self.begin_to_drain(),
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.done(done),
                (source, change) = self.feeds.next() => self.learn(source, change),
                () = shared.wake.notified() => {}
                () = clock.sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Waits until nothing of a session that was sealed is held any more.
    pub(super) async fn ended(&mut self, limit: Duration) -> bool {
        let clock = Arc::clone(&self.parts.clock);
        let shared = Arc::clone(&self.shared);
        let end = clock.boottime() + limit;
        loop {
            self.tidy();
            self.show();
            let now = clock.boottime();
            self.vitals.pulse.tick(now);
            if self.held.is_empty() {
                return true;
            }
            if now >= end {
                return false;
            }
            tokio::select! {
                biased;
                // A claim that still lands is of a sealed session: worth nothing.
                Some(_) = self.jobs.next(), if !self.jobs.is_empty() => {}
                () = shared.wake.notified() => {}
                () = clock.sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Forgets what is not held any more.
    fn tidy(&mut self) {
        let now = self.parts.clock.boottime();
        let (own, held_changed) = (&mut self.own, &mut self.held_changed);
        self.held.retain(|account, held| {
            if !held.owned.has_ended() {
                return true;
            }
            *held_changed = true;
            if held.owned.was_released() {
                // The watch will say so, too.
                own.remove(account);
                return false;
            }
            let reason = held.owned.closed().unwrap_or(CloseReason::Released);
            observer::happened(LeaseEvent::Lost { reason });
            if let Some(own) = own.get_mut(account) {
                // Nobody works on it, and it is still this session's.
                own.astray_since = now;
            }
            false
        });
        let (held, claiming) = (&self.held, &self.claiming);
        let is_astray =
            |account: &&AccountId| !held.contains_key(*account) && !claiming.contains(*account);
        self.strays = self.own.keys().filter(is_astray).count();
        self.vitals
            .owned
            .store(self.owned(), std::sync::atomic::Ordering::Relaxed);
    }

    /// Accounts of this session, held or not: an account that nobody here works
    /// on takes its room all the same until it is given back.
    fn owned(&self) -> u32 {
        u32::try_from(self.held.len() + self.strays).unwrap_or(u32::MAX)
    }

    /// Claims, sheds and looks around, as far as it is time to.
    fn act(&mut self, now: Boottime) {
        if now >= self.vitals.deadline.at() {
            // Suspended: nothing new until the session is proven to live.
            return;
        }
        self.sweep_ended(now);
        self.free
            .retain(|_, free| free.seen_by.is_watch() || now - free.since < FORGET_AFTER);
        self.look_around(now);
        if self.shared.epochs.lock().went_back() {
            return;
        }
        self.claim_strays(now);
        self.claim_free(now);
        self.shed(now);
    }

    /// Renews, and gives up what had no proof for too long.
    fn keep_up(&mut self, now: Boottime) {
        let limit = self.parts.config.outage_limit;
        if now > self.vitals.deadline.at() + limit {
            for held in self.held.values() {
                held.owned.deadline.close(CloseReason::Outage);
            }
        }
        let mut due = Vec::new();
        for (account, held) in &mut self.held {
            if now > held.owned.deadline.at() + limit {
                held.owned.deadline.close(CloseReason::Outage);
            }
            if held.owned.deadline.closed().is_none() && !held.renewing && held.renew_at <= now {
                held.renewing = true;
                due.push((account.clone(), Arc::clone(&held.owned)));
            }
        }
        for (account, owned) in due {
            self.job(async move { Done::Renewed(account, owned.renew().await) });
        }
    }

    /// Shows what there is to others; the task passes here at every event, so
    /// only what has changed is copied.
    fn show(&mut self) {
        let mut now = self.shared.now.lock();
        if std::mem::take(&mut self.held_changed) {
            let held = self.held.values();
            now.owned = held.map(|held| Arc::clone(&held.owned)).collect();
        }
        if self.shown != Some(self.roster.version()) {
            self.shown = Some(self.roster.version());
            now.sessions = self.roster.sessions().cloned().collect();
        }
        now.free = self.free.len();
    }

    fn job(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.jobs.push(Box::pin(job));
    }
}
