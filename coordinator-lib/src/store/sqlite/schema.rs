//! The tables, their version, and the file's clock.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::clock::StoreClock;
use super::{SqliteOptions, failure};
use crate::clock::Boottime;
use crate::rng::{Rng, SystemRng};
use crate::store::{StoreError, StoreTime};

/// `PRAGMA application_id`: "lhld". Tells our files from other databases.
const APPLICATION_ID: i32 = 0x6c68_6c64;

/// `PRAGMA user_version`. A change of the tables raises it and adds a step to
/// [`prepare`]; an older program refuses the file.
const SCHEMA_VERSION: i32 = 1;

// `meta` is one row, so that one statement reads or writes it. `fields` comes
// last: a row is looked at without reading a large document's other pages.
const TABLES: &str = "
    CREATE TABLE meta (
        only                INTEGER PRIMARY KEY CHECK (only = 1),
        boot_id             TEXT    NOT NULL,
        base_micros         INTEGER NOT NULL,
        base_boottime_nanos INTEGER NOT NULL,
        last_micros         INTEGER NOT NULL,
        forgotten_micros    INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE documents (
        number      INTEGER PRIMARY KEY,
        collection  TEXT    NOT NULL,
        id          TEXT    NOT NULL,
        kind        TEXT    NOT NULL,
        update_time INTEGER NOT NULL,
        fields      BLOB    NOT NULL,
        UNIQUE (collection, id)
    ) STRICT;
    CREATE INDEX documents_by_time ON documents (collection, update_time);
    CREATE TABLE removals (
        collection TEXT    NOT NULL,
        removed_at INTEGER NOT NULL,
        id         TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX removals_by_time ON removals (collection, removed_at);
";

const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Makes the file ready: ours, of a version that this program knows, in WAL
/// mode, with its clock set.
pub(super) fn prepare(
    connection: &mut Connection,
    path: &Path,
    options: &SqliteOptions,
) -> Result<StoreClock, StoreError> {
    check_ours(connection, path)?;
    if connection.is_readonly("main").map_err(failure::of)? {
        return Err(StoreError::Unusable {
            reason: format!(
                "the database {} cannot be written; give this user the right to write the file \
                 and its folder",
                path.display()
            ),
        });
    }
    switch_to_wal(connection, path, options)?;
    if let Some(pages) = options.pages_max {
        connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .map_err(failure::of)?;
    }
    create_tables(connection, path)?;
    set_clock(connection, options)
}

fn check_ours(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let (application, version) = identity(connection).map_err(failure::of)?;
    let unusable = |reason: String| Err(StoreError::Unusable { reason });
    if application != APPLICATION_ID {
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failure::of)?;
        if tables > 0 || application != 0 {
            return unusable(format!(
                "the database {} belongs to another program; name another file",
                path.display()
            ));
        }
    }
    if version > SCHEMA_VERSION {
        return unusable(format!(
            "the database {} has schema version {version}, and this program knows versions up \
             to {SCHEMA_VERSION}; run the newer program that wrote it, or restore a backup made \
             before the upgrade",
            path.display()
        ));
    }
    Ok(())
}

fn identity(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

/// SQLite does not wait by itself for the lock that this switch needs.
fn switch_to_wal(
    connection: &Connection,
    path: &Path,
    options: &SqliteOptions,
) -> Result<(), StoreError> {
    let deadline = options.clock.boottime() + options.busy_timeout;
    loop {
        let mode: rusqlite::Result<String> =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode.map_err(failure::of) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::Unusable {
                    reason: format!(
                        "the database {} stays in journal mode `{mode}`; put it on a local disk",
                        path.display()
                    ),
                });
            }
            Err(StoreError::Contended { .. }) if options.clock.boottime() < deadline => {
                let wait = SystemRng.range(1_000..10_000);
                std::thread::sleep(std::time::Duration::from_micros(wait));
            }
            Err(error) => return Err(error),
        }
    }
}

fn create_tables(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let (_, version) = identity(connection).map_err(failure::of)?;
    if version == SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failure::of)?;
    // Another process may have made them, or newer ones, meanwhile.
    check_ours(&transaction, path)?;
    let (_, version) = identity(&transaction).map_err(failure::of)?;
    if version < SCHEMA_VERSION {
        transaction.execute_batch(TABLES).map_err(failure::of)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(failure::of)?;
        transaction
            .pragma_update(None, "user_version", SCHEMA_VERSION)
            .map_err(failure::of)?;
    }
    transaction.commit().map_err(failure::of)
}

struct Meta {
    boot_id: String,
    base: StoreTime,
    base_boottime: Boottime,
    last: StoreTime,
}

fn read_meta(connection: &Connection) -> rusqlite::Result<Option<Meta>> {
    let columns = "SELECT boot_id, base_micros, base_boottime_nanos, last_micros FROM meta";
    connection
        .query_row(columns, [], |row| {
            Ok(Meta {
                boot_id: row.get(0)?,
                base: StoreTime::from_micros(row.get(1)?),
                base_boottime: Boottime::from_nanos(
                    u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                ),
                last: StoreTime::from_micros(row.get(3)?),
            })
        })
        .optional()
}

/// The time of the last commit, by whichever process.
pub(super) fn last_commit(connection: &Connection) -> rusqlite::Result<StoreTime> {
    connection
        .prepare_cached("SELECT last_micros FROM meta")?
        .query_row([], |row| Ok(StoreTime::from_micros(row.get(0)?)))
}

/// Takes the file's clock, or sets it where this is another boot than the one
/// that it was set in: to the wall clock's time, but never back.
fn set_clock(
    connection: &mut Connection,
    options: &SqliteOptions,
) -> Result<StoreClock, StoreError> {
    let boot_id = match &options.boot_id {
        Some(boot_id) => boot_id.clone(),
        None => machine_boot_id(),
    };
    let clock = |meta: &Meta| StoreClock::new(options.clock.clone(), meta.base, meta.base_boottime);
    match read_meta(connection).map_err(failure::of)? {
        Some(meta) if meta.boot_id == boot_id => return Ok(clock(&meta)),
        Some(_) | None => {}
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failure::of)?;
    let meta = match read_meta(&transaction).map_err(failure::of)? {
        Some(meta) if meta.boot_id == boot_id => meta,
        before => {
            let wall = StoreTime::from_datetime(options.clock.wall());
            let base = match &before {
                Some(before) => wall.max(StoreTime::from_micros(
                    before.last.as_micros().saturating_add(1),
                )),
                None => wall,
            };
            Meta {
                boot_id,
                base,
                base_boottime: options.clock.boottime(),
                last: base,
            }
        }
    };
    let nanos = i64::try_from(meta.base_boottime.as_nanos()).unwrap_or(i64::MAX);
    transaction
        .execute(
            "INSERT INTO meta VALUES (1, ?1, ?2, ?3, ?4, ?4)
             ON CONFLICT (only) DO UPDATE SET
                 boot_id = excluded.boot_id, base_micros = excluded.base_micros,
                 base_boottime_nanos = excluded.base_boottime_nanos,
                 last_micros = excluded.last_micros",
            rusqlite::params![
                meta.boot_id,
                meta.base.as_micros(),
                nanos,
                meta.last.as_micros()
            ],
        )
        .map_err(failure::of)?;
    transaction.commit().map_err(failure::of)?;
    Ok(clock(&meta))
}

/// Where the machine does not tell, every opening counts as a new boot: time
/// then follows the wall clock from one opening to the next, and never back.
fn machine_boot_id() -> String {
    std::fs::read_to_string(BOOT_ID_FILE)
        .map_or_else(|_| SystemRng.nonce(), |text| text.trim().to_owned())
}
