//! What watches promise.

use std::collections::BTreeMap;

use super::super::{Change, Fields, Op, Precondition, Query, Store, StoreTime, Watch, Write};
use super::{collection, committed, path, put, within};

fn free() -> Query {
    Query::new(collection("accounts")).filter("free", Op::Eq, true)
}

async fn next(watch: &mut Watch) -> Change {
    within(watch.next()).await.expect("the store is open")
}

/// What a watcher has gathered: the versions of the documents that match.
#[derive(Default, Debug, PartialEq)]
struct Seen(BTreeMap<String, StoreTime>);

impl Seen {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Snapshot(documents) => {
                self.0 = documents
                    .into_iter()
                    .map(|document| (document.path.id().to_owned(), document.update_time))
                    .collect();
            }
            Change::Changed(document) => {
                self.0
                    .insert(document.path.id().to_owned(), document.update_time);
            }
            Change::Removed(path) => {
                self.0.remove(path.id());
            }
        }
    }

    async fn until(&mut self, watch: &mut Watch, expected: &BTreeMap<String, StoreTime>) {
        while self.0 != *expected {
            let change = next(watch).await;
            self.apply(change);
        }
    }
}

fn expected<const N: usize>(entries: [(&str, StoreTime); N]) -> BTreeMap<String, StoreTime> {
    entries
        .into_iter()
        .map(|(id, time)| (id.to_owned(), time))
        .collect()
}

async fn delete(store: &Store, at: &str) {
    let write = Write::Delete {
        path: path(at),
        precondition: Precondition::None,
    };
    committed(store, vec![write]).await;
}

/// What is there comes first, in one snapshot; then what happens.
pub async fn a_watch_begins_with_a_snapshot_and_follows(store: Store) {
    let mut empty = store.watch(&free()).await.unwrap();
    assert_eq!(next(&mut empty).await, Change::Snapshot(vec![]));
    let a = put(&store, "accounts/a", [("free", true.into())]).await;
    put(&store, "accounts/b", [("free", false.into())]).await;
    put(&store, "others/c", [("free", true.into())]).await;
    let mut watch = store.watch(&free()).await.unwrap();
    let first = next(&mut watch).await;
    let Change::Snapshot(documents) = first else {
        panic!("a watch began with {first:?}")
    };
    let ids: Vec<&str> = documents
        .iter()
        .map(|document| document.path.id())
        .collect();
    assert_eq!(ids, ["a"]);
    let mut seen = Seen(expected([("a", a)]));
    let d = put(&store, "accounts/d", [("free", true.into())]).await;
    seen.until(&mut watch, &expected([("a", a), ("d", d)]))
        .await;
    let a = put(
        &store,
        "accounts/a",
        [("free", true.into()), ("n", 2.into())],
    )
    .await;
    seen.until(&mut watch, &expected([("a", a), ("d", d)]))
        .await;
}

/// A document leaves by changing and by being deleted, and may come back.
pub async fn a_watch_tells_what_stops_matching(store: Store) {
    let a = put(&store, "accounts/a", [("free", true.into())]).await;
    let b = put(&store, "accounts/b", [("free", true.into())]).await;
    let mut watch = store.watch(&free()).await.unwrap();
    let mut seen = Seen::default();
    seen.until(&mut watch, &expected([("a", a), ("b", b)]))
        .await;
    put(&store, "accounts/a", [("free", false.into())]).await;
    seen.until(&mut watch, &expected([("b", b)])).await;
    delete(&store, "accounts/b").await;
    seen.until(&mut watch, &expected([])).await;
    let a = put(&store, "accounts/a", [("free", true.into())]).await;
    seen.until(&mut watch, &expected([("a", a)])).await;
}

/// Watches are independent of each other, and of those that were dropped.
pub async fn several_watchers_see_the_same(store: Store) {
    drop(store.watch(&free()).await.unwrap());
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push((store.watch(&free()).await.unwrap(), Seen::default()));
    }
    drop(watches.pop());
    let a = put(&store, "accounts/a", [("free", true.into())]).await;
    for (watch, seen) in &mut watches {
        seen.until(watch, &expected([("a", a)])).await;
    }
}

/// A slow watcher may miss steps in between, never the end.
pub async fn a_watch_over_many_changes_ends_in_the_same_state(store: Store) {
    let mut watch = store.watch(&free()).await.unwrap();
    let mut state = BTreeMap::new();
    for round in 0..120i64 {
        let id = format!("a{}", round % 7);
        let at = format!("accounts/{id}");
        match round % 3 {
            0 | 1 => {
                let matches = round % 2 == 0;
                let entries = [("free", matches.into()), ("round", round.into())];
                let time = put(&store, &at, entries).await;
                if matches {
                    state.insert(id, time);
                } else {
                    state.remove(&id);
                }
            }
            _ => {
                delete(&store, &at).await;
                state.remove(&id);
            }
        }
    }
    let last = put(&store, "accounts/last", [("free", true.into())]).await;
    state.insert("last".into(), last);
    let mut seen = Seen::default();
    seen.until(&mut watch, &state).await;
    assert_eq!(seen.0, state);
}

/// Watchers learn of more at once than anybody keeps for them, in one commit or in
/// many that came while they did not look.
pub async fn watchers_learn_of_many_changes_at_once(store: Store) {
    let mut watches = Vec::new();
    for _ in 0..2 {
        watches.push((store.watch(&free()).await.unwrap(), Seen::default()));
    }
    let mut state = BTreeMap::new();
    let create = |id: &str| Write::Set {
        path: path(&format!("accounts/{id}")),
        fields: Fields::from([("free".to_owned(), true.into())]),
        precondition: Precondition::Absent,
    };
    let ids: Vec<String> = (0..400).map(|number| format!("a{number:03}")).collect();
    let writes = ids.iter().map(|id| create(id)).collect();
    let commit = committed(&store, writes).await;
    state.extend(ids.into_iter().map(|id| (id, commit.time)));
    for (watch, seen) in &mut watches {
        seen.until(watch, &state).await;
    }
    for batch in 0..4 {
        let ids: Vec<String> = (0..50)
            .map(|number| format!("b{batch}{number:02}"))
            .collect();
        let writes = ids.iter().map(|id| create(id)).collect();
        let commit = committed(&store, writes).await;
        state.extend(ids.into_iter().map(|id| (id, commit.time)));
    }
    for (watch, seen) in &mut watches {
        seen.until(watch, &state).await;
    }
}
