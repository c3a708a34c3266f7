use std::future;

use coordinator_lib::clock::SystemClock;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{CommitOutcome, MemoryStore, Write};
use futures::StreamExt;

use super::*;
use crate::model::collections;
use crate::testing::{BentWatches, DEADLINE, event};

fn feed() -> (Feed, Store) {
    let store: Store = Arc::new(MemoryStore::new(SystemClock::shared()));
    (feed_of(Arc::clone(&store)), store)
}

fn feed_of(store: Store) -> Feed {
    Feed::new(FeedParts {
        store,
        clock: SystemClock::shared(),
        rng: SeededRng::shared(1),
    })
}

async fn commit(store: &Store, writes: Vec<Write>) {
    let outcome = store.commit(writes).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

#[tokio::test]
async fn listeners_are_told_what_is_stored_while_they_listen() {
    let (feed, store) = feed();
    let stop = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(feed.clone().run(stop.clone()));
    let mut listener = feed.listen();
    let (mut place, _) = listener.end().await;
    assert_eq!(listener.take(place, 10), Taken::Nothing);

    commit(&store, vec![event("a", 1), event("a", 2)]).await;
    commit(&store, vec![event("b", 1)]).await;
    let ids = told(&mut listener, &mut place, 3).await;
    assert_eq!(ids, ["a-000000000001", "a-000000000002", "b-000000000001"]);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// The ids of so many events from a place on.
async fn told(listener: &mut Listener, place: &mut Place, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        match listener.take(*place, 10) {
            Taken::Events(events, next) => {
                ids.extend(events.iter().map(|event| event.id.clone()));
                *place = next;
            }
            Taken::Nothing => {
                let changed = listener.changed();
                tokio::time::timeout(DEADLINE, changed).await.unwrap();
            }
            Taken::Gone => panic!("the ring is large enough"),
        }
    }
    ids
}

#[tokio::test]
async fn what_a_watch_left_out_is_told_in_its_place() {
    let store: Store = Arc::new(MemoryStore::new(SystemClock::shared()));
    // No watch shows this event but in what it reads at first.
    let forgotten = collections::event("a", 2).unwrap();
    let feed = feed_of(BentWatches::of(&store, move |changes| {
        let forgotten = forgotten.clone();
        let is_told = move |change: &Change| !matches!(change, Change::Changed(document) if document.path == forgotten);
        changes
            .filter(move |change| future::ready(is_told(change)))
            .boxed()
    }));
    let stop = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(feed.clone().run(stop.clone()));
    let mut listener = feed.listen();
    let (mut place, _) = listener.end().await;
    commit(&store, vec![event("a", 1)]).await;
    let first = told(&mut listener, &mut place, 1).await;
    assert_eq!(first, ["a-000000000001"]);

    commit(&store, vec![event("a", 2)]).await;
    commit(&store, vec![event("b", 1)]).await;
    commit(&store, vec![event("a", 3)]).await;
    let mut ids = told(&mut listener, &mut place, 3).await;
    ids.retain(|id| id.starts_with("a-"));
    assert_eq!(ids, ["a-000000000002", "a-000000000003"]);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn nobody_is_watched_for_nobody() {
    let (feed, _) = feed();
    let stop = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(feed.clone().run(stop.clone()));
    tokio::task::yield_now().await;
    assert_eq!(feed.0.ring.lock().beginning(), None);
    let mut listener = feed.listen();
    listener.beginning().await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert_eq!(*feed.0.listeners.borrow(), 1);
    drop(listener);
    assert_eq!(*feed.0.listeners.borrow(), 0);
}
