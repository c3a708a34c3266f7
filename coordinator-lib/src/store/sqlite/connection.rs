//! Connections: how the file is opened, and how they wait for each other.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{SqliteOptions, failure};
use crate::clock::{Boottime, SharedClock};
use crate::rng::{Rng, SystemRng};
use crate::store::{StoreError, codec, key};

/// Waits between attempts at a lock that another process holds. SQLite's own
/// timeout backs off to 100 ms and starves writers; short random waits gave
/// every one of three racing processes its turn within 60 ms.
const BUSY_WAIT_MICROS: std::ops::Range<u64> = 100..500;

/// Statements that a connection keeps prepared: all that the writer uses, and
/// the queries of a worker.
const STATEMENTS_KEPT: usize = 64;

/// The memory for pages that a connection keeps, in KiB.
const CACHE_KIB: i64 = 8 * 1024;

/// Pages in the log before a commit writes them into the file, 16 MiB. Most of
/// them are pages that were written many times, and go there once.
const LOG_PAGES: i64 = 4096;

/// A log that grew in a burst is cut back to this when it is reused.
const LOG_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Opens the file, and makes an empty one where there is none.
pub(super) fn create(path: &Path, options: &SqliteOptions) -> Result<Connection, StoreError> {
    // Made here and not by SQLite, so that nobody else may read it; its
    // companions (-wal, -shm) get the same mode.
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(StoreError::Unusable {
                reason: format!(
                    "the database {} cannot be made: {error}; check that its folder exists \
                     and that this user may write there",
                    path.display()
                ),
            });
        }
    }
    open(path, options)
}

/// Opens the file for another connection.
pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failure::of)?;
    wait_when_busy(&mut connection, options).map_err(failure::of)?;
    set_up(&connection).map_err(failure::of)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Otherwise a statement may be prepared anew for each value that it is run
    // with, in case another plan suits that better: a tenth of all that a busy
    // worker does.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("doc_field", 2, flags, |context| {
        let (ValueRef::Blob(document), ValueRef::Text(name)) =
            (context.get_raw(0), context.get_raw(1))
        else {
            return Ok(None);
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(None);
        };
        // A row that cannot be read has no fields; reading it itself says why.
        let value = codec::decode_field(document, name).ok().flatten();
        Ok(value.map(|value| key::key(&value)))
    })
}

fn wait_when_busy(connection: &mut Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    let mut wait = BusyWait::new(options.clock.clone(), options.busy_timeout);
    connection.busy_handler(Some(move |attempt| wait.again(attempt)))
}

/// Short random waits, up to a limit in time.
struct BusyWait {
    clock: SharedClock,
    timeout: Duration,
    deadline: Boottime,
}

impl BusyWait {
    fn new(clock: SharedClock, timeout: Duration) -> Self {
        Self {
            clock,
            timeout,
            deadline: Boottime::ZERO,
        }
    }

    fn again(&mut self, attempt: i32) -> bool {
        let now = self.clock.boottime();
        if attempt == 0 {
            self.deadline = now + self.timeout;
        }
        if now >= self.deadline {
            return false;
        }
        std::thread::sleep(Duration::from_micros(SystemRng.range(BUSY_WAIT_MICROS)));
        true
    }
}
