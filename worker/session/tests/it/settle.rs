//! Commits whose outcome stays unknown for a while, callers who do not wait, and
//! writers who should not be there.

use std::time::Duration;

use coordinator_lib::gate::CloseReason;
use coordinator_lib::store::{CommitOutcome, Fault};
use session::{Kind, SessionError};

use crate::bench::{Bench, DEADLINE, eventually};

const UNKNOWN: [Fault; 3] = [
    Fault::AmbiguousApplied,
    Fault::AmbiguousNotApplied,
    Fault::AmbiguousLate,
];

async fn stored(bench: &Bench) -> String {
    let value = bench.claim().await.get(Kind::Sessions, "peer").unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_takes_no_reservation_back() {
    for fault in UNKNOWN {
        let bench = Bench::memory();
        let owner = bench.claim().await;
        owner.put(Kind::Sessions, "peer", "64");
        owner.files.flush().await.unwrap();
        owner.put(Kind::Sessions, "peer", "128");
        bench.faults().fail_next_commit(fault);
        owner.files.flush().await.unwrap();
        owner.put(Kind::Sessions, "peer", "192");
        owner.files.flush().await.unwrap();
        for outcome in bench.faults().land_late() {
            assert_eq!(outcome, CommitOutcome::Rejected, "{fault:?}");
        }
        owner.put(Kind::Device, "", "device");
        owner.files.flush().await.unwrap();
        assert_eq!(stored(&bench).await, "192", "{fault:?}");
    }
}

#[tokio::test]
async fn a_commit_of_an_epoch_that_is_over_lands_no_more() {
    let mut bench = Bench::memory();
    // The owner is slow to look what became of its commit.
    bench.limits.backoff_base = DEADLINE;
    bench.limits.backoff_max = DEADLINE;
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "64");
    owner.files.flush().await.unwrap();
    owner.put(Kind::Sessions, "peer", "128");
    bench.faults().fail_next_commit(Fault::AmbiguousLate);
    let commits = bench.faults().commits();
    let files = owner.files.clone();
    let flush = tokio::spawn(async move { files.flush().await });
    eventually("an attempt", || bench.faults().commits() > commits).await;

    let successor = bench.claim().await;
    assert_eq!(successor.get(Kind::Sessions, "peer").unwrap(), "64");
    assert_eq!(bench.faults().land_late(), [CommitOutcome::Rejected]);
    successor.put(Kind::Sessions, "peer", "65");
    successor.files.flush().await.unwrap();
    assert_eq!(stored(&bench).await, "65");
    owner.gates.freeze(CloseReason::LeaseLost);
    let error = flush.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::GateClosed { .. }), "{error}");
}

#[tokio::test]
async fn a_split_of_unknown_outcome_is_settled() {
    for fault in UNKNOWN {
        let bench = Bench::memory();
        let owner = bench.claim().await;
        for index in 0..100 {
            owner.put(Kind::Sessions, &format!("peer{index}"), vec![1; 2_000]);
        }
        owner.files.flush().await.unwrap();
        for index in 100..200 {
            owner.put(Kind::Sessions, &format!("peer{index}"), vec![1; 2_000]);
        }
        bench.faults().fail_next_commit(fault);
        owner.files.flush().await.unwrap();
        assert!(bench.names().await.len() >= 4);
        for index in 3..200 {
            owner.files.remove(Kind::Sessions, format!("peer{index}"));
        }
        owner.files.flush().await.unwrap();
        for outcome in bench.faults().land_late() {
            assert_eq!(outcome, CommitOutcome::Rejected, "{fault:?}");
        }
        // What this epoch created and retired, the next one removes.
        assert_eq!(bench.names().await.len(), 5, "{fault:?}");
        let successor = bench.claim().await;
        assert_eq!(successor.files.size().0, 3, "{fault:?}");
        successor.put(Kind::Sessions, "peer0", "last");
        successor.files.flush().await.unwrap();
        assert_eq!(bench.names().await, ["peers"], "{fault:?}");
        let last = bench.claim().await;
        assert_eq!(last.files.size().0, 3, "{fault:?}");
        assert_eq!(
            last.get(Kind::Sessions, "peer0").unwrap(),
            "last",
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_attempt_to_create_a_file_does_not_land_once_the_file_was_split() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "64");
    bench.faults().fail_next_commit(Fault::AmbiguousLate);
    owner.files.flush().await.unwrap();
    for index in 0..200 {
        owner.put(Kind::Sessions, &format!("peer{index}"), vec![1; 2_000]);
    }
    owner.put(Kind::Sessions, "peer", "128");
    owner.files.flush().await.unwrap();
    assert!(bench.names().await.len() >= 5);
    // Its condition is that there is no such file.
    assert_eq!(bench.faults().land_late(), [CommitOutcome::Rejected]);
    assert_eq!(stored(&bench).await, "128");
}

#[tokio::test]
async fn a_caller_who_stops_waiting_leaves_the_commit_to_the_next() {
    for fault in [None, Some(Fault::Unavailable), Some(Fault::AmbiguousLate)] {
        let bench = Bench::memory();
        let owner = bench.claim().await;
        if let Some(fault) = fault {
            bench.faults().fail_next_commit(fault);
        }
        bench.faults().pause_commits();
        owner.put(Kind::Sessions, "peer", "1");
        let cancelled = tokio::time::timeout(Duration::from_millis(20), owner.files.flush()).await;
        assert!(cancelled.is_err());
        assert!(owner.files.is_dirty());
        // Taken back while its commit is under way: a change, relative to that.
        owner.files.remove(Kind::Sessions, "peer");
        owner.put(Kind::Sessions, "another", "2");
        bench.faults().resume_commits();
        while owner.files.flush().await.is_err() {}
        assert!(!owner.files.is_dirty());
        bench.faults().land_late();
        let successor = bench.claim().await;
        assert_eq!(successor.files.size().0, 1, "{fault:?}");
        assert_eq!(
            successor.get(Kind::Sessions, "another").unwrap(),
            "2",
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_flush_keeps_everything_for_the_next() {
    for fault in [Fault::Unavailable, Fault::Full, Fault::Contended] {
        let bench = Bench::memory();
        let owner = bench.claim().await;
        owner.put(Kind::Sessions, "peer", "1");
        bench.faults().fail_next_commit(fault);
        let error = owner.files.flush().await.unwrap_err();
        assert!(matches!(error, SessionError::Unavailable { .. }), "{error}");
        assert!(!error.is_final());
        assert!(owner.files.is_dirty());
        assert!(bench.names().await.is_empty());
        owner.files.flush().await.unwrap();
        assert_eq!(stored(&bench).await, "1");
    }
}

#[tokio::test]
async fn a_foreign_change_under_a_valid_claim_ends_the_session() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let owner = bench.claim().await;
        owner.put(Kind::Sessions, "peer", "1");
        owner.put(Kind::Device, "", "device");
        owner.files.flush().await.unwrap();
        let fields = bench.document("peers").await.fields;
        bench.overwrite("peers", fields).await;
        owner.put(Kind::Sessions, "peer", "2");
        owner.put(Kind::Device, "", "device 2");
        for _ in 0..2 {
            let error = owner.files.flush().await.unwrap_err();
            assert!(matches!(error, SessionError::Changed { .. }), "{error}");
            assert!(error.is_final());
        }
        // The other file of the commit was not written either.
        assert_eq!(bench.claim().await.get(Kind::Device, "").unwrap(), "device");
    }
}

#[tokio::test]
async fn callers_that_waited_for_a_failed_round_share_its_error() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "1");
    bench.faults().pause_commits();
    bench.faults().fail_next_commit(Fault::Unavailable);
    // One round is under way; these have to wait for it, and then for theirs.
    let first = {
        let files = owner.files.clone();
        tokio::spawn(async move { files.flush().await })
    };
    tokio::task::yield_now().await;
    bench.faults().fail_next_commit(Fault::Unavailable);
    owner.put(Kind::Sessions, "peer", "2");
    let later: Vec<_> = (0..5)
        .map(|_| {
            let files = owner.files.clone();
            tokio::spawn(async move { files.flush().await })
        })
        .collect();
    tokio::task::yield_now().await;
    let before = bench.faults().commits();
    bench.faults().resume_commits();
    assert!(first.await.unwrap().is_err());
    for flush in later {
        assert!(flush.await.unwrap().is_err());
    }
    assert_eq!(
        bench.faults().commits() - before,
        2,
        "two rounds for six callers"
    );
    owner.files.flush().await.unwrap();
}

#[tokio::test]
async fn a_suspended_gate_holds_flushes_until_it_opens() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.gates.store.suspend().unwrap();
    owner.put(Kind::Sessions, "peer", "1");
    let files = owner.files.clone();
    let flush = tokio::spawn(async move { files.flush().await });
    tokio::task::yield_now().await;
    assert!(bench.names().await.is_empty() && !flush.is_finished());
    owner.gates.store.open().unwrap();
    flush.await.unwrap().unwrap();
    assert_eq!(stored(&bench).await, "1");
    owner.gates.store.close(CloseReason::Stopped);
    owner.files.flush().await.unwrap();
}
