#![allow(clippy::disallowed_methods, reason = "a test's tasks end with it")]

use std::sync::Arc;

use futures::future::join_all;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::gate::GateState;
use crate::rng::SeededRng;
use crate::store::{CommitOutcome, DocumentStore, Fault, Fields, MemoryStore, Precondition, Value};

struct Scene {
    store: MemoryStore,
    gates: Gates,
    writer: FencedWriter,
}

fn alice() -> WorkerSessionId {
    WorkerSessionId::from_text("alice")
}

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

fn limits() -> FenceLimits {
    FenceLimits {
        attempt_timeout: Duration::from_secs(10),
        retry_for: Duration::from_secs(10),
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
    }
}

async fn head(store: &MemoryStore, epoch: i64, session: &str) -> StoreTime {
    let fields = Fields::from([
        ("epoch".into(), epoch.into()),
        ("workerSession".into(), session.into()),
    ]);
    put(store, "wa_sessions/a", fields).await
}

async fn put(store: &MemoryStore, at: &str, fields: Fields) -> StoreTime {
    let write = Write::Set {
        path: path(at),
        fields,
        precondition: Precondition::None,
    };
    match store.commit(vec![write]).await.unwrap() {
        CommitOutcome::Committed(commit) => commit.time,
        CommitOutcome::Rejected => panic!("rejected without a precondition"),
    }
}

async fn scene() -> Scene {
    scene_with(limits()).await
}

async fn scene_with(limits: FenceLimits) -> Scene {
    scene_on(SystemClock::shared(), limits).await
}

async fn scene_on(clock: SharedClock, limits: FenceLimits) -> Scene {
    let store = MemoryStore::new(clock.clone());
    let version = head(&store, 1, "alice").await;
    let gates = Gates::new(clock.clone());
    let parts = FencedWriterParts {
        store: Arc::new(store.clone()),
        fence: Fence {
            head: path("wa_sessions/a"),
            version,
            epoch: 1,
            worker_session: alice(),
        },
        gates: gates.clone(),
        clock,
        rng: SeededRng::shared(1),
        limits,
    };
    Scene {
        store,
        gates,
        writer: FencedWriter::spawn(parts, &TaskTracker::new()),
    }
}

fn create(at: &str) -> Write {
    Write::Set {
        path: path(at),
        fields: Fields::from([("n".into(), 1.into())]),
        precondition: Precondition::Absent,
    }
}

fn change(at: &str, version: StoreTime) -> Write {
    Write::Update {
        path: path(at),
        fields: Fields::from([("n".into(), 2.into())]),
        precondition: Precondition::Unchanged(version),
    }
}

async fn version(store: &MemoryStore, at: &str) -> Option<StoreTime> {
    let snapshot = store.get(&[path(at)]).await.unwrap();
    snapshot.documents[0]
        .as_ref()
        .map(|document| document.update_time)
}

fn committed(outcome: Result<FencedOutcome, FencedError>) -> Commit {
    match outcome {
        Ok(FencedOutcome::Committed(commit)) => commit,
        other => panic!("not committed: {other:?}"),
    }
}

/// Waits until the store is being asked by the writer.
async fn in_flight(scene: &Scene) {
    let asked = async {
        while scene.gates.store.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_batch_is_written_and_learns_its_versions() {
    let scene = scene().await;
    let commit = committed(
        scene
            .writer
            .commit(vec![create("m/1"), create("m/2")])
            .await,
    );
    assert_eq!(commit.update_times.len(), 2);
    for (at, update_time) in ["m/1", "m/2"].into_iter().zip(commit.update_times) {
        assert_eq!(version(&scene.store, at).await, Some(update_time));
    }
    scene.writer.idle().await;
}

#[tokio::test]
async fn a_stale_epoch_is_fenced() {
    let scene = scene().await;
    head(&scene.store, 2, "bob").await;
    assert_eq!(
        scene.writer.commit(vec![create("m/1")]).await,
        Err(FencedError::Fenced)
    );
    assert_eq!(version(&scene.store, "m/1").await, None);
    scene.writer.fenced().await;
    for gate in [&scene.gates.wire, &scene.gates.store] {
        assert_eq!(gate.state(), GateState::Closed(CloseReason::Fenced));
    }
    assert_eq!(
        scene.writer.commit(vec![create("m/2")]).await,
        Err(FencedError::Fenced)
    );
    scene.writer.idle().await;
}

#[tokio::test]
async fn the_same_epoch_of_another_session_is_fenced() {
    let scene = scene().await;
    head(&scene.store, 1, "bob").await;
    assert_eq!(
        scene.writer.commit(vec![create("m/1")]).await,
        Err(FencedError::Fenced)
    );
}

#[tokio::test]
async fn a_deleted_head_is_fenced() {
    let scene = scene().await;
    let delete = Write::Delete {
        path: path("wa_sessions/a"),
        precondition: Precondition::Exists,
    };
    assert!(scene.store.commit(vec![delete]).await.is_ok());
    assert_eq!(
        scene.writer.commit(vec![create("m/1")]).await,
        Err(FencedError::Fenced)
    );
}

#[tokio::test]
async fn another_epoch_that_begins_while_a_batch_is_queued_fences_it() {
    let scene = scene().await;
    scene.gates.store.suspend().unwrap();
    let queued: Vec<_> = (0..3)
        .map(|number| {
            let writer = scene.writer.clone();
            tokio::spawn(async move { writer.commit(vec![create(&format!("m/{number}"))]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    head(&scene.store, 2, "bob").await;
    scene.gates.store.open().unwrap();
    for outcome in join_all(queued).await {
        assert_eq!(outcome.unwrap(), Err(FencedError::Fenced));
    }
    for number in 0..3 {
        assert_eq!(version(&scene.store, &format!("m/{number}")).await, None);
    }
}

#[tokio::test]
async fn a_head_that_we_changed_ourselves_is_no_fence() {
    let scene = scene().await;
    // As after a commit of ours whose version we did not learn.
    head(&scene.store, 1, "alice").await;
    committed(scene.writer.commit(vec![create("m/1")]).await);
}

#[tokio::test]
async fn the_owner_may_write_the_head_and_carries_on() {
    let scene = scene().await;
    let rewrap = Write::Update {
        path: path("wa_sessions/a"),
        fields: Fields::from([("wrappedKeys".into(), Value::List(vec![]))]),
        precondition: Precondition::Unchanged(StoreTime::from_micros(0)),
    };
    for number in 0..3 {
        committed(scene.writer.commit(vec![rewrap.clone()]).await);
        committed(
            scene
                .writer
                .commit(vec![create(&format!("m/{number}"))])
                .await,
        );
    }
}

#[tokio::test]
async fn a_batch_whose_condition_fails_is_lost_and_nothing_else() {
    let scene = scene().await;
    put(&scene.store, "m/taken", Fields::new()).await;
    let outcome = scene
        .writer
        .commit(vec![create("m/1"), create("m/taken")])
        .await;
    assert_eq!(outcome, Ok(FencedOutcome::Lost));
    assert_eq!(version(&scene.store, "m/1").await, None);
    assert!(scene.gates.store.is_open());
    committed(scene.writer.commit(vec![create("m/1")]).await);
}

#[tokio::test]
async fn one_loser_in_a_group_takes_no_other_with_it() {
    let scene = scene().await;
    put(&scene.store, "m/3", Fields::new()).await;
    scene.store.pause_commits();
    let first = tokio::spawn({
        let writer = scene.writer.clone();
        async move { writer.commit(vec![create("m/first")]).await }
    });
    in_flight(&scene).await;
    let group: Vec<_> = (0..6)
        .map(|number| {
            let writer = scene.writer.clone();
            tokio::spawn(async move { writer.commit(vec![create(&format!("m/{number}"))]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    scene.store.resume_commits();
    committed(first.await.unwrap());
    for (number, outcome) in join_all(group).await.into_iter().enumerate() {
        let outcome = outcome.unwrap();
        if number == 3 {
            assert_eq!(outcome, Ok(FencedOutcome::Lost));
        } else {
            let commit = committed(outcome);
            let found = version(&scene.store, &format!("m/{number}")).await;
            assert_eq!(found, Some(commit.update_times[0]));
        }
    }
}

#[tokio::test]
async fn many_callers_share_few_commits() {
    let scene = scene().await;
    scene.store.pause_commits();
    let callers: Vec<_> = (0..100)
        .map(|number| {
            let writer = scene.writer.clone();
            tokio::spawn(async move { writer.commit(vec![create(&format!("m/{number}"))]).await })
        })
        .collect();
    in_flight(&scene).await;
    while scene.writer.pending() < 100 {
        tokio::task::yield_now().await;
    }
    let before = scene.store.commits();
    scene.store.resume_commits();
    for outcome in join_all(callers).await {
        committed(outcome.unwrap());
    }
    let commits = scene.store.commits() - before;
    assert!(commits <= 5, "{commits} commits for 100 callers");
}

#[tokio::test]
async fn batches_on_one_document_follow_each_other() {
    let scene = scene().await;
    let start = committed(scene.writer.commit(vec![create("t/1")]).await).update_times[0];
    // Both write on the same version: the one queued first wins, whatever else
    // shares its commit.
    scene.store.pause_commits();
    let blocker = tokio::spawn({
        let writer = scene.writer.clone();
        async move { writer.commit(vec![create("m/0")]).await }
    });
    in_flight(&scene).await;
    let queue = |at: &'static str| {
        let writer = scene.writer.clone();
        tokio::spawn(async move { writer.commit(vec![create(at), change("t/1", start)]).await })
    };
    let first = queue("m/1");
    tokio::task::yield_now().await;
    let second = queue("m/2");
    tokio::task::yield_now().await;
    scene.store.resume_commits();
    committed(blocker.await.unwrap());
    committed(first.await.unwrap());
    assert_eq!(second.await.unwrap(), Ok(FencedOutcome::Lost));
    assert_eq!(version(&scene.store, "m/2").await, None);
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_is_found_by_reading() {
    let scene = scene().await;
    scene.store.fail_next_commit(Fault::AmbiguousApplied);
    let before = scene.store.commits();
    let commit = committed(
        scene
            .writer
            .commit(vec![create("m/1"), create("m/2")])
            .await,
    );
    assert_eq!(scene.store.commits(), before + 1, "read back, not repeated");
    assert_eq!(
        version(&scene.store, "m/1").await,
        Some(commit.update_times[0])
    );
    assert_eq!(
        version(&scene.store, "m/2").await,
        Some(commit.update_times[1])
    );
    let next = change("m/1", commit.update_times[0]);
    committed(scene.writer.commit(vec![next]).await);
}

#[tokio::test]
async fn a_commit_that_is_lost_is_sent_again() {
    let scene = scene().await;
    scene.store.fail_next_commit(Fault::AmbiguousNotApplied);
    scene.store.fail_next_commit(Fault::AmbiguousNotApplied);
    let commit = committed(scene.writer.commit(vec![create("m/1")]).await);
    assert_eq!(
        version(&scene.store, "m/1").await,
        Some(commit.update_times[0])
    );
}

#[tokio::test]
async fn a_commit_that_lands_after_its_repetition_is_harmless() {
    let scene = scene().await;
    scene.store.fail_next_commit(Fault::AmbiguousLate);
    let commit = committed(scene.writer.commit(vec![create("m/1")]).await);
    let newer = committed(scene.writer.commit(vec![change("m/1", commit.time)]).await);
    assert_eq!(scene.store.land_late(), [CommitOutcome::Rejected]);
    assert_eq!(version(&scene.store, "m/1").await, Some(newer.time));
}

#[tokio::test]
async fn a_commit_that_lands_before_its_repetition_counts_once() {
    let scene = scene().await;
    let start = put(&scene.store, "f/1", Fields::new()).await;
    scene.store.fail_next_commit(Fault::AmbiguousLate);
    scene.store.fail_next_commit(Fault::Unavailable);
    let pending = tokio::spawn({
        let writer = scene.writer.clone();
        async move { writer.commit(vec![change("f/1", start)]).await }
    });
    // Lands between the first attempt and the one that would have succeeded.
    let landed = async {
        loop {
            match scene.store.land_late().as_slice() {
                [CommitOutcome::Committed(commit)] => return commit.clone(),
                [] => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    };
    let landed = tokio::time::timeout(Duration::from_secs(30), landed)
        .await
        .unwrap();
    let commit = committed(pending.await.unwrap());
    assert_eq!(commit.time, landed.time);
    assert_eq!(version(&scene.store, "f/1").await, Some(landed.time));
}

#[tokio::test]
async fn what_others_changed_since_is_not_taken_for_ours() {
    let clock = ManualClock::new();
    let scene = scene_on(Arc::new(clock.clone()), limits()).await;
    let start = put(&scene.store, "o/1", Fields::new()).await;
    scene.store.fail_next_commit(Fault::AmbiguousApplied);
    scene.store.fail_next_read();
    let before = scene.store.commits();
    let pending = tokio::spawn({
        let writer = scene.writer.clone();
        async move { writer.commit(vec![change("o/1", start)]).await }
    });
    // The commit has landed, reading back has failed, and the writer waits.
    while scene.store.commits() == before {
        tokio::task::yield_now().await;
    }
    let cancel = Write::Update {
        path: path("o/1"),
        fields: Fields::from([("state".into(), "cancelled".into())]),
        precondition: Precondition::Exists,
    };
    let CommitOutcome::Committed(cancelled) = scene.store.commit(vec![cancel]).await.unwrap()
    else {
        panic!("the document exists")
    };
    assert!(clock.advance_to_next_sleeper());
    let commit = committed(pending.await.unwrap());
    assert!(commit.update_times[0] < cancelled.time);
    let next = scene
        .writer
        .commit(vec![change("o/1", commit.update_times[0])])
        .await;
    assert_eq!(
        next,
        Ok(FencedOutcome::Lost),
        "the cancel is seen, not overwritten"
    );
}

#[tokio::test]
async fn failures_that_pass_are_waited_out() {
    let scene = scene().await;
    for fault in [
        Fault::Unavailable,
        Fault::Contended,
        Fault::Full,
        Fault::Contended,
    ] {
        scene.store.fail_next_commit(fault);
    }
    committed(scene.writer.commit(vec![create("m/1")]).await);
}

#[tokio::test]
async fn a_failure_that_stays_is_reported_and_nothing_is_written() {
    let scene = scene_with(FenceLimits {
        retry_for: Duration::from_millis(1),
        ..limits()
    })
    .await;
    scene.store.fail_next_commit(Fault::Full);
    scene.store.fail_next_commit(Fault::Full);
    let outcome = scene.writer.commit(vec![create("m/1")]).await;
    assert!(
        matches!(
            outcome,
            Err(FencedError::Unavailable(StoreError::Full { .. }))
        ),
        "{outcome:?}"
    );
    assert_eq!(version(&scene.store, "m/1").await, None);
    assert!(scene.gates.store.is_open());
}

#[tokio::test]
async fn an_unknown_outcome_is_never_given_up_while_the_gate_is_open() {
    let scene = scene_with(FenceLimits {
        retry_for: Duration::ZERO,
        ..limits()
    })
    .await;
    scene.store.fail_next_commit(Fault::AmbiguousApplied);
    scene.store.fail_next_read();
    scene.store.fail_next_read();
    committed(scene.writer.commit(vec![create("m/1")]).await);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_asked_again_after_the_limit() {
    let patience = Duration::from_millis(20);
    let scene = scene_with(FenceLimits {
        attempt_timeout: patience,
        ..limits()
    })
    .await;
    scene.store.pause_commits();
    let pending = tokio::spawn({
        let writer = scene.writer.clone();
        async move { writer.commit(vec![create("m/1")]).await }
    });
    in_flight(&scene).await;
    let waited = async {
        while scene.gates.store.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited)
        .await
        .unwrap();
    scene.store.resume_commits();
    committed(pending.await.unwrap());
}

#[tokio::test]
async fn a_gate_that_closes_fails_what_is_queued_and_what_comes() {
    let scene = scene().await;
    scene.gates.store.suspend().unwrap();
    let queued: Vec<_> = (0..4)
        .map(|number| {
            let writer = scene.writer.clone();
            tokio::spawn(async move { writer.commit(vec![create(&format!("m/{number}"))]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    scene.gates.store.close(CloseReason::Stopped);
    let closed = FencedError::GateClosed(CloseReason::Stopped);
    for outcome in join_all(queued).await {
        assert_eq!(outcome.unwrap(), Err(closed.clone()));
    }
    assert_eq!(scene.writer.commit(vec![create("m/9")]).await, Err(closed));
    assert_eq!(version(&scene.store, "m/0").await, None);
    scene.writer.idle().await;
}

#[tokio::test]
async fn a_gate_that_closes_while_the_store_fails_ends_the_waiting() {
    let scene = scene_with(FenceLimits {
        backoff_base: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        retry_for: Duration::MAX,
        ..limits()
    })
    .await;
    scene.store.fail_next_commit(Fault::Unavailable);
    let pending = tokio::spawn({
        let writer = scene.writer.clone();
        async move { writer.commit(vec![create("m/1")]).await }
    });
    let before = scene.store.commits();
    while scene.store.commits() == before {
        tokio::task::yield_now().await;
    }
    scene.gates.store.close(CloseReason::Outage);
    let outcome = pending.await.unwrap();
    assert_eq!(outcome, Err(FencedError::GateClosed(CloseReason::Outage)));
}

#[tokio::test]
async fn an_invalid_batch_is_refused_at_once() {
    let scene = scene().await;
    let unguarded = Write::Delete {
        path: path("m/1"),
        precondition: Precondition::None,
    };
    for batch in [vec![], vec![unguarded]] {
        let outcome = scene.writer.commit(batch).await;
        assert!(
            matches!(outcome, Err(FencedError::Invalid { .. })),
            "{outcome:?}"
        );
    }
    scene.writer.idle().await;
}

#[tokio::test]
async fn an_update_too_large_for_its_document_is_invalid_and_alone() {
    let scene = scene().await;
    let half = || Value::Bytes(vec![0; 600_000].into());
    let start = put(&scene.store, "f/1", Fields::from([("a".into(), half())])).await;
    let large = Write::Update {
        path: path("f/1"),
        fields: Fields::from([("b".into(), half())]),
        precondition: Precondition::Unchanged(start),
    };
    let (large, small) = tokio::join!(
        scene.writer.commit(vec![large]),
        scene.writer.commit(vec![create("m/1")])
    );
    assert!(
        matches!(large, Err(FencedError::Invalid { .. })),
        "{large:?}"
    );
    committed(small);
}
