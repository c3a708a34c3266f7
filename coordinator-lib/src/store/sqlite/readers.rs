//! A small pool of connections that read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{SqliteOptions, connection, failure};
use crate::store::StoreError;

pub(super) struct Readers {
    path: PathBuf,
    options: SqliteOptions,
    /// Opened when first needed, and kept.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: &Path, options: &SqliteOptions) -> Self {
        Self {
            path: path.to_owned(),
            options: options.clone(),
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(options.readers.max(1)),
        }
    }

    /// Runs a read on the calling thread: for a few rows, which take less time
    /// than to hand the work over and to be woken.
    pub(super) async fn here<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(failure::closed());
        };
        self.read(read)
    }

    /// Runs a read off the async threads. It is finished even if nobody waits.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(permit) = self.permits.acquire().await else {
            return Err(failure::closed());
        };
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || readers.read(read));
        let outcome = task.await;
        drop(permit);
        outcome.unwrap_or_else(|_| Err(StoreError::unavailable("a read was broken off")))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = self.take()?;
        let outcome = read(&connection);
        self.give_back(connection);
        outcome
    }

    fn take(&self) -> Result<Connection, StoreError> {
        if let Some(connection) = self.idle.lock().pop() {
            return Ok(connection);
        }
        let connection = connection::open(&self.path, &self.options)?;
        connection
            .pragma_update(None, "query_only", true)
            .map_err(failure::of)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        if !self.permits.is_closed() {
            self.idle.lock().push(connection);
        }
    }

    /// Lets no more reads begin, and closes the connections.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}
