//! Goes on with purges that nobody goes on with: whoever had begun them ended, or
//! asked once and not again.
//!
//! One worker looks for all: see [`passes`](crate::passes). A purge that somebody
//! is working on is left to them: each run changes the account's document, so one
//! that is not left has changed lately.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::Boottime;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{Document, Query, StoreError, StoreTime};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Progress, run};
use crate::media::MediaStore;
use crate::model::{Agreed, Desired, Stored, queries};
use crate::operator::{Operator, OperatorError, OperatorParts};
use crate::passes::{Due, Passes};

/// The document in `config`.
const DOCUMENT: &str = "purge_sweep";
/// Between two passes.
const INTERVAL: Duration = Duration::from_secs(30);
/// A purge that did not change its account for so long was left.
pub const LEFT_AFTER: Duration = Duration::from_secs(30);
/// Of one account, in a pass; what is left goes on in the next.
const RUN_LIMIT: Duration = Duration::from_secs(20);
/// Accounts of a pass.
const TOGETHER_MAX: u32 = 100;

/// `config/purge_sweep`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PurgeSweepDoc {
    /// When the next pass is due.
    due_at: Option<StoreTime>,
}

impl Stored for PurgeSweepDoc {}

impl Due for PurgeSweepDoc {
    fn due_at(&mut self) -> &mut Option<StoreTime> {
        &mut self.due_at
    }
}

/// What the task works with.
pub struct PurgeSweep {
    /// What its worker sessions work with: one for each pass that finds something.
    pub operator: OperatorParts,
    /// Where the accounts' files are.
    pub media: MediaStore,
    /// A purge that did not change its account for so long was left.
    pub left_after: Duration,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Accounts of which only the tombstone is left now.
    pub purged: usize,
    /// Accounts of which there is more to erase.
    pub left: usize,
}

impl PurgeSweep {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let passes = self.passes();
        while passes.wait(&stop).await {
            // A pass that is broken off leaves what the next one finds.
            let resumed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                resumed = self.pass() => resumed,
            };
            match resumed {
                Ok(resumed) if resumed == Resumed::default() => {}
                Ok(resumed) => tracing::info!(
                    purged = resumed.purged,
                    left = resumed.left,
                    "went on with purges"
                ),
                Err(error) => {
                    tracing::warn!(%error, "purges did not go on; the next pass tries again");
                }
            }
        }
    }

    fn passes(&self) -> Passes<PurgeSweepDoc> {
        Passes {
            document: Agreed::new(Arc::clone(&self.operator.store), DOCUMENT),
            clock: Arc::clone(&self.operator.clock),
            rng: Arc::clone(&self.operator.rng),
            interval: INTERVAL,
        }
    }

    /// Makes a pass, if one is due.
    ///
    /// # Errors
    /// [`OperatorError`]: the store's, or no worker session begins. What could not
    /// be purged of one account holds no other up.
    pub async fn pass(&self) -> Result<Resumed, OperatorError> {
        let Some(pass) = self.passes().take(|_, _| ()).await? else {
            return Ok(Resumed::default());
        };
        let marked = queries::accounts_desired(Desired::Purging)?;
        let mut left = self.find(marked, pass.at).await?;
        let buried = queries::accounts_half_purged()?;
        left.extend(self.find(buried, pass.at).await?);
        if left.is_empty() {
            return Ok(Resumed::default());
        }
        let name = format!("purge-{}", &self.operator.rng.nonce()[..8]);
        let operator = Operator::begin(self.operator.clone(), &name).await?;
        let resumed = self.resume(&operator, left, pass.until).await;
        operator.close().await;
        Ok(resumed)
    }

    /// Accounts that nobody goes on with.
    async fn find(&self, query: Query, now: StoreTime) -> Result<Vec<AccountId>, StoreError> {
        let page = self
            .operator
            .store
            .query(&query.limit(TOGETHER_MAX))
            .await?;
        let is_left = |found: &&Document| now.since(found.update_time) >= self.left_after;
        let left = page.documents.iter().filter(is_left);
        left.map(|found| AccountId::new(found.path.id())).collect()
    }

    async fn resume(
        &self,
        operator: &Operator,
        accounts: Vec<AccountId>,
        until: Boottime,
    ) -> Resumed {
        let mut resumed = Resumed::default();
        for account in accounts {
            if self.operator.clock.boottime() >= until {
                resumed.left += 1;
                continue;
            }
            match run(operator, &self.media, &account, RUN_LIMIT).await {
                Ok(Progress::Purged { .. }) => resumed.purged += 1,
                Ok(Progress::UnderWay { .. } | Progress::Waiting { .. }) => resumed.left += 1,
                Err(error) => {
                    tracing::warn!(account.id = %account, %error, "a purge did not go on");
                    resumed.left += 1;
                }
            }
        }
        resumed
    }
}
