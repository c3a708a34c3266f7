//! The heartbeat: proves again and again that this worker session lives.
//!
//! It alone writes the session's document. An acknowledged beat moves the
//! session's [`Deadline`] ahead, counted from *before* the request was sent;
//! a seal by somebody else closes it. It runs apart from the work, with a
//! client of its own, so that work can neither starve it nor slow it down; but
//! it beats only while the work makes progress ([`Pulse`]): a worker whose
//! runtime hangs must not look alive.
//!
//! An unknown outcome is settled by reading back: the beat that was not
//! acknowledged is recognised by its number and counts from the oldest attempt
//! that may have made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::call::limited;
use crate::clock::{Boottime, SharedClock};
use crate::deadline::Deadline;
use crate::gate::CloseReason;
use crate::lease::LeaseConfig;
use crate::mutation::{self, Mutation};
use crate::observer::{self, LeaseEvent};
use crate::rng::SharedRng;
use crate::store::{CommitOutcome, Fields, Precondition, Store, StoreError, StoreTime, Write};
use crate::watchdog::WatchList;
use crate::worker_session::{self, SessionFacts, SessionState, WorkerSession};

/// The share by which waits between beats differ, so that workers that were
/// started together do not beat together.
const JITTER: f64 = 0.1;

/// After a beat that failed, as a share of the heartbeat's interval.
const RETRY_SHARE: f64 = 0.2;

/// A pulse older than this many heartbeats is none.
const PULSE_BEATS: f64 = 2.0;

/// What a heartbeat works with.
#[derive(Clone)]
pub struct HeartbeatParts {
    /// A client of its own.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub rng: SharedRng,
    /// Durations.
    pub config: LeaseConfig,
    /// What the session's document says.
    pub facts: SessionFacts,
}

/// Runs a heartbeat on a thread and a runtime of its own, so that no work can
/// starve it.
///
/// # Errors
/// The machine has no thread for it; the heartbeat never runs then.
pub fn on_own_thread(heartbeat: BoxFuture<'static, ()>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("heartbeat".to_owned());
    thread.spawn(move || runtime.block_on(heartbeat)).map(drop)
}

/// What the heartbeat and the work tell each other; shared.
#[derive(Debug)]
pub struct Vitals {
    /// Until when this session may act.
    pub deadline: Arc<Deadline>,
    /// Accounts owned, as the work counts them.
    pub owned: AtomicU32,
    /// Whether the work makes progress.
    pub pulse: Pulse,
    /// Gates that must not be passed beyond their deadline.
    pub(crate) watched: WatchList,
    wanted: watch::Sender<SessionState>,
    seen: watch::Sender<Seen>,
}

/// What was last seen of the own session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The state in the store.
    pub state: SessionState,
    /// Before which request the last acknowledged beat was sent.
    pub beat_at: Boottime,
    /// The store's time of that beat.
    pub store_time: StoreTime,
    /// Beats since then that failed.
    pub failures: u32,
    /// Since when beats have been acknowledged without a gap.
    pub good_since: Boottime,
}

/// Shows that a runtime makes progress: somebody who runs on it ticks it.
#[derive(Debug, Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// There is progress.
    pub fn tick(&self, now: Boottime) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When there last was.
    pub fn last(&self) -> Boottime {
        Boottime::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Vitals {
    /// Asks for another state; the next beat, at once, writes it.
    pub fn want(&self, state: SessionState) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != state && !wanted.is_final();
            if is_new {
                *wanted = state;
            }
            is_new
        });
    }

    /// What was last seen of the own session.
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Tells of everything that is seen from now on.
    pub fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Waits until the session has ended, and says how.
    pub async fn ended(&self) -> SessionState {
        let mut seen = self.seen.subscribe();
        match seen.wait_for(|seen| seen.state.is_final()).await {
            Ok(seen) => seen.state,
            // The sender lives in `self`.
            Err(_) => SessionState::Sealed,
        }
    }
}

/// The beats of one session.
pub struct Heartbeat {
    parts: HeartbeatParts,
    vitals: Arc<Vitals>,
    /// The document's version, as far as it is known.
    version: StoreTime,
    /// The last beat that was acknowledged.
    beat: i64,
    /// The oldest attempt of the next beat whose outcome is unknown.
    doubt: Option<Boottime>,
    /// What is asked for, from the begin on: nothing asked before it runs is missed.
    wanted: watch::Receiver<SessionState>,
}

/// What one attempt at a beat came to.
enum Beat {
    /// Acknowledged; sent after this time.
    Done(Boottime, StoreTime),
    /// The session has ended.
    Ended(SessionState),
    /// Look again at once: the document was changed, but not by its end.
    Again,
    /// No answer, or the store failed.
    Failed(StoreError),
}

impl Heartbeat {
    /// Begins a session: its document must not exist.
    ///
    /// # Errors
    /// The store failed; a session that may have begun all the same is never
    /// used, and dies by itself.
    pub async fn begin(parts: HeartbeatParts) -> Result<(Self, Arc<Vitals>), StoreError> {
        let asked_at = parts.clock.boottime();
        let precondition = if mutation::is_on(Mutation::ReuseSession) {
            Precondition::None
        } else {
            Precondition::Absent
        };
        let write = Write::Set {
            path: worker_session::path(&parts.facts.me.session_id),
            fields: parts.facts.first_fields(&parts.config),
            precondition,
        };
        let limit = parts.config.attempt_timeout;
        let commit = limited(&parts.clock, limit, parts.store.commit(vec![write])).await?;
        let CommitOutcome::Committed(commit) = commit else {
            return Err(StoreError::invalid("the worker session's id is taken"));
        };
        let deadline = parts.config.session_deadline(stamp(&parts, asked_at));
        let vitals = Arc::new(Vitals {
            deadline: Arc::new(Deadline::new(deadline)),
            owned: AtomicU32::new(0),
            pulse: Pulse::default(),
            watched: WatchList::default(),
            wanted: watch::Sender::new(SessionState::Active),
            seen: watch::Sender::new(Seen {
                state: SessionState::Active,
                beat_at: asked_at,
                store_time: commit.time,
                failures: 0,
                good_since: asked_at,
            }),
        });
        vitals.pulse.tick(asked_at);
        info!(worker.session = %parts.facts.me.session_id, "worker session began");
        let heartbeat = Self {
            version: commit.update_times[0],
            parts,
            wanted: vitals.wanted.subscribe(),
            vitals: Arc::clone(&vitals),
            beat: 0,
            doubt: None,
        };
        Ok((heartbeat, vitals))
    }

    /// Beats until the session has ended, and watches over its gates.
    ///
    /// # Cancel safety
    /// A session whose heartbeat is dropped dies after its ttl.
    pub async fn run(self) -> SessionState {
        let (vitals, clock) = (Arc::clone(&self.vitals), Arc::clone(&self.parts.clock));
        let margin = self.parts.config.freeze_margin;
        let watching = vitals.watched.watch(clock, margin);
        tokio::select! {
            biased;
            state = self.beat() => state,
            () = watching => SessionState::Sealed,
        }
    }

    async fn beat(mut self) -> SessionState {
        let clock = Arc::clone(&self.parts.clock);
        let interval = self.parts.config.heartbeat;
        let mut wait = self.parts.rng.jitter(interval, JITTER);
        loop {
            tokio::select! {
                biased;
                // The sender lives in `self.vitals`.
                _ = self.wanted.changed() => {}
                () = clock.sleep(wait) => {}
            }
            if !self.has_pulse() {
                warn!(worker.session = %self.parts.facts.me.session_id, "work makes no progress: no heartbeat");
                wait = interval.mul_f64(RETRY_SHARE);
                continue;
            }
            wait = match self.attempt().await {
                Beat::Done(asked_at, store_time) => {
                    self.proved(asked_at, store_time);
                    let state = self.vitals.seen().state;
                    if state.is_final() {
                        return state;
                    }
                    self.parts.rng.jitter(interval, JITTER)
                }
                Beat::Ended(state) => {
                    self.ended(state);
                    return state;
                }
                Beat::Again => Duration::ZERO,
                Beat::Failed(error) => {
                    self.failed(&error);
                    interval.mul_f64(RETRY_SHARE)
                }
            };
        }
    }

    /// A worker whose work hangs must not look alive.
    fn has_pulse(&self) -> bool {
        let age = self.parts.clock.boottime() - self.vitals.pulse.last();
        age < self.parts.config.heartbeat.mul_f64(PULSE_BEATS)
    }

    async fn attempt(&mut self) -> Beat {
        let asked_at = self.parts.clock.boottime();
        let state = *self.wanted.borrow();
        let owned = self.vitals.owned.load(Ordering::Relaxed);
        let fields = worker_session::beat_fields(self.beat + 1, state, owned);
        match self.commit(fields).await {
            Ok(CommitOutcome::Committed(commit)) => {
                self.version = commit.update_times[0];
                self.acknowledged(state);
                Beat::Done(stamp(&self.parts, asked_at), commit.time)
            }
            Ok(CommitOutcome::Rejected) => self.look().await,
            Err(error @ StoreError::Ambiguous { .. }) => {
                self.doubt.get_or_insert(asked_at);
                Beat::Failed(error)
            }
            Err(error) => Beat::Failed(error),
        }
    }

    async fn commit(&self, fields: Fields) -> Result<CommitOutcome, StoreError> {
        let write = Write::Update {
            path: worker_session::path(&self.parts.facts.me.session_id),
            fields,
            precondition: Precondition::Unchanged(self.version),
        };
        let limit = self.parts.config.attempt_timeout;
        limited(
            &self.parts.clock,
            limit,
            self.parts.store.commit(vec![write]),
        )
        .await
    }

    /// Somebody wrote the document: an attempt of ours that was given up, or a
    /// sealer, or a person.
    async fn look(&mut self) -> Beat {
        let paths = [worker_session::path(&self.parts.facts.me.session_id)];
        let limit = self.parts.config.attempt_timeout;
        let read = limited(&self.parts.clock, limit, self.parts.store.get(&paths)).await;
        let mut read = match read {
            Ok(read) => read,
            Err(error) => return Beat::Failed(error),
        };
        let Some(document) = read.documents.swap_remove(0) else {
            // Removed: whoever did that takes it for ended.
            return Beat::Ended(SessionState::Sealed);
        };
        let session = WorkerSession::read(&document, &self.parts.config);
        self.version = session.update_time;
        if session.state == SessionState::Sealed && !mutation::is_on(Mutation::SealNotFinal) {
            return Beat::Ended(SessionState::Sealed);
        }
        match self.doubt {
            Some(asked_at) if session.beat == self.beat + 1 => {
                self.acknowledged(session.state);
                Beat::Done(asked_at, session.update_time)
            }
            _ if session.state.is_final() && !mutation::is_on(Mutation::SealNotFinal) => {
                Beat::Ended(session.state)
            }
            _ => Beat::Again,
        }
    }

    fn acknowledged(&mut self, state: SessionState) {
        self.beat += 1;
        self.doubt = None;
        self.vitals.seen.send_modify(|seen| seen.state = state);
    }

    fn proved(&self, asked_at: Boottime, store_time: StoreTime) {
        let deadline = self.parts.config.session_deadline(asked_at);
        let now = self.parts.clock.boottime();
        observer::happened(LeaseEvent::Beat {
            took: now - asked_at,
            margin: self.vitals.deadline.at() - now,
        });
        self.vitals.deadline.set(deadline);
        let gap =
            self.parts.config.heartbeat.mul_f64(PULSE_BEATS) + self.parts.config.attempt_timeout;
        self.vitals.seen.send_modify(|seen| {
            if now - seen.beat_at > gap {
                info!(worker.session = %self.parts.facts.me.session_id, failures = seen.failures, "heartbeat is back");
                seen.good_since = now;
            }
            seen.beat_at = asked_at;
            seen.store_time = store_time;
            seen.failures = 0;
        });
        debug!(worker.session = %self.parts.facts.me.session_id, beat = self.beat, "heartbeat");
    }

    fn failed(&self, error: &StoreError) {
        observer::happened(LeaseEvent::BeatFailed);
        let mut failures = 0;
        self.vitals.seen.send_modify(|seen| {
            seen.failures = seen.failures.saturating_add(1);
            failures = seen.failures;
        });
        if failures == 1 {
            warn!(worker.session = %self.parts.facts.me.session_id, %error, "heartbeat failed");
        }
    }

    fn ended(&self, state: SessionState) {
        warn!(worker.session = %self.parts.facts.me.session_id, state = state.as_str(), "worker session was ended by another");
        observer::happened(LeaseEvent::Frozen);
        self.vitals.deadline.close(CloseReason::Sealed);
        self.vitals.seen.send_modify(|seen| seen.state = state);
    }
}

/// From when a deadline counts: before the request, unless that rule is broken
/// on purpose.
fn stamp(parts: &HeartbeatParts, asked_at: Boottime) -> Boottime {
    if mutation::is_on(Mutation::StampAfterReply) {
        parts.clock.boottime()
    } else {
        asked_at
    }
}

#[cfg(test)]
mod tests;
