//! The task of one worker session: what to claim, renew, shed and seal, and when.
//!
//! One task has all the state. Calls of the store run beside it as *jobs*,
//! whose results come back to it, so that a slow one holds nothing up. What to
//! do is decided by pure rules: [`crate::balance`], [`super::roster`],
//! [`crate::claim`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::feeds::{self, Feeds, Source};
use super::operations::{
    ClaimOutcome, NotClaimable, Operations, ReleaseOutcome, RenewOutcome, SealOutcome,
};
use super::ownership::{Ask, Owned, Ownership, Wake};
use super::roster::Roster;
use super::session::Session;
use super::{CoordinatorParts, Shared};
use crate::balance;
use crate::call::limited;
use crate::clock::Boottime;
use crate::gate::CloseReason;
use crate::heartbeat::Vitals;
use crate::history::{ClaimReason, ReleaseReason};
use crate::identity::{AccountId, WorkerIdentity, WorkerSessionId, account_collection};
use crate::lease::{AccountLease, HANDOFF_FIELD, LEASE_EPOCH_FIELD, LEASE_SESSION_FIELD};
use crate::mutation::{self, Mutation};
use crate::shard;
use crate::store::{
    Change, Document, Precondition, Query, Snapshot, Store, StoreError, StoreTime, Value, Write,
};
use crate::worker_session::{self, SessionState, WorkerSession};

/// The longest the task sleeps: it also shows that the runtime makes progress.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Before a claim is tried again that another won or that the store refused.
const CLAIM_RETRY: Duration = Duration::from_secs(5);

/// After a renewal that failed.
const RENEW_RETRY: Duration = Duration::from_secs(5);

/// An account of this session that nobody here holds is looked after once it
/// has been so for this long: what is just being claimed shows that way, too.
const STRAY_AFTER: Duration = Duration::from_secs(3);

/// The first sweep: after the watches have told what they know.
const FIRST_SWEEP: Duration = Duration::from_secs(15);

/// What no watch shows is forgotten after a while: by then somebody has it, or
/// the next sweep finds it again.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Documents that one reading of the roster or one sweep takes in at most.
const DOCUMENTS_MAX: usize = 20_000;

/// Between two looks for sessions that ended long ago.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3_600);

/// Documents that one such look removes at most.
const RETENTION_BATCH: usize = 400;

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum SeenBy {
    Watch(usize),
    Rescue,
    Sweep,
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
    claiming: BTreeSet<AccountId>,
    releasing: BTreeSet<AccountId>,
    free: BTreeMap<AccountId, Free>,
    /// Accounts of this session that nobody here holds.
    strays: BTreeMap<AccountId, (Document, Boottime)>,
    sealing: BTreeSet<WorkerSessionId>,
    rescued: BTreeSet<WorkerSessionId>,
    to_shed: VecDeque<WorkerSessionId>,
    shed_at: Boottime,
    roster_at: Boottime,
    neighbours_at: Boottime,
    sweep_at: Boottime,
    retention_at: Boottime,
    reading: bool,
    looking: bool,
    draining: bool,
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
            claiming: BTreeSet::new(),
            releasing: BTreeSet::new(),
            free: BTreeMap::new(),
            strays: BTreeMap::new(),
            sealing: BTreeSet::new(),
            rescued: BTreeSet::new(),
            to_shed: VecDeque::new(),
            shed_at: now,
            roster_at: now,
            neighbours_at: now,
            sweep_at: now + FIRST_SWEEP,
            retention_at: now + FIRST_SWEEP,
            reading: false,
            looking: false,
            draining: false,
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
            if self.draining {
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
                () = drain.cancelled(), if !self.draining => self.begin_to_drain(),
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
        let strays = &mut self.strays;
        self.held.retain(|account, held| {
            if held.owned.has_ended()
                && !held.owned.was_released()
                && let Some(document) = held.owned.document()
            {
                // Nobody works on it, and it may still be this session's.
                strays.insert(account.clone(), (document, now));
            }
            !held.owned.has_ended()
        });
        self.vitals
            .owned
            .store(self.owned(), std::sync::atomic::Ordering::Relaxed);
    }

    fn owned(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// Claims, sheds and looks around, as far as it is time to.
    fn act(&mut self, now: Boottime) {
        if now >= self.vitals.deadline.at() {
            // Suspended: nothing new until the session is proven to live.
            return;
        }
        self.sweep_ended(now);
        self.free.retain(|_, free| {
            matches!(free.seen_by, SeenBy::Watch(_)) || now - free.since < FORGET_AFTER
        });
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

    // ---- What is read ----

    fn look_around(&mut self, now: Boottime) {
        let parts = Arc::clone(&self.parts);
        let about = |interval| now + parts.rng.jitter(interval, JITTER);
        if now >= self.roster_at && !self.reading {
            self.reading = true;
            self.roster_at = about(self.roster.interval(parts.config.roster_interval));
            let store = Arc::clone(&self.parts.store);
            self.job(
                async move { Done::Roster(now, read_all(&store, worker_session::living()).await) },
            );
        }
        if now >= self.neighbours_at && !self.looking {
            self.neighbours_at = about(parts.config.lease.heartbeat);
            let neighbours = self.roster.neighbours(&self.me.session_id);
            self.note_departures(&neighbours);
            if !neighbours.is_empty() {
                self.looking = true;
                let paths: Vec<_> = neighbours.iter().map(worker_session::path).collect();
                let (store, clock) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.clock));
                let limit = self.parts.config.lease.attempt_timeout;
                self.job(async move {
                    let read = limited(&clock, limit, store.get(&paths)).await;
                    Done::Neighbours(now, neighbours, read)
                });
            }
        }
        if now >= self.sweep_at && self.roster.read_at().is_some() {
            self.sweep_at = about(parts.config.sweep_interval);
            let members = self.roster.members(&self.me.session_id, self.owned());
            let shards = balance::shards_of(&self.me.session_id, &members, 1);
            self.find(
                SeenBy::Sweep,
                Query::new(account_collection()),
                Some(&shards),
            );
        }
    }

    /// Sessions of this machine whose processes are gone need not be waited for.
    fn note_departures(&mut self, sessions: &[WorkerSessionId]) {
        let Some(presence) = self.parts.presence.clone() else {
            return;
        };
        let gone: Vec<WorkerSession> = self
            .roster
            .sessions()
            .filter(|session| sessions.contains(&session.id) && presence.has_left(&session.id))
            .cloned()
            .collect();
        self.seal(gone);
    }

    fn seal(&mut self, dead: Vec<WorkerSession>) {
        for session in dead {
            if session.id == self.me.session_id || !self.sealing.insert(session.id.clone()) {
                continue;
            }
            let operations = self.operations.clone();
            self.job(async move {
                let outcome = operations.seal(&session).await;
                Done::Sealed(session, outcome)
            });
        }
    }

    /// Removes the documents of sessions that ended long ago; one worker does.
    fn sweep_ended(&mut self, now: Boottime) {
        let is_first = self
            .roster
            .sessions()
            .next()
            .is_some_and(|session| session.id == self.me.session_id);
        if now < self.retention_at || !is_first {
            return;
        }
        self.retention_at = now + RETENTION_INTERVAL;
        let store = Arc::clone(&self.parts.store);
        self.job(async move { Done::Swept(remove_ended(&store).await) });
    }

    fn find(&mut self, seen_by: SeenBy, query: Query, shards: Option<&[i64]>) {
        for query in feeds::split(&query, shards) {
            let store = Arc::clone(&self.parts.store);
            self.job(async move {
                let found = read_all(&store, query).await;
                let documents =
                    found.map(|found| found.into_iter().map(|(document, _)| document).collect());
                Done::Found(seen_by, documents)
            });
        }
    }

    /// A session has ended: what it held is free.
    fn rescue(&mut self, session: &WorkerSessionId, now: Boottime) {
        self.roster.ended(session, now);
        self.reconsider();
        if *session == self.me.session_id || !self.rescued.insert(session.clone()) {
            return;
        }
        let members = self.roster.members(&self.me.session_id, self.owned());
        let shards = feeds::watched_shards(&self.me.session_id, &members);
        match worker_session::accounts_of(session) {
            Ok(query) => self.find(SeenBy::Rescue, query, shards.as_deref()),
            Err(error) => {
                warn!(worker.session = %session, %error, "accounts of an ended session cannot be looked for")
            }
        }
    }

    fn learn(&mut self, source: Source, change: Change) {
        let now = self.parts.clock.boottime();
        match (source, change) {
            (Source::Free(number), Change::Snapshot(documents)) => {
                let seen_by = SeenBy::Watch(number);
                self.free.retain(|_, free| free.seen_by != seen_by);
                for document in documents {
                    self.note_free(document, seen_by, now);
                }
            }
            (Source::Free(number), Change::Changed(document)) => {
                self.note_free(document, SeenBy::Watch(number), now);
            }
            (Source::Free(_), Change::Removed(path)) => {
                if let Ok(account) = AccountId::new(path.id()) {
                    self.free.remove(&account);
                }
            }
            (Source::Own, Change::Snapshot(documents)) => {
                self.strays.clear();
                for document in documents {
                    self.note_own(document, now);
                }
            }
            (Source::Own, Change::Changed(document)) => self.note_own(document, now),
            (Source::Own, Change::Removed(path)) => {
                let Ok(account) = AccountId::new(path.id()) else {
                    return;
                };
                self.strays.remove(&account);
                if let Some(held) = self.held.get_mut(&account) {
                    // Released by us, or taken: ask now.
                    held.renew_at = now;
                }
            }
            (Source::Sealed, Change::Snapshot(documents)) => {
                for document in documents {
                    self.rescue(&WorkerSessionId::from_text(document.path.id()), now);
                }
            }
            (Source::Sealed, Change::Changed(document)) => {
                self.rescue(&WorkerSessionId::from_text(document.path.id()), now);
            }
            (Source::Sealed, Change::Removed(_)) => {
                // Swept a day after its end.
            }
        }
    }

    fn note_free(&mut self, document: Document, seen_by: SeenBy, now: Boottime) {
        let Ok(account) = AccountId::new(document.path.id()) else {
            return;
        };
        self.look_at_epoch(&account, &document);
        if !(self.parts.wanted)(&document) {
            self.free.remove(&account);
            return;
        }
        let known = self.free.get(&account);
        let since = known.map_or(now, |free| free.since);
        // What a watch shows stays until the watch takes it back.
        let seen_by = match known {
            Some(free) if matches!(free.seen_by, SeenBy::Watch(_)) => free.seen_by,
            Some(_) | None => seen_by,
        };
        let free = Free {
            since,
            due: None,
            // A change may be what a claim waited for.
            not_before: now,
            seen_by,
            document,
        };
        self.free.insert(account.clone(), free);
        self.rank_one(&account);
    }

    fn note_own(&mut self, document: Document, now: Boottime) {
        let Ok(account) = AccountId::new(document.path.id()) else {
            return;
        };
        self.look_at_epoch(&account, &document);
        match self.held.get(&account) {
            Some(held) => {
                self.strays.remove(&account);
                held.owned.learn(document);
            }
            None => {
                let since = self.strays.get(&account).map_or(now, |(_, since)| *since);
                self.strays.insert(account, (document, since));
            }
        }
    }

    fn look_at_epoch(&self, account: &AccountId, document: &Document) {
        if self.shared.epochs.lock().look(account, document) {
            error!(account.id = %account, "the store went back in time: nothing is claimed any more until the worker is restarted");
        }
    }

    // ---- Who takes what ----

    fn members(&self) -> Vec<balance::Member> {
        let busy = self.held.len() + self.claiming.len();
        let owned = u32::try_from(busy).unwrap_or(u32::MAX);
        self.roster.members(&self.me.session_id, owned)
    }

    /// The roster has changed: so have the places in the order.
    fn reconsider(&mut self) {
        let members = self.members();
        if self
            .feeds
            .watch_shards(feeds::watched_shards(&self.me.session_id, &members))
        {
            self.free
                .retain(|_, free| !matches!(free.seen_by, SeenBy::Watch(_)));
        }
        let count = self.free.len();
        let config = &self.parts.config.balance;
        for (account, free) in &mut self.free {
            free.due = due(account, free, &self.me.session_id, &members, count, config);
        }
    }

    fn rank_one(&mut self, account: &AccountId) {
        let members = self.members();
        let count = self.free.len();
        if let Some(free) = self.free.get_mut(account) {
            let config = &self.parts.config.balance;
            free.due = due(account, free, &self.me.session_id, &members, count, config);
        }
    }

    fn room(&self) -> usize {
        let capacity = usize::try_from(self.parts.capacity).unwrap_or(usize::MAX);
        capacity.saturating_sub(self.held.len() + self.claiming.len())
    }

    fn claim_free(&mut self, now: Boottime) {
        let room = self.room().min(
            self.parts
                .config
                .claims_max
                .saturating_sub(self.claiming.len()),
        );
        if room == 0 || self.roster.read_at().is_none() {
            return;
        }
        let resting = self.resting(now);
        let mut due: Vec<(Boottime, AccountId)> = self
            .free
            .iter()
            .filter(|(account, free)| {
                free.not_before <= now
                    && !resting.contains(*account)
                    && !self.held.contains_key(*account)
                    && !self.claiming.contains(*account)
            })
            .filter_map(|(account, free)| {
                let due = free.due.filter(|due| *due <= now)?;
                Some((due, account.clone()))
            })
            .collect();
        due.sort();
        let claimed = due.len().min(room);
        for (_, account) in due.into_iter().take(room) {
            self.claim(account);
        }
        if claimed > 0 {
            // The own count decides about the own place.
            self.reconsider();
        }
    }

    fn resting(&self, now: Boottime) -> BTreeSet<AccountId> {
        let mut resting = self.shared.resting.lock();
        resting.retain(|_, until| *until > now);
        resting.keys().cloned().collect()
    }

    /// What the store says is this session's and is not held is claimed anew,
    /// or given back if nobody wants it.
    fn claim_strays(&mut self, now: Boottime) {
        let resting = self.resting(now);
        let strays: Vec<(AccountId, Document)> = self
            .strays
            .iter()
            .filter(|(account, (_, since))| {
                now - *since >= STRAY_AFTER
                    && !resting.contains(*account)
                    && !self.held.contains_key(*account)
                    && !self.claiming.contains(*account)
                    && !self.releasing.contains(*account)
            })
            .map(|(account, (document, _))| (account.clone(), document.clone()))
            .collect();
        for (account, document) in strays {
            if let Some((_, since)) = self.strays.get_mut(&account) {
                // Not again at once, should it fail.
                *since = now;
            }
            if (self.parts.wanted)(&document) {
                if self.room() > 0 && self.claiming.len() < self.parts.config.claims_max {
                    self.claim(account);
                }
            } else {
                self.give_back(document, account);
            }
        }
    }

    fn claim(&mut self, account: AccountId) {
        let trusts_expiry = self.trusts_expiry();
        let operations = self.operations.clone();
        self.claiming.insert(account.clone());
        self.job(async move {
            let outcome = operations.claim(&account, trusts_expiry).await;
            Done::Claimed(account, outcome)
        });
    }

    /// After an outage owners come first: an expired lease counts only once
    /// this worker has been in touch with the store for `ttl + G`.
    fn trusts_expiry(&self) -> bool {
        let lease = &self.parts.config.lease;
        let good_for = self.parts.clock.boottime() - self.vitals.seen().good_since;
        good_for > lease.session_ttl + lease.lock_delay
            || mutation::is_on(Mutation::ClaimAfterOutage)
    }

    fn give_back(&mut self, document: Document, account: AccountId) {
        let epoch = match document.fields.get(LEASE_EPOCH_FIELD) {
            Some(Value::Int(epoch)) => *epoch,
            Some(_) | None => return,
        };
        let lease = AccountLease {
            account_id: account.clone(),
            epoch,
            worker_session: self.me.session_id.clone(),
            claimed_at: document.update_time,
            lease_until: document.update_time,
            deadline: Boottime::ZERO,
        };
        self.release(lease, ReleaseReason::NotWanted, None);
    }

    fn release(&mut self, lease: AccountLease, reason: ReleaseReason, to: Option<WorkerSessionId>) {
        let operations = self.operations.clone();
        self.releasing.insert(lease.account_id.clone());
        self.job(async move {
            let outcome = operations.release(&lease, reason, to.as_ref()).await;
            Done::Released(lease.account_id, outcome)
        });
    }

    /// Gives up what is more than this worker's share, one account at a time.
    fn shed(&mut self, now: Boottime) {
        let config = &self.parts.config.balance;
        if self.to_shed.is_empty()
            || now - self.shed_at < config.cool_down
            || !self.free.is_empty()
            || !self.roster.is_settled(now, config.settle)
        {
            return;
        }
        let idle_first = self
            .held
            .values()
            .filter(|held| !held.owned.is_asked() && held.owned.deadline.closed().is_none())
            .min_by_key(|held| (held.owned.is_busy(), held.owned.lease().claimed_at));
        let (Some(held), Some(to)) = (idle_first, self.to_shed.pop_front()) else {
            return;
        };
        info!(account.id = %held.owned.account, to = %to, "shedding an account: others have more room");
        held.owned.ask(Ask {
            reason: ReleaseReason::Rebalance,
            to: Some(to),
        });
        self.shed_at = now;
        if self.to_shed.is_empty() {
            // See soon what came of it: after everybody has beaten again.
            self.roster_at = now + self.parts.config.lease.heartbeat.mul_f64(2.0);
        }
    }

    /// Plans anew from a fresh roster, unless moves are still to show in it.
    fn plan_shedding(&mut self, asked_at: Boottime) {
        let shown_after = self.parts.config.lease.heartbeat.mul_f64(1.5);
        if asked_at - self.shed_at < shown_after {
            return;
        }
        let members = self.roster.members(&self.me.session_id, self.owned());
        self.to_shed = balance::moves_of(&self.me.session_id, &members).into();
    }

    // ---- What came of it ----

    fn done(&mut self, done: Done) {
        let now = self.parts.clock.boottime();
        match done {
            Done::Claimed(account, outcome) => self.claimed(account, outcome, now),
            Done::Renewed(account, outcome) => self.renewed(&account, outcome, now),
            Done::Roster(asked_at, read) => {
                self.reading = false;
                match read {
                    Ok(documents) => {
                        let lease = &self.parts.config.lease;
                        let dead = self.roster.replace(&documents, asked_at, lease);
                        self.seal(dead);
                        self.reconsider();
                        self.plan_shedding(asked_at);
                    }
                    Err(error) => debug!(%error, "roster was not read"),
                }
            }
            Done::Neighbours(asked_at, asked, read) => {
                self.looking = false;
                match read {
                    Ok(read) => {
                        for (session, document) in asked.iter().zip(&read.documents) {
                            if document.is_none() {
                                self.roster.ended(session, now);
                            }
                        }
                        let documents = read.documents.into_iter().flatten();
                        let lease = &self.parts.config.lease;
                        let dead = self
                            .roster
                            .refresh(documents, read.read_time, asked_at, lease);
                        self.seal(dead);
                    }
                    Err(error) => debug!(%error, "neighbours were not read"),
                }
            }
            Done::Sealed(session, outcome) => {
                self.sealing.remove(&session.id);
                match outcome {
                    Ok(SealOutcome::Ended) => {
                        self.rescue(&session.id, now);
                        // The next ones around the ring may be dead, too.
                        self.neighbours_at = now;
                    }
                    Ok(SealOutcome::Lives) => {}
                    Err(error) => {
                        warn!(worker.session = %session.id, %error, "a dead session was not sealed")
                    }
                }
            }
            Done::Found(seen_by, found) => match found {
                Ok(documents) => {
                    for document in documents {
                        if self.has_no_owner(&document, seen_by) {
                            self.note_free(document, seen_by, now);
                        }
                    }
                }
                Err(error) => {
                    warn!(%error, "accounts were not looked for; the next sweep finds them");
                    self.sweep_at = self.sweep_at.min(now + CLAIM_RETRY);
                }
            },
            Done::Swept(Ok(count)) => {
                debug!(count, "documents of ended worker sessions removed")
            }
            Done::Swept(Err(error)) => {
                debug!(%error, "documents of ended worker sessions were not removed")
            }
            Done::Released(account, outcome) => {
                self.releasing.remove(&account);
                if let Err(error) = outcome {
                    warn!(account.id = %account, %error, "account was not given back");
                }
            }
        }
    }

    /// Whether a document that a sweep or a rescue found may have no owner: its
    /// session is none that lives. The claim itself decides.
    fn has_no_owner(&self, document: &Document, seen_by: SeenBy) -> bool {
        match document
            .fields
            .get(LEASE_SESSION_FIELD)
            .and_then(Value::as_text)
        {
            None => true,
            Some(session) => {
                let session = WorkerSessionId::from_text(session);
                seen_by == SeenBy::Rescue
                    || (session != self.me.session_id && !self.roster.has(&session))
            }
        }
    }

    fn claimed(
        &mut self,
        account: AccountId,
        outcome: Result<ClaimOutcome, StoreError>,
        now: Boottime,
    ) {
        self.claiming.remove(&account);
        match outcome {
            Ok(ClaimOutcome::Claimed {
                lease,
                fence,
                reason,
            }) => {
                self.free.remove(&account);
                self.strays.remove(&account);
                if self.draining || self.vitals.deadline.closed().is_some() {
                    self.release(lease, ReleaseReason::Drain, None);
                    return;
                }
                self.hold(lease, fence, reason, now);
            }
            Ok(ClaimOutcome::NotClaimable(why)) => {
                debug!(account.id = %account, ?why, "account was not claimed");
                self.not_claimed(&account, why, now);
            }
            Err(error) => {
                warn!(account.id = %account, %error, "claim failed");
                if let Some(free) = self.free.get_mut(&account) {
                    free.not_before = now + CLAIM_RETRY;
                }
            }
        }
    }

    fn not_claimed(&mut self, account: &AccountId, why: NotClaimable, now: Boottime) {
        let by_watch = self
            .free
            .get(account)
            .is_some_and(|free| matches!(free.seen_by, SeenBy::Watch(_)));
        match why {
            // The watch still shows it as free; it tells when that changes.
            NotClaimable::Held | NotClaimable::NotWanted | NotClaimable::NeedsImport
                if by_watch =>
            {
                if let Some(free) = self.free.get_mut(account) {
                    free.not_before = now + CLAIM_RETRY;
                }
            }
            NotClaimable::Held
            | NotClaimable::Missing
            | NotClaimable::NotWanted
            | NotClaimable::NeedsImport => {
                self.free.remove(account);
            }
        }
    }

    fn hold(
        &mut self,
        lease: AccountLease,
        fence: crate::fence::Fence,
        reason: ClaimReason,
        now: Boottime,
    ) {
        let account = lease.account_id.clone();
        let wake: Arc<dyn Wake> = Arc::clone(&self.shared) as Arc<dyn Wake>;
        let owned = Arc::new(Owned::new(
            self.operations.clone(),
            Arc::clone(&self.parts.clock),
            Arc::clone(&self.vitals),
            lease,
            reason,
            wake,
        ));
        // The first renewal comes early by a random share, so that those of
        // accounts that were claimed together spread out.
        let refresh = self.parts.config.lease.refresh;
        let renew_at = now + self.parts.rng.jitter(refresh.mul_f64(0.75), 0.25);
        let held = Held {
            owned: Arc::clone(&owned),
            renew_at,
            renewing: false,
        };
        self.held.insert(account.clone(), held);
        if self.ready.try_send(Ownership::new(owned, fence)).is_err() {
            warn!(account.id = %account, "nobody takes claimed accounts");
        }
    }

    fn renewed(
        &mut self,
        account: &AccountId,
        outcome: Result<RenewOutcome, StoreError>,
        now: Boottime,
    ) {
        let Some(held) = self.held.get_mut(account) else {
            return;
        };
        held.renewing = false;
        match outcome {
            Ok(RenewOutcome::Renewed { .. }) => {
                debug!(account.id = %account, "lease renewed");
                held.renew_at = now + self.parts.config.lease.refresh;
            }
            Ok(RenewOutcome::Lost) => {
                warn!(account.id = %account, "lease lost");
            }
            Err(error) => {
                warn!(account.id = %account, %error, "lease was not renewed");
                held.renew_at = now + RENEW_RETRY;
            }
        }
    }

    // ---- The end ----

    fn begin_to_drain(&mut self) {
        self.draining = true;
        self.vitals.want(SessionState::Draining);
        self.ask_all();
    }

    /// Asks for everything, each account for the member with the smallest load.
    fn ask_all(&self) {
        let members = self.roster.members(&self.me.session_id, self.owned());
        let mut given: BTreeMap<WorkerSessionId, u32> = BTreeMap::new();
        for held in self.held.values().filter(|held| !held.owned.is_asked()) {
            let promised = |id: &WorkerSessionId| given.get(id).copied().unwrap_or(0);
            let to = balance::taker(&self.me.session_id, &members, promised).cloned();
            if let Some(to) = &to {
                *given.entry(to.clone()).or_default() += 1;
            }
            held.owned.ask(Ask {
                reason: ReleaseReason::Drain,
                to,
            });
        }
    }

    /// Ends the session once nothing is held and no claim is under way.
    async fn go_on_draining(&mut self) -> Option<End> {
        self.ask_all();
        let is_idle = self.held.is_empty() && self.claiming.is_empty() && self.releasing.is_empty();
        if !is_idle {
            return None;
        }
        // Nothing may pass any gate once others may believe that all is over.
        self.vitals.deadline.close(CloseReason::Released);
        self.vitals.want(SessionState::Closed);
        let limit = self.parts.config.lease.session_ttl;
        let state = tokio::select! {
            biased;
            state = self.vitals.ended() => Some(state),
            () = self.parts.clock.sleep(limit) => None,
        };
        self.show();
        Some(End::Drained {
            orderly: state == Some(SessionState::Closed),
        })
    }

    /// Shows what there is to others.
    fn show(&self) {
        let mut now = self.shared.now.lock();
        now.owned = self
            .held
            .iter()
            .map(|(account, held)| (account.clone(), Arc::clone(&held.owned)))
            .collect();
        now.sessions = self.roster.sessions().cloned().collect();
        now.free = self.free.len();
    }

    fn job(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.jobs.push(Box::pin(job));
    }
}

fn due(
    account: &AccountId,
    free: &Free,
    me: &WorkerSessionId,
    members: &[balance::Member],
    count: usize,
    config: &balance::BalanceConfig,
) -> Option<Boottime> {
    let rank = balance::rank(shard::of(account), me, members, count);
    let handed_to = free
        .document
        .fields
        .get(HANDOFF_FIELD)
        .and_then(Value::as_text)
        .map(WorkerSessionId::from_text);
    let is_mine = handed_to.as_ref() == Some(me);
    let rank = if is_mine {
        Some(rank.unwrap_or(0))
    } else {
        rank
    };
    Some(balance::due(
        free.since,
        handed_to.as_ref(),
        me,
        members,
        rank?,
        config,
    ))
}

/// Removes the documents of sessions that ended longer ago than they are kept;
/// says how many.
async fn remove_ended(store: &Store) -> Result<usize, StoreError> {
    let ended = read_all(store, worker_session::ended()).await?;
    let old: Vec<Write> = ended
        .into_iter()
        .filter(|(document, read_time)| {
            read_time.since(document.update_time) > worker_session::RETENTION
        })
        .take(RETENTION_BATCH)
        .map(|(document, _)| Write::Delete {
            precondition: Precondition::Unchanged(document.update_time),
            path: document.path,
        })
        .collect();
    let count = old.len();
    if count > 0 {
        let _ = store.commit_each(old).await?;
    }
    Ok(count)
}

/// Reads a query to its end, each document with the time it was read at.
async fn read_all(
    store: &Store,
    mut query: Query,
) -> Result<Vec<(Document, StoreTime)>, StoreError> {
    let mut documents = Vec::new();
    loop {
        let page = store.query(&query).await?;
        let read_time = page.read_time;
        documents.extend(
            page.documents
                .into_iter()
                .map(|document| (document, read_time)),
        );
        if documents.len() > DOCUMENTS_MAX {
            return Err(StoreError::invalid(
                "more documents than one worker takes in",
            ));
        }
        match page.next {
            Some(cursor) => query = query.start_after(cursor),
            None => return Ok(documents),
        }
    }
}
