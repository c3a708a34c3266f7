//! The store that the configuration names, opened for the work and, apart from
//! it, for the heartbeat.

use std::sync::Arc;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::StoreMaker;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::presence::{FolderPresence, Presence};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{
    FirestoreOptions, FirestoreStore, SqliteOptions, SqliteStore, Store, StoreError,
};

use crate::config::{StoreConfig, StoreKind};
use crate::exit::{self, Failure};
use crate::telemetry::store::ObservedStore;

/// A store, and what belongs to its kind.
pub struct Backend {
    /// For the work.
    pub store: Store,
    /// Makes another client, for the heartbeat.
    pub heartbeat: StoreMaker,
    /// Tells of workers of this machine that are gone, where all are on it.
    pub presence: Option<Arc<dyn Presence>>,
    closing: Closing,
}

enum Closing {
    Sqlite(SqliteStore),
    Nothing,
}

impl Backend {
    /// Opens it.
    ///
    /// # Errors
    /// A line that says what is wrong and what to do, and the exit code.
    pub async fn open(
        config: &StoreConfig,
        lease: &LeaseConfig,
        clock: &SharedClock,
        rng: &SharedRng,
    ) -> Result<Self, Failure> {
        let backend = match config.store {
            StoreKind::Sqlite => Self::sqlite(config, clock).await,
            StoreKind::Firestore => Self::firestore(config, lease, clock, rng).await,
        }?;
        Ok(backend.observed(clock))
    }

    /// The same, with every call timed and shown.
    fn observed(self, clock: &SharedClock) -> Self {
        let (make, own) = (self.heartbeat, Arc::clone(clock));
        Self {
            store: ObservedStore::around(self.store, Arc::clone(clock)),
            heartbeat: Arc::new(move || {
                let (made, clock) = (make(), Arc::clone(&own));
                Box::pin(async move { Ok(ObservedStore::around(made.await?, clock)) })
            }),
            ..self
        }
    }

    async fn sqlite(config: &StoreConfig, clock: &SharedClock) -> Result<Self, Failure> {
        let sqlite = open_sqlite(config, clock)
            .await
            .map_err(|error| failure(&config.database_path().display().to_string(), &error))?;
        let presence = FolderPresence::new(&config.presence_path()).map_err(|error| {
            Failure::new(
                exit::CREATE,
                format!(
                    "cannot make {}: {error}; check the folder's rights and space",
                    config.presence_path().display()
                ),
            )
        })?;
        let (own, clock) = (config.clone(), Arc::clone(clock));
        Ok(Self {
            store: Arc::new(sqlite.clone()),
            heartbeat: Arc::new(move || {
                let (config, clock) = (own.clone(), Arc::clone(&clock));
                Box::pin(async move {
                    let store = open_sqlite(&config, &clock).await?;
                    Ok(Arc::new(store) as Store)
                })
            }),
            presence: Some(Arc::new(presence)),
            closing: Closing::Sqlite(sqlite),
        })
    }

    async fn firestore(
        config: &StoreConfig,
        lease: &LeaseConfig,
        clock: &SharedClock,
        rng: &SharedRng,
    ) -> Result<Self, Failure> {
        let options = FirestoreOptions {
            database: Some(config.firestore_database.clone()),
            emulator_host: config.firestore_emulator_host.clone(),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            ..FirestoreOptions::new(config.firestore_project.clone().unwrap_or_default())
        };
        let store = FirestoreStore::connect(options.clone())
            .await
            .map_err(|error| failure("Firestore", &error))?;
        // One attempt at a time: the heartbeat has its own way to try again.
        let beats = FirestoreOptions {
            attempts_max: 1,
            attempt_timeout: lease.attempt_timeout,
            ..options
        };
        Ok(Self {
            store: Arc::new(store),
            heartbeat: Arc::new(move || {
                let options = beats.clone();
                Box::pin(async move {
                    let store = FirestoreStore::connect(options).await?;
                    Ok(Arc::new(store) as Store)
                })
            }),
            presence: None,
            closing: Closing::Nothing,
        })
    }

    /// Closes it, once nothing uses it any more.
    pub async fn close(self) {
        match self.closing {
            Closing::Sqlite(sqlite) => sqlite.close().await,
            Closing::Nothing => {
                // Its connections end with the process.
            }
        }
    }
}

/// Opens the database on a thread that may block.
async fn open_sqlite(config: &StoreConfig, clock: &SharedClock) -> Result<SqliteStore, StoreError> {
    let path = config.database_path();
    let options = SqliteOptions {
        clock: Arc::clone(clock),
        ..SqliteOptions::default()
    };
    tokio::task::spawn_blocking(move || SqliteStore::open(&path, options))
        .await
        .map_err(|error| StoreError::unavailable(format!("opening the store: {error}")))?
}

fn failure(place: &str, error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Contended { .. } | StoreError::Unavailable { .. } => exit::BUSY,
        StoreError::Full { .. } => exit::CREATE,
        StoreError::Unusable { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::Invalid { .. }
        | StoreError::Corrupt { .. } => exit::DATA,
    };
    Failure::new(code, format!("{place}: {error}"))
}
