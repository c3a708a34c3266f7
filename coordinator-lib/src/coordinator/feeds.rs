//! What is watched in the store, each in a task of its own.
//!
//! A watch that cannot begin, or that ends, is begun again; its first change is
//! a snapshot then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::warn;

use super::CoordinatorParts;
use crate::clock::SharedClock;
use crate::identity::WorkerSessionId;
use crate::identity::account_collection;
use crate::lease::{HANDOFF_FIELD, LEASE_SESSION_FIELD};
use crate::shard::SHARD_FIELD;
use crate::store::{Change, Op, Query, Store, StoreError, Value};
use crate::worker_session;

/// Changes that wait for the coordinator. When it is busy the watches wait, too.
const CHANGES_MAX: usize = 64;

/// The wait after a watch that did not begin.
const RETRY: Duration = Duration::from_secs(2);

/// Values that one `in` filter may hold: Firestore's limit.
const IN_MAX: usize = 30;

/// Up to so many workers each watches all accounts without an owner; in larger
/// clusters only the shards that it may have to take.
const WATCH_ALL_MAX: usize = 8;

/// In a large cluster, so many workers see an account that lost its owner.
const RANKS_WATCHING: usize = 3;

/// Where a change was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Accounts without an owner; one of several queries, no two of which have
    /// the same number.
    Free(usize),
    /// Accounts that were handed to this session.
    Handed,
    /// Accounts whose owner is this session.
    Own,
    /// Sealed sessions.
    Sealed,
}

/// The watches of one session.
pub(super) struct Feeds {
    store: Store,
    clock: SharedClock,
    tracker: TaskTracker,
    sender: mpsc::Sender<(Source, Change)>,
    changes: mpsc::Receiver<(Source, Change)>,
    /// Which shards are watched; `None`: all.
    shards: Option<Vec<i64>>,
    free: Vec<AbortOnDropHandle<()>>,
    /// The number of the first of them; those before were replaced.
    free_from: usize,
    _others: [AbortOnDropHandle<()>; 3],
}

impl Feeds {
    pub(super) fn begin(
        parts: &CoordinatorParts,
        me: &WorkerSessionId,
    ) -> Result<Self, StoreError> {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let follow = |source, query| {
            follow(
                &parts.tracker,
                Arc::clone(&parts.store),
                Arc::clone(&parts.clock),
                source,
                query,
                sender.clone(),
            )
        };
        let others = [
            follow(Source::Handed, handed_to(me)),
            follow(Source::Own, worker_session::accounts_of(me)?),
            follow(Source::Sealed, worker_session::sealed()),
        ];
        let free = vec![follow(Source::Free(0), free_accounts())];
        Ok(Self {
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            tracker: parts.tracker.clone(),
            sender,
            changes,
            shards: None,
            free,
            free_from: 0,
            _others: others,
        })
    }

    /// The next change.
    ///
    /// # Cancel safety
    /// No change is lost.
    pub(super) async fn next(&mut self) -> (Source, Change) {
        loop {
            match self.changes.recv().await {
                // It was on its way when its watch was replaced: nothing would ever
                // take back what it shows.
                Some((Source::Free(number), _)) if number < self.free_from => {}
                Some(change) => return change,
                // A sender lives in `self`.
                None => std::future::pending().await,
            }
        }
    }

    /// Watches these shards from now on. True if that is new: what was known of
    /// free accounts is then to be forgotten.
    pub(super) fn watch_shards(&mut self, shards: Option<Vec<i64>>) -> bool {
        if self.shards == shards {
            return false;
        }
        let queries = split(&free_accounts(), shards.as_deref());
        self.free_from += self.free.len();
        self.free = (self.free_from..)
            .zip(queries)
            .map(|(number, query)| {
                follow(
                    &self.tracker,
                    Arc::clone(&self.store),
                    Arc::clone(&self.clock),
                    Source::Free(number),
                    query,
                    self.sender.clone(),
                )
            })
            .collect();
        self.shards = shards;
        true
    }
}

/// The shards whose free accounts a worker watches; `None` for all.
pub(super) fn watched_shards(
    me: &WorkerSessionId,
    members: &[crate::balance::Member],
) -> Option<Vec<i64>> {
    (members.len() > WATCH_ALL_MAX).then(|| crate::balance::shards_of(me, members, RANKS_WATCHING))
}

/// The same query for these shards only: several, where they are many.
pub(super) fn split(query: &Query, shards: Option<&[i64]>) -> Vec<Query> {
    match shards {
        None => vec![query.clone()],
        Some(shards) => shards
            .chunks(IN_MAX)
            .map(|chunk| query.clone().filter_in(SHARD_FIELD, chunk.to_vec()))
            .collect(),
    }
}

/// Every query that a coordinator makes, for the check of indexes.
pub(super) fn queries() -> Vec<Query> {
    let somebody = WorkerSessionId::from_text("s");
    let accounts = Query::new(account_collection());
    let mut queries = vec![
        worker_session::living(),
        worker_session::sealed(),
        worker_session::ended(),
        free_accounts(),
        accounts.clone(),
        handed_to(&somebody),
    ];
    queries.extend(worker_session::accounts_of(&somebody));
    for query in queries.clone().into_iter().skip(3) {
        queries.extend(split(&query, Some(&[1, 2])));
    }
    queries
}

/// Accounts without an owner.
fn free_accounts() -> Query {
    Query::new(account_collection()).filter(LEASE_SESSION_FIELD, Op::Eq, Value::Null)
}

/// Accounts that were given back for this session to take. In a large cluster it
/// may be watching none of their shards; a claim clears the field.
fn handed_to(me: &WorkerSessionId) -> Query {
    Query::new(account_collection()).filter(HANDOFF_FIELD, Op::Eq, me.as_str())
}

fn follow(
    tracker: &TaskTracker,
    store: Store,
    clock: SharedClock,
    source: Source,
    query: Query,
    sender: mpsc::Sender<(Source, Change)>,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tracker.spawn(async move {
        loop {
            match store.watch(&query).await {
                Ok(mut watch) => {
                    while let Some(change) = watch.next().await {
                        if sender.send((source, change)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => warn!(?source, %error, "a watch did not begin; trying again"),
            }
            clock.sleep(RETRY).await;
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::rng::SeededRng;
    use crate::store::{MemoryStore, Path};

    #[tokio::test]
    async fn what_a_replaced_watch_had_on_its_way_is_no_news() {
        let (clock, rng) = (SystemClock::shared(), SeededRng::shared(1));
        let store: Store = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        let parts = CoordinatorParts::new("alice", 1, store, clock, rng, TaskTracker::new());
        let me = WorkerSessionId::from_text("session");
        let mut feeds = Feeds::begin(&parts, &me).unwrap();
        let old = (Source::Free(0), Change::Snapshot(Vec::new()));
        feeds.sender.send(old).await.unwrap();
        assert!(feeds.watch_shards(Some(vec![1])));
        let last = Change::Removed(Path::new("things/last").unwrap());
        feeds.sender.send((Source::Sealed, last)).await.unwrap();
        loop {
            match feeds.next().await {
                (Source::Sealed, Change::Removed(_)) => return,
                (source, _) => assert_ne!(source, Source::Free(0)),
            }
        }
    }
}
