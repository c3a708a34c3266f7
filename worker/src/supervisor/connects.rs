//! Hands out the cluster's connects to the accounts of this worker.
//!
//! An account asks for its turn before each attempt. What is asked within a
//! moment is leased from the store as one slice: one read and one conditional
//! write for many starts. While a slice is still being used no further one is
//! leased, so that workers take turns and nobody plans far ahead.
//!
//! It paces, it does not protect: where the store does not answer, starts are
//! paced by this worker alone, more slowly.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{CommitOutcome, Precondition, Store, StoreError, StoreTime, Write};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use whatsapp::DisconnectReason;

use super::budget::{Budget, Tally};
use super::pacer::ConnectPacer;
use crate::model::{Read, Stored, collections};

/// Accounts that can wait for their turn: more than a worker may own.
const ASKS_MAX: usize = 2_048;

/// What is asked for within this time is leased at once.
const GATHER: Duration = Duration::from_millis(20);

/// The most starts in a slice.
const SLICE_MAX: usize = 20;

/// The next slice is leased so long before the last one is used up.
const LEAD: Duration = Duration::from_millis(500);

/// Attempts at a slice that other workers keep getting ahead of.
const LEASE_ATTEMPTS_MAX: u32 = 8;

/// A slice that takes longer is not waited for.
const LEASE_LIMIT: Duration = Duration::from_secs(3);

/// So many busy answers of WhatsApp within [`BUSY_WINDOW`] are widespread.
const BUSY_TOLERATED: usize = 5;

/// See [`BUSY_TOLERATED`].
const BUSY_WINDOW: Duration = Duration::from_secs(10);

/// Without the store, this worker alone: a share of the budget.
const ALONE_RATE_SHARE: f64 = 0.25;

/// See [`ALONE_RATE_SHARE`].
const ALONE_BURST: u32 = 5;

/// `config/connects-{egress}`: the tally of an address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TallyDoc {
    /// See [`Tally::due`].
    pub due: Option<StoreTime>,
    /// See [`Tally::slow_until`].
    pub slow_until: Option<StoreTime>,
}

impl Stored for TallyDoc {}

/// Lets accounts ask for their turns; clones ask the same task.
#[derive(Clone)]
pub struct Connects {
    asks: mpsc::Sender<Ask>,
    /// The address of accounts without one of their own.
    egress: Arc<str>,
    busy: Arc<Mutex<HashMap<Arc<str>, VecDeque<Boottime>>>>,
    clock: SharedClock,
}

/// What the task works with.
pub struct ConnectsParts {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// What an address may do.
    pub budget: Budget,
    /// The name of the address that workers here share.
    pub egress: String,
}

struct Ask {
    egress: Arc<str>,
    turn: oneshot::Sender<Boottime>,
}

/// A place in the queue; dropped, it is given up.
pub struct Turn(oneshot::Receiver<Boottime>);

impl Turn {
    /// When the attempt may begin, which may be now. `None` where nobody hands
    /// out turns any more: the worker ends.
    ///
    /// # Cancel safety
    /// The turn is kept.
    pub async fn granted(&mut self) -> Option<Boottime> {
        (&mut self.0).await.ok()
    }
}

impl Connects {
    /// Connects, and the task that hands them out.
    pub fn new(parts: ConnectsParts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asks, queue) = mpsc::channel(ASKS_MAX);
        let connects = Self {
            asks,
            egress: parts.egress.as_str().into(),
            busy: Arc::default(),
            clock: Arc::clone(&parts.clock),
        };
        let alone = ConnectPacer::new(
            parts.budget.rate * ALONE_RATE_SHARE,
            ALONE_BURST,
            parts.clock.boottime(),
        );
        let dispenser = Dispenser {
            parts,
            lanes: HashMap::new(),
            busy: Arc::clone(&connects.busy),
            alone,
        };
        (connects, dispenser.run(queue))
    }

    /// Asks for a turn from this address, or from the one that workers share.
    pub fn ask(&self, egress: Option<&str>) -> Turn {
        let (turn, granted) = oneshot::channel();
        let egress = egress.map_or_else(|| Arc::clone(&self.egress), Into::into);
        if let Err(mpsc::error::TrySendError::Full(ask)) = self.asks.try_send(Ask { egress, turn })
        {
            // Cannot be: a worker owns fewer accounts. Unpaced rather than stuck.
            let _ = ask.turn.send(self.clock.boottime());
        }
        Turn(granted)
    }

    /// Takes note of how a connection ended: where many are told that WhatsApp
    /// is busy, all are slowed down.
    pub fn ended(&self, egress: Option<&str>, reason: &DisconnectReason) {
        let is_busy = matches!(
            reason,
            DisconnectReason::ServiceUnavailable | DisconnectReason::RateLimited
        );
        if !is_busy {
            return;
        }
        let egress = egress.map_or_else(|| Arc::clone(&self.egress), Into::into);
        let now = self.clock.boottime();
        let mut busy = self.busy.lock();
        let times = busy.entry(egress).or_default();
        times.retain(|at| now - *at <= BUSY_WINDOW);
        if times.len() < BUSY_TOLERATED {
            times.push_back(now);
        }
    }
}

/// The accounts that wait at one address.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<oneshot::Sender<Boottime>>,
    /// When the last start that was handed out is due.
    used_until: Boottime,
}

struct Dispenser {
    parts: ConnectsParts,
    lanes: HashMap<Arc<str>, Lane>,
    busy: Arc<Mutex<HashMap<Arc<str>, VecDeque<Boottime>>>>,
    alone: ConnectPacer,
}

impl Dispenser {
    /// Runs until nobody can ask any more.
    async fn run(mut self, mut queue: mpsc::Receiver<Ask>) {
        let clock = Arc::clone(&self.parts.clock);
        loop {
            let next = self.next_lease();
            tokio::select! {
                biased;
                ask = queue.recv() => {
                    let Some(ask) = ask else { return };
                    let is_first = self.lanes.is_empty();
                    self.put(ask);
                    if is_first {
                        // Those that ask together are served together.
                        clock.sleep(GATHER).await;
                    }
                    while let Ok(ask) = queue.try_recv() {
                        self.put(ask);
                    }
                }
                () = sleep_until(&clock, next) => self.serve().await,
            }
        }
    }

    fn put(&mut self, ask: Ask) {
        let now = self.parts.clock.boottime();
        if self.parts.budget.rate <= 0.0 {
            let _ = ask.turn.send(now);
            return;
        }
        let lane = self.lanes.entry(ask.egress).or_default();
        lane.waiting.push_back(ask.turn);
    }

    /// When the next slice is to be leased, if anybody waits.
    fn next_lease(&self) -> Option<Boottime> {
        let lanes = self.lanes.values();
        lanes
            .filter(|lane| !lane.waiting.is_empty())
            .map(|lane| lane.used_until - LEAD)
            .min()
    }

    /// Leases a slice for each address where somebody waits and the last slice
    /// is used up, and hands its starts out.
    async fn serve(&mut self) {
        let now = self.parts.clock.boottime();
        let mut lanes = std::mem::take(&mut self.lanes);
        for (egress, lane) in &mut lanes {
            lane.waiting.retain(|turn| !turn.is_closed());
            let count = lane.waiting.len().min(SLICE_MAX);
            if count == 0 || lane.used_until - LEAD > now {
                continue;
            }
            let starts = self.slice(egress, count).await;
            for (turn, at) in lane.waiting.drain(..count).zip(starts) {
                lane.used_until = lane.used_until.max(at);
                // Whoever went away leaves its start unused.
                let _ = turn.send(at);
            }
        }
        lanes.retain(|_, lane| !lane.waiting.is_empty() || lane.used_until > now);
        self.lanes = lanes;
    }

    /// `count` starting times, from the store or else of this worker's own.
    async fn slice(&self, egress: &str, count: usize) -> Vec<Boottime> {
        let clock = &self.parts.clock;
        let leased = tokio::select! {
            biased;
            leased = self.lease(egress, count) => leased,
            () = clock.sleep(LEASE_LIMIT) => Err(StoreError::unavailable("no slice in time")),
        };
        let now = clock.boottime();
        match leased {
            Ok(waits) => waits.into_iter().map(|wait| now + wait).collect(),
            Err(error) => {
                tracing::warn!(egress, count, %error, "connects are paced by this worker alone");
                (0..count).map(|_| self.alone.reserve(now)).collect()
            }
        }
    }

    async fn lease(&self, egress: &str, count: usize) -> Result<Vec<Duration>, StoreError> {
        let path = collections::config(&format!("connects-{egress}"))?;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        for _ in 0..LEASE_ATTEMPTS_MAX {
            let snapshot = self.parts.store.get(std::slice::from_ref(&path)).await?;
            let now = snapshot.read_time;
            let (stored, precondition) = match snapshot.documents.into_iter().flatten().next() {
                None => (TallyDoc::default(), Precondition::Absent),
                Some(document) => match TallyDoc::read(&document)? {
                    Read::Known(record) => {
                        (record.value, Precondition::Unchanged(record.update_time))
                    }
                    Read::Newer(version) => {
                        return Err(StoreError::Invalid {
                            reason: format!("the tally has schema version {version}"),
                        });
                    }
                },
            };
            let mut tally = Tally {
                due: stored.due.unwrap_or(Tally::default().due),
                slow_until: stored.slow_until,
            };
            if self.is_widely_busy(egress) && !tally.is_freshly_slowed(now) {
                tracing::warn!(egress, "WhatsApp is busy: all connects are slowed down");
                tally.slow_down(now);
            }
            let waits = tally.lease(now, count, self.parts.budget);
            let doc = TallyDoc {
                due: Some(tally.due),
                slow_until: tally.slow_until,
            };
            let write = Write::Set {
                path: path.clone(),
                fields: doc.to_document()?,
                precondition,
            };
            match self.parts.store.commit(vec![write]).await? {
                CommitOutcome::Committed(_) => return Ok(waits),
                CommitOutcome::Rejected => {
                    // Another worker leased one meanwhile.
                    let wait = self.parts.rng.jitter(GATHER, 0.9);
                    self.parts.clock.sleep(wait).await;
                }
            }
        }
        Err(StoreError::unavailable(
            "other workers were faster each time",
        ))
    }

    fn is_widely_busy(&self, egress: &str) -> bool {
        let now = self.parts.clock.boottime();
        let busy = self.busy.lock();
        let times = busy.get(egress).into_iter().flatten();
        times.filter(|at| now - **at <= BUSY_WINDOW).count() >= BUSY_TOLERATED
    }
}

async fn sleep_until(clock: &SharedClock, at: Option<Boottime>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn connects(bench: &Bench, budget: Budget) -> Connects {
        let (connects, dispenser) = Connects::new(ConnectsParts {
            store: Arc::clone(&bench.store),
            clock: Arc::clone(&bench.clock),
            rng: Arc::clone(&bench.rng),
            budget,
            egress: "default".to_owned(),
        });
        bench.tracker.spawn(dispenser);
        connects
    }

    async fn tally(bench: &Bench, egress: &str) -> Option<TallyDoc> {
        let path = collections::config(&format!("connects-{egress}")).unwrap();
        bench.read(path).await
    }

    /// How long after now each of these turns is, in milliseconds.
    async fn waits(connects: &Connects, egress: Option<&str>, count: usize) -> Vec<u128> {
        let begun = connects.clock.boottime();
        let mut turns: Vec<Turn> = (0..count).map(|_| connects.ask(egress)).collect();
        let mut waits = Vec::new();
        for turn in &mut turns {
            let at = turn.granted().await.unwrap();
            waits.push((at - begun).as_millis());
        }
        waits
    }

    #[tokio::test]
    async fn workers_share_one_budget_and_a_slice_is_one_write() {
        let bench = Bench::new();
        let budget = Budget {
            rate: 10.0,
            burst: 8,
        };
        let (alice, bob) = (connects(&bench, budget), connects(&bench, budget));
        let first = waits(&alice, None, 6).await;
        assert!(first.iter().all(|wait| *wait < 100), "{first:?}");
        let written = tally(&bench, "default").await.unwrap();
        // Two are left of the burst, whoever wants them.
        let second = waits(&bob, None, 4).await;
        assert!(second[1] < 100 && second[3] >= 100, "{second:?}");
        let moved = tally(&bench, "default").await.unwrap();
        let steps = moved.due.unwrap().since(written.due.unwrap());
        assert_eq!(steps, Duration::from_millis(400));
        // Another address has a budget of its own.
        let other = waits(&bob, Some("proxy-1"), 4).await;
        assert!(other.iter().all(|wait| *wait < 100), "{other:?}");
    }

    #[tokio::test]
    async fn many_busy_answers_slow_the_whole_address_down() {
        let bench = Bench::new();
        let budget = Budget {
            rate: 1_000.0,
            burst: 100,
        };
        let (alice, bob) = (connects(&bench, budget), connects(&bench, budget));
        for _ in 0..BUSY_TOLERATED - 1 {
            alice.ended(None, &DisconnectReason::ServiceUnavailable);
        }
        alice.ended(None, &DisconnectReason::ConnectionClosed);
        waits(&alice, None, 1).await;
        assert_eq!(tally(&bench, "default").await.unwrap().slow_until, None);
        alice.ended(None, &DisconnectReason::RateLimited);
        waits(&alice, None, 1).await;
        let slowed = tally(&bench, "default").await.unwrap();
        assert!(slowed.slow_until.is_some());
        // The other worker obeys: four times as long, no burst.
        let waits = waits(&bob, None, 20).await;
        assert!(*waits.last().unwrap() >= 76, "{waits:?}");
    }

    #[tokio::test]
    async fn without_a_rate_nothing_is_paced_and_nothing_written() {
        let bench = Bench::new();
        let free = connects(
            &bench,
            Budget {
                rate: 0.0,
                burst: 1,
            },
        );
        let waits = waits(&free, None, 50).await;
        assert!(waits.iter().all(|wait| *wait < 100), "{waits:?}");
        assert_eq!(tally(&bench, "default").await, None);
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_holds_nobody_up() {
        let bench = Bench::new();
        let connects = connects(
            &bench,
            Budget {
                rate: 5.0,
                burst: 1,
            },
        );
        drop(connects.ask(None));
        drop(connects.ask(None));
        let waits = waits(&connects, None, 1).await;
        assert!(waits[0] < 200, "{waits:?}");
    }
}
