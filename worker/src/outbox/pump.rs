//! The owner's task that sends what is queued, as long as one engine instance
//! runs.
//!
//! - In order within a conversation, several conversations side by side, paced.
//! - `sending` is committed before the frame leaves, `sent` after the server's
//!   acknowledgement. What is found in `sending` on a new connection (after a
//!   crash, a takeover, a lost connection) is sent again under the same id.
//!
//! What one attempt does is in [`attempt`](super::attempt).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Change, Store, StoreTime};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use session::DataKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::OutboxConfig;
use super::acks::Acks;
use super::attempt::{Attempt, Outcome};
use super::marks::InboundMarks;
use super::pace::{Denied, Pace};
use super::schedule::{Done, Item, Next, Schedule};
use super::settle::Places;
use super::status::PumpStatus;
use crate::account::link::Link;
use crate::events::Journal;
use crate::media::MediaStore;
use crate::messages::receipts::{SentIndex, Target};
use crate::model::stored::Record;
use crate::model::{Stored, WaOutboxDoc, queries};

/// What is under way when the pump stops may finish within this time: most
/// acknowledgements are on their way already, and each saves a repetition.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The wait after the store failed.
pub(super) const STORE_WAIT: Duration = Duration::from_secs(2);

/// By how much of itself a wait before the next attempt varies.
pub(super) const WAIT_SPREAD: f64 = 0.2;

/// What a pump works with.
pub struct PumpParts {
    /// Who sends.
    pub account_id: String,
    /// Where the outbox is watched.
    pub store: Store,
    /// Through which states are written.
    pub journal: Journal,
    /// Through which messages leave.
    pub link: Arc<dyn Link>,
    /// Opens payloads.
    pub data_key: Arc<DataKey>,
    /// Whether messages can be sent.
    pub connected: watch::Receiver<bool>,
    /// The server's acknowledgements.
    pub acks: Arc<Acks>,
    /// Where files are that go with messages.
    pub media: MediaStore,
    /// Who has just written here.
    pub marks: Arc<InboundMarks>,
    /// For the receipts that follow.
    pub sent: Arc<SentIndex>,
    /// For `/debug`.
    pub status: Arc<PumpStatus>,
    /// Limits, pacing, patience.
    pub config: OutboxConfig,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub rng: SharedRng,
}

/// Sends what is queued.
pub struct Pump {
    parts: PumpParts,
}

/// What the pump's loop holds.
struct Work<'a> {
    schedule: Schedule,
    places: HashMap<String, Places>,
    pace: Pace,
    in_flight: FuturesUnordered<BoxFuture<'a, Outcome>>,
}

impl Pump {
    /// A pump; nothing is sent before [`Pump::run`].
    pub fn new(parts: PumpParts) -> Self {
        Self { parts }
    }

    /// Sends until `stop`. What is under way then is finished if that is
    /// possible soon.
    pub async fn run(self, stop: CancellationToken) {
        let parts = &self.parts;
        let mut work = Work {
            schedule: Schedule::default(),
            places: HashMap::new(),
            pace: Pace::new(&parts.config, parts.clock.boottime()),
            in_flight: FuturesUnordered::new(),
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.pump(&mut work) => {}
        }
        let finish = async { while work.in_flight.next().await.is_some() {} };
        tokio::select! {
            biased;
            () = finish => {}
            () = parts.clock.sleep(STOP_GRACE) => {}
        }
    }

    async fn pump<'a>(&'a self, work: &mut Work<'a>) {
        let parts = &self.parts;
        let mut connected = parts.connected.clone();
        let mut changes = self.watch().await;
        loop {
            let wait = if *connected.borrow_and_update() {
                self.start(work)
            } else {
                None
            };
            parts
                .status
                .queued
                .store(work.schedule.len(), Ordering::Relaxed);
            parts
                .status
                .in_flight
                .store(work.in_flight.len(), Ordering::Relaxed);
            parts.status.waits_since(work.schedule.oldest());
            let timer = async {
                match wait {
                    Some(until) => parts.clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(outcome) = work.in_flight.next() => self.finish(work, outcome),
                change = changes.next() => match change {
                    Some(change) => self.learn(work, change),
                    // The store is closed: nothing more will come.
                    None => return,
                },
                changed = connected.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = timer => {}
            }
        }
    }

    async fn watch(&self) -> coordinator_lib::store::Watch {
        loop {
            let watch = match queries::wa_outbox_open(&self.parts.account_id) {
                Ok(query) => self.parts.store.watch(&query).await,
                Err(error) => Err(error),
            };
            match watch {
                Ok(watch) => return watch,
                Err(error) => {
                    tracing::warn!(account.id = %self.parts.account_id, %error, "outbox cannot be watched");
                    self.parts.clock.sleep(STORE_WAIT).await;
                }
            }
        }
    }

    /// Takes note of what is to be sent.
    fn learn(&self, work: &mut Work<'_>, change: Change) {
        match change {
            Change::Snapshot(documents) => {
                let records: Vec<_> = documents
                    .iter()
                    .filter_map(WaOutboxDoc::read_or_skip)
                    .collect();
                let listed: HashSet<String> = records
                    .iter()
                    .map(|record| record.path.id().to_owned())
                    .collect();
                work.schedule.retain(|id| listed.contains(id));
                for record in records {
                    self.put(work, record);
                }
            }
            Change::Changed(document) => {
                if let Some(record) = WaOutboxDoc::read_or_skip(&document) {
                    self.put(work, record);
                }
            }
            Change::Removed(path) => work.schedule.remove(path.id()),
        }
    }

    fn put(&self, work: &mut Work<'_>, record: Record<WaOutboxDoc>) {
        let Record {
            path,
            value: document,
            ..
        } = record;
        let id = path.id().to_owned();
        match Places::new(&id, &document) {
            Ok(places) => work.places.insert(id.clone(), places),
            Err(error) => {
                tracing::error!(message.id = %id, %error, "queued message cannot be read");
                return;
            }
        };
        let target = Target {
            thread_id: document.thread_id.clone(),
            stored_message_id: document.stored_message_id,
            outbox_id: Some(id.clone()),
            traceparent: document.traceparent,
        };
        self.parts.sent.learn(document.wa_message_id, target);
        let not_before = document.next_attempt_at.map(|time| self.boottime_of(time));
        work.schedule.put(Item {
            id,
            lane: document.thread_id,
            accepted_at: document.accepted_at,
            not_before,
        });
    }

    /// When a time that a document carries will be, by the monotonic clock. It was
    /// noted by another worker's clock, which may have been hours ahead of this
    /// one's: no wait is longer than the longest.
    fn boottime_of(&self, time: StoreTime) -> Boottime {
        let clock = &self.parts.clock;
        let left = time.since(StoreTime::from_datetime(clock.wall()));
        clock.boottime() + left.min(self.parts.config.retry_max.mul_f64(1.0 + WAIT_SPREAD))
    }

    /// Starts what may be sent now; says when to look again.
    fn start<'a>(&'a self, work: &mut Work<'a>) -> Option<Boottime> {
        let now = self.parts.clock.boottime();
        while work.in_flight.len() < self.parts.config.chats_parallel {
            // Looked at first: a token is only taken for what is sent.
            let (id, lane) = match work.schedule.peek(now) {
                Next::Send { id, lane } => (id, lane),
                Next::Wait(until) => return Some(until),
                Next::Idle => return None,
            };
            match work.pace.take(&lane, now) {
                Ok(()) => {}
                Err(Denied::All(until)) => return Some(until),
                Err(Denied::Lane(until)) => {
                    work.schedule.hold(&id, until);
                    continue;
                }
            }
            work.schedule.next(now);
            match work.places.get(&id) {
                Some(places) => {
                    let attempt = Attempt {
                        parts: &self.parts,
                        id,
                        thread_id: lane,
                        places: places.clone(),
                        new_chats_closed_until: work.pace.new_chats_closed_until(now),
                    };
                    work.in_flight.push(Box::pin(attempt.make()));
                }
                None => work.schedule.done(&id, Done::Settled),
            }
        }
        None
    }

    fn finish(&self, work: &mut Work<'_>, outcome: Outcome) {
        if outcome.done == Done::Settled {
            work.places.remove(&outcome.id);
        }
        work.schedule.done(&outcome.id, outcome.done);
        if outcome.is_sent {
            work.pace.sent();
        }
        if let Some((scope, pause)) = outcome.pause {
            tracing::warn!(account.id = %self.parts.account_id, ?scope, ?pause, "sending is paused: WhatsApp asks for less");
            work.pace.pause(scope, pause, self.parts.clock.boottime());
        }
    }
}
