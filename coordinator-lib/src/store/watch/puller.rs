//! The stream behind a watch of a store that can say what changed since a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use tracing::warn;

use super::notifier::Subscription;
use super::{Change, Delta, View, Watch};
use crate::backoff::Backoff;
use crate::clock::SharedClock;
use crate::rng::SystemRng;
use crate::store::plan::Plan;
use crate::store::{Collection, Document, StoreError, StoreTime};

/// Waits between attempts to read changes while the store fails.
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A store that can say what changed.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// Everything in the collection that matches, and the time of the last
    /// commit that this reading saw.
    async fn matching(
        &self,
        collection: &Collection,
        plan: &Plan,
    ) -> Result<(Vec<Document>, StoreTime), StoreError>;

    /// What changed in the collection after a time.
    async fn delta(&self, collection: &Collection, seen: StoreTime) -> Result<Delta, StoreError>;
}

/// Watches a source. The subscription must be older than the call.
pub(crate) async fn pull(
    source: Arc<dyn Source>,
    collection: Collection,
    plan: Plan,
    subscription: Subscription,
    clock: SharedClock,
) -> Result<Watch, StoreError> {
    let (documents, seen) = source.matching(&collection, &plan).await?;
    let mut view = View::new(plan);
    let first = view.reset(documents, seen);
    let puller = Puller {
        source,
        collection,
        view,
        subscription,
        clock,
        backoff: Backoff::new(RETRY_BASE, RETRY_MAX),
        ready: VecDeque::from([first]),
        behind: false,
    };
    Ok(Watch::new(stream::unfold(
        puller,
        |mut puller| async move {
            let change = puller.next().await?;
            Some((change, puller))
        },
    )))
}

struct Puller {
    source: Arc<dyn Source>,
    collection: Collection,
    view: View,
    subscription: Subscription,
    clock: SharedClock,
    backoff: Backoff,
    ready: VecDeque<Change>,
    /// There may be more to read, without a wake.
    behind: bool,
}

impl Puller {
    async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            if !self.behind && !self.subscription.woken().await {
                return None;
            }
            match self.read().await {
                Ok(()) => self.backoff.reset(),
                Err(_) if self.subscription.is_over() => return None,
                Err(error) => {
                    warn!(collection = %self.collection.id(), %error, "watch waits for the store");
                    self.behind = true;
                    let wait = self.backoff.next(&SystemRng);
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        let seen = self.view.seen;
        let delta = self
            .subscription
            .delta(&*self.source, &self.collection, seen);
        match delta.await? {
            Delta::Since {
                changed,
                removed,
                until,
                complete,
            } => {
                self.behind = !complete;
                self.ready.extend(self.view.apply(changed, removed, until));
            }
            Delta::Gap => {
                let (documents, seen) = self
                    .source
                    .matching(&self.collection, self.view.plan())
                    .await?;
                self.behind = false;
                self.ready.push_back(self.view.reset(documents, seen));
            }
        }
        Ok(())
    }
}
