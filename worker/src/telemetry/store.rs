//! Every call of the store, timed and shown.
//!
//! A call is a metric, by operation and outcome; and a span `store.*` where it
//! is part of a trace that is kept. In a trace that is left out only a call that
//! failed is one: a span costs as much as a good part of a message. What runs by
//! itself all day (heartbeats, pings, watches) has no spans.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::{
    CommitOutcome, DocumentStore, Page, Path, Query, Snapshot, Store, StoreError, StoreTime, Watch,
    Write, WriteOutcome,
};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::metrics;
use super::propagation::{self, Traced};
use super::spans::failed;

/// A store whose calls are seen.
pub struct ObservedStore {
    store: Store,
    clock: SharedClock,
}

impl ObservedStore {
    /// Around a store.
    pub fn around(store: Store, clock: SharedClock) -> Store {
        Arc::new(Self { store, clock })
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        (collection, documents): (Option<&str>, usize),
        call: impl Future<Output = Result<T, StoreError>>,
        outcome: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, StoreError> {
        let open = || {
            info_span!(
                "store",
                otel.name = %format_args!("store.{operation}"),
                otel.kind = "client",
                otel.status_code = Empty,
                db.system.name = self.store.backend(),
                db.operation.name = operation,
                db.collection.name = collection,
                db.documents = documents as u64,
                db.outcome = Empty,
                db.took_ms = Empty,
            )
        };
        let traced = propagation::traced(&propagation::context(&Span::current()));
        let mut span = match traced {
            Traced::Kept => open(),
            Traced::LeftOut | Traced::No => Span::none(),
        };
        let asked = self.clock.boottime();
        let result = call.instrument(span.clone()).await;
        let took: Duration = self.clock.boottime() - asked;
        let outcome = match &result {
            Ok(answer) => outcome(answer),
            Err(error) => {
                if traced == Traced::LeftOut {
                    // Opened only now, so its length says nothing.
                    span = open();
                    span.record("db.took_ms", took.as_secs_f64() * 1e3);
                }
                failed(&span);
                kind(error)
            }
        };
        span.record("db.outcome", outcome);
        metrics::store_called(operation, outcome, took);
        result
    }
}

/// The name of a failure's kind.
fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { .. } => "unavailable",
        StoreError::Full { .. } => "full",
        StoreError::Ambiguous { .. } => "ambiguous",
        StoreError::Contended { .. } => "contended",
        StoreError::Unusable { .. } => "unusable",
        StoreError::Invalid { .. } => "invalid",
        StoreError::Corrupt { .. } => "corrupt",
    }
}

/// The collection of the first document, without ids.
fn of_paths(paths: &[Path]) -> Option<String> {
    paths.first().map(|path| top(path.collection().as_str()))
}

/// That of the first document that is changed: a verify, as of the fence, says
/// little.
fn of_writes(writes: &[Write]) -> Option<String> {
    let changes = |write: &&Write| !matches!(write, Write::Verify { .. });
    let write = writes.iter().find(changes).or(writes.first())?;
    Some(top(write.path().collection().as_str()))
}

/// `threads/t1/messages` is shown as `threads/messages`.
fn top(collection: &str) -> String {
    let names: Vec<&str> = collection.split('/').step_by(2).collect();
    names.join("/")
}

#[async_trait]
impl DocumentStore for ObservedStore {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        let collection = of_paths(paths);
        let about = (collection.as_deref(), paths.len());
        self.call("get", about, self.store.get(paths), |_| "ok")
            .await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let collection = top(query.collection().as_str());
        let about = (Some(collection.as_str()), 0);
        self.call("query", about, self.store.query(query), |_| "ok")
            .await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let collection = top(query.collection().as_str());
        let about = (Some(collection.as_str()), 0);
        self.call("count", about, self.store.count(query), |_| "ok")
            .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        let collection = of_writes(&writes);
        let about = (collection.as_deref(), writes.len());
        self.call(
            "commit",
            about,
            self.store.commit(writes),
            |outcome| match outcome {
                CommitOutcome::Committed(_) => "ok",
                CommitOutcome::Rejected => "rejected",
            },
        )
        .await
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        let collection = of_writes(&writes);
        let about = (collection.as_deref(), writes.len());
        let call = self.store.commit_each(writes);
        self.call("commit_each", about, call, |_| "ok").await
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let collection = top(query.collection().as_str());
        let about = (Some(collection.as_str()), 0);
        self.call("watch", about, self.store.watch(query), |_| "ok")
            .await
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        self.call("ping", (None, 0), self.store.ping(), |_| "ok")
            .await
    }

    fn backend(&self) -> &'static str {
        self.store.backend()
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::clock::ManualClock;
    use coordinator_lib::store::{Fault, Fields, MemoryStore, Precondition};
    use opentelemetry_sdk::trace::Sampler;

    use super::*;
    use crate::telemetry::spans::Exported;

    /// The spans of a commit that succeeds and one that fails.
    async fn exported(sampler: Sampler) -> Vec<String> {
        let mut exported = Exported::by(sampler);
        let clock = Arc::new(ManualClock::new());
        let memory = Arc::new(MemoryStore::new(Arc::<ManualClock>::clone(&clock)));
        let store = ObservedStore::around(memory.clone(), clock);
        let write = || {
            vec![Write::Set {
                path: Path::new("accounts/a").unwrap(),
                fields: Fields::new(),
                precondition: Precondition::None,
            }]
        };
        async {
            let committed = store.commit(write()).await.unwrap();
            assert_ne!(committed, CommitOutcome::Rejected);
            memory.fail_next_commit(Fault::Unavailable);
            store.commit(write()).await.unwrap_err();
        }
        .instrument(info_span!(parent: None, "request"))
        .await;
        exported.names()
    }

    #[tokio::test]
    async fn in_a_trace_that_is_kept_each_call_is_a_span() {
        let spans = exported(Sampler::AlwaysOn).await;
        assert_eq!(spans, ["store.commit", "store.commit!", "request"]);
    }

    #[tokio::test]
    async fn in_a_trace_that_is_left_out_only_a_failed_call_is_a_span() {
        let spans = exported(Sampler::AlwaysOff).await;
        assert_eq!(spans, ["store.commit!"]);
    }

    #[test]
    fn a_collection_is_shown_without_ids() {
        assert_eq!(top("accounts"), "accounts");
        assert_eq!(top("threads/t1/messages"), "threads/messages");
    }
}
