//! A store in memory, for tests and simulations.
//!
//! It runs on any clock (virtual time among them), and fails when a test asks
//! it to: see [`Fault`]. Otherwise it keeps the whole contract. Nothing is
//! kept on disk, and nothing survives the last clone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::limits::{self, GET_PATHS_MAX};
use super::plan::Plan;
use super::watch::{Delta, Notifier, Source, Watch, pull};
use super::{
    Collection, CommitOutcome, Document, DocumentStore, Page, Path, Query, Snapshot, StoreError,
    StoreTime, Write, WriteOutcome,
};
use crate::clock::SharedClock;

mod state;

use state::State;

/// A failure that a test asks of [`MemoryStore`], once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The commit fails; nothing is written.
    Unavailable,
    /// The commit fails for want of room; nothing is written.
    Full,
    /// The commit fails because others were in the way; nothing is written.
    Contended,
    /// The commit is made, and its acknowledgement lost.
    AmbiguousApplied,
    /// The commit is lost, and nobody says so.
    AmbiguousNotApplied,
    /// The commit's acknowledgement is lost, and it lands when the test calls
    /// [`MemoryStore::land_late`], on its own conditions.
    AmbiguousLate,
}

/// A store in memory; clones share the documents.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: SharedClock,
    notifier: Notifier,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    paused: watch::Sender<bool>,
}

#[derive(Default)]
struct Faults {
    commits: VecDeque<Fault>,
    /// A fault for the commit after so many others.
    after: Option<(u64, Fault)>,
    reads: u32,
    late: Vec<Vec<Write>>,
    attempts: u64,
}

impl Faults {
    /// The fault of the commit that is being made, if it has one.
    fn next_of_commit(&mut self) -> Option<Fault> {
        match self.after.take() {
            Some((0, fault)) => return Some(fault),
            Some((commits, fault)) => self.after = Some((commits - 1, fault)),
            None => {}
        }
        self.commits.pop_front()
    }
}

impl MemoryStore {
    /// An empty store, whose time runs with this clock's boottime.
    pub fn new(clock: SharedClock) -> Self {
        let state = State::new(&*clock);
        Self {
            shared: Arc::new(Shared {
                clock,
                notifier: Notifier::default(),
                state: Mutex::new(state),
                faults: Mutex::default(),
                paused: watch::Sender::new(false),
            }),
        }
    }

    /// A commit to come fails so; several are taken in order, one each.
    pub fn fail_next_commit(&self, fault: Fault) {
        self.shared.faults.lock().commits.push_back(fault);
    }

    /// The commit after `commits` others fails so.
    pub fn fail_after(&self, commits: u64, fault: Fault) {
        self.shared.faults.lock().after = Some((commits, fault));
    }

    /// A read to come (get, query, count, ping) is `Unavailable`.
    pub fn fail_next_read(&self) {
        self.shared.faults.lock().reads += 1;
    }

    /// Makes the commits that [`Fault::AmbiguousLate`] held back, in order,
    /// each on its own conditions.
    pub fn land_late(&self) -> Vec<CommitOutcome> {
        let late = std::mem::take(&mut self.shared.faults.lock().late);
        late.into_iter()
            .map(|writes| self.apply(writes).expect("it was checked when it was sent"))
            .collect()
    }

    /// Every document that there is, by path: for tests that look for what must
    /// not be there.
    pub fn documents(&self) -> Vec<Document> {
        self.shared.state.lock().all()
    }

    /// How many calls of `commit` reached the store, whatever became of them.
    pub fn commits(&self) -> u64 {
        self.shared.faults.lock().attempts
    }

    /// Makes commits wait, until [`MemoryStore::resume_commits`].
    pub fn pause_commits(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Lets waiting commits go on.
    pub fn resume_commits(&self) {
        self.shared.paused.send_replace(false);
    }

    fn apply(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        let collections: Vec<Collection> = writes
            .iter()
            .map(|write| write.path().collection().clone())
            .collect();
        let outcome = self
            .shared
            .state
            .lock()
            .commit(&*self.shared.clock, writes)?;
        for collection in &collections {
            self.shared.notifier.notify(collection);
        }
        Ok(outcome)
    }

    fn read<T>(&self, read: impl FnOnce(&State, StoreTime) -> T) -> Result<T, StoreError> {
        {
            let mut faults = self.shared.faults.lock();
            if faults.reads > 0 {
                faults.reads -= 1;
                return Err(StoreError::unavailable("a fault that the test asked for"));
            }
        }
        let state = self.shared.state.lock();
        let now = state.now(&*self.shared.clock);
        Ok(read(&state, now))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryStore")
    }
}

#[async_trait]
impl DocumentStore for MemoryStore {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        if paths.len() > GET_PATHS_MAX {
            return Err(StoreError::invalid(format!(
                "{} paths in one get",
                paths.len()
            )));
        }
        self.read(|state, read_time| Snapshot {
            documents: paths.iter().map(|path| state.get(path)).collect(),
            read_time,
        })
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let plan = Plan::new(query)?;
        self.read(|state, read_time| {
            let (documents, next) = state.page(query, &plan);
            Page {
                documents,
                read_time,
                next,
            }
        })
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let plan = Plan::for_count(query)?;
        self.read(|state, _| state.matching(query.collection(), &plan).count() as u64)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        limits::check_commit(&writes)?;
        // Only fails once the sender is gone, which this store holds.
        let _ = self
            .shared
            .paused
            .subscribe()
            .wait_for(|paused| !paused)
            .await;
        let fault = {
            let mut faults = self.shared.faults.lock();
            faults.attempts += 1;
            faults.next_of_commit()
        };
        let reason = || "a fault that the test asked for".to_owned();
        match fault {
            None => self.apply(writes),
            Some(Fault::Unavailable) => Err(StoreError::Unavailable { reason: reason() }),
            Some(Fault::Full) => Err(StoreError::Full { reason: reason() }),
            Some(Fault::Contended) => Err(StoreError::Contended { reason: reason() }),
            Some(Fault::AmbiguousApplied) => {
                // Made or rejected: the caller does not learn which.
                let _ = self.apply(writes)?;
                Err(StoreError::Ambiguous { reason: reason() })
            }
            Some(Fault::AmbiguousNotApplied) => Err(StoreError::Ambiguous { reason: reason() }),
            Some(Fault::AmbiguousLate) => {
                self.shared.faults.lock().late.push(writes);
                Err(StoreError::Ambiguous { reason: reason() })
            }
        }
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        limits::check_independent(&writes)?;
        writes
            .into_iter()
            .map(|write| {
                Ok(match self.apply(vec![write])? {
                    CommitOutcome::Committed(commit) => {
                        WriteOutcome::Written(commit.update_times[0])
                    }
                    CommitOutcome::Rejected => WriteOutcome::Rejected,
                })
            })
            .collect()
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let plan = Plan::for_watch(query)?;
        let collection = query.collection().clone();
        let subscription = self.shared.notifier.subscribe(&collection);
        // Holding the store would keep its notifier, and so the watch, alive.
        let source = Arc::new(Weakly(Arc::downgrade(&self.shared)));
        pull(
            source,
            collection,
            plan,
            subscription,
            self.shared.clock.clone(),
        )
        .await
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        self.read(|_, now| now)
    }

    fn backend(&self) -> &'static str {
        "memory"
    }
}

/// What a watch holds of its store.
struct Weakly(std::sync::Weak<Shared>);

impl Weakly {
    fn store(&self) -> Result<MemoryStore, StoreError> {
        let shared = self
            .0
            .upgrade()
            .ok_or_else(|| StoreError::unavailable("the store is gone"))?;
        Ok(MemoryStore { shared })
    }
}

#[async_trait]
impl Source for Weakly {
    async fn matching(
        &self,
        collection: &Collection,
        plan: &Plan,
    ) -> Result<(Vec<Document>, StoreTime), StoreError> {
        self.store()?.read(|state, _| {
            (
                state.matching(collection, plan).cloned().collect(),
                state.last(),
            )
        })
    }

    async fn delta(&self, collection: &Collection, seen: StoreTime) -> Result<Delta, StoreError> {
        self.store()?.read(|state, _| state.delta(collection, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;
    use crate::clock::SystemClock;

    async fn fixture() -> contract::Fixture {
        contract::Fixture::new(MemoryStore::new(SystemClock::shared()), ())
    }

    crate::store_contract!(fixture);

    #[tokio::test]
    async fn the_commit_time_is_exact() {
        contract::commits::the_commit_time_is_exact(fixture().await.store()).await;
    }
}
