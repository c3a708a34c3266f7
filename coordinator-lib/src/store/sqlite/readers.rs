//! A small pool of connections that read, each on a blocking thread.

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

    /// Runs a read off the async threads. It is finished even if nobody waits.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(permit) = self.permits.acquire().await else {
            return Err(failure::closed());
        };
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = readers.take()?;
            let outcome = read(&mut connection);
            readers.give_back(connection);
            outcome
        });
        let outcome = task.await;
        drop(permit);
        outcome.unwrap_or_else(|_| Err(StoreError::unavailable("a read was broken off")))
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
