//! What the commands share that work on accounts' sessions in the store.

use std::sync::Arc;

use coordinator_lib::clock::SystemClock;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::{Rng as _, SystemRng};
use session::KeyRing;

use crate::app::backend::Backend;
use crate::app::{data_dir, key_ring};
use crate::config::{StoreConfig, StoreKind};
use crate::exit::{self, Failure};
use crate::operator::{Operator, OperatorParts};

/// An open store with a worker session of the command's own.
pub(super) struct Tool {
    pub(super) operator: Operator,
    backend: Backend,
}

impl Tool {
    /// Opens the store, makes it where there is none yet, and begins a worker
    /// session.
    pub(super) async fn open(config: &StoreConfig, name: &str) -> Result<Self, Failure> {
        data_dir::prepare(&config.data_dir)?;
        let keys = match config.store {
            StoreKind::Sqlite => key_ring::load_or_generate(config, &SystemRng)?,
            StoreKind::Firestore => key_ring::load(config)?,
        };
        Self::open_with(config, name, keys).await
    }

    /// The same with a ring that was loaded before.
    pub(super) async fn open_with(
        config: &StoreConfig,
        name: &str,
        keys: KeyRing,
    ) -> Result<Self, Failure> {
        let (clock, rng) = (SystemClock::shared(), SystemRng::shared());
        // The defaults are the shortest sensible ones, so they suit any cluster.
        let lease = LeaseConfig::default();
        let backend = Backend::open(config, &lease, &clock, &rng).await?;
        let parts = OperatorParts {
            store: Arc::clone(&backend.store),
            heartbeat: Arc::clone(&backend.heartbeat),
            presence: backend.presence.clone(),
            keys: Arc::new(keys),
            clock,
            rng,
            lease,
        };
        let name = format!("{name}-{}", &SystemRng.nonce()[..8]);
        let operator = Operator::begin(parts, &name)
            .await
            .map_err(|error| Failure::new(exit::BUSY, error))?;
        Ok(Self { operator, backend })
    }

    /// Ends the session and closes the store.
    pub(super) async fn close(self) {
        self.operator.close().await;
        self.backend.close().await;
    }
}

/// Runs a command's work.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(1, format!("no runtime: {error}")))?;
    runtime.block_on(work)
}
