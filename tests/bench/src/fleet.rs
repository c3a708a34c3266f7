//! Coordinators alone, many of them, on virtual time: what they ask of the
//! store, without anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use coordinator_lib::clock::{Boottime, Clock, SharedClock};
use coordinator_lib::coordinator::{Coordinator, CoordinatorParts, HeartbeatRun};
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{
    Change, CommitOutcome, DocumentStore, Fields, MemoryStore, Page, Path, Query, Snapshot, Store,
    StoreError, StoreTime, Watch, Write, WriteOutcome,
};
use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How often it is looked who owns what.
const LOOK: Duration = Duration::from_millis(250);

/// Runs on a thread and a runtime of its own, whose time passes when everybody
/// waits.
///
/// # Errors
/// What the work says.
pub(crate) fn on_virtual_time<T: Send + 'static>(
    work: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        runtime.block_on(work())
    };
    match std::thread::spawn(run).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Tokio's paused time as a clock.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn boottime(&self) -> Boottime {
        Boottime::from_duration(Duration::from_secs(3_600) + self.0.elapsed())
    }

    fn wall(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn sleep_until(&self, deadline: Boottime) -> BoxFuture<'static, ()> {
        self.sleep(deadline - self.boottime())
    }
}

/// What was asked of the store, in documents, as Firestore counts them.
#[derive(Debug, Default)]
struct Bill {
    writes: AtomicU64,
    reads: AtomicU64,
    rejected: AtomicU64,
}

/// A look at the bill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Billed {
    /// Documents written.
    pub(crate) writes: u64,
    /// Documents read; a reading that finds nothing costs one, too.
    pub(crate) reads: u64,
    /// Commits that lost a race.
    pub(crate) rejected: u64,
}

impl Billed {
    /// What came since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            writes: self.writes - before.writes,
            reads: self.reads - before.reads,
            rejected: self.rejected - before.rejected,
        }
    }
}

/// A store that counts.
struct Counted {
    store: MemoryStore,
    bill: Arc<Bill>,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

#[async_trait]
impl DocumentStore for Counted {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        add(&self.bill.reads, paths.len());
        self.store.get(paths).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let page = self.store.query(query).await?;
        add(&self.bill.reads, page.documents.len().max(1));
        Ok(page)
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        add(&self.bill.reads, 1);
        self.store.count(query).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        add(&self.bill.writes, writes.len());
        let outcome = self.store.commit(writes).await?;
        add(
            &self.bill.rejected,
            usize::from(outcome == CommitOutcome::Rejected),
        );
        Ok(outcome)
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        add(&self.bill.writes, writes.len());
        let outcomes = self.store.commit_each(writes).await?;
        let rejected = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, WriteOutcome::Rejected));
        add(&self.bill.rejected, rejected.count());
        Ok(outcomes)
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let watch = self.store.watch(query).await?;
        let bill = Arc::clone(&self.bill);
        let changes = futures::stream::unfold((watch, bill), async |(mut watch, bill)| {
            let change = watch.next().await?;
            match &change {
                Change::Snapshot(documents) => add(&bill.reads, documents.len().max(1)),
                Change::Changed(_) => add(&bill.reads, 1),
                Change::Removed(_) => {}
            }
            Some((change, (watch, bill)))
        });
        Ok(Watch::new(changes))
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        self.store.ping().await
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}

/// Workers that do nothing with their accounts but own them.
pub(crate) struct Fleet {
    pub(crate) store: Store,
    clock: SharedClock,
    bill: Arc<Bill>,
    accounts: usize,
    coordinators: Vec<Coordinator>,
    tracker: TaskTracker,
}

impl Fleet {
    /// A store with accounts that nobody owns.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn new(accounts: usize) -> Result<Self> {
        let clock: SharedClock = Arc::new(TokioClock(Instant::now()));
        let bill = Arc::new(Bill::default());
        let memory = MemoryStore::new(Arc::clone(&clock));
        for number in 0..accounts {
            let account = AccountId::new(format!("account-{number:05}"))?;
            let created = lease::create_account(&account, Fields::new(), Fields::new());
            let _ = memory.commit(created.to_vec()).await?;
        }
        Ok(Self {
            store: Arc::new(Counted {
                store: memory,
                bill: Arc::clone(&bill),
            }),
            clock,
            bill,
            accounts,
            coordinators: Vec::new(),
            tracker: TaskTracker::new(),
        })
    }

    /// Starts workers, all at once.
    ///
    /// # Errors
    /// One does not begin a session.
    pub(crate) async fn start(&mut self, workers: usize, capacity: u32) -> Result<()> {
        for number in 0..workers {
            let seed = number as u64 + 1;
            let name = format!("worker-{number:03}");
            let mut parts = CoordinatorParts::new(
                &name,
                capacity,
                Arc::clone(&self.store),
                Arc::clone(&self.clock),
                SeededRng::shared(seed),
                self.tracker.clone(),
            );
            let tracker = self.tracker.clone();
            parts.heartbeat = HeartbeatRun {
                spawn: Arc::new(move |heartbeat| drop(tracker.spawn(heartbeat))),
                ..parts.heartbeat
            };
            let coordinator = Coordinator::start(parts).await?;
            self.tracker
                .spawn(own_all(coordinator.clone(), self.tracker.clone()));
            self.coordinators.push(coordinator);
        }
        Ok(())
    }

    /// How many accounts each worker owns.
    pub(crate) fn owned(&self) -> Vec<usize> {
        let views = self.coordinators.iter().map(Coordinator::view);
        views.map(|view| view.leases.len()).collect()
    }

    /// The largest of them less the smallest.
    pub(crate) fn imbalance(&self) -> usize {
        let owned = self.owned();
        let (most, least) = (owned.iter().max(), owned.iter().min());
        most.unwrap_or(&0) - least.unwrap_or(&0)
    }

    /// Lets time pass until all accounts are owned; how much did.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub(crate) async fn until_owned(&self, limit: Duration) -> Result<Duration> {
        self.until(limit, |fleet| {
            fleet.owned().iter().sum::<usize>() == fleet.accounts
        })
        .await
    }

    /// The same until they are shared out evenly.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub(crate) async fn until_even(&self, limit: Duration) -> Result<Duration> {
        self.until(limit, |fleet| {
            fleet.owned().iter().sum::<usize>() == fleet.accounts && fleet.imbalance() <= 1
        })
        .await
    }

    async fn until(&self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> Result<Duration> {
        let began = self.clock.boottime();
        while !is_so(self) {
            if self.clock.boottime() - began > limit {
                bail!("not within {limit:?}: {:?}", self.owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(self.clock.boottime() - began)
    }

    /// What was asked of the store so far.
    pub(crate) fn billed(&self) -> Billed {
        Billed {
            writes: self.bill.writes.load(Ordering::Relaxed),
            reads: self.bill.reads.load(Ordering::Relaxed),
            rejected: self.bill.rejected.load(Ordering::Relaxed),
        }
    }

    /// What is asked of the store while this time passes.
    pub(crate) async fn idle(&self, time: Duration) -> Billed {
        let before = self.billed();
        tokio::time::sleep(time).await;
        self.billed().since(before)
    }
}

async fn own_all(coordinator: Coordinator, tracker: TaskTracker) {
    while let Some(ownership) = coordinator.next().await {
        tracker.spawn(async move {
            let gates = ownership.gates();
            tokio::select! {
                _ = gates.wire.closed() => {}
                ask = ownership.asked() => drop(ownership.release(ask.reason).await),
            }
        });
    }
}
