//! Notices commits of other processes, while somebody watches.
//!
//! SQLite tells one connection that the file was changed by another, not what
//! was changed; so every watch is woken, and looks. Our own commits show too, and
//! have woken whom they concern: they are told apart by the time of the file's
//! last commit. The writer sees to others' commits that come before one of ours.

use std::sync::{Arc, Weak};
use std::thread;

use parking_lot::Mutex;
use rusqlite::Connection;
use tracing::warn;

use super::{Shared, connection, failure, schema};
use crate::store::StoreError;

/// One for each store.
#[derive(Default)]
pub(super) struct Poller {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    watches: usize,
    running: bool,
}

/// Keeps the polling going.
pub(super) struct Hold {
    state: Arc<Mutex<State>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.lock().watches -= 1;
    }
}

impl Poller {
    /// Polls for as long as the hold lives, and the store.
    pub(super) fn hold(&self, store: &Arc<Shared>) -> Hold {
        let mut state = self.state.lock();
        state.watches += 1;
        if !state.running {
            let polling = Polling {
                store: Arc::downgrade(store),
                state: Arc::clone(&self.state),
            };
            let thread = thread::Builder::new().name("store-poller".to_owned());
            match thread.spawn(move || polling.run()) {
                Ok(_) => state.running = true,
                Err(error) => warn!(%error, "changes of other processes are not noticed"),
            }
        }
        Hold {
            state: Arc::clone(&self.state),
        }
    }
}

struct Polling {
    store: Weak<Shared>,
    state: Arc<Mutex<State>>,
}

impl Polling {
    fn run(self) {
        let mut connection: Option<Connection> = None;
        let mut seen: Option<i64> = None;
        loop {
            let Some(store) = self.store.upgrade() else {
                return;
            };
            if store.writer.is_closed() {
                return;
            }
            match Self::version(&store, &mut connection) {
                // The first time, too: something may have changed between a
                // watch's first reading and this one.
                Ok(version) if seen != Some(version) => {
                    let is_first = seen.replace(version).is_none();
                    let last = connection.as_ref().map(schema::last_commit);
                    let last = last.and_then(Result::ok);
                    if is_first || last != Some(store.writer.last_own()) {
                        store.notifier.notify_all();
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, "cannot look for changes of other processes");
                    connection = None;
                    seen = None;
                }
            }
            let interval = store.options.poll_interval;
            drop(store);
            thread::sleep(interval);
            let mut state = self.state.lock();
            if state.watches == 0 {
                state.running = false;
                return;
            }
        }
    }

    fn version(store: &Shared, connection: &mut Option<Connection>) -> Result<i64, StoreError> {
        let open = match connection.take() {
            Some(open) => open,
            None => connection::open(&store.path, &store.options)?,
        };
        let version = open
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut asked| asked.query_row([], |row| row.get(0)))
            .map_err(failure::of)?;
        *connection = Some(open);
        Ok(version)
    }
}
