//! A store in Google's Firestore: what a cluster shares.
//!
//! Production (Native mode, Application Default Credentials) and the official
//! emulator. Invariants:
//! - A commit is one `Commit` request without a transaction: nothing is locked,
//!   and its conditions are checked when it is made.
//! - Reads are strong; store time is Firestore's, as it comes with each answer.
//! - Every attempt ends in its time. A call is repeated only where nothing was
//!   written; a commit that was not acknowledged is `Ambiguous`, never repeated.
//!
//! Where it differs from the other adapters:
//! - [`Value::CommitTime`](super::Value::CommitTime) becomes the time at which
//!   Firestore began with the commit, in milliseconds: shortly before the
//!   commit's own time, and the same throughout the commit.
//! - A write that changes nothing leaves the document's update time as it was.
//! - Queries with several fields need the indexes of
//!   `k8s/firestore/firestore.indexes.json`; see [`super::indexes`].
//!
//! Clones share one HTTP/2 channel. A heartbeat that must not wait behind other
//! traffic connects a second time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::firestore::FirestoreDb;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use self::attempts::Attempts;
use self::connection::Client;
use self::values::Root;
use super::limits::{self, GET_PATHS_MAX};
use super::plan::Plan;
use super::{
    CommitOutcome, DocumentStore, Page, Path, Query, Snapshot, StoreError, StoreTime, Watch, Write,
    WriteOutcome,
};
use crate::clock::{SharedClock, SystemClock};
use crate::rng::{SharedRng, SystemRng};

mod attempts;
mod connection;
mod failure;
mod listener;
mod reads;
mod structured;
mod target;
mod values;
mod writes;

#[cfg(test)]
mod tests;

/// The database that a project has without being asked for one.
const DATABASE_DEFAULT: &str = "(default)";

/// The emulator's first answer takes a second, production's includes a token:
/// the first ping is tried this often.
const PINGS_MAX: u32 = 5;

/// Independent writes that are under way at the same time.
const COMMITS_AT_ONCE: usize = 16;

/// How a Firestore store is reached.
#[derive(Clone)]
pub struct FirestoreOptions {
    /// The Google Cloud project; any word for the emulator.
    pub project: String,
    /// The database; `None` for `(default)`.
    pub database: Option<String>,
    /// Where the emulator is, as in `FIRESTORE_EMULATOR_HOST`: `host:port`.
    /// `None` is production. The environment is not looked at.
    pub emulator_host: Option<String>,
    /// One attempt of a call ends in this time.
    pub attempt_timeout: Duration,
    /// A call is tried so often, while its error says that nothing was
    /// written. With 1, every call ends within `attempt_timeout`.
    pub attempts_max: u32,
    /// How often a watch looks for what its listener did not tell. Each time
    /// costs a read for each document that matches, and one at least.
    pub poll_interval: Duration,
    /// For waits and polls.
    pub clock: SharedClock,
    /// For jitter.
    pub rng: SharedRng,
}

impl FirestoreOptions {
    /// The defaults for a project: production, three attempts of three seconds.
    pub fn new(project: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            database: None,
            emulator_host: None,
            attempt_timeout: Duration::from_secs(3),
            attempts_max: 3,
            poll_interval: Duration::from_secs(30),
            clock: SystemClock::shared(),
            rng: SystemRng::shared(),
        }
    }

    fn database_id(&self) -> &str {
        self.database.as_deref().unwrap_or(DATABASE_DEFAULT)
    }
}

/// A store in Firestore; clones share its channel.
#[derive(Clone)]
pub struct FirestoreStore {
    shared: Arc<Shared>,
}

struct Shared {
    db: FirestoreDb,
    root: Root,
    attempts: Attempts,
    poll_interval: Duration,
}

impl Shared {
    fn client(&self) -> Client {
        self.db.client().get()
    }
}

impl FirestoreStore {
    /// Connects, over a channel of its own, and waits for the first answer.
    ///
    /// # Errors
    /// `Unavailable`: nobody answers at the address. `Unusable`: no
    /// credentials, no right, no such database. Each says what to do.
    pub async fn connect(options: FirestoreOptions) -> Result<Self, StoreError> {
        let db = connection::connect(&options).await?;
        let attempts = Attempts {
            timeout: options.attempt_timeout,
            max: options.attempts_max,
            clock: options.clock.clone(),
            rng: options.rng.clone(),
        };
        let shared = Shared {
            db,
            root: Root::new(&options.project, options.database_id()),
            attempts: Attempts {
                max: PINGS_MAX,
                ..attempts.clone()
            },
            poll_interval: options.poll_interval,
        };
        reads::now(&shared).await?;
        Ok(Self {
            shared: Arc::new(Shared { attempts, ..shared }),
        })
    }
}

#[async_trait]
impl DocumentStore for FirestoreStore {
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError> {
        if paths.len() > GET_PATHS_MAX {
            return Err(StoreError::invalid(format!(
                "{} paths in one get",
                paths.len()
            )));
        }
        reads::get(&self.shared, paths).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let plan = Plan::new(query)?;
        reads::page(&self.shared, query, &plan).await
    }

    async fn count(&self, query: &Query) -> Result<u64, StoreError> {
        Plan::for_count(query)?;
        reads::count(&self.shared, query).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        limits::check_commit(&writes)?;
        let Shared { root, attempts, .. } = &*self.shared;
        let conditional = writes.iter().any(writes::is_conditional);
        let writes: Vec<_> = writes
            .into_iter()
            .map(|write| writes::encode(root, write))
            .collect();
        attempts
            .run(|| async {
                let request = writes::commit_request(root, writes.clone());
                let mut client = self.shared.client();
                let answered = attempts
                    .once(client.commit(attempts.request(request)))
                    .await;
                match answered {
                    Ok(response) => writes::committed(writes.len(), response.into_inner())
                        .map(CommitOutcome::Committed),
                    Err(failure) => failure::of_commit(failure, conditional),
                }
            })
            .await
    }

    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError> {
        limits::check_independent(&writes)?;
        // Commits of their own, several at a time; not `BatchWrite`, which tells
        // neither a deletion's time nor may write a document twice.
        let mut outcomes = Vec::with_capacity(writes.len());
        for round in writes::rounds(writes) {
            let commits = round.into_iter().map(|write| self.commit(vec![write]));
            let made: Vec<CommitOutcome> = stream::iter(commits)
                .buffered(COMMITS_AT_ONCE)
                .try_collect()
                .await?;
            outcomes.extend(made.into_iter().map(writes::single));
        }
        Ok(outcomes)
    }

    async fn watch(&self, query: &Query) -> Result<Watch, StoreError> {
        let plan = Plan::for_watch(query)?;
        listener::watch(Arc::clone(&self.shared), query, plan).await
    }

    async fn ping(&self) -> Result<StoreTime, StoreError> {
        reads::now(&self.shared).await
    }

    fn backend(&self) -> &'static str {
        "firestore"
    }
}

impl fmt::Debug for FirestoreStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FirestoreStore")
            .field("database", &self.shared.root.database)
            .finish()
    }
}
