//! Reads, each of which sees the file as it was at one time.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use tracing::warn;

use super::clock::StoreClock;
use super::failure;
use super::statement::Statement;
use crate::store::limits::{COMMIT_WRITES_MAX, PAGE_BYTES_MAX};
use crate::store::plan::Plan;
use crate::store::watch::Delta;
use crate::store::{
    Collection, Cursor, Document, Page, Path, Query, Snapshot, StoreError, StoreTime, codec,
};

/// Documents in one delta. More than a commit holds, so that no two commits'
/// worth of documents has a single time.
const DELTA_DOCUMENTS_MAX: usize = COMMIT_WRITES_MAX + 100;

/// A read under way.
pub(super) struct Reading<'a> {
    connection: &'a Connection,
    read_time: StoreTime,
    last: StoreTime,
    forgotten: StoreTime,
}

/// Runs a read within a transaction of its own.
pub(super) fn at_one_time<T>(
    connection: &Connection,
    clock: &StoreClock,
    read: impl FnOnce(&Reading<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Read before the snapshot is taken: nothing that it lacks is older.
    let now = clock.now();
    let _transaction = ReadTransaction::begin(connection).map_err(failure::of)?;
    let (last, forgotten) = connection
        .prepare_cached("SELECT last_micros, forgotten_micros FROM meta")
        .and_then(|mut statement| {
            statement.query_row([], |row| {
                Ok((
                    StoreTime::from_micros(row.get(0)?),
                    StoreTime::from_micros(row.get(1)?),
                ))
            })
        })
        .map_err(failure::of)?;
    let reading = Reading {
        connection,
        read_time: now.max(last),
        last,
        forgotten,
    };
    read(&reading)
}

/// A transaction that ends with this. SQLite's own type has its two statements
/// parsed each time.
struct ReadTransaction<'a>(&'a Connection);

impl<'a> ReadTransaction<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
        Ok(Self(connection))
    }
}

impl Drop for ReadTransaction<'_> {
    fn drop(&mut self) {
        let rolled_back = self
            .0
            .prepare_cached("ROLLBACK")
            .and_then(|mut statement| statement.execute([]));
        // Some failures have ended it already.
        if let Err(error) = rolled_back
            && !self.0.is_autocommit()
        {
            warn!(%error, "a reading did not end");
        }
    }
}

impl Reading<'_> {
    pub(super) fn read_time(&self) -> StoreTime {
        self.read_time
    }

    pub(super) fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        let documents = paths
            .iter()
            .map(|path| self.document(path))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Snapshot {
            documents,
            read_time: self.read_time,
        })
    }

    fn document(&self, path: &Path) -> Result<Option<Document>, StoreError> {
        let sql = "SELECT id, update_time, fields FROM documents WHERE collection = ?1 AND id = ?2";
        let row = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement
                    .query_row([path.collection().as_str(), path.id()], StoredRow::read)
                    .optional()
            })
            .map_err(failure::of)?;
        row.map(|row| row.into_document(path.collection()))
            .transpose()
    }

    pub(super) fn page(&self, query: &Query, plan: &Plan) -> Result<Page, StoreError> {
        let statement = Statement::page(query.collection(), plan);
        let mut documents = Vec::new();
        let mut more = false;
        let mut bytes = 0;
        self.each(&statement, |row| {
            if documents.len() == plan.limit || bytes >= PAGE_BYTES_MAX {
                more = true;
                return Ok(false);
            }
            bytes += row.fields.len();
            documents.push(row.into_document(query.collection())?);
            Ok(true)
        })?;
        let next = match documents.last() {
            Some(last) if more => Some(Cursor::after(query, last)),
            Some(_) | None => None,
        };
        Ok(Page {
            documents,
            read_time: self.read_time,
            next,
        })
    }

    pub(super) fn count(&self, collection: &Collection, plan: &Plan) -> Result<u64, StoreError> {
        let statement = Statement::count(collection, plan);
        let count: i64 = self
            .connection
            .prepare_cached(&statement.sql)
            .and_then(|mut prepared| {
                prepared.query_row(params_from_iter(&statement.parameters), |row| row.get(0))
            })
            .map_err(failure::of)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    pub(super) fn matching(
        &self,
        collection: &Collection,
        plan: &Plan,
    ) -> Result<(Vec<Document>, StoreTime), StoreError> {
        let statement = Statement::matching(collection, plan, "id, update_time, fields");
        let mut documents = Vec::new();
        self.each(&statement, |row| {
            documents.push(row.into_document(collection)?);
            Ok(true)
        })?;
        documents.sort_by(|a, b| a.path.cmp(&b.path));
        // Not the reading's time: another process's commit may be under way
        // with an earlier one.
        Ok((documents, self.last))
    }

    pub(super) fn delta(
        &self,
        collection: &Collection,
        seen: StoreTime,
    ) -> Result<Delta, StoreError> {
        if seen < self.forgotten {
            return Ok(Delta::Gap);
        }
        let changed = Statement {
            sql: "SELECT id, update_time, fields FROM documents \
                  WHERE collection = ?1 AND update_time > ?2 ORDER BY update_time LIMIT ?3"
                .to_owned(),
            parameters: vec![
                collection.as_str().to_owned().into(),
                seen.as_micros().into(),
                (DELTA_DOCUMENTS_MAX as i64).into(),
            ],
        };
        let mut documents: Vec<Arc<Document>> = Vec::new();
        self.each(&changed, |row| {
            documents.push(Arc::new(row.into_document(collection)?));
            Ok(true)
        })?;
        let complete = documents.len() < DELTA_DOCUMENTS_MAX;
        let mut until = self.last;
        if !complete && let Some(cut) = documents.last().map(|last| last.update_time) {
            // The last commit's documents may not all be here.
            documents.retain(|document| document.update_time < cut);
            until = StoreTime::from_micros(cut.as_micros() - 1);
        }
        let removed = self.removed(collection, seen, until).map_err(failure::of)?;
        Ok(Delta::Since {
            changed: documents,
            removed,
            until,
            complete,
        })
    }

    fn removed(
        &self,
        collection: &Collection,
        seen: StoreTime,
        until: StoreTime,
    ) -> rusqlite::Result<Vec<(Path, StoreTime)>> {
        let sql = "SELECT id, removed_at FROM removals
                   WHERE collection = ?1 AND removed_at > ?2 AND removed_at <= ?3
                   ORDER BY removed_at";
        let mut statement = self.connection.prepare_cached(sql)?;
        let between = (collection.as_str(), seen.as_micros(), until.as_micros());
        let rows = statement.query_map(between, |row| {
            let id: String = row.get(0)?;
            Ok((
                Path::trusted(collection.clone(), &id),
                StoreTime::from_micros(row.get(1)?),
            ))
        })?;
        rows.collect()
    }

    /// Hands over each row until the callback says false.
    fn each(
        &self,
        statement: &Statement,
        mut row_found: impl FnMut(StoredRow) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut prepared = self
            .connection
            .prepare_cached(&statement.sql)
            .map_err(failure::of)?;
        let mut rows = prepared
            .query(params_from_iter(&statement.parameters))
            .map_err(failure::of)?;
        while let Some(row) = rows.next().map_err(failure::of)? {
            if !row_found(StoredRow::read(row).map_err(failure::of)?)? {
                break;
            }
        }
        Ok(())
    }
}

/// The columns `id, update_time, fields`.
struct StoredRow {
    id: String,
    update_time: i64,
    fields: Vec<u8>,
}

impl StoredRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            update_time: row.get(1)?,
            fields: row.get(2)?,
        })
    }

    fn into_document(self, collection: &Collection) -> Result<Document, StoreError> {
        let path = Path::trusted(collection.clone(), &self.id);
        let fields =
            codec::decode(&Bytes::from(self.fields)).map_err(|error| StoreError::Corrupt {
                path: path.to_string(),
                reason: error.to_string(),
            })?;
        Ok(Document {
            path,
            fields,
            update_time: StoreTime::from_micros(self.update_time),
        })
    }
}
