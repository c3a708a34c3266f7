//! What commits and reads of single documents promise.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::super::limits::{COMMIT_WRITES_MAX, DOCUMENT_BYTES_MAX};
use super::super::{
    CommitOutcome, Precondition, Store, StoreError, StoreTime, Value, Write, WriteOutcome,
};
use super::{committed, fields, path, put, read, set, update};

/// Every type of value comes back as it was written.
pub async fn a_document_reads_back_with_every_type(store: Store) {
    let inner = fields([
        ("at", Value::Time(StoreTime::from_micros(1))),
        ("428 x.y", 3.into()),
    ]);
    let entries = [
        ("null", Value::Null),
        ("yes", true.into()),
        ("int", Value::Int(i64::MIN)),
        ("double", Value::Double(0.1)),
        ("text", "héllo\u{0}'\"".into()),
        ("bytes", Bytes::from_static(b"\x00\xff").into()),
        ("time", StoreTime::from_micros(1_767_268_800_123_456).into()),
        (
            "list",
            Value::List(vec![1.into(), Value::Null, Value::Map(inner.clone())]),
        ),
        ("map", Value::Map(inner)),
        ("emptyList", Value::List(vec![])),
        ("emptyMap", Value::Map(fields([]))),
    ];
    let update_time = put(&store, "things/a", entries.clone()).await;
    let document = read(&store, "things/a").await.unwrap();
    assert_eq!(document.fields, fields(entries));
    assert_eq!(document.update_time, update_time);
    assert_eq!(document.path, path("things/a"));
    put(&store, "things/empty", []).await;
    assert!(
        read(&store, "things/empty")
            .await
            .unwrap()
            .fields
            .is_empty()
    );
}

/// Each precondition lets through what it should, and nothing else.
pub async fn preconditions_decide(store: Store) {
    let first = put(&store, "things/a", [("n", 1.into())]).await;
    let second = put(&store, "things/a", [("n", 2.into())]).await;
    for (at, precondition, goes) in [
        ("things/a", Precondition::Absent, false),
        ("things/b", Precondition::Exists, false),
        ("things/a", Precondition::Unchanged(first), false),
        ("things/b", Precondition::Unchanged(second), false),
        ("things/a", Precondition::Unchanged(second), true),
        ("things/a", Precondition::Exists, true),
        ("things/b", Precondition::Absent, true),
        ("things/c", Precondition::None, true),
    ] {
        let outcome = store.commit(vec![set(at, [], precondition)]).await.unwrap();
        assert_eq!(
            outcome != CommitOutcome::Rejected,
            goes,
            "{at} {precondition:?}"
        );
    }
    let delete = |at: &str, precondition| Write::Delete {
        path: path(at),
        precondition,
    };
    let stale = delete("things/a", Precondition::Unchanged(first));
    assert_eq!(
        store.commit(vec![stale]).await.unwrap(),
        CommitOutcome::Rejected
    );
    let missing = delete("things/none", Precondition::Exists);
    assert_eq!(
        store.commit(vec![missing]).await.unwrap(),
        CommitOutcome::Rejected
    );
    committed(&store, vec![delete("things/none", Precondition::None)]).await;
    committed(&store, vec![delete("things/a", Precondition::Exists)]).await;
    assert_eq!(read(&store, "things/a").await, None);
}

/// All or nothing: one precondition that fails takes the whole commit with it.
pub async fn a_rejected_commit_writes_nothing(store: Store) {
    let version = put(&store, "things/a", [("n", 1.into())]).await;
    let outcome = store
        .commit(vec![
            set("things/new", [], Precondition::Absent),
            update(
                "things/a",
                [("n", 2.into())],
                Precondition::Unchanged(version),
            ),
            set("things/b", [], Precondition::Exists),
        ])
        .await
        .unwrap();
    assert_eq!(outcome, CommitOutcome::Rejected);
    assert_eq!(read(&store, "things/new").await, None);
    assert_eq!(read(&store, "things/a").await.unwrap().update_time, version);
}

/// An update leaves the fields that it does not name.
pub async fn an_update_changes_only_the_named_fields(store: Store) {
    put(
        &store,
        "things/a",
        [("kept", 1.into()), ("changed", 1.into())],
    )
    .await;
    let changes = [("changed", Value::Null), ("added", "x".into())];
    committed(
        &store,
        vec![update("things/a", changes, Precondition::Exists)],
    )
    .await;
    assert_eq!(
        read(&store, "things/a").await.unwrap().fields,
        fields([
            ("kept", 1.into()),
            ("changed", Value::Null),
            ("added", "x".into())
        ])
    );
    put(&store, "things/a", [("only", 1.into())]).await;
    assert_eq!(
        read(&store, "things/a").await.unwrap().fields,
        fields([("only", 1.into())])
    );
}

/// An update makes no document.
pub async fn an_update_needs_its_document(store: Store) {
    let write = update("things/a", [("n", 1.into())], Precondition::None);
    assert_eq!(
        store.commit(vec![write]).await.unwrap(),
        CommitOutcome::Rejected
    );
    assert_eq!(read(&store, "things/a").await, None);
}

/// A verify fails a commit as a precondition does, and is otherwise invisible.
pub async fn verify_checks_and_changes_nothing(store: Store) {
    let head = put(&store, "heads/a", [("epoch", 1.into())]).await;
    let verify = |update_time| Write::Verify {
        path: path("heads/a"),
        update_time,
    };
    let commit = committed(
        &store,
        vec![verify(head), set("files/a", [], Precondition::Absent)],
    )
    .await;
    assert_eq!(commit.update_times, [head, commit.time]);
    let document = read(&store, "heads/a").await.unwrap();
    assert_eq!(
        (document.update_time, document.fields),
        (head, fields([("epoch", 1.into())]))
    );

    let next = put(&store, "heads/a", [("epoch", 2.into())]).await;
    let stale = vec![verify(head), set("files/b", [], Precondition::None)];
    assert_eq!(store.commit(stale).await.unwrap(), CommitOutcome::Rejected);
    assert_eq!(read(&store, "files/b").await, None);
    committed(&store, vec![verify(next)]).await;
    let missing = Write::Verify {
        path: path("heads/none"),
        update_time: next,
    };
    assert_eq!(
        store.commit(vec![missing]).await.unwrap(),
        CommitOutcome::Rejected
    );
    assert_eq!(read(&store, "heads/none").await, None);
}

/// However fast commits follow each other, versions differ and grow.
pub async fn update_times_strictly_increase(store: Store) {
    let mut before = StoreTime::from_micros(i64::MIN);
    for number in 0..50 {
        let after = put(&store, "things/a", [("n", number.into())]).await;
        assert!(after > before, "{before} then {after}");
        before = after;
    }
}

/// How long before a commit's time its sentinels may say that it was: Firestore
/// takes the time at which it begins, in milliseconds.
const COMMIT_TIME_EARLIER_MAX: Duration = Duration::from_secs(1);

/// The commit time sentinel becomes a time of the store: the commit's, or
/// shortly before it, and the same throughout the commit.
pub async fn the_commit_time_is_the_stores(store: Store) {
    let inner = Value::Map(fields([("at", Value::CommitTime)]));
    let writes = vec![
        set(
            "things/a",
            [("at", Value::CommitTime), ("in", inner)],
            Precondition::None,
        ),
        set("things/b", [("at", Value::CommitTime)], Precondition::None),
    ];
    let before = store.ping().await.unwrap();
    let commit = committed(&store, writes).await;
    assert!(commit.time >= before);
    assert_eq!(commit.update_times, [commit.time, commit.time]);
    let document = read(&store, "things/a").await.unwrap();
    let at = document.fields["at"].clone();
    let Value::Time(time) = at else {
        panic!("not a time: {at:?}")
    };
    assert!(time <= commit.time && commit.time.since(time) <= COMMIT_TIME_EARLIER_MAX);
    assert_eq!(
        document.fields["in"],
        Value::Map(fields([("at", at.clone())]))
    );
    assert_eq!(read(&store, "things/b").await.unwrap().fields["at"], at);
    let change = update(
        "things/b",
        [("at", Value::CommitTime)],
        Precondition::Exists,
    );
    committed(&store, vec![change]).await;
    let Value::Time(later) = read(&store, "things/b").await.unwrap().fields["at"] else {
        panic!("not a time")
    };
    assert!(later >= time);
}

/// What embedded stores promise beyond the contract: the sentinel becomes
/// exactly the time that the commit returns.
pub async fn the_commit_time_is_exact(store: Store) {
    let write = set("things/a", [("at", Value::CommitTime)], Precondition::None);
    let commit = committed(&store, vec![write]).await;
    let document = read(&store, "things/a").await.unwrap();
    assert_eq!(document.fields["at"], Value::Time(commit.time));
    assert_eq!(document.update_time, commit.time);
}

/// Limits are the same everywhere; the cases are in [`super::super::limits`].
pub async fn what_firestore_refuses_is_refused(store: Store) {
    let twice = vec![
        set("a/a", [], Precondition::None),
        set("a/a", [], Precondition::None),
    ];
    let many = (0..=COMMIT_WRITES_MAX)
        .map(|index| set(&format!("a/{index}"), [], Precondition::None))
        .collect();
    let large = Value::Bytes(vec![0; DOCUMENT_BYTES_MAX].into());
    let large = vec![set("a/a", [("large", large)], Precondition::None)];
    for writes in [vec![], twice, many, large] {
        let outcome = store.commit(writes).await;
        assert!(
            matches!(outcome, Err(StoreError::Invalid { .. })),
            "{outcome:?}"
        );
    }
    let paths: Vec<_> = (0..501).map(|index| path(&format!("a/{index}"))).collect();
    assert!(matches!(
        store.get(&paths).await,
        Err(StoreError::Invalid { .. })
    ));
}

/// The limit holds for the document that results, not for the update alone.
pub async fn an_update_that_makes_a_document_too_large_is_refused(store: Store) {
    // Over Firestore's own limit, which is a little above ours.
    let half = Value::Bytes(vec![7; DOCUMENT_BYTES_MAX / 2 + 4 * 1024].into());
    let version = put(&store, "things/a", [("first", half.clone())]).await;
    let writes = vec![
        set("things/b", [], Precondition::None),
        update("things/a", [("second", half)], Precondition::None),
    ];
    let outcome = store.commit(writes).await;
    assert!(
        matches!(outcome, Err(StoreError::Invalid { .. })),
        "{outcome:?}"
    );
    assert_eq!(read(&store, "things/a").await.unwrap().update_time, version);
    assert_eq!(read(&store, "things/b").await, None);
}

/// One write that loses its race takes no other with it.
pub async fn independent_writes_have_their_own_outcomes(store: Store) {
    put(&store, "things/a", []).await;
    let outcomes = store
        .commit_each(vec![
            set("things/a", [], Precondition::Absent),
            set("things/b", [("n", 1.into())], Precondition::Absent),
            update("things/b", [("n", 2.into())], Precondition::Exists),
        ])
        .await
        .unwrap();
    assert_eq!(outcomes[0], WriteOutcome::Rejected);
    let document = read(&store, "things/b").await.unwrap();
    assert_eq!(outcomes[2], WriteOutcome::Written(document.update_time));
    assert_eq!(document.fields, fields([("n", 2.into())]));
}

/// Many read the same version and write on it: one of them succeeds.
pub async fn of_racing_claims_exactly_one_wins(store: Store) {
    const RACERS: i64 = 24;
    for round in 0..5 {
        let version = put(&store, "accounts/a", [("round", round.into())]).await;
        let claims = (0..RACERS).map(|racer| {
            let store = store.clone();
            async move {
                let claim = [("owner", racer.into())];
                let claim = update("accounts/a", claim, Precondition::Unchanged(version));
                match store.commit(vec![claim]).await.unwrap() {
                    CommitOutcome::Committed(_) => Some(racer),
                    CommitOutcome::Rejected => None,
                }
            }
        });
        let winners: Vec<i64> = join_all(claims).await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let owner = &read(&store, "accounts/a").await.unwrap().fields["owner"];
        assert_eq!(*owner, Value::Int(winners[0]));
    }
}

/// One answer for each path, missing and repeated ones too.
pub async fn a_batch_reads_in_order_and_at_one_time(store: Store) {
    let a = put(&store, "things/a", []).await;
    let b = put(&store, "others/b", []).await;
    let paths = ["others/b", "things/none", "things/a", "others/b"].map(path);
    let snapshot = store.get(&paths).await.unwrap();
    let versions: Vec<Option<StoreTime>> = snapshot
        .documents
        .iter()
        .map(|document| document.as_ref().map(|document| document.update_time))
        .collect();
    assert_eq!(versions, [Some(b), None, Some(a), Some(b)]);
    assert!(snapshot.read_time >= b);
    assert!(store.get(&[]).await.unwrap().documents.is_empty());
}

/// Nothing that was decided on the old document can be written on the new one.
pub async fn a_document_deleted_and_made_again_is_another_version(store: Store) {
    let first = put(&store, "things/a", [("n", 1.into())]).await;
    let delete = Write::Delete {
        path: path("things/a"),
        precondition: Precondition::None,
    };
    let deleted = committed(&store, vec![delete]).await;
    let again = put(&store, "things/a", [("n", 1.into())]).await;
    assert!(first < deleted.time && deleted.time < again);
    let stale = update(
        "things/a",
        [("n", 2.into())],
        Precondition::Unchanged(first),
    );
    assert_eq!(
        store.commit(vec![stale]).await.unwrap(),
        CommitOutcome::Rejected
    );
}

/// Others can be judged by store time even if nobody writes.
pub async fn store_time_goes_on_without_writes(store: Store) {
    let written = put(&store, "things/a", []).await;
    super::within(async {
        let mut before = written;
        loop {
            let now = store.ping().await.unwrap();
            assert!(now >= before, "store time went back from {before} to {now}");
            if now > written {
                return;
            }
            before = now;
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(store.get(&[]).await.unwrap().read_time > written);
}
