//! Fenced commits on Firestore, whose acknowledgements get lost.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::task::TaskTracker;

use super::*;
use crate::fence::{Fence, FenceLimits, FencedOutcome, FencedWriter, FencedWriterParts};
use crate::gate::Gates;
use crate::identity::WorkerSessionId;

/// Makes commits, and loses the acknowledgement of the next one if asked to.
struct Forgetful {
    store: FirestoreStore,
    forgets: AtomicBool,
}

#[async_trait]
impl DocumentStore for Forgetful {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        self.store.get(paths).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.store.query(query).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        self.store.count(query).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        let outcome = self.store.commit(writes).await?;
        if self.forgets.swap(false, Ordering::Relaxed) {
            return Err(StoreError::Ambiguous {
                reason: "the test lost it".to_owned(),
            });
        }
        Ok(outcome)
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

fn file(n: i64, precondition: Precondition) -> Write {
    Write::Set {
        path: path("wa_sessions/a/files/f"),
        fields: Fields::from([("n".into(), n.into())]),
        precondition,
    }
}

async fn flush(writer: &FencedWriter, write: Write) -> StoreTime {
    match writer.commit(vec![write]).await.unwrap() {
        FencedOutcome::Committed(commit) => commit.update_times[0],
        FencedOutcome::Lost => panic!("lost, and nobody else writes"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_acknowledgement_was_lost_is_found_with_its_version() {
    let emulator = Emulator::shared().await.unwrap();
    let store = Arc::new(Forgetful {
        store: connect(options(&emulator)).await,
        forgets: AtomicBool::new(false),
    });
    let alice = WorkerSessionId::from_text("alice");
    let head = Write::Set {
        path: path("wa_sessions/a"),
        fields: Fields::from([
            ("epoch".into(), 1.into()),
            ("workerSession".into(), "alice".into()),
        ]),
        precondition: Precondition::Absent,
    };
    let CommitOutcome::Committed(claimed) = store.commit(vec![head]).await.unwrap() else {
        panic!("the head is new")
    };
    let parts = FencedWriterParts {
        store: store.clone(),
        fence: Fence {
            head: path("wa_sessions/a"),
            version: claimed.time,
            epoch: 1,
            worker_session: alice,
        },
        gates: Gates::new(SystemClock::shared()),
        clock: SystemClock::shared(),
        rng: SystemRng::shared(),
        limits: FenceLimits::default(),
    };
    let writer = FencedWriter::spawn(parts, &TaskTracker::new());
    let mut version = flush(&writer, file(0, Precondition::Absent)).await;
    for n in 1..6 {
        store.forgets.store(n % 2 == 1, Ordering::Relaxed);
        version = flush(&writer, file(n, Precondition::Unchanged(version))).await;
    }
    let read = store.get(&[path("wa_sessions/a/files/f")]).await.unwrap();
    let found = read.documents[0].as_ref().unwrap();
    assert_eq!(found.fields["n"], Value::Int(5));
    assert_eq!(found.update_time, version);
}
