use std::os::unix::fs::PermissionsExt;
use std::path::Path as FilePath;

use futures::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;

use super::super::{Change, Direction, Fields, Op, Precondition, Value, contract, query_all};
use super::*;
use crate::clock::{Clock, ManualClock};

async fn fixture() -> contract::Fixture {
    let folder = tempfile::tempdir().unwrap();
    contract::Fixture::new(open(&folder), folder)
}

crate::store_contract!(fixture);

#[tokio::test]
async fn the_commit_time_is_exact() {
    contract::commits::the_commit_time_is_exact(fixture().await.store()).await;
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("test.db")
}

fn open(folder: &TempDir) -> SqliteStore {
    SqliteStore::open(&file(folder), SqliteOptions::default()).unwrap()
}

fn open_with(folder: &TempDir, clock: &ManualClock, boot_id: &str) -> SqliteStore {
    let options = SqliteOptions {
        clock: Arc::new(clock.clone()),
        boot_id: Some(boot_id.to_owned()),
        ..SqliteOptions::default()
    };
    SqliteStore::open(&file(folder), options).unwrap()
}

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

fn set(at: &str, value: impl Into<Value>) -> Write {
    Write::Set {
        path: path(at),
        fields: Fields::from([("value".into(), value.into())]),
        precondition: Precondition::None,
    }
}

async fn put(store: &SqliteStore, at: &str, value: impl Into<Value>) -> StoreTime {
    match store.commit(vec![set(at, value)]).await.unwrap() {
        CommitOutcome::Committed(commit) => commit.time,
        CommitOutcome::Rejected => panic!("rejected without a precondition"),
    }
}

async fn value(store: &SqliteStore, at: &str) -> Option<Value> {
    let mut snapshot = store.get(&[path(at)]).await.unwrap();
    snapshot
        .documents
        .remove(0)
        .map(|mut document| document.fields.remove("value").unwrap())
}

fn opening(path: &FilePath) -> StoreError {
    SqliteStore::open(path, SqliteOptions::default()).unwrap_err()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let time = put(&store, "things/a", 1).await;
    store.close().await;
    let again = open(&folder);
    assert_eq!(value(&again, "things/a").await, Some(1.into()));
    assert!(put(&again, "things/a", 2).await > time);
    // Not closed: as after a crash.
    let third = open(&folder);
    assert_eq!(value(&third, "things/a").await, Some(2.into()));
}

#[tokio::test]
async fn a_closed_store_refuses_and_ends_its_watches() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let query = Query::new(Collection::new("things").unwrap());
    let mut watch = store.watch(&query).await.unwrap();
    assert_eq!(watch.next().await, Some(Change::Snapshot(vec![])));
    store.close().await;
    store.close().await;
    assert_eq!(watch.next().await, None);
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unavailable { .. })
    ));
    let commit = store.commit(vec![set("things/a", 1)]).await;
    assert!(
        matches!(commit, Err(StoreError::Unavailable { .. })),
        "{commit:?}"
    );
    assert!(matches!(
        store.watch(&query).await,
        Err(StoreError::Unavailable { .. })
    ));
}

#[test]
fn nobody_else_may_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(&folder);
    for name in ["test.db", "test.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

// Opening: each failure is of the right kind, and says what to do.

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        file(&folder),
        "This is a text and not a database. ".repeat(100),
    )
    .unwrap();
    let error = opening(&file(&folder));
    assert!(
        matches!(&error, StoreError::Unusable { reason } if reason.contains("move it away")),
        "{error}"
    );
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let other = Connection::open(file(&folder)).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    let error = opening(&file(&folder));
    assert!(
        matches!(&error, StoreError::Unusable { reason } if reason.contains("another program")),
        "{error}"
    );
    let tables: i64 = other
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    Connection::open(file(&folder))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = opening(&file(&folder));
    assert!(
        matches!(&error, StoreError::Unusable { reason } if reason.contains("newer program")),
        "{error}"
    );
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = opening(&folder.path().join("missing/test.db"));
    assert!(
        matches!(&error, StoreError::Unusable { reason } if reason.contains("missing/test.db")),
        "{error}"
    );
}

#[tokio::test]
async fn a_lock_held_for_too_long_is_contended_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        busy_timeout: Duration::from_millis(20),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&file(&folder), options).unwrap();
    let other = Connection::open(file(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = store.commit(vec![set("things/a", 1)]).await;
    assert!(
        matches!(&commit, Err(StoreError::Contended { reason }) if reason.contains("another process")),
        "{commit:?}"
    );
    assert_eq!(value(&store, "things/a").await, None, "readers do not wait");
    other.execute_batch("ROLLBACK").unwrap();
    put(&store, "things/a", 1).await;
}

#[test]
fn a_database_that_cannot_be_written_says_so() {
    let error = rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
        None,
    );
    let error = failure::of(error);
    assert!(
        matches!(&error, StoreError::Unusable { reason } if reason.contains("right to write")),
        "{error}"
    );
}

#[test]
fn a_disk_that_fails_at_the_end_of_a_commit_leaves_it_ambiguous() {
    let failed = |code| {
        let error = rusqlite::ffi::Error::new(code);
        failure::of_commit(rusqlite::Error::SqliteFailure(error, None))
    };
    let fsync = failed(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    assert!(matches!(fsync, StoreError::Ambiguous { .. }), "{fsync:?}");
    let full = failed(rusqlite::ffi::SQLITE_FULL);
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_writes_nothing_by_halves_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        pages_max: Some(200),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&file(&folder), options).unwrap();
    let large = || Value::Bytes(vec![7; 100_000].into());
    let mut written = 0;
    let error = loop {
        let pair = vec![
            set(&format!("first/{written}"), large()),
            set(&format!("second/{written}"), large()),
        ];
        match store.commit(pair).await {
            Ok(outcome) => assert_ne!(outcome, CommitOutcome::Rejected),
            Err(error) => break error,
        }
        written += 1;
        assert!(written < 100, "200 pages hold no 10 MB");
    };
    assert!(written > 0);
    assert!(
        matches!(&error, StoreError::Full { reason } if reason.contains("make room")),
        "{error}"
    );
    // The pair is there or is not; small and large commits sent together stand
    // or fail alone.
    let ids = |name: &str| {
        let query = Query::new(Collection::new(name).unwrap());
        let store = store.clone();
        async move { query_all(&store, &query, 1_000).await.unwrap().len() }
    };
    assert_eq!(
        (ids("first").await, ids("second").await),
        (written, written)
    );
    let mixed = (0..20).map(|number| {
        let store = store.clone();
        async move {
            let write = match number % 2 {
                0 => set(&format!("small/{number}"), number),
                _ => set(
                    &format!("large/{number}"),
                    Value::Bytes(vec![7; 900_000].into()),
                ),
            };
            (number, store.commit(vec![write]).await)
        }
    });
    let outcomes = join_all(mixed).await;
    for (number, outcome) in &outcomes {
        match number % 2 {
            0 => assert!(outcome.is_ok(), "{outcome:?}"),
            _ => assert!(
                matches!(outcome, Err(StoreError::Full { .. })),
                "{outcome:?}"
            ),
        }
    }
    assert_eq!((ids("small").await, ids("large").await), (10, 0));
    // Room made is room to write.
    let delete = Write::Delete {
        path: path("first/0"),
        precondition: Precondition::Exists,
    };
    assert!(store.commit(vec![delete]).await.is_ok());
    put(&store, "first/again", Value::Bytes(vec![7; 50_000].into())).await;
    let check: String = Connection::open(file(&folder))
        .unwrap()
        .query_row("PRAGMA quick_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_corrupt_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, "things/a", 1).await;
    put(&store, "things/b", 2).await;
    let other = Connection::open(file(&folder)).unwrap();
    other
        .execute("UPDATE documents SET fields = x'ff00' WHERE id = 'a'", [])
        .unwrap();
    let read = store.get(&[path("things/a")]).await;
    assert!(
        matches!(&read, Err(StoreError::Corrupt { path, .. }) if path == "things/a"),
        "{read:?}"
    );
    assert_eq!(value(&store, "things/b").await, Some(2.into()));
    put(&store, "things/a", 3).await;
    assert_eq!(value(&store, "things/a").await, Some(3.into()));
}

// Store time.

#[tokio::test]
async fn a_wall_clock_that_is_set_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let store = open_with(&folder, &clock, "first boot");
    let before = store.ping().await.unwrap();
    for hours in [-1, 1] {
        clock.set_wall(clock.wall() + chrono::Duration::hours(hours * 5));
        assert_eq!(store.ping().await.unwrap(), before);
        // Another process of the same boot shares the base.
        assert_eq!(
            open_with(&folder, &clock, "first boot")
                .ping()
                .await
                .unwrap(),
            before
        );
    }
    clock.advance(Duration::from_secs(7));
    assert_eq!(
        store.ping().await.unwrap().since(before),
        Duration::from_secs(7)
    );
}

#[tokio::test]
async fn update_times_increase_while_the_clock_stands() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(&folder, &ManualClock::new(), "first boot");
    let first = put(&store, "things/a", 1).await;
    let second = put(&store, "things/b", 1).await;
    assert_eq!(second.since(first), Duration::from_micros(1));
    assert!(store.ping().await.unwrap() >= second);
}

#[tokio::test]
async fn a_new_boot_begins_a_new_base_and_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let store = open_with(&folder, &clock, "first boot");
    clock.advance(Duration::from_secs(10));
    let last = put(&store, "things/a", 1).await;
    store.close().await;

    // The machine starts again with its clock a day behind.
    let behind = ManualClock::new();
    behind.set_wall(clock.wall() - chrono::Duration::days(1));
    let store = open_with(&folder, &behind, "second boot");
    assert!(store.boot_time() > last);
    assert!(store.ping().await.unwrap() > last);
    let last = put(&store, "things/a", 2).await;
    store.close().await;

    // And again, with the right time.
    let right = ManualClock::new();
    right.set_wall(clock.wall() + chrono::Duration::days(1));
    let store = open_with(&folder, &right, "third boot");
    assert!(last < store.boot_time());
    assert_eq!(store.boot_time(), StoreTime::from_datetime(right.wall()));
}

// Queries.

async fn plan_of(store: &SqliteStore, query: &Query) -> String {
    store.query(query).await.unwrap();
    let statement = statement::Statement::page(query.collection(), &Plan::new(query).unwrap());
    let connection = connection::open(&store.shared.path, &store.shared.options).unwrap();
    let mut prepared = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql))
        .unwrap();
    let steps = prepared
        .query_map(rusqlite::params_from_iter(&statement.parameters), |row| {
            row.get::<_, String>(3)
        })
        .unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn queries_of_every_usual_shape_use_an_index_and_sort_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let messages = || Query::new(Collection::new("threads/t1/messages").unwrap());
    let up = Direction::Ascending;
    let down = Direction::Descending;
    for query in [
        messages(),
        messages().filter("state", Op::Eq, "queued"),
        messages().order("at", up),
        messages().order("at", down).limit(50),
        messages().filter("at", Op::Gt, 5),
        messages().filter("account", Op::Eq, "a").order("at", up),
        messages().filter("account", Op::Eq, "a").order("at", down),
        messages()
            .filter("account", Op::Eq, "a")
            .filter("at", Op::Le, 7)
            .order("at", down),
        messages()
            .filter("account", Op::Eq, "a")
            .filter("state", Op::Eq, "b")
            .order("at", up),
        messages().order("pinned", down).order("at", down),
        messages().order("pinned", up).order("at", down),
    ] {
        let plan = plan_of(&store, &query).await;
        assert!(
            plan.contains("SEARCH documents USING INDEX"),
            "{query:?}: {plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
        if query != messages() {
            assert!(
                plan.contains("USING INDEX query:messages"),
                "{query:?}: {plan}"
            );
        }
        let cursor = super::super::Cursor {
            values: query.orders().iter().map(|_| Value::Int(3)).collect(),
            id: "m".into(),
        };
        let plan = plan_of(&store, &query.clone().start_after(cursor)).await;
        assert!(
            plan.contains("SEARCH documents USING INDEX"),
            "{query:?}: {plan}"
        );
        assert!(!plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
    }
}

#[tokio::test]
async fn indexes_are_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let query = Query::new(Collection::new("things").unwrap()).filter("value", Op::Eq, 1);
    for _ in 0..2 {
        let store = open(&folder);
        put(&store, "things/a", 1).await;
        put(&store, "others/b", 1).await;
        assert_eq!(store.query(&query).await.unwrap().documents.len(), 1);
        assert!(store.shared.indexes.missing(&query).is_none());
        store.close().await;
    }
    let connection = Connection::open(file(&folder)).unwrap();
    let names: i64 = connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'query:%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(names, 1);
}

// Watches.

async fn until<T>(mut watch: Watch, mut found: impl FnMut(Change) -> Option<T>) -> T {
    let search = async {
        loop {
            let change = watch.next().await.expect("the store is open");
            if let Some(found) = found(change) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), search)
        .await
        .expect("within the deadline")
}

#[tokio::test]
async fn changes_by_another_process_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    // Two stores share nothing but the file, as two processes would.
    let (ours, theirs) = (open(&folder), open(&folder));
    let query = Query::new(Collection::new("things").unwrap());
    for round in 0..3 {
        let watch = ours.watch(&query).await.unwrap();
        let time = put(&theirs, "things/a", round).await;
        let seen = until(watch, |change| match change {
            Change::Changed(document) => Some(document.update_time),
            Change::Snapshot(_) | Change::Removed(_) => None,
        });
        assert_eq!(seen.await, time);
    }
}

#[tokio::test]
async fn anothers_commit_that_ones_own_hides_from_the_poller_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = open(&folder);
    // Nothing is polled after the first time.
    let options = SqliteOptions {
        poll_interval: Duration::from_secs(3_600),
        ..SqliteOptions::default()
    };
    let ours = SqliteStore::open(&file(&folder), options).unwrap();
    let query = Query::new(Collection::new("things").unwrap());
    put(&ours, "other/a", 0).await;
    let watch = ours.watch(&query).await.unwrap();
    let time = put(&theirs, "things/a", 1).await;
    put(&ours, "other/a", 1).await;
    let seen = until(watch, |change| match change {
        Change::Changed(document) => Some(document.update_time),
        Change::Snapshot(_) | Change::Removed(_) => None,
    });
    assert_eq!(seen.await, time);
}

#[tokio::test]
async fn a_delta_larger_than_one_reading_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let collection = Collection::new("things").unwrap();
    let start = store.ping().await.unwrap();
    for batch in 0..3 {
        let writes = (0..limits::COMMIT_WRITES_MAX)
            .map(|index| set(&format!("things/{batch}x{index}"), batch))
            .collect();
        assert!(store.commit(writes).await.is_ok());
    }
    let (mut seen, mut found) = (start, 0);
    loop {
        let at = collection.clone();
        let delta = store
            .shared
            .read(move |reading| reading.delta(&at, seen))
            .await
            .unwrap();
        let Delta::Since {
            changed,
            until,
            complete,
            ..
        } = delta
        else {
            panic!("a gap")
        };
        assert!(until > seen);
        found += changed.len();
        seen = until;
        if complete {
            break;
        }
    }
    assert_eq!(found, 3 * limits::COMMIT_WRITES_MAX);
}

#[tokio::test]
async fn a_watch_that_was_away_for_too_long_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let store = open_with(&folder, &clock, "boot");
    let seen = put(&store, "things/a", 1).await;
    let delete = Write::Delete {
        path: path("things/a"),
        precondition: Precondition::None,
    };
    assert!(store.commit(vec![delete]).await.is_ok());
    let delta = |store: &SqliteStore| {
        let shared = Arc::clone(&store.shared);
        let collection = Collection::new("things").unwrap();
        async move {
            shared
                .read(move |reading| reading.delta(&collection, seen))
                .await
                .unwrap()
        }
    };
    assert!(matches!(delta(&store).await, Delta::Since { removed, .. } if removed.len() == 1));
    clock.advance(Duration::from_secs(3600));
    let now = put(&store, "things/b", 1).await;
    transaction::forget_removals(&Connection::open(file(&folder)).unwrap(), now).unwrap();
    assert!(matches!(delta(&store).await, Delta::Gap));
}

// Groups.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_wait_share_a_transaction_and_keep_their_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let version = put(&store, "things/claimed", 0).await;
    // What is sent while another holds the lock queues up behind it.
    let other = Connection::open(file(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commits = (0..40i64).map(|number| {
        let store = store.clone();
        async move {
            let mut writes = vec![set(&format!("things/{number}"), number)];
            if number % 4 == 0 {
                writes.push(Write::Set {
                    path: path("things/claimed"),
                    fields: Fields::new(),
                    precondition: Precondition::Unchanged(version),
                });
            }
            store.commit(writes).await.unwrap()
        }
    });
    // Begun after the commits, which are all queued by then.
    let unlock = async {
        tokio::task::spawn_blocking(move || other.execute_batch("ROLLBACK").unwrap())
            .await
            .unwrap();
    };
    let (outcomes, ()) = tokio::join!(biased; join_all(commits), unlock);
    let mut times = Vec::new();
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let there = value(&store, &format!("things/{number}")).await.is_some();
        match outcome {
            CommitOutcome::Committed(commit) => {
                assert!(there);
                times.push(commit.time);
            }
            CommitOutcome::Rejected => assert!(!there && number % 4 == 0, "{number}"),
        }
    }
    assert_eq!(
        times.len(),
        31,
        "30 without a condition, and one claim of ten"
    );
    times.sort();
    times.dedup();
    assert_eq!(times.len(), 31, "each commit has a time of its own");
}
