use coordinator_lib::clock::SystemClock;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{Change, CommitOutcome, MemoryStore, Path};
use futures::FutureExt;
use futures::stream::{self, StreamExt};

use super::*;
use crate::model::collections;
use crate::testing::{BentWatches, DEADLINE, event};

async fn commit(store: &Store, account: &str, seq: i64) {
    let outcome = store.commit(vec![event(account, seq)]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

fn streams(store: Store, stop: &CancellationToken) -> Streams {
    let parts = FeedParts {
        store,
        clock: SystemClock::shared(),
        rng: SeededRng::shared(1),
    };
    Streams::new(parts, StreamsConfig::default(), stop.clone())
}

fn open(streams: &Streams, from: From) -> mpsc::Receiver<Frame> {
    let wanted = Wanted {
        key_id: "k".to_owned(),
        filter: Filter::default(),
        from,
    };
    let still_good = Box::new(|| std::future::ready(true).boxed());
    streams.open(wanted, still_good).unwrap()
}

/// The next event, by its id, and the cursor after it.
async fn next(frames: &mut mpsc::Receiver<Frame>) -> (String, Position) {
    loop {
        let frame = tokio::time::timeout(DEADLINE, frames.recv()).await;
        match frame.unwrap().unwrap() {
            Frame::Event { cursor, event } => return (event.id.clone(), cursor),
            Frame::Heartbeat { .. } => {}
            other @ (Frame::FellBehind { .. } | Frame::End(_)) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_event_that_a_watch_shows_late_comes_late() {
    let store: Store = Arc::new(MemoryStore::new(SystemClock::shared()));
    // Nothing was shown of this account, so nobody can tell that one is missing.
    let late = collections::event("b", 7).unwrap();
    let last = collections::event("a", 3).unwrap();
    let bent = BentWatches::of(&store, move |changes| {
        let (late, last) = (late.clone(), last.clone());
        let mut held = None;
        let is = |change: &Change, path: &Path| matches!(change, Change::Changed(document) if document.path == *path);
        let changes = changes.flat_map(move |change| {
            let shown = if is(&change, &late) {
                held = Some(change);
                Vec::new()
            } else if is(&change, &last) {
                held.take().into_iter().chain([change]).collect()
            } else {
                vec![change]
            };
            stream::iter(shown)
        });
        changes.boxed()
    });
    let stop = CancellationToken::new();
    let streams = streams(bent, &stop);
    commit(&store, "a", 1).await;
    let mut frames = open(&streams, From::Oldest);
    assert_eq!(next(&mut frames).await.0, "a-000000000001");

    commit(&store, "b", 7).await;
    commit(&store, "a", 2).await;
    let (id, cursor) = next(&mut frames).await;
    assert_eq!(id, "a-000000000002");
    commit(&store, "a", 3).await;
    let (id, cursor_of_late) = next(&mut frames).await;
    assert_eq!(id, "b-000000000007");
    assert_eq!(cursor_of_late, cursor, "it does not go back");
    assert_eq!(next(&mut frames).await.0, "a-000000000003");
    stop.cancel();
}
