//! One commit within the writer's transaction.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::store::{
    Commit, CommitOutcome, Fields, Path, StoreError, StoreTime, Write, apply, codec, limits,
};

/// How long deletions are remembered for watches; a watch that was away for
/// longer begins again.
const REMOVALS_KEPT_MICROS: i64 = 10 * 60 * 1_000_000;

/// What becomes of a document's row.
enum Row {
    /// It holds these bytes; it is new if it has no number.
    Put(Option<i64>, Vec<u8>),
    /// It goes.
    Remove(i64),
    /// It stays as it is.
    Keep,
}

/// Makes all the writes at one time; or none, where a precondition fails or the
/// commit itself is at fault. The outer error, SQLite's, may have come between
/// two of them: the caller rolls back.
pub(super) fn commit(
    connection: &Connection,
    writes: &[Write],
    time: StoreTime,
) -> rusqlite::Result<Result<CommitOutcome, StoreError>> {
    let mut rows = Vec::with_capacity(writes.len());
    for write in writes {
        let found = find(connection, write.path())?;
        if !apply::is_met(write, found.map(|(_, version)| version)) {
            return Ok(Ok(CommitOutcome::Rejected));
        }
        match row(connection, write, found.map(|(number, _)| number), time)? {
            Ok(row) => rows.push(row),
            Err(error) => return Ok(Err(error)),
        }
    }
    let mut update_times = Vec::with_capacity(writes.len());
    for (write, row) in writes.iter().zip(rows) {
        make(connection, write.path(), row, time)?;
        update_times.push(match write {
            Write::Verify { update_time, .. } => *update_time,
            Write::Set { .. } | Write::Update { .. } | Write::Delete { .. } => time,
        });
    }
    Ok(Ok(CommitOutcome::Committed(Commit { time, update_times })))
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

/// What a write makes of a document's row.
fn row(
    connection: &Connection,
    write: &Write,
    number: Option<i64>,
    time: StoreTime,
) -> rusqlite::Result<Result<Row, StoreError>> {
    Ok(Ok(match write {
        Write::Set { fields, .. } => Row::Put(number, codec::encode(fields, time)),
        Write::Update { path, fields, .. } => {
            let before = match number {
                Some(number) => load(connection, path, number)?,
                None => Ok(Fields::new()),
            };
            let checked = before.and_then(|mut merged| {
                merged.extend(fields.clone());
                limits::check_document(path, &merged).map(|()| merged)
            });
            match checked {
                Ok(merged) => Row::Put(number, codec::encode(&merged, time)),
                Err(error) => return Ok(Err(error)),
            }
        }
        Write::Delete { .. } => number.map_or(Row::Keep, Row::Remove),
        Write::Verify { .. } => Row::Keep,
    }))
}

fn load(
    connection: &Connection,
    path: &Path,
    number: i64,
) -> rusqlite::Result<Result<Fields, StoreError>> {
    let bytes: Vec<u8> = connection
        .prepare_cached("SELECT fields FROM documents WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    Ok(
        codec::decode(&Bytes::from(bytes)).map_err(|error| StoreError::Corrupt {
            path: path.to_string(),
            reason: error.to_string(),
        }),
    )
}

fn make(connection: &Connection, path: &Path, row: Row, time: StoreTime) -> rusqlite::Result<()> {
    match row {
        Row::Put(Some(number), bytes) => {
            connection
                .prepare_cached(
                    "UPDATE documents SET update_time = ?2, fields = ?3 WHERE number = ?1",
                )?
                .execute(params![number, time.as_micros(), bytes])?;
        }
        Row::Put(None, bytes) => {
            connection
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
                ])?;
        }
        Row::Remove(number) => {
            connection
                .prepare_cached("DELETE FROM documents WHERE number = ?1")?
                .execute([number])?;
            connection
                .prepare_cached(
                    "INSERT INTO removals (collection, removed_at, id) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![
                    path.collection().as_str(),
                    time.as_micros(),
                    path.id()
                ])?;
        }
        Row::Keep => {}
    }
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
