//! An account in a store, and owners of it one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coordinator_lib::clock::{SharedClock, SystemClock};
use coordinator_lib::fence::{Fence, FenceLimits, FencedWriter, FencedWriterParts};
use coordinator_lib::gate::Gates;
use coordinator_lib::identity::{AccountId, WorkerSessionId};
use coordinator_lib::rng::{SeededRng, SharedRng, SystemRng};
use coordinator_lib::store::{
    CommitOutcome, Document, DocumentStore, Fields, MemoryStore, Page, Path, Precondition, Query,
    Snapshot, SqliteOptions, SqliteStore, Store, StoreError, StoreTime, Value, Watch, Write,
    WriteOutcome,
};
use session::{DataKey, Kind, SessionError, SessionFiles, SessionParts, files_collection};
use tokio_util::task::TaskTracker;

/// Every wait of a test ends by then.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) store: Store,
    /// The same store, where it is the one in memory.
    pub(crate) faults: Option<MemoryStore>,
    pub(crate) queries: Arc<AtomicU64>,
    pub(crate) account: AccountId,
    pub(crate) data_key: DataKey,
    pub(crate) clock: SharedClock,
    pub(crate) limits: FenceLimits,
    pub(crate) tracker: TaskTracker,
    rng: SharedRng,
    /// Removed with the bench.
    _folder: Option<tempfile::TempDir>,
}

/// A claim: what its owner works with.
pub(crate) struct Owner {
    pub(crate) files: SessionFiles,
    pub(crate) gates: Gates,
}

impl Bench {
    pub(crate) fn memory() -> Self {
        Self::memory_with(SystemClock::shared())
    }

    pub(crate) fn memory_with(clock: SharedClock) -> Self {
        let faults = MemoryStore::new(clock.clone());
        Self::new(Arc::new(faults.clone()), Some(faults), clock, None)
    }

    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leasehold.db");
        let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
        Self::new(Arc::new(store), None, SystemClock::shared(), Some(folder))
    }

    fn new(
        store: Store,
        faults: Option<MemoryStore>,
        clock: SharedClock,
        folder: Option<tempfile::TempDir>,
    ) -> Self {
        let rng = SeededRng::shared(7);
        let queries = Arc::new(AtomicU64::new(0));
        Self {
            store: Arc::new(Counting {
                store,
                queries: queries.clone(),
            }),
            faults,
            queries,
            account: AccountId::new("account_1").unwrap(),
            data_key: DataKey::generate(&*rng),
            clock,
            // Gives up at once, so that tests see what is left unsettled.
            limits: FenceLimits {
                retry_for: Duration::ZERO,
                backoff_base: Duration::from_millis(1),
                ..FenceLimits::default()
            },
            tracker: TaskTracker::new(),
            rng,
            _folder: folder,
        }
    }

    pub(crate) fn faults(&self) -> &MemoryStore {
        self.faults.as_ref().unwrap()
    }

    /// The same store, another account.
    pub(crate) fn account(&self, id: &str) -> Self {
        Self {
            store: self.store.clone(),
            faults: self.faults.clone(),
            queries: self.queries.clone(),
            account: AccountId::new(id).unwrap(),
            data_key: self.data_key.clone(),
            clock: self.clock.clone(),
            limits: self.limits.clone(),
            tracker: self.tracker.clone(),
            rng: self.rng.clone(),
            _folder: None,
        }
    }

    /// Begins the next epoch, as a claim does.
    pub(crate) async fn fence(&self) -> Fence {
        let head = self.account.head_path();
        let before = self
            .store
            .get(std::slice::from_ref(&head))
            .await
            .unwrap()
            .documents
            .remove(0);
        let epoch = match before.as_ref().map(|head| &head.fields["epoch"]) {
            Some(Value::Int(epoch)) => epoch + 1,
            Some(other) => panic!("an epoch that is {other:?}"),
            None => 1,
        };
        let worker_session = WorkerSessionId::generate(&SystemRng);
        let write = Write::Set {
            path: head.clone(),
            fields: Fields::from([
                ("schemaVersion".to_owned(), Value::Int(1)),
                ("epoch".to_owned(), Value::Int(epoch)),
                (
                    "workerSession".to_owned(),
                    Value::from(worker_session.as_str()),
                ),
            ]),
            precondition: Precondition::None,
        };
        let CommitOutcome::Committed(commit) = self.store.commit(vec![write]).await.unwrap() else {
            panic!("an unconditional write is not rejected");
        };
        Fence {
            head,
            version: commit.time,
            epoch,
            worker_session,
        }
    }

    pub(crate) async fn claim(&self) -> Owner {
        self.try_claim().await.unwrap()
    }

    pub(crate) async fn try_claim(&self) -> Result<Owner, SessionError> {
        let gates = Gates::new(self.clock.clone());
        let writer = FencedWriter::spawn(
            FencedWriterParts {
                store: self.store.clone(),
                fence: self.fence().await,
                gates: gates.clone(),
                clock: self.clock.clone(),
                rng: self.rng.clone(),
                limits: self.limits.clone(),
            },
            &self.tracker,
        );
        let files = SessionFiles::load(SessionParts {
            account: self.account.clone(),
            store: self.store.clone(),
            writer,
            data_key: self.data_key.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
        })
        .await?;
        Ok(Owner { files, gates })
    }

    /// The stored files, by name.
    pub(crate) async fn documents(&self) -> Vec<Document> {
        let query = Query::new(files_collection(&self.account)).limit(1_000);
        let page = self.store.query(&query).await.unwrap();
        assert!(page.next.is_none(), "the tests' accounts fit a page");
        page.documents
    }

    pub(crate) async fn document(&self, name: &str) -> Document {
        let documents = self.documents().await;
        documents
            .into_iter()
            .find(|document| document.path.id() == name)
            .unwrap()
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        self.documents()
            .await
            .iter()
            .map(|document| document.path.id().to_owned())
            .collect()
    }

    pub(crate) fn path(&self, name: &str) -> Path {
        files_collection(&self.account).doc(name).unwrap()
    }

    /// Changes a file behind the owner's back.
    pub(crate) async fn overwrite(&self, name: &str, fields: Fields) {
        let path = self.path(name);
        let write = Write::Set {
            path,
            fields,
            precondition: Precondition::None,
        };
        assert!(matches!(
            self.store.commit(vec![write]).await.unwrap(),
            CommitOutcome::Committed(_)
        ));
    }

    pub(crate) async fn delete(&self, name: &str) {
        let write = Write::Delete {
            path: self.path(name),
            precondition: Precondition::Exists,
        };
        assert!(matches!(
            self.store.commit(vec![write]).await.unwrap(),
            CommitOutcome::Committed(_)
        ));
    }
}

impl Owner {
    pub(crate) fn put(&self, kind: Kind, key: &str, value: impl Into<Bytes>) {
        self.files.put(kind, key, value.into()).unwrap();
    }

    pub(crate) fn get(&self, kind: Kind, key: &str) -> Option<Bytes> {
        self.files.get(kind, key)
    }
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited for: {what}"));
}

/// Counts queries.
struct Counting {
    store: Store,
    queries: Arc<AtomicU64>,
}

#[async_trait]
impl DocumentStore for Counting {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        self.store.get(paths).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.store.query(query).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.store.count(query).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        self.store.commit(writes).await
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        self.store.commit_each(writes).await
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        self.store.watch(query).await
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        self.store.ping().await
    }

    fn backend(&self) -> &'static str {
        self.store.backend()
    }
}
