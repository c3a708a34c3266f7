//! Helpers of this crate's tests: a session over a store in memory.

use std::sync::Arc;

use coordinator_lib::clock::{SharedClock, SystemClock};
use coordinator_lib::fence::{Fence, FenceLimits, FencedWriter, FencedWriterParts};
use coordinator_lib::gate::Gates;
use coordinator_lib::identity::{AccountId, WorkerSessionId};
use coordinator_lib::rng::{SeededRng, SharedRng};
use coordinator_lib::store::{
    CommitOutcome, DocumentStore, Fields, MemoryStore, Precondition, Store, Value, Write,
};
use session::{DataKey, SessionFiles, SessionParts};
use tokio_util::task::TaskTracker;

use crate::backend::Backend;

/// One account under one claim after another, on one store.
pub(crate) struct Bench {
    pub(crate) store: MemoryStore,
    pub(crate) clock: SharedClock,
    rng: SharedRng,
    account: AccountId,
    data_key: DataKey,
    tracker: TaskTracker,
}

/// What a claim gives.
pub(crate) struct Claim {
    pub(crate) files: SessionFiles,
    pub(crate) gates: Gates,
    pub(crate) backend: Backend,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = SystemClock::shared();
        let rng = SeededRng::shared(1);
        Self {
            store: MemoryStore::new(clock.clone()),
            data_key: DataKey::generate(&*rng),
            clock,
            rng,
            account: AccountId::new("a1").unwrap(),
            tracker: TaskTracker::new(),
        }
    }

    /// Claims the account: a new epoch, new gates, the files as they are stored.
    pub(crate) async fn claim(&self, epoch: i64) -> Claim {
        let worker_session = WorkerSessionId::generate(&*self.rng);
        let head = self.account.head_path();
        let fields = Fields::from([
            ("epoch".to_owned(), Value::Int(epoch)),
            (
                "workerSession".to_owned(),
                Value::Text(worker_session.as_str().to_owned()),
            ),
        ]);
        let claim = Write::Set {
            path: head.clone(),
            fields,
            precondition: Precondition::None,
        };
        let CommitOutcome::Committed(commit) = self.store.commit(vec![claim]).await.unwrap() else {
            panic!("nobody else is here");
        };
        let gates = Gates::new(self.clock.clone());
        let store: Store = Arc::new(self.store.clone());
        let writer = FencedWriter::spawn(
            FencedWriterParts {
                store: store.clone(),
                fence: Fence {
                    head,
                    version: commit.update_times[0],
                    epoch,
                    worker_session,
                },
                gates: gates.clone(),
                clock: self.clock.clone(),
                rng: self.rng.clone(),
                limits: FenceLimits::default(),
            },
            &self.tracker,
        );
        let files = SessionFiles::load(SessionParts {
            account: self.account.clone(),
            store,
            writer,
            data_key: self.data_key.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
        })
        .await
        .unwrap();
        let backend = Backend::new(files.clone(), gates.store.clone(), self.clock.clone());
        Claim {
            files,
            gates,
            backend,
        }
    }
}
