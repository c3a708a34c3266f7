//! A store whose watches show what the test says.

use std::sync::Arc;

use async_trait::async_trait;
use coordinator_lib::store::{
    Change, CommitOutcome, DocumentStore, Page, Path, Query, Snapshot, Store, StoreError,
    StoreTime, Watch, Write, WriteOutcome,
};
use futures::stream::{self, BoxStream, StreamExt};

type Bend = dyn Fn(BoxStream<'static, Change>) -> BoxStream<'static, Change> + Send + Sync;

/// See the module.
pub(crate) struct BentWatches {
    store: Store,
    bend: Box<Bend>,
}

impl BentWatches {
    /// A store as this one, but for what its watches show.
    pub(crate) fn of(
        store: &Store,
        bend: impl Fn(BoxStream<'static, Change>) -> BoxStream<'static, Change> + Send + Sync + 'static,
    ) -> Store {
        Arc::new(Self {
            store: Arc::clone(store),
            bend: Box::new(bend),
        })
    }
}

#[async_trait]
impl DocumentStore for BentWatches {
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
        self.store.commit(writes).await
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        self.store.commit_each(writes).await
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let watch = self.store.watch(query).await?;
        let shown = stream::unfold(watch, |mut watch| async move {
            Some((watch.next().await?, watch))
        });
        Ok(Watch::new((self.bend)(shown.boxed())))
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        self.store.ping().await
    }

    fn backend(&self) -> &'static str {
        self.store.backend()
    }
}
