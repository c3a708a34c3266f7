//! One commit within the writer's transaction.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::failure;
use crate::store::{
    Commit, CommitOutcome, Fields, Path, StoreError, StoreTime, Write, apply, codec, limits,
};

/// How long deletions are remembered for watches; a watch that was away for
/// longer begins again.
const REMOVALS_KEPT_MICROS: i64 = 10 * 60 * 1_000_000;

/// Why a commit could not be made.
pub(super) enum Failure {
    /// SQLite failed; the transaction may be gone with it.
    Sqlite(rusqlite::Error),
    /// This commit is at fault, and no other.
    Own(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl Failure {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Failure::Sqlite(error) => failure::of(error),
            Failure::Own(error) => error,
        }
    }
}

/// Makes all the writes at one time, or finds that a precondition fails and
/// makes none. After a failure some may have been made: the caller rolls back.
pub(super) fn commit(
    connection: &Connection,
    writes: &[Write],
    time: StoreTime,
) -> Result<CommitOutcome, Failure> {
    let mut numbers = Vec::with_capacity(writes.len());
    for write in writes {
        let found = find(connection, write.path())?;
        if !apply::is_met(write, found.map(|(_, version)| version)) {
            return Ok(CommitOutcome::Rejected);
        }
        numbers.push(found.map(|(number, _)| number));
    }
    let mut update_times = Vec::with_capacity(writes.len());
    for (write, number) in writes.iter().zip(numbers) {
        update_times.push(make(connection, write, number, time)?);
    }
    Ok(CommitOutcome::Committed(Commit { time, update_times }))
}

fn find(connection: &Connection, path: &Path) -> rusqlite::Result<Option<(i64, StoreTime)>> {
    connection
        .prepare_cached(
            "SELECT number, update_time FROM documents WHERE collection = ?1 AND id = ?2",
        )?
        .query_row([path.collection().as_str(), path.id()], |row| {
            Ok((row.get(0)?, StoreTime::from_micros(row.get(1)?)))
        })
        .optional()
}

fn make(
    connection: &Connection,
    write: &Write,
    number: Option<i64>,
    time: StoreTime,
) -> Result<StoreTime, Failure> {
    match write {
        Write::Set { path, fields, .. } => put(connection, path, number, fields, time)?,
        Write::Update { path, fields, .. } => {
            let mut merged = match number {
                Some(number) => load(connection, path, number)?,
                None => Fields::new(),
            };
            merged.extend(fields.clone());
            limits::check_document(path, &merged).map_err(Failure::Own)?;
            put(connection, path, number, &merged, time)?;
        }
        Write::Delete { path, .. } => {
            if let Some(number) = number {
                remove(connection, path, number, time)?;
            }
        }
        Write::Verify { update_time, .. } => return Ok(*update_time),
    }
    Ok(time)
}

fn load(connection: &Connection, path: &Path, number: i64) -> Result<Fields, Failure> {
    let bytes: Vec<u8> = connection
        .prepare_cached("SELECT fields FROM documents WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    codec::decode(&Bytes::from(bytes)).map_err(|error| {
        Failure::Own(StoreError::Corrupt {
            path: path.to_string(),
            reason: error.to_string(),
        })
    })
}

fn put(
    connection: &Connection,
    path: &Path,
    number: Option<i64>,
    fields: &Fields,
    time: StoreTime,
) -> rusqlite::Result<()> {
    let bytes = codec::encode(fields, time);
    match number {
        Some(number) => connection
            .prepare_cached("UPDATE documents SET update_time = ?2, fields = ?3 WHERE number = ?1")?
            .execute(params![number, time.as_micros(), bytes])?,
        None => connection
            .prepare_cached(
                "INSERT INTO documents (collection, id, kind, update_time, fields)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                path.collection().as_str(),
                path.id(),
                path.collection().id(),
                time.as_micros(),
                bytes
            ])?,
    };
    Ok(())
}

fn remove(
    connection: &Connection,
    path: &Path,
    number: i64,
    time: StoreTime,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM documents WHERE number = ?1")?
        .execute([number])?;
    connection
        .prepare_cached("INSERT INTO removals (collection, removed_at, id) VALUES (?1, ?2, ?3)")?
        .execute(params![
            path.collection().as_str(),
            time.as_micros(),
            path.id()
        ])?;
    Ok(())
}

/// Forgets deletions that are older than watches need.
pub(super) fn forget_removals(connection: &Connection, now: StoreTime) -> rusqlite::Result<()> {
    let until = now.as_micros().saturating_sub(REMOVALS_KEPT_MICROS);
    let forgotten = connection
        .prepare_cached("DELETE FROM removals WHERE removed_at <= ?1")?
        .execute([until])?;
    if forgotten > 0 {
        connection
            .prepare_cached("UPDATE meta SET forgotten_micros = max(forgotten_micros, ?1)")?
            .execute([until])?;
    }
    Ok(())
}
