use std::collections::BTreeMap;

use coordinator_lib::clock::SystemClock;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{
    Change, CommitOutcome, MemoryStore, Precondition, Stamp, StoreTime, Write,
};
use futures::FutureExt;
use futures::stream::{self, StreamExt};

use super::*;
use crate::model::{EventDoc, EventKind, Stored, collections};
use crate::testing::BentWatches;

async fn commit(store: &Store, account: &str, seq: i64) {
    let event = EventDoc {
        account_id: account.to_owned(),
        seq,
        kind: EventKind::Presence,
        at: StoreTime::from_micros(1),
        stored_at: Stamp::Commit,
        epoch: 1,
        trace: None,
        data: BTreeMap::new(),
    };
    let write = Write::Set {
        path: collections::event(account, seq).unwrap(),
        fields: event.to_document().unwrap(),
        precondition: Precondition::Absent,
    };
    let outcome = store.commit(vec![write]).await.unwrap();
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
        match frames.recv().await.unwrap() {
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
    let bent = BentWatches::of(&store, move |changes| {
        let late = late.clone();
        let mut held = None;
        let changes = changes.flat_map(move |change| {
            let is_late = matches!(&change, Change::Changed(document) if document.path == late);
            if is_late {
                held = Some(change);
                return stream::iter(Vec::new());
            }
            let shown = [Some(change), held.take()].into_iter().flatten();
            stream::iter(shown.collect::<Vec<_>>())
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
    let mut seen = vec![next(&mut frames).await, next(&mut frames).await];
    let last = seen[0].1.clone().max(seen[1].1.clone());
    assert_eq!(seen[1].1, last, "a cursor does not go back: {seen:?}");
    seen.sort();
    let ids: Vec<&str> = seen.iter().map(|(id, _)| &**id).collect();
    assert_eq!(ids, ["a-000000000002", "b-000000000007"]);

    // What both a reading of the store and the watch show comes once.
    commit(&store, "a", 3).await;
    assert_eq!(next(&mut frames).await.0, "a-000000000003");
    stop.cancel();
}
