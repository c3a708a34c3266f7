//! Looks at the store again and again, so that `/health` answers at once from
//! what was last seen, also while the store does not answer at all.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::store::{Query, Store, StoreError, StoreTime};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::model::{Desired, Status, queries};

/// How often the store is asked for its time.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// An answer that takes longer does not count.
const PING_LIMIT: Duration = Duration::from_secs(2);
/// Pings between two counts of all accounts, which cost more.
const PINGS_PER_COUNT: u32 = 5;

/// What was last seen of the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreSight {
    /// The last answer.
    pub answer: Option<StoreAnswer>,
    /// The kind of the failure since then, if there was one.
    pub failure: Option<String>,
    /// The last count of all accounts.
    pub counts: Option<ClusterCounts>,
}

/// An answer of the store to a ping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoreAnswer {
    /// When it came.
    pub at: Boottime,
    /// How long it took.
    pub latency: Duration,
    /// Store time less this machine's wall clock, in milliseconds.
    pub clock_offset_ms: i64,
}

/// Accounts of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterCounts {
    /// All accounts.
    pub accounts: u64,
    /// Those that somebody should own.
    pub wanted: u64,
    /// Those that nobody owns.
    pub unowned: u64,
    /// Those that were unlinked: nobody owns them, so no worker counts them as
    /// its own.
    pub logged_out: u64,
    /// When they were counted.
    pub as_of: StoreTime,
}

/// Keeps a [`StoreSight`] up to date.
#[derive(Clone)]
pub struct StoreMonitor {
    store: Store,
    clock: SharedClock,
    sight: Arc<RwLock<StoreSight>>,
}

impl StoreMonitor {
    /// A monitor that has seen nothing yet.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self {
            store,
            clock,
            sight: Arc::default(),
        }
    }

    /// What was last seen.
    pub fn sight(&self) -> StoreSight {
        self.sight.read().clone()
    }

    /// Looks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut pings = 0_u32;
        loop {
            self.look(pings.is_multiple_of(PINGS_PER_COUNT)).await;
            pings = pings.wrapping_add(1);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.sleep(PING_INTERVAL) => {}
            }
        }
    }

    /// Looks once: asks for the time, and counts the accounts if `count`.
    pub async fn look(&self, count: bool) {
        let asked = self.clock.boottime();
        let pinged = tokio::time::timeout(PING_LIMIT, self.store.ping()).await;
        let at = self.clock.boottime();
        let store_time = match pinged {
            Ok(Ok(time)) => time,
            Ok(Err(error)) => return self.failed(&error.to_string()),
            Err(_) => return self.failed("no answer in time"),
        };
        let wall = StoreTime::from_datetime(self.clock.wall());
        let offset_us = store_time.as_micros().saturating_sub(wall.as_micros());
        {
            let mut sight = self.sight.write();
            if sight.failure.take().is_some() {
                tracing::info!("the store answers again");
            }
            sight.answer = Some(StoreAnswer {
                at,
                latency: at - asked,
                clock_offset_ms: offset_us / 1_000,
            });
        }
        if count {
            match tokio::time::timeout(PING_LIMIT, self.count(store_time)).await {
                Ok(Ok(counts)) => self.sight.write().counts = Some(counts),
                Ok(Err(error)) => tracing::warn!(%error, "accounts could not be counted"),
                Err(_) => tracing::warn!("accounts could not be counted in time"),
            }
        }
    }

    async fn count(&self, as_of: StoreTime) -> Result<ClusterCounts, StoreError> {
        let running = queries::accounts_desired(Desired::Running)?;
        let unowned = queries::accounts_unowned(Desired::Running)?;
        Ok(ClusterCounts {
            accounts: self.store.count(&queries::accounts()?).await?,
            wanted: self.count_wanted(running).await?,
            unowned: self.count_wanted(unowned).await?,
            logged_out: self
                .store
                .count(&queries::accounts_with_status(Status::LoggedOut)?)
                .await?,
            as_of,
        })
    }

    /// Accounts that clients want to run, less those that nobody can.
    async fn count_wanted(&self, running: Query) -> Result<u64, StoreError> {
        let ended = running.clone().filter_in(
            "status",
            [Status::LoggedOut.as_str(), Status::NeedsImport.as_str()],
        );
        let running = self.store.count(&running).await?;
        let ended = self.store.count(&ended).await?;
        Ok(running.saturating_sub(ended))
    }

    fn failed(&self, failure: &str) {
        let mut sight = self.sight.write();
        if sight.failure.is_none() {
            tracing::warn!(error = failure, "the store does not answer");
        }
        sight.failure = Some(failure.to_owned());
    }
}
