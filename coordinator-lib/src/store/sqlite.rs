//! A store in one SQLite file: the embedded default.
//!
//! Several processes of one machine may share the file; a network file system
//! will not do. Invariants:
//! - One thread a process writes, and readers never wait for it (WAL). What
//!   queues up while it writes is made in one transaction with one fsync, each
//!   commit with an outcome of its own.
//! - A commit that was acknowledged is on the disk (`synchronous=FULL`).
//! - Update times strictly increase over all processes. Store time is a base
//!   kept in the file plus the machine's boottime since, and never less than
//!   the last commit's; no wall clock that is set moves it. A commit that is
//!   under way while another process reads may get a time that lies before
//!   that reading's, by as much as it takes to write.
//!
//! # Layout
//! A row is a document: collection, id, update time, and its fields as one blob
//! (see `codec`). Queries compare `doc_field(fields, 'name')`, a deterministic
//! function that gives a field's sort key, or NULL where there is no such
//! field. So every query runs, and SQLite's own planner and *expression
//! indexes* make it fast: the first query of a shape makes the index for that
//! shape, over the documents of its collections only. No field that no query
//! asks for costs a write anything, and no list of indexes has to be kept in
//! step with the code.
//!
//! What changed since a time, for watches, comes from an index over update
//! times and a list of the last minutes' deletions; changes of other processes
//! are noticed by polling `PRAGMA data_version` while somebody watches.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;

use self::clock::StoreClock;
use self::indexes::Indexes;
use self::poller::Poller;
use self::readers::Readers;
use self::writer::WriterHandle;
use super::limits::{self, GET_PATHS_MAX};
use super::plan::Plan;
use super::watch::{Delta, Notifier, Source, pull};
use super::{
    Collection, CommitOutcome, Document, DocumentStore, Page, Path, Query, Snapshot, StoreError,
    StoreTime, Watch, Write, WriteOutcome,
};
use crate::clock::{SharedClock, SystemClock};

mod clock;
mod connection;
mod failure;
mod indexes;
mod poller;
mod readers;
mod reads;
mod schema;
mod statement;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

/// Documents that are read on the calling thread: some ten microseconds each,
/// most likely from memory.
const FEW_PATHS: usize = 16;

/// How a SQLite store is opened.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The clock whose boottime store time runs with.
    pub clock: SharedClock,
    /// Connections that read, besides the one that writes; at least one.
    pub readers: usize,
    /// How long a commit waits for another process's write lock.
    pub busy_timeout: Duration,
    /// How often other processes' changes are looked for while someone watches.
    pub poll_interval: Duration,
    /// The database may grow to this many pages of 4 KiB; `None` for as many
    /// as the disk holds.
    pub pages_max: Option<u32>,
    /// What tells one boot of the machine from the next; `None` asks Linux.
    pub boot_id: Option<String>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_millis(75),
            pages_max: None,
            boot_id: None,
        }
    }
}

/// A store in one SQLite file; clones share its connections.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    options: SqliteOptions,
    clock: StoreClock,
    readers: Arc<Readers>,
    writer: WriterHandle,
    indexes: Indexes,
    notifier: Notifier,
    poller: Poller,
}

impl SqliteStore {
    /// Opens the file, and makes it where there is none (readable by its owner
    /// only). Blocks for as long as that takes: milliseconds, unless another
    /// process is in the way.
    ///
    /// # Errors
    /// `Unusable`: not a database of this program, a newer one, no right to
    /// write. `Contended`: locked by another process for too long. `Full`,
    /// `Unavailable`: the disk. Each says what to do.
    pub fn open(path: &std::path::Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let mut connection = connection::create(path, &options)?;
        let clock = schema::prepare(&mut connection, path, &options)?;
        let indexes = Indexes::load(&connection)?;
        let notifier = Notifier::default();
        let writer = WriterHandle::start(connection, clock.clone(), notifier.clone())?;
        let readers = Arc::new(Readers::new(path, &options));
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                options,
                clock,
                readers,
                writer,
                indexes,
                notifier,
                poller: Poller::default(),
            }),
        })
    }

    /// The store time at which the machine's present boot was first noticed.
    /// Whoever last wrote before it has ended with the boot before.
    pub fn boot_time(&self) -> StoreTime {
        self.shared.clock.base()
    }

    /// Waits until everything that was queued is written, and closes the file.
    /// Whatever is asked of this store, or a clone of it, later fails.
    pub async fn close(&self) {
        self.shared.writer.close().await;
        self.shared.readers.close();
        self.shared.notifier.close();
    }
}

impl Shared {
    /// Runs a read, with a connection of its own, at one time.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&reads::Reading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let clock = self.clock.clone();
        self.readers
            .run(move |connection| reads::at_one_time(connection, &clock, read))
            .await
    }

    /// Runs a read of a few rows.
    async fn read_a_few<T>(
        &self,
        read: impl FnOnce(&reads::Reading<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let here = |connection: &Connection| reads::at_one_time(connection, &self.clock, read);
        self.readers.here(here).await
    }

    /// Sees to it that queries of this shape have an index.
    async fn index(&self, query: &Query) {
        if let Some(index) = self.indexes.missing(query) {
            self.writer.make_index(index).await;
        }
    }
}

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        if paths.len() > GET_PATHS_MAX {
            return Err(StoreError::invalid(format!(
                "{} paths in one get",
                paths.len()
            )));
        }
        if paths.len() <= FEW_PATHS {
            return self.shared.read_a_few(|reading| reading.get(paths)).await;
        }
        let paths = paths.to_vec();
        self.shared.read(move |reading| reading.get(&paths)).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let plan = Plan::new(query)?;
        self.shared.index(query).await;
        let query = query.clone();
        self.shared
            .read(move |reading| reading.page(&query, &plan))
            .await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        let plan = Plan::for_count(query)?;
        self.shared.index(&query.filters_only()).await;
        let collection = query.collection().clone();
        self.shared
            .read(move |reading| reading.count(&collection, &plan))
            .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        limits::check_commit(&writes)?;
        self.shared.writer.commit(writes).await
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        limits::check_independent(&writes)?;
        self.shared.writer.commit_each(writes).await
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let plan = Plan::for_watch(query)?;
        self.shared.index(query).await;
        let collection = query.collection().clone();
        let subscription = self.shared.notifier.subscribe(&collection);
        // The poller wakes everybody once it has begun, so nothing that other
        // processes do from here on is missed.
        let polling = self.shared.poller.hold(&self.shared);
        let source = Arc::new(WatchSource {
            store: Arc::downgrade(&self.shared),
            _polling: polling,
        });
        let clock = self.shared.options.clock.clone();
        pull(source, collection, plan, subscription, clock).await
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        self.shared.read(|reading| Ok(reading.read_time())).await
    }

    fn backend(&self) -> &'static str {
        "sqlite"
    }
}

/// What a watch holds of its store: not the store, which would keep it open.
struct WatchSource {
    store: Weak<Shared>,
    _polling: poller::Hold,
}

impl WatchSource {
    fn store(&self) -> Result<Arc<Shared>, StoreError> {
        self.store.upgrade().ok_or_else(failure::closed)
    }
}

#[async_trait]
impl Source for WatchSource {
    async fn matching(
        &self,
        collection: &Collection,
        plan: &Plan,
    ) -> Result<(Vec<Document>, StoreTime), StoreError> {
        let (collection, plan) = (collection.clone(), plan.clone());
        self.store()?
            .read(move |reading| reading.matching(&collection, &plan))
            .await
    }

    async fn delta(&self, collection: &Collection, seen: StoreTime) -> Result<Delta, StoreError> {
        // Woken by each commit, it has little to read.
        self.store()?
            .read_a_few(|reading| reading.delta(collection, seen))
            .await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .finish()
    }
}
