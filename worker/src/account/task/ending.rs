//! The end of a claim: given back in order, or left at once.

use std::time::Duration;

use coordinator_lib::coordinator::ReleaseOutcome;
use coordinator_lib::history::ReleaseReason;

use super::{Driver, Exit, TaskEnd};
use crate::health::LeaseState;

/// For webhooks to get the last events of an account that is put off.
const LAST_EVENTS_LIMIT: Duration = Duration::from_secs(3);

impl Driver {
    /// Gives the account back, or leaves it.
    pub(super) async fn end(mut self, exit: Exit) -> TaskEnd {
        let limit = self.parts.account.shutdown_limit;
        let account = self.term.account.clone();
        match exit {
            Exit::Lost(reason) => {
                self.observed.lease_is(LeaseState::Lost);
                tracing::warn!(account.id = %account, lease.epoch = self.term.epoch(), %reason, "account lost");
                self.term.gates.freeze(reason);
                self.end_instance(Some(reason)).await;
                self.term.abandon(reason);
                TaskEnd::Lost(reason)
            }
            Exit::Release(reason) => {
                self.give_back(reason, limit).await;
                match reason {
                    ReleaseReason::NotWanted => TaskEnd::Released,
                    ReleaseReason::Drain
                    | ReleaseReason::Rebalance
                    | ReleaseReason::Asked
                    | ReleaseReason::Failed => TaskEnd::Asked(reason),
                }
            }
            Exit::Failed(why) => {
                tracing::error!(account.id = %account, error = why, "account cannot go on");
                self.give_back(ReleaseReason::Failed, limit).await;
                TaskEnd::Failed(why)
            }
        }
    }

    pub(super) async fn give_back(mut self, reason: ReleaseReason, limit: Duration) {
        self.observed.lease_is(LeaseState::Releasing);
        self.end_instance(None).await;
        if self.record.is_dirty() {
            self.write_record().await;
        }
        if reason == ReleaseReason::NotWanted {
            // Nobody will own it who could deliver what happened last.
            let lanes = std::sync::Arc::clone(&self.term.lanes);
            lanes
                .settled(&self.term.journal, self.term.clock(), LAST_EVENTS_LIMIT)
                .await;
        }
        let (account, epoch) = (self.term.account.clone(), self.term.epoch());
        match self.term.release(reason, limit).await {
            Ok(ReleaseOutcome::Released) => {
                tracing::info!(account.id = %account, lease.epoch = epoch, "account released");
            }
            Ok(ReleaseOutcome::Lost) => {
                tracing::warn!(account.id = %account, lease.epoch = epoch, "account was lost before its release");
            }
            Err(error) => {
                tracing::warn!(account.id = %account, lease.epoch = epoch, %error, "lease was not given back; it ends by itself");
            }
        }
    }
}
