//! The owner's task that sends what is queued, as long as one engine instance
//! runs.
//!
//! - In order within a conversation, several conversations side by side, paced.
//! - `sending` is committed before the frame leaves, `sent` after the server's
//!   acknowledgement. What is found in `sending` on a new connection (after a
//!   crash, a takeover, a lost connection) is sent again under the same id.
//! - Around a message to a conversation that has just written here the session
//!   is made durable: a fresh sending chain has no counters reserved yet.

mod acks;
mod hold;
mod marks;
mod status;

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
use whatsapp::{OutboundMessage, SendError};

use super::OutboxConfig;
use super::bucket::Bucket;
use super::schedule::{Done, Item, Next, Schedule};
use super::settle::{Begun, Places};
use super::verdict::{self, Reason, Verdict};
use crate::account::link::Link;
use crate::account::reconnect::doubling;
use crate::events::{Journal, JournalError};
use crate::messages::receipts::{SentIndex, Target};
use crate::model::outbox::payload_purpose;
use crate::model::stored::Record;
use crate::model::{Stored, WaOutboxDoc, queries};

pub use self::acks::Acks;
pub use self::hold::hold;
pub use self::marks::InboundMarks;
pub use self::status::PumpStatus;

/// What is under way when the pump stops may finish within this time: most
/// acknowledgements are on their way already, and each saves a repetition.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// By how much of itself a wait before the next attempt varies.
const WAIT_SPREAD: f64 = 0.2;

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

/// What became of one attempt.
struct Attempt {
    id: String,
    done: Done,
    /// Nothing is sent before then.
    pause_until: Option<Boottime>,
}

/// Sends what is queued.
pub struct Pump {
    parts: PumpParts,
}

/// What the pump's loop holds.
struct Work<'a> {
    schedule: Schedule,
    places: HashMap<String, Places>,
    bucket: Bucket,
    paused_until: Option<Boottime>,
    in_flight: FuturesUnordered<BoxFuture<'a, Attempt>>,
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
            bucket: Bucket::new(
                parts.config.rate,
                parts.config.burst,
                parts.clock.boottime(),
            ),
            paused_until: None,
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
            let timer = async {
                match wait {
                    Some(until) => parts.clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(attempt) = work.in_flight.next() => self.finish(work, attempt),
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
        match Places::new(&id, &document.thread_id, &document.stored_message_id) {
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
        if let Some(until) = work.paused_until {
            if until > now {
                return Some(until);
            }
            work.paused_until = None;
        }
        while work.in_flight.len() < self.parts.config.chats_parallel {
            // Looked at first: a token is only taken for what is sent.
            match work.schedule.peek(now) {
                Next::Send { .. } => {}
                Next::Wait(until) => return Some(until),
                Next::Idle => return None,
            }
            if let Err(wait) = work.bucket.take(now) {
                return Some(now + wait);
            }
            let Next::Send { id, lane } = work.schedule.next(now) else {
                return None;
            };
            match work.places.get(&id) {
                Some(places) => {
                    work.in_flight
                        .push(Box::pin(self.attempt(id, lane, places.clone())))
                }
                None => work.schedule.done(&id, Done::Settled),
            }
        }
        None
    }

    fn finish(&self, work: &mut Work<'_>, attempt: Attempt) {
        if attempt.done == Done::Settled {
            work.places.remove(&attempt.id);
        }
        work.schedule.done(&attempt.id, attempt.done);
        work.paused_until = work.paused_until.max(attempt.pause_until);
    }

    /// One attempt at one message, from its first commit to its last.
    async fn attempt(&self, id: String, thread_id: String, places: Places) -> Attempt {
        let mut pause_until = None;
        let done = match self
            .try_once(&id, &thread_id, &places, &mut pause_until)
            .await
        {
            Ok(done) => done,
            Err(error) => {
                match error {
                    JournalError::Fenced | JournalError::Closed(_) | JournalError::Ended => {}
                    JournalError::Store(_) | JournalError::Contended | JournalError::Draft(_) => {
                        tracing::warn!(message.id = %id, %error, "state of a message was not stored");
                    }
                }
                Done::Again(self.parts.clock.boottime() + STORE_WAIT)
            }
        };
        Attempt {
            id,
            done,
            pause_until,
        }
    }

    async fn try_once(
        &self,
        id: &str,
        thread_id: &str,
        places: &Places,
        pause_until: &mut Option<Boottime>,
    ) -> Result<Done, JournalError> {
        let PumpParts {
            journal,
            config,
            status,
            clock,
            ..
        } = &self.parts;
        let document = match places.begin(journal, config.expire_after).await? {
            Begun::Send(document) => document,
            Begun::Gone | Begun::Expired => return Ok(Done::Settled),
        };
        status.attempts.fetch_add(1, Ordering::Relaxed);
        let verdict = self.put_on_wire(id, thread_id, &document).await;
        let attempts = u32::try_from(document.attempts).unwrap_or(u32::MAX);
        match self.limited(verdict, attempts) {
            Verdict::Sent => {
                status.sent.fetch_add(1, Ordering::Relaxed);
                places.sent(journal).await?;
                Ok(Done::Settled)
            }
            // `sending` stays: the next connection begins with it.
            Verdict::Unconnected => Ok(Done::Again(clock.boottime() + config.retry_base)),
            Verdict::Retry(reason) => self.retry(places, &reason, attempts).await,
            Verdict::Pause(pause, reason) => {
                tracing::warn!(account.id = %self.parts.account_id, ?pause, "sending is paused: WhatsApp asks for less");
                *pause_until = Some(clock.boottime() + pause);
                self.retry(places, &reason, attempts).await
            }
            Verdict::Fail(reason) => {
                status.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    message.id = id,
                    code = reason.code,
                    wa.code = reason.wa_code,
                    "message is given up"
                );
                places.fail(journal, &reason).await?;
                Ok(Done::Settled)
            }
        }
    }

    /// Turns one attempt too many into a failure.
    fn limited(&self, verdict: Verdict, attempts: u32) -> Verdict {
        match verdict {
            Verdict::Retry(reason) | Verdict::Pause(_, reason)
                if attempts >= self.parts.config.attempts_max =>
            {
                Verdict::Fail(Reason {
                    message: format!("given up after {attempts} attempts: {}", reason.message),
                    ..reason
                })
            }
            other @ (Verdict::Sent
            | Verdict::Unconnected
            | Verdict::Retry(_)
            | Verdict::Pause(..)
            | Verdict::Fail(_)) => other,
        }
    }

    async fn retry(
        &self,
        places: &Places,
        reason: &Reason,
        attempts: u32,
    ) -> Result<Done, JournalError> {
        let PumpParts {
            journal,
            config,
            clock,
            rng,
            ..
        } = &self.parts;
        let wait = rng.jitter(
            doubling(config.retry_base, config.retry_max, attempts),
            WAIT_SPREAD,
        );
        let not_before = clock.boottime() + wait;
        places.again(journal, reason, wait).await?;
        Ok(Done::Again(not_before))
    }

    /// Waits until the session is durable, where the conversation has written
    /// since it last was. False if it is not in time.
    async fn make_durable(&self, thread_id: &str) -> bool {
        let PumpParts {
            marks,
            link,
            clock,
            config,
            ..
        } = &self.parts;
        // One at a time: whoever comes meanwhile waits for what is under way.
        let _flushing = marks.flushing.lock().await;
        if !marks.is_marked(thread_id) {
            return true;
        }
        let taken = marks.take();
        let durable = tokio::select! {
            biased;
            flushed = link.flush_after_inbound() => flushed.is_ok(),
            () = clock.sleep(config.flush_timeout) => false,
        };
        if !durable {
            marks.put_back(taken);
            tracing::warn!(account.id = %self.parts.account_id, "session was not durable in time; an answer waits");
        }
        durable
    }

    /// Sends the frame and waits for the server's answer.
    ///
    /// What the conversation has written changes the session that encrypts the
    /// answer, and if that change is lost in a crash after the answer has left,
    /// the two sides do not understand one another any more. So it is made
    /// durable last thing before the frame, and, because the engine decrypts
    /// while it sends, at once after it and once more with the answer.
    async fn put_on_wire(&self, id: &str, thread_id: &str, document: &WaOutboxDoc) -> Verdict {
        let PumpParts {
            account_id,
            acks,
            link,
            clock,
            config,
            data_key,
            status,
            ..
        } = &self.parts;
        let Ok(payload) = data_key.open_secret(account_id, &payload_purpose(id), &document.payload)
        else {
            return Verdict::Fail(Reason::new(
                "unreadable",
                "the stored message does not open with the account's key",
            ));
        };
        let message = OutboundMessage {
            chat: document.chat.clone(),
            message_id: document.wa_message_id.clone(),
            payload: bytes::Bytes::copy_from_slice(&payload),
        };
        let mut connected = self.parts.connected.clone();
        if !self.make_durable(thread_id).await {
            let reason = "the session could not be stored before sending";
            return Verdict::Retry(Reason::new("storage", reason));
        }
        // Before the frame leaves: the answer may be faster than the return.
        let ack = acks.expect(&message.message_id);
        let begun = clock.boottime();
        let frames_flowed = || link.stats().last_frame_in.is_some_and(|at| at >= begun);
        let verdict = match link.send(&message).await {
            Err(error) => {
                if matches!(error, SendError::TimedOut) {
                    status.timed_out(frames_flowed());
                }
                verdict::of_send_error(&error)
            }
            Ok(()) => {
                let answer = async {
                    tokio::select! {
                        biased;
                        answer = ack => {
                            status.hung_in_a_row.store(0, Ordering::Relaxed);
                            verdict::of_ack(answer.ok())
                        }
                        _ = connected.wait_for(|connected| !connected) => Verdict::Unconnected,
                        () = clock.sleep(config.ack_timeout) => {
                            status.timed_out(frames_flowed());
                            verdict::of_ack(None)
                        }
                    }
                };
                let (verdict, _) = tokio::join!(answer, self.make_durable(thread_id));
                self.make_durable(thread_id).await;
                verdict
            }
        };
        acks.forget(&message.message_id);
        verdict
    }
}
