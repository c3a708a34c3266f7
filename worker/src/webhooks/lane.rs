//! The events of one account for one webhook, one after another.
//!
//! How far the lane came is in the store before the next event is sent, so a
//! crash leaves at most one event of which nobody knows whether it was sent.
//! Events that were there before this claim may be that one: the first attempt
//! at them counts as a second, and the receiver sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Path, Store, StoreError, StoreTime};
use tokio::sync::watch;

use super::body;
use super::hooks::Hook;
use super::post::{Letter, Post};
use super::schedule::{self, Outcome, Verdict};
use crate::events::{Draft, DraftError, Journal, JournalError, Logged, Need};
use crate::model::webhook::{DeliveryDoc, DeliveryState, LaneDoc};
use crate::model::{EventDoc, Stored, WebhookDoc, collections, queries};
use crate::telemetry::metrics;

/// Events that are read at a time.
const PAGE_EVENTS: u32 = 50;

/// Events that are passed over before that is written down.
const PASSED_MAX: i64 = 500;

/// Between two attempts to read or write while the store fails.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// What a lane works with.
#[derive(Clone)]
pub struct LaneParts {
    /// Whose events.
    pub account_id: String,
    /// Where they are read.
    pub store: Store,
    /// Through which is noted how far it came.
    pub journal: Journal,
    /// The account's last event before this claim.
    pub claimed_seq: i64,
    /// Sends.
    pub post: Arc<Post>,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub rng: SharedRng,
}

/// How far a lane is, for those who wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneSight {
    /// Everything up to and with this event is settled; nobody knows before the
    /// lane has begun.
    pub settled_seq: Option<i64>,
    /// The receiver does not take the next one.
    pub is_failing: bool,
}

/// One lane.
pub struct Lane {
    parts: LaneParts,
    hook: Hook,
    /// Events up to and with this one may have been sent by somebody before.
    known_seq: i64,
    doc: LaneDoc,
    /// What the store has of it.
    written_seq: i64,
    sight: watch::Sender<LaneSight>,
}

/// Why a lane ends.
enum LaneEnd {
    /// The claim is over.
    Claim,
    /// The webhook is gone.
    Gone,
}

impl Lane {
    /// A lane that has not begun. Events up to and with `known_seq` may have
    /// been sent by a lane before it.
    pub fn new(
        parts: LaneParts,
        hook: Hook,
        known_seq: i64,
        sight: watch::Sender<LaneSight>,
    ) -> Self {
        Self {
            parts,
            hook,
            known_seq,
            doc: LaneDoc::default(),
            written_seq: 0,
            sight,
        }
    }

    /// Delivers until the claim is over or the webhook is gone.
    pub async fn run(mut self) {
        let mut events = self.parts.journal.events();
        // An error is an end, of the one kind or the other.
        if self.begin().await.is_err() {
            return;
        }
        loop {
            let newest = *events.borrow_and_update();
            while self.doc.settled_seq < newest {
                if self.page().await.is_err() {
                    return;
                }
            }
            if events.changed().await.is_err() {
                return;
            }
        }
    }

    /// Finds out where to go on; a new lane is written down before anything is
    /// sent.
    async fn begin(&mut self) -> Result<(), LaneEnd> {
        let stored = loop {
            match self.stored().await {
                Ok(stored) => break stored,
                Err(error) => self.wait_for_the_store(&error).await,
            }
        };
        if let Some(doc) = stored {
            self.doc = doc;
        } else {
            let first = loop {
                match self.first().await {
                    Ok(first) => break first,
                    Err(error) => self.wait_for_the_store(&error).await,
                }
            };
            self.doc = LaneDoc {
                webhook_id: self.hook.id.clone(),
                account_id: self.parts.account_id.clone(),
                settled_seq: first,
                ..LaneDoc::default()
            };
            self.write(None).await?;
            // Nobody has sent anything here.
            self.known_seq = first;
        }
        self.written_seq = self.doc.settled_seq;
        self.show();
        Ok(())
    }

    async fn stored(&self) -> Result<Option<LaneDoc>, StoreError> {
        let snapshot = self.parts.store.get(&[self.path()?]).await?;
        let document = snapshot.documents.iter().flatten().next();
        Ok(document
            .and_then(LaneDoc::read_or_skip)
            .map(|record| record.value))
    }

    /// The number of the last event that the webhook does not get.
    async fn first(&self) -> Result<i64, StoreError> {
        let account = &self.parts.account_id;
        // Before the query: what comes meanwhile is not passed over.
        let newest = self.parts.journal.seq();
        let query = queries::event_stored_after(account, self.hook.since)?;
        let page = self.parts.store.query(&query).await?;
        let first = page.documents.first().and_then(EventDoc::read_or_skip);
        Ok(first.map_or(newest, |record| record.value.seq - 1))
    }

    /// Settles the next events, one after another.
    async fn page(&mut self) -> Result<(), LaneEnd> {
        let events = match self.read().await {
            Ok(events) => events,
            Err(error) => {
                self.wait_for_the_store(&error).await;
                return Ok(());
            }
        };
        if events.is_empty() {
            // They are older than the retention.
            self.doc.settled_seq = self.parts.journal.seq();
            self.show();
            return Ok(());
        }
        for event in events {
            match self.body(&event).await {
                Some(body) => self.deliver(&event, body).await?,
                None => self.pass(&event).await?,
            }
        }
        Ok(())
    }

    /// What is to be posted of an event; none if it is not wanted, or if the
    /// webhook's format has nothing for it.
    async fn body(&self, event: &Logged) -> Option<Bytes> {
        let kind = event.event.kind;
        if !self.hook.filter.takes(&self.parts.account_id, kind) {
            return None;
        }
        loop {
            match body::of(self.parts.store.as_ref(), &self.hook, event).await {
                Ok(body) => return body,
                Err(error) => self.wait_for_the_store(&error).await,
            }
        }
    }

    /// Settles an event that is not sent.
    async fn pass(&mut self, event: &Logged) -> Result<(), LaneEnd> {
        self.doc.settled_seq = event.event.seq;
        if self.doc.settled_seq - self.written_seq >= PASSED_MAX {
            self.write(None).await?;
        }
        self.show();
        Ok(())
    }

    async fn read(&self) -> Result<Vec<Logged>, StoreError> {
        let query = queries::events_after(&self.parts.account_id, self.doc.settled_seq)?;
        let page = self.parts.store.query(&query.limit(PAGE_EVENTS)).await?;
        Ok(page.documents.iter().filter_map(Logged::read).collect())
    }

    /// Sends an event until it is delivered or given up, and notes each attempt.
    async fn deliver(&mut self, event: &Logged, body: Bytes) -> Result<(), LaneEnd> {
        loop {
            self.wait_until_due().await;
            let attempts = self.doc.attempts.saturating_add(1);
            let may_be_there = event.event.seq <= self.known_seq;
            let letter = Letter {
                attempt: attempt_number(attempts, may_be_there),
                ..Letter::of(event, body.clone())
            };
            let (outcome, took) = self.parts.post.send(&self.hook, &letter).await;
            let now = StoreTime::from_datetime(self.parts.clock.wall());
            let verdict = schedule::after(
                &outcome,
                u32::try_from(attempts).unwrap_or(u32::MAX),
                now.since(event.stored_at()),
                self.parts.post.config(),
                self.parts.rng.as_ref(),
            );
            self.note(event.event.seq, verdict, &outcome, now);
            let delivery = self.delivery(event, attempts, verdict, &outcome, now, took);
            self.write(Some(delivery)).await?;
            self.show();
            match verdict {
                Verdict::Delivered => return Ok(()),
                Verdict::Dead => {
                    metrics::webhook_gave_up();
                    tracing::warn!(
                        webhook.id = self.hook.id,
                        account.id = self.parts.account_id,
                        event.seq = event.event.seq,
                        attempts,
                        "event was given up"
                    );
                    return Ok(());
                }
                Verdict::Again(_) => {}
            }
        }
    }

    fn note(&mut self, seq: i64, verdict: Verdict, outcome: &Outcome, now: StoreTime) {
        let doc = &mut self.doc;
        doc.last_error = outcome.error();
        match verdict {
            Verdict::Delivered | Verdict::Dead => {
                doc.settled_seq = seq;
                doc.attempts = 0;
                doc.next_attempt_at = None;
                if verdict == Verdict::Delivered {
                    doc.failing_since = None;
                }
            }
            Verdict::Again(wait) => {
                doc.attempts = doc.attempts.saturating_add(1);
                doc.next_attempt_at = Some(now.saturating_add(wait));
                doc.failing_since = doc.failing_since.or(Some(now));
            }
        }
    }

    fn delivery(
        &self,
        event: &Logged,
        attempts: i64,
        verdict: Verdict,
        outcome: &Outcome,
        now: StoreTime,
        took: Duration,
    ) -> DeliveryDoc {
        DeliveryDoc {
            webhook_id: self.hook.id.clone(),
            account_id: self.parts.account_id.clone(),
            seq: event.event.seq,
            kind: event.event.kind,
            state: match verdict {
                Verdict::Delivered => DeliveryState::Delivered,
                Verdict::Again(_) => DeliveryState::Retrying,
                Verdict::Dead => DeliveryState::Dead,
            },
            attempts,
            status: outcome.status().map(i64::from),
            error: outcome.error(),
            at: now,
            duration_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
            replay: false,
        }
    }

    /// Waits for the time that the last attempt set. It is a wall clock's, and
    /// may be another machine's; never longer than the longest wait.
    async fn wait_until_due(&self) {
        let Some(at) = self.doc.next_attempt_at else {
            return;
        };
        let now = StoreTime::from_datetime(self.parts.clock.wall());
        let wait = at.since(now).min(2 * self.parts.post.config().retry_max);
        if !wait.is_zero() {
            self.parts.clock.sleep(wait).await;
        }
    }

    /// Writes down how far the lane is, and what became of an event, until that
    /// is durable.
    async fn write(&mut self, delivery: Option<DeliveryDoc>) -> Result<(), LaneEnd> {
        loop {
            match self.apply(delivery.clone()).await {
                Ok(true) => {
                    self.written_seq = self.doc.settled_seq;
                    return Ok(());
                }
                Ok(false) => return Err(LaneEnd::Gone),
                Err(JournalError::Fenced | JournalError::Closed(_) | JournalError::Ended) => {
                    return Err(LaneEnd::Claim);
                }
                Err(error @ (JournalError::Store(_) | JournalError::Contended)) => {
                    self.wait_for_the_store(&error).await;
                }
                Err(JournalError::Draft(error)) => {
                    // It would fail for ever; a later worker can.
                    tracing::error!(webhook.id = self.hook.id, account.id = self.parts.account_id, %error, "webhook stops here");
                    return Err(LaneEnd::Gone);
                }
            }
        }
    }

    /// False if the webhook is gone.
    async fn apply(&self, delivery: Option<DeliveryDoc>) -> Result<bool, JournalError> {
        let paths = || -> Result<(Path, Path), StoreError> {
            Ok((self.path()?, collections::webhook(&self.hook.id)?))
        };
        let (lane, webhook) = paths().map_err(|error| JournalError::Draft(error.into()))?;
        let kept = match &delivery {
            Some(delivery) => Some(
                collections::webhook_delivery(
                    &delivery.webhook_id,
                    &delivery.account_id,
                    delivery.seq,
                )
                .map_err(|error| JournalError::Draft(error.into()))?,
            ),
            None => None,
        };
        let mut needs = vec![Need::Read(lane.clone()), Need::Read(webhook.clone())];
        needs.extend(kept.clone().map(Need::New));
        let doc = self.doc.clone();
        let change = move |draft: &mut Draft<'_>| -> Result<bool, DraftError> {
            if draft.get::<WebhookDoc>(&webhook)?.is_none() {
                return Ok(false);
            }
            draft.put(lane.clone(), &doc)?;
            if let (Some(path), Some(delivery)) = (&kept, &delivery) {
                draft.put(path.clone(), delivery)?;
            }
            Ok(true)
        };
        self.parts.journal.apply(needs, change).await
    }

    fn path(&self) -> Result<Path, StoreError> {
        collections::webhook_lane(&self.hook.id, &self.parts.account_id)
    }

    fn show(&self) {
        self.sight.send_replace(LaneSight {
            settled_seq: Some(self.doc.settled_seq),
            is_failing: self.doc.attempts > 0,
        });
    }

    async fn wait_for_the_store(&self, error: &(dyn std::error::Error + Sync)) {
        tracing::debug!(webhook.id = self.hook.id, account.id = self.parts.account_id, %error, "webhook waits for the store");
        self.parts.clock.sleep(RETRY_WAIT).await;
    }
}

/// What the receiver is told: 1 for what was certainly not sent before.
fn attempt_number(attempts: i64, may_be_there: bool) -> u32 {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    if may_be_there {
        attempts.saturating_add(1)
    } else {
        attempts
    }
}
