//! Removes records whose time is over, once for the whole cluster: events, the
//! log of webhooks' deliveries, the audit log, idempotency keys, archived sessions.
//!
//! One worker makes a pass for all: see [`passes`](crate::passes).
//!
//! The newest event of each account stays, however old: the next owner goes on
//! from its number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{
    Cursor, Document, Precondition, Query, Store, StoreError, StoreTime, Write, WriteOutcome,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::account::archive;
use crate::events::streams::kept_for;
use crate::model::{Agreed, EventDoc, SessionArchiveDoc, Stored, queries};
use crate::passes::{Due, Passes};

/// Documents that are removed at a time.
const BATCH: u32 = 200;

/// The document in `config`.
const DOCUMENT: &str = "record_sweep";

/// Passes in the time that records are kept.
const PASSES: u32 = 20;

/// A pass is not more frequent than this, nor more seldom.
const INTERVAL_MIN: Duration = Duration::from_millis(500);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// `config/record_sweep`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RecordSweepDoc {
    /// When the next pass is due.
    due_at: Option<StoreTime>,
}

impl Stored for RecordSweepDoc {}

impl Due for RecordSweepDoc {
    fn due_at(&mut self) -> &mut Option<StoreTime> {
        &mut self.due_at
    }
}

/// What the task works with.
pub struct RecordSweep {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Spreads the workers.
    pub rng: SharedRng,
    /// How long events and the log of deliveries are kept.
    pub retention: Duration,
    /// How long the audit log is kept.
    pub audit_retention: Duration,
    /// How long sessions are kept whose links are gone.
    pub archive_retention: Duration,
}

/// What a pass removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptRecords {
    /// Events.
    pub events: usize,
    /// Entries of the log of deliveries.
    pub deliveries: usize,
    /// Entries of the audit log.
    pub audit: usize,
    /// Idempotency keys.
    pub keys: usize,
    /// Archived sessions.
    pub archives: usize,
}

impl RecordSweep {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let passes = self.passes();
        while passes.wait(&stop).await {
            let swept = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                swept = self.pass() => swept,
            };
            match swept {
                Ok(swept) if swept == SweptRecords::default() => {}
                Ok(swept) => tracing::info!(
                    events = swept.events,
                    deliveries = swept.deliveries,
                    audit = swept.audit,
                    keys = swept.keys,
                    archives = swept.archives,
                    "old records swept"
                ),
                Err(error) => {
                    tracing::warn!(%error, "old records were not swept; the next pass goes on");
                }
            }
        }
    }

    fn passes(&self) -> Passes<RecordSweepDoc> {
        Passes {
            document: Agreed::new(Arc::clone(&self.store), DOCUMENT),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
            interval: (self.retention / PASSES).clamp(INTERVAL_MIN, INTERVAL_MAX),
        }
    }

    /// Makes a pass, if one is due.
    ///
    /// # Errors
    /// The store's failure. What was removed by then is.
    pub async fn pass(&self) -> Result<SweptRecords, StoreError> {
        let Some(pass) = self.passes().take(|_, _| ()).await? else {
            return Ok(SweptRecords::default());
        };
        let (now, until) = (pass.at, pass.until);
        let kept = kept_for(self.retention);
        let oldest = now.checked_sub(kept).unwrap_or(now);
        let oldest_audit = now.checked_sub(self.audit_retention).unwrap_or(now);
        let oldest_archive = now.checked_sub(self.archive_retention).unwrap_or(now);
        Ok(SweptRecords {
            keys: self
                .remove_all(queries::idempotency_ended(now)?, until)
                .await?,
            deliveries: self
                .remove_all(queries::webhook_deliveries_before(oldest)?, until)
                .await?,
            audit: self
                .remove_all(queries::audit_before(oldest_audit)?, until)
                .await?,
            archives: self.archives(oldest_archive, until).await?,
            events: self.events(oldest, until).await?,
        })
    }

    /// Removes everything that a query finds, as it was found.
    async fn remove_all(&self, query: Query, until: Boottime) -> Result<usize, StoreError> {
        let mut removed = 0;
        loop {
            let page = self.store.query(&query.clone().limit(BATCH)).await?;
            let gone = self.remove(page.documents).await?;
            removed += gone;
            // What was changed meanwhile would come again and again.
            if page.next.is_none() || gone == 0 || self.clock.boottime() >= until {
                return Ok(removed);
            }
        }
    }

    /// Erases archived sessions, each with its files.
    async fn archives(&self, oldest: StoreTime, until: Boottime) -> Result<usize, StoreError> {
        let mut erased = 0;
        let mut query = queries::session_archives_before(oldest)?.limit(BATCH);
        loop {
            let page = self.store.query(&query).await?;
            for document in &page.documents {
                if self.clock.boottime() >= until {
                    return Ok(erased);
                }
                let Some(record) = SessionArchiveDoc::read_or_skip(document) else {
                    continue;
                };
                archive::erase(&self.store, &record).await?;
                erased += 1;
            }
            match page.next {
                Some(cursor) => query = query.start_after(cursor),
                None => return Ok(erased),
            }
        }
    }

    async fn remove(&self, documents: Vec<Document>) -> Result<usize, StoreError> {
        if documents.is_empty() {
            return Ok(0);
        }
        let writes = documents.into_iter().map(|document| Write::Delete {
            path: document.path,
            precondition: Precondition::Unchanged(document.update_time),
        });
        let outcomes = self.store.commit_each(writes.collect()).await?;
        let is_removed = |outcome: &&WriteOutcome| matches!(outcome, WriteOutcome::Written(_));
        Ok(outcomes.iter().filter(is_removed).count())
    }

    /// Removes old events, but for the newest of each account.
    async fn events(&self, oldest: StoreTime, until: Boottime) -> Result<usize, StoreError> {
        let mut newest: HashMap<String, i64> = HashMap::new();
        let mut removed = 0;
        let mut next: Option<Cursor> = None;
        loop {
            let query = queries::events_before(oldest)?.limit(BATCH);
            let query = match next.take() {
                Some(next) => query.start_after(next),
                None => query,
            };
            let page = self.store.query(&query).await?;
            let mut old = Vec::new();
            for document in page.documents {
                let Some(record) = EventDoc::read_or_skip(&document) else {
                    continue;
                };
                let (account, seq) = (record.value.account_id, record.value.seq);
                let last = match newest.get(&account) {
                    Some(last) => *last,
                    None => {
                        let last = self.newest(&account).await?;
                        newest.insert(account, last);
                        last
                    }
                };
                if seq < last {
                    old.push(document);
                }
            }
            removed += self.remove(old).await?;
            match page.next {
                Some(cursor) if self.clock.boottime() < until => next = Some(cursor),
                Some(_) | None => return Ok(removed),
            }
        }
    }

    /// The number of an account's newest event.
    async fn newest(&self, account: &str) -> Result<i64, StoreError> {
        let page = self.store.query(&queries::event_last(account)?).await?;
        let last = page.documents.first().and_then(EventDoc::read_or_skip);
        Ok(last.map_or(0, |record| record.value.seq))
    }
}

#[cfg(test)]
mod tests;
