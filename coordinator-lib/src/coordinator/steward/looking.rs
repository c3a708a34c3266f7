//! What is read, and what is learned from it.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::{Done, FIRST_SWEEP, Free, JITTER, Own, SeenBy, Steward};
use crate::call::limited;
use crate::clock::Boottime;
use crate::coordinator::feeds;
use crate::coordinator::feeds::Source;
use crate::identity::{AccountId, WorkerSessionId, account_collection};
use crate::store::{Change, Document, Precondition, Query, Store, StoreError, StoreTime, Write};
use crate::worker_session::WorkerSession;
use crate::{balance, worker_session};

/// Documents that one reading of the roster or one sweep takes in at most.
const DOCUMENTS_MAX: usize = 20_000;

/// Between two looks for sessions that ended long ago.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3_600);

/// Documents that one such look removes at most.
const RETENTION_BATCH: usize = 400;

impl Steward {
    pub(super) fn look_around(&mut self, now: Boottime) {
        let parts = Arc::clone(&self.parts);
        let about = |interval| now + parts.rng.jitter(interval, JITTER);
        if now >= self.roster_at && !self.reading {
            self.reading = true;
            self.roster_at = about(self.roster.interval(now, parts.config.roster_interval));
            let store = Arc::clone(&parts.store);
            self.job(async move { Done::Roster(now, read_roster(&store).await) });
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
            // Those that came together may each have left an account to another.
            let is_new = self.roster.is_new(now, parts.config.roster_interval);
            self.sweep_at = about(match is_new {
                true => FIRST_SWEEP,
                false => parts.config.sweep_interval,
            });
            let shards = balance::shards_of(&self.me.session_id.clone(), self.members(), 1);
            self.find(
                SeenBy::Sweep,
                Query::new(account_collection()),
                Some(&shards),
            );
        }
    }

    /// Sessions of this machine whose processes are gone need not be waited for.
    pub(super) fn note_departures(&mut self, sessions: &[WorkerSessionId]) {
        let Some(presence) = self.parts.presence.clone() else {
            return;
        };
        let gone: Vec<WorkerSession> = self
            .roster
            .sessions()
            .filter(|session| sessions.contains(&session.id) && presence.has_left(&session.id))
            .map(|session| WorkerSession::clone(session))
            .collect();
        self.seal(gone);
    }

    /// Seals sessions that have been silent for too long. Right after an outage
    /// everybody has been: they get their time to beat again.
    pub(super) fn seal_silent(&mut self, dead: Vec<WorkerSession>) {
        if self.trusts_expiry() {
            self.seal(dead);
        }
    }

    pub(super) fn seal(&mut self, dead: Vec<WorkerSession>) {
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
    pub(super) fn sweep_ended(&mut self, now: Boottime) {
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

    pub(super) fn find(&mut self, seen_by: SeenBy, query: Query, shards: Option<&[i64]>) {
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
    pub(super) fn rescue(&mut self, session: &WorkerSessionId, now: Boottime) {
        self.roster.ended(session, now);
        self.reconsider();
        if *session == self.me.session_id || !self.rescued.insert(session.clone()) {
            return;
        }
        let shards = feeds::watched_shards(&self.me.session_id.clone(), self.members());
        match worker_session::accounts_of(session) {
            Ok(query) => self.find(SeenBy::Rescue, query, shards.as_deref()),
            Err(error) => {
                warn!(worker.session = %session, %error, "accounts of an ended session cannot be looked for")
            }
        }
    }

    pub(super) fn learn(&mut self, source: Source, change: Change) {
        let now = self.parts.clock.boottime();
        match (source, change) {
            (Source::Free(number), change) => {
                self.learn_free(SeenBy::Watch(number), change, now);
            }
            (Source::Handed, change) => self.learn_free(SeenBy::Handed, change, now),
            (Source::Own, Change::Snapshot(documents)) => {
                let before = std::mem::take(&mut self.own);
                for document in documents {
                    self.note_own(document, now);
                }
                for (account, own) in &mut self.own {
                    if let Some(before) = before.get(account) {
                        own.astray_since = before.astray_since;
                    }
                }
            }
            (Source::Own, Change::Changed(document)) => self.note_own(document, now),
            (Source::Own, Change::Removed(path)) => {
                let Ok(account) = AccountId::new(path.id()) else {
                    return;
                };
                self.own.remove(&account);
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

    fn learn_free(&mut self, seen_by: SeenBy, change: Change, now: Boottime) {
        match change {
            Change::Snapshot(documents) => {
                self.free.retain(|_, free| free.seen_by != seen_by);
                for document in documents {
                    self.note_free(document, seen_by, now);
                }
            }
            Change::Changed(document) => self.note_free(document, seen_by, now),
            // Claimed, by whomever: free in no watch any more.
            Change::Removed(path) => {
                if let Ok(account) = AccountId::new(path.id()) {
                    self.free.remove(&account);
                }
            }
        }
    }

    pub(super) fn note_free(&mut self, document: Document, seen_by: SeenBy, now: Boottime) {
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
            Some(free) if free.seen_by.is_watch() => free.seen_by,
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

    pub(super) fn note_own(&mut self, document: Document, now: Boottime) {
        let Ok(account) = AccountId::new(document.path.id()) else {
            return;
        };
        self.look_at_epoch(&account, &document);
        if let Some(held) = self.held.get(&account) {
            held.owned.learn(document.clone());
        }
        match self.own.get_mut(&account) {
            Some(own) => own.document = document,
            None => {
                let own = Own {
                    document,
                    astray_since: now,
                };
                self.own.insert(account, own);
            }
        }
    }

    pub(super) fn look_at_epoch(&self, account: &AccountId, document: &Document) {
        if self.shared.epochs.lock().look(account, document) {
            error!(account.id = %account, "the store went back in time: nothing is claimed any more until the worker is restarted");
        }
    }
}

/// Reads all worker sessions that have not ended.
pub(super) async fn read_roster(store: &Store) -> Result<Vec<(Document, StoreTime)>, StoreError> {
    read_all(store, worker_session::living()).await
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
