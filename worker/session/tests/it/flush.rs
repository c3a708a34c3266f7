//! What a flush writes, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::ManualClock;
use coordinator_lib::gate::CloseReason;
use coordinator_lib::store::Fault;
use session::{
    FLUSH_DELAY, Kind, Record, RecordError, SessionError, SessionSnapshot, VALUE_BYTES_MAX,
};

use crate::bench::{Bench, eventually};

#[tokio::test]
async fn one_changed_session_is_one_file() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let owner = bench.claim().await;
        for index in 0..100 {
            owner.put(Kind::Sessions, &format!("peer{index}"), vec![1; 2_000]);
            owner.put(Kind::PreKeys, &format!("{index}"), vec![2; 70]);
        }
        owner.put(Kind::Device, "", vec![3; 2_000]);
        owner.files.flush().await.unwrap();
        assert_eq!(bench.names().await, ["device", "peers", "prekeys"]);

        let before = bench.documents().await;
        owner.put(Kind::Sessions, "peer7", vec![4; 2_000]);
        owner.files.flush().await.unwrap();
        let after = bench.documents().await;
        let changed: Vec<&str> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before.update_time != after.update_time)
            .map(|(_, after)| after.path.id())
            .collect();
        assert_eq!(changed, ["peers"]);
        assert_eq!(owner.files.stats().commits, 2);
        assert_eq!(owner.files.stats().files_written, 4);
    }
}

/// An account with thousands of contacts and hundreds of groups, as its next
/// owner finds it.
#[tokio::test]
async fn a_takeover_restores_thousands_of_contacts() {
    const CONTACTS: usize = 3_000;
    const GROUPS: usize = 300;
    let value = |kind: Kind, index: usize| -> Vec<u8> {
        let bytes = if kind == Kind::Sessions {
            600
        } else if kind == Kind::LidMappings || kind == Kind::PnMappings {
            40
        } else {
            120
        };
        vec![(index % 251) as u8; bytes]
    };
    for (name, bench) in [("memory", Bench::memory()), ("sqlite", Bench::sqlite())] {
        let owner = bench.claim().await;
        owner.put(Kind::Device, "", vec![3; 2_000]);
        let of_contacts = [
            Kind::Sessions,
            Kind::Identities,
            Kind::LidMappings,
            Kind::PnMappings,
            Kind::DeviceLists,
            Kind::TcTokens,
        ];
        let of_groups = [Kind::SenderKeys, Kind::GroupMetadata, Kind::MutationMacs];
        let all = || {
            let contacts = of_contacts
                .into_iter()
                .flat_map(|kind| (0..CONTACTS).map(move |index| (kind, index)));
            let groups = of_groups
                .into_iter()
                .flat_map(|kind| (0..GROUPS).map(move |index| (kind, index)));
            contacts.chain(groups)
        };
        for (kind, index) in all() {
            owner.put(kind, &format!("id{index}"), value(kind, index));
        }
        owner.files.flush().await.unwrap();

        bench.queries.store(0, Ordering::Relaxed);
        let begun = std::time::Instant::now();
        let successor = bench.claim().await;
        let (records, bytes) = successor.files.size();
        println!(
            "{name}: {records} records, {} KiB, {} queries, {:?}",
            bytes >> 10,
            bench.queries.load(Ordering::Relaxed),
            begun.elapsed()
        );
        assert_eq!(records, 1 + all().count());
        for (kind, index) in all() {
            let stored = successor.files.get(kind, format!("id{index}").as_bytes());
            assert_eq!(stored.as_deref(), Some(&value(kind, index)[..]), "{kind:?}");
        }
        // One more contact does not write the others again.
        let before = successor.files.stats().bytes_written;
        successor.put(Kind::Sessions, "one more", vec![1; 600]);
        successor.files.flush().await.unwrap();
        let written = successor.files.stats().bytes_written - before;
        assert!(written < bytes as u64 / 4, "{written} of {bytes} bytes");
    }
}

#[tokio::test]
async fn a_takeover_is_one_query_of_few_files() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let owner = bench.claim().await;
        for index in 0..400 {
            owner.put(Kind::Sessions, &format!("peer{index}"), vec![1; 2_000]);
        }
        for index in 0..800 {
            owner.put(Kind::PreKeys, &format!("{index}"), vec![2; 70]);
        }
        owner.put(Kind::Device, "", vec![3; 2_000]);
        owner.files.flush().await.unwrap();

        bench.queries.store(0, Ordering::Relaxed);
        let successor = bench.claim().await;
        assert_eq!(bench.queries.load(Ordering::Relaxed), 1);
        assert_eq!(successor.files.size().0, 1_201);
        assert!(bench.names().await.len() < 20, "{:?}", bench.names().await);
        assert!(!successor.files.is_dirty());
    }
}

#[tokio::test]
async fn a_pending_message_that_is_confirmed_before_the_flush_is_never_written() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "1");
    owner.files.flush().await.unwrap();
    let commits = bench.faults().commits();

    owner.put(Kind::Pending, "message", "text");
    assert!(owner.files.is_dirty());
    assert!(owner.files.remove(Kind::Pending, "message"));
    assert!(!owner.files.is_dirty());
    owner.files.flush().await.unwrap();
    assert_eq!(bench.faults().commits(), commits);

    owner.put(Kind::Sessions, "peer", "2");
    owner.put(Kind::Sessions, "peer", "1");
    owner.files.flush().await.unwrap();
    assert_eq!(bench.faults().commits(), commits);
    assert_eq!(bench.names().await, ["peers"]);
}

#[tokio::test]
async fn pending_message_session_and_prekey_share_a_commit() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.put(Kind::PreKeys, "7", "key");
    owner.files.flush().await.unwrap();
    owner.put(Kind::Pending, "message", "text");
    owner.put(Kind::Sessions, "peer", "1");
    owner.put(Kind::Identities, "peer", "1");
    owner.files.remove(Kind::PreKeys, "7");
    owner.files.flush().await.unwrap();
    assert_eq!(owner.files.stats().commits, 2);
    let times: Vec<_> = bench
        .documents()
        .await
        .iter()
        .map(|file| file.update_time)
        .collect();
    assert!(
        times.len() == 3 && times.iter().all(|time| *time == times[0]),
        "{times:?}"
    );
}

#[tokio::test]
async fn a_flush_larger_than_a_commit_is_several_with_pending_messages_first() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    for index in 0..5 {
        owner.put(Kind::Pending, &format!("message{index}"), vec![1; 400_000]);
        owner.put(Kind::Sessions, &format!("peer{index}"), vec![2; 400_000]);
    }
    // The first commit succeeds; the owner dies before the second.
    bench.faults().pause_commits();
    let files = owner.files.clone();
    let flush = tokio::spawn(async move { files.flush().await });
    let commits = bench.faults().commits();
    bench.faults().resume_commits();
    eventually("a first commit", || bench.faults().commits() > commits).await;
    owner.gates.freeze(CloseReason::Stopped);
    let outcome = flush.await.unwrap();

    let successor = bench.claim().await;
    let of = |kind| successor.files.scan(kind, "").len();
    assert!(
        of(Kind::Pending) == 5 || of(Kind::Sessions) == 0,
        "a session without its message"
    );
    if outcome.is_ok() {
        assert_eq!((of(Kind::Pending), of(Kind::Sessions)), (5, 5));
    }

    // And with nobody dying.
    for index in 0..5 {
        successor.put(Kind::Pending, &format!("message{index}"), vec![3; 400_000]);
        successor.put(Kind::Sessions, &format!("peer{index}"), vec![4; 400_000]);
    }
    successor.files.flush().await.unwrap();
    assert!(successor.files.stats().commits >= 2);
    assert!(!successor.files.is_dirty());
}

#[tokio::test]
async fn what_grows_beyond_a_commit_at_once_is_split_and_written() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let owner = bench.claim().await;
        owner.put(Kind::MsgSecrets, "first", vec![1; 1_000]);
        owner.files.flush().await.unwrap();
        assert_eq!(bench.names().await, ["youngsecrets"]);
        for index in 0..4_000 {
            owner.put(Kind::MsgSecrets, &format!("message{index}"), vec![2; 1_000]);
        }
        owner.files.flush().await.unwrap();
        assert!(!owner.files.is_dirty());
        let successor = bench.claim().await;
        assert_eq!(successor.files.scan(Kind::MsgSecrets, "").len(), 4_001);
        assert_eq!(
            successor.get(Kind::MsgSecrets, "first").unwrap(),
            vec![1; 1_000]
        );

        // And small again: back to one file, in the end.
        successor
            .files
            .retain(Kind::MsgSecrets, |key, _| &key[..] == b"first");
        for round in 0..8u8 {
            successor.put(Kind::MsgSecrets, "round", vec![round]);
            successor.files.flush().await.unwrap();
        }
        let last = bench.claim().await;
        assert_eq!(last.files.scan(Kind::MsgSecrets, "").len(), 2);
    }
}

#[tokio::test]
async fn a_move_of_young_records_that_ends_half_way_loses_and_doubles_none() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    for index in 0..100 {
        owner.put(Kind::SentMessages, &format!("young{index}"), vec![1; 1_000]);
    }
    owner.files.flush().await.unwrap();
    assert_eq!(bench.names().await, ["youngsent"]);
    for index in 0..50 {
        owner.put(
            Kind::SentMessages,
            &format!("more{index}"),
            vec![2; 100_000],
        );
    }
    bench.faults().fail_after(1, Fault::Unavailable);
    assert!(owner.files.flush().await.is_err());

    let keys = |records: Vec<Bytes>| {
        let (count, once) = (records.len(), BTreeSet::from_iter(records));
        assert_eq!(once.len(), count, "a key twice");
        once
    };
    let files = bench.documents().await;
    let snapshot = SessionSnapshot::open(&bench.account, &bench.data_key, i64::MAX, &files);
    let records = snapshot.unwrap().records.into_iter();
    let saved = keys(records.map(|(_, key, _)| key).collect());

    let successor = bench.claim().await;
    assert!(successor.files.is_dirty(), "nothing was moved: no test");
    let records = successor.files.scan(Kind::SentMessages, "").into_iter();
    let loaded = keys(records.map(|(key, _)| key).collect());
    assert_eq!(saved, loaded);
    assert!((0..100).all(|index| loaded.contains(format!("young{index}").as_bytes())));
    successor.files.flush().await.unwrap();
    let last = bench.claim().await;
    assert!(!last.files.is_dirty());
    assert_eq!(last.files.size().0, loaded.len());
}

#[tokio::test]
async fn callers_that_come_together_share_the_work() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    let before = bench.faults().commits();
    bench.faults().pause_commits();
    let flushes: Vec<_> = (0..20)
        .map(|index| {
            owner.put(Kind::Sessions, &format!("peer{index}"), "1");
            let files = owner.files.clone();
            tokio::spawn(async move { files.flush().await })
        })
        .collect();
    tokio::task::yield_now().await;
    bench.faults().resume_commits();
    for flush in flushes {
        flush.await.unwrap().unwrap();
    }
    let commits = bench.faults().commits() - before;
    assert!((1..=2).contains(&commits), "{commits} commits");
    assert_eq!(bench.claim().await.files.size().0, 20);
}

#[tokio::test]
async fn after_another_claim_flushes_are_fenced_and_nothing_is_written() {
    for bench in [Bench::memory(), Bench::sqlite()] {
        let owner = bench.claim().await;
        owner.put(Kind::Sessions, "peer", "1");
        owner.files.flush().await.unwrap();
        let successor = bench.claim().await;
        owner.put(Kind::Sessions, "peer", "2");
        for _ in 0..2 {
            let error = owner.files.flush().await.unwrap_err();
            assert!(matches!(error, SessionError::Fenced { .. }), "{error}");
            assert!(error.is_final());
        }
        assert_eq!(successor.get(Kind::Sessions, "peer").unwrap(), "1");
        assert_eq!(
            bench.claim().await.get(Kind::Sessions, "peer").unwrap(),
            "1"
        );
    }
}

#[tokio::test]
async fn a_closed_gate_is_told_apart() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "1");
    owner.gates.store.close(CloseReason::Stopped);
    let error = owner.files.flush().await.unwrap_err();
    assert!(
        matches!(
            error,
            SessionError::GateClosed {
                reason: CloseReason::Stopped,
                ..
            }
        ),
        "{error}"
    );
    assert!(bench.names().await.is_empty());
}

#[tokio::test]
async fn the_flusher_writes_what_nobody_waits_for() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    let flusher = owner
        .files
        .spawn_flusher(&bench.tracker, Duration::from_millis(5));
    owner.put(Kind::SentMessages, "message", "payload");
    eventually("the flusher's commit", || owner.files.stats().commits == 1).await;
    owner.put(Kind::SentMessages, "message", "another payload");
    flusher.stop().await.unwrap();
    assert!(!owner.files.is_dirty());
    let successor = bench.claim().await;
    assert_eq!(
        successor.get(Kind::SentMessages, "message").unwrap(),
        "another payload"
    );
}

#[tokio::test]
async fn the_flusher_waits_so_that_changes_are_written_together() {
    let clock = ManualClock::new();
    let bench = Bench::memory_with(Arc::new(clock.clone()));
    let owner = bench.claim().await;
    let delay = Duration::from_millis(200);
    let _flusher = owner.files.spawn_flusher(&bench.tracker, delay);
    owner.put(Kind::SentMessages, "1", "payload");
    eventually("the flusher's wait", || clock.sleepers() > 0).await;
    owner.put(Kind::SentMessages, "2", "payload");
    clock.advance(delay - Duration::from_millis(1));
    tokio::task::yield_now().await;
    assert_eq!(owner.files.stats().commits, 0);
    clock.advance(Duration::from_millis(1));
    eventually("the flusher's commit", || owner.files.stats().commits == 1).await;
    assert!(!owner.files.is_dirty());
}

#[tokio::test]
async fn what_may_wait_goes_along_now_and_then() {
    let clock = ManualClock::new();
    let bench = Bench::memory_with(Arc::new(clock.clone()));
    let owner = bench.claim().await;
    let message = |number: &'static str| {
        owner.put(Kind::Sessions, "peer", number);
        owner.put(Kind::SentMessages, number, "payload");
        owner.put(Kind::MsgSecrets, number, "secret");
    };
    message("1");
    owner.files.flush_urgent().await.unwrap();
    assert!(!owner.files.is_dirty());
    assert_eq!(owner.files.stats().files_written, 3);

    // In a burst the session alone.
    message("2");
    owner.files.flush_urgent().await.unwrap();
    assert!(owner.files.is_dirty());
    assert_eq!(owner.files.stats().files_written, 4);
    owner.files.flush_urgent().await.unwrap();
    assert_eq!(owner.files.stats().commits, 2);

    // Whoever wants all of it gets it.
    owner.files.flush().await.unwrap();
    assert!(!owner.files.is_dirty());
    assert_eq!(owner.files.stats().files_written, 6);

    clock.advance(FLUSH_DELAY);
    message("3");
    owner.files.flush_urgent().await.unwrap();
    assert!(!owner.files.is_dirty());
}

#[tokio::test]
async fn the_flusher_tries_again_after_a_failure_and_ends_with_the_claim() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    let _flusher = owner.files.spawn_flusher(&bench.tracker, Duration::ZERO);
    bench.faults().fail_next_commit(Fault::Unavailable);
    owner.put(Kind::Sessions, "peer", "1");
    eventually("a commit after the failed one", || {
        owner.files.stats().commits > 0
    })
    .await;
    let _successor = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "2");
    eventually("a fenced round", || {
        owner.files.stats().failures_in_a_row > 0
    })
    .await;
    bench.tracker.close();
}

#[tokio::test]
async fn expired_records_are_dropped_by_loads_and_by_writes_of_their_file() {
    let clock = ManualClock::new();
    let bench = Bench::memory_with(Arc::new(clock.clone()));
    let now = coordinator_lib::clock::Clock::wall(&clock).timestamp();
    let owner = bench.claim().await;
    let put = |key: &str, expires_at| {
        owner
            .files
            .put(Kind::MsgSecrets, key, Record::until("secret", expires_at))
            .unwrap();
    };
    put("soon", now + 10);
    put("late", now + 1_000);
    put("never", 0);
    owner.files.flush().await.unwrap();
    clock.advance(Duration::from_secs(20));
    let successor = bench.claim().await;
    let keys = |files: &session::SessionFiles| -> Vec<Bytes> {
        files
            .scan(Kind::MsgSecrets, "")
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    };
    assert_eq!(keys(&successor.files), ["late", "never"]);
    assert!(
        !successor.files.is_dirty(),
        "expiry alone is no reason to write"
    );
    clock.advance(Duration::from_secs(1_000));
    successor.put(Kind::MsgSecrets, "new", "secret");
    successor.files.flush().await.unwrap();
    assert_eq!(keys(&successor.files), ["never", "new"]);
    assert_eq!(successor.files.remove_expired(Kind::MsgSecrets, now), 0);
}

#[tokio::test]
async fn what_is_too_large_is_a_typed_error_and_changes_nothing() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner.put(Kind::Sessions, "peer", "1");
    let too_large = vec![0; VALUE_BYTES_MAX + 1];
    assert_eq!(
        owner.files.put(Kind::Sessions, "peer", too_large),
        Err(RecordError::ValueTooLarge {
            kind: Kind::Sessions,
            bytes: VALUE_BYTES_MAX + 1
        })
    );
    let long_key = vec![0; 5_000];
    assert_eq!(
        owner
            .files
            .put(Kind::Sessions, long_key, "1".as_bytes().to_vec()),
        Err(RecordError::KeyTooLong {
            kind: Kind::Sessions,
            bytes: 5_000
        })
    );
    assert_eq!(owner.get(Kind::Sessions, "peer").unwrap(), "1");

    let value = Bytes::from(vec![0; VALUE_BYTES_MAX]);
    let full = (0..200).find_map(|index| {
        owner
            .files
            .put(Kind::Sessions, format!("peer{index}"), value.clone())
            .err()
    });
    assert!(
        matches!(full, Some(RecordError::AccountFull { .. })),
        "{full:?}"
    );
    // The largest record there may be is stored.
    let other = bench.account("account_2");
    let owner = other.claim().await;
    owner.put(Kind::Sessions, "peer", value.clone());
    owner.put(Kind::Sessions, "another", value);
    owner.files.flush().await.unwrap();
    assert_eq!(other.claim().await.files.size().0, 2);
}

#[tokio::test]
async fn several_changes_in_one_edit_are_one_step() {
    let bench = Bench::memory();
    let owner = bench.claim().await;
    owner
        .files
        .edit(|edit| {
            edit.put(Kind::LidMappings, "lid", Bytes::from_static(b"1"))?;
            edit.put(Kind::PnMappings, "pn", Bytes::from_static(b"lid"))
        })
        .unwrap();
    owner
        .files
        .update(Kind::TcTokens, "user", |token| {
            assert!(token.is_none());
            Some(Record::from(vec![1]))
        })
        .unwrap();
    owner
        .files
        .update(Kind::TcTokens, "user", |token| token.filter(|_| false))
        .unwrap();
    assert!(!owner.files.contains(Kind::TcTokens, "user"));
    assert_eq!(
        owner.files.take(Kind::LidMappings, "lid").unwrap().value,
        "1"
    );
    assert!(owner.files.any(Kind::PnMappings, "p") && !owner.files.any(Kind::PnMappings, "q"));
}
