use std::future::Future;

use emulator::{Emulator, Size};
use futures::future::join_all;

use super::super::{
    Change, Collection, Fields, Precondition, Store, StoreTime, Value, WriteOutcome, contract,
    doctor,
};
use super::*;
use crate::clock::Clock;

mod fenced;

/// Longer than any of these waits takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(40);

/// Short, for servers that do not answer.
const ATTEMPT: Duration = Duration::from_millis(400);

/// What a call may take above its attempts: waits, and a busy machine.
const SLACK: Duration = Duration::from_secs(2);

async fn fixture() -> contract::Fixture {
    let emulator = Emulator::shared().await.unwrap();
    contract::Fixture::new(connect(options(&emulator)).await, emulator)
}

crate::store_contract!(fixture);

fn options(emulator: &Emulator) -> FirestoreOptions {
    FirestoreOptions {
        emulator_host: Some(emulator.host().to_owned()),
        ..FirestoreOptions::new(emulator::project_id())
    }
}

async fn connect(options: FirestoreOptions) -> FirestoreStore {
    FirestoreStore::connect(options).await.unwrap()
}

/// A client whose calls end soon, once the server has warmed up.
async fn impatient(emulator: &Emulator) -> FirestoreStore {
    let patient = options(emulator);
    put(&connect(patient.clone()).await, "things/first", 1).await;
    connect(FirestoreOptions {
        attempt_timeout: ATTEMPT,
        attempts_max: 2,
        ..patient
    })
    .await
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it happens within the deadline")
}

/// What a call said, and that it said it in time.
async fn in_time<T: fmt::Debug>(
    attempts: u32,
    call: impl Future<Output = Result<T, StoreError>>,
) -> StoreError {
    let clock = SystemClock;
    let began = clock.boottime();
    let error = call.await.expect_err("the server does not answer");
    let took = clock.boottime() - began;
    assert!(took < ATTEMPT * attempts + SLACK, "{took:?}: {error}");
    error
}

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

fn things() -> Query {
    Query::new(Collection::new("things").unwrap())
}

fn set(at: &str, value: impl Into<Value>) -> Write {
    Write::Set {
        path: path(at),
        fields: Fields::from([("value".into(), value.into())]),
        precondition: Precondition::None,
    }
}

async fn put(store: &FirestoreStore, at: &str, value: impl Into<Value>) -> StoreTime {
    match store.commit(vec![set(at, value)]).await.unwrap() {
        CommitOutcome::Committed(commit) => commit.update_times[0],
        CommitOutcome::Rejected => panic!("rejected without a precondition"),
    }
}

/// Asks until the server answers again.
async fn answering(store: &FirestoreStore) {
    within(async {
        while store.ping().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Reads changes until one is of a version of this document.
async fn told(watch: &mut Watch, at: &str, version: StoreTime) {
    within(async {
        loop {
            let documents = match watch.next().await.expect("a watch has no end") {
                Change::Snapshot(documents) => documents,
                Change::Changed(document) => vec![document],
                Change::Removed(_) => vec![],
            };
            let found = |document: &super::super::Document| {
                document.path == path(at) && document.update_time == version
            };
            if documents.iter().any(found) {
                return;
            }
        }
    })
    .await;
}

// A server that is stopped: connections stand, and nothing is answered.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_costs_every_call_its_time_and_no_more() {
    let emulator = Emulator::start(Size::Small).await.unwrap();
    let store = impatient(&emulator).await;
    put(&store, "things/a", 1).await;
    let mut watch = store.watch(&things()).await.unwrap();

    emulator.pause().unwrap();
    let reads = [
        in_time(2, store.get(&[path("things/a")])).await,
        in_time(2, store.query(&things())).await,
        in_time(2, store.count(&things())).await,
        in_time(2, store.ping()).await,
        in_time(2, store.watch(&things())).await,
    ];
    for error in reads {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
    // Never repeated: it may have happened.
    let commits = [
        in_time(1, store.commit(vec![set("things/lost", 1)])).await,
        in_time(1, store.commit_each(vec![set("things/lost", 1)])).await,
    ];
    for error in commits {
        assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    }

    emulator.resume().unwrap();
    answering(&store).await;
    let version = put(&store, "things/b", 2).await;
    told(&mut watch, "things/b", version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_found_again_when_it_is_back() {
    let mut emulator = Emulator::start(Size::Small).await.unwrap();
    let store = impatient(&emulator).await;
    put(&store, "things/a", 1).await;
    let mut watch = store.watch(&things()).await.unwrap();

    emulator.kill().unwrap();
    // What is under way as the connection breaks is unknown; what finds none
    // was certainly not written.
    within(async {
        loop {
            let error = store.commit(vec![set("things/lost", 1)]).await.unwrap_err();
            if let StoreError::Unavailable { reason } = error {
                assert!(reason.contains("check the address"), "{reason}");
                break;
            }
            assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
        }
    })
    .await;

    emulator.restart().await.unwrap();
    answering(&store).await;
    let version = put(&store, "things/b", 2).await;
    told(&mut watch, "things/b", version).await;
}

#[tokio::test]
async fn a_wrong_address_is_a_clear_error() {
    let nobody = FirestoreOptions {
        emulator_host: Some("127.0.0.1:1".to_owned()),
        ..FirestoreOptions::new("p")
    };
    let error = FirestoreStore::connect(nobody).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { reason } if reason.contains("check the address")
            && reason.contains("refused")),
        "{error}"
    );
}

#[tokio::test]
async fn somebody_else_at_the_address_is_a_clear_error() {
    // Accepts, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = FirestoreOptions {
        emulator_host: Some(silent.local_addr().unwrap().to_string()),
        attempt_timeout: ATTEMPT,
        ..FirestoreOptions::new("p")
    };
    let error = in_time(PINGS_MAX, FirestoreStore::connect(options)).await;
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

// Several clients, each with a channel of its own.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_tasks_over_several_channels_exactly_one_wins_each_round() {
    const CLIENTS: i64 = 3;
    const TASKS: i64 = 8;
    let emulator = Emulator::shared().await.unwrap();
    let options = options(&emulator);
    let connecting = (0..CLIENTS).map(|_| connect(options.clone()));
    let clients: Vec<FirestoreStore> = join_all(connecting).await;
    for round in 0..10 {
        let version = put(&clients[0], "accounts/a", round).await;
        let claims = (0..CLIENTS * TASKS).map(|task| {
            let store = clients[(task % CLIENTS) as usize].clone();
            async move {
                let claim = Write::Update {
                    path: path("accounts/a"),
                    fields: Fields::from([("owner".into(), task.into())]),
                    precondition: Precondition::Unchanged(version),
                };
                store.commit(vec![claim]).await.unwrap() != CommitOutcome::Rejected
            }
        });
        let won = join_all(claims).await.into_iter().filter(|won| *won);
        assert_eq!(won.count(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_polls_all_the_time_ends_in_the_same_state() {
    let emulator = Emulator::shared().await.unwrap();
    let store: Store = Arc::new(
        connect(FirestoreOptions {
            poll_interval: Duration::from_millis(5),
            ..options(&emulator)
        })
        .await,
    );
    contract::watches::a_watch_over_many_changes_ends_in_the_same_state(store).await;
}

#[tokio::test]
async fn independent_writes_of_one_document_are_made_in_order() {
    let emulator = Emulator::shared().await.unwrap();
    let store = connect(options(&emulator)).await;
    let writes = (0..40).map(|n| set(&format!("things/t{}", n % 3), n));
    let outcomes = store.commit_each(writes.collect()).await.unwrap();
    assert_eq!(outcomes.len(), 40);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, WriteOutcome::Written(_)))
    );
    let read = store.get(&[path("things/t0")]).await.unwrap();
    let document = read.documents[0].as_ref().unwrap();
    assert_eq!(document.fields["value"], Value::Int(39));
    assert_eq!(WriteOutcome::Written(document.update_time), outcomes[39]);
}

#[tokio::test]
async fn what_only_the_server_refuses_is_invalid() {
    let emulator = Emulator::shared().await.unwrap();
    let store = connect(options(&emulator)).await;
    let beyond = StoreTime::from_micros(i64::MAX);
    let outcome = store.commit(vec![set("things/a", beyond)]).await;
    assert!(
        matches!(outcome, Err(StoreError::Invalid { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong() {
    let emulator = Emulator::shared().await.unwrap();
    let store = connect(options(&emulator)).await;
    let scratch = Collection::new("scratch").unwrap();
    for check in doctor::checks(&store, &scratch, &SystemClock, &SystemRng).await {
        assert!(check.finding.is_ok(), "{check:?}");
    }
    assert_eq!(store.count(&Query::new(scratch)).await.unwrap(), 0);
}
