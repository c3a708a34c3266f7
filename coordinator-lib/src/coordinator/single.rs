//! A worker session that claims what it is told to, and nothing else.
//!
//! For tools and tests: it beats like any other, so that what it claims is safe
//! from others, but it does not look for accounts, and renews nothing: what it
//! does must take less than a lease lasts. Of other sessions it looks after the
//! one alone that holds what it is to claim: where no worker runs, nobody else
//! would find that a tool was killed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::operations::{ClaimOutcome, NotClaimable, Operations, SealOutcome};
use super::ownership::{Owned, Ownership, Wake};
use super::session::{self, Session};
use super::{CoordinatorParts, StartError};
use crate::clock::Boottime;
use crate::gate::CloseReason;
use crate::identity::{AccountId, WorkerIdentity};
use crate::store::StoreError;
use crate::worker_session::SessionState;

/// How often it shows that its runtime makes progress.
const TICK: Duration = Duration::from_millis(500);

/// See the module.
pub struct SingleSession {
    parts: CoordinatorParts,
    session: Session,
    operations: Operations,
    wake: Arc<Notify>,
    /// Since when it has been in touch with the store.
    began: Boottime,
    _ticks: AbortOnDropHandle<()>,
}

impl SingleSession {
    /// Begins a worker session.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn begin(parts: CoordinatorParts) -> Result<Self, StartError> {
        parts.config.lease.check()?;
        let session = session::begin_first(&parts)
            .await
            .map_err(StartError::Session)?;
        let operations = Operations::new(
            Arc::clone(&parts.store),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.rng),
            parts.config.lease.clone(),
            session.me.clone(),
            parts.wanted,
        );
        let (vitals, clock) = (Arc::clone(&session.vitals), Arc::clone(&parts.clock));
        let ticks = parts.tracker.spawn(async move {
            loop {
                vitals.pulse.tick(clock.boottime());
                clock.sleep(TICK).await;
            }
        });
        Ok(Self {
            began: parts.clock.boottime(),
            parts,
            session,
            operations,
            wake: Arc::default(),
            _ticks: AbortOnDropHandle::new(ticks),
        })
    }

    /// Who it is.
    pub fn me(&self) -> &WorkerIdentity {
        &self.session.me
    }

    /// Claims this account; `Err(NotClaimable)` within says why not.
    ///
    /// # Errors
    /// The store's.
    pub async fn claim(
        &self,
        account: &AccountId,
    ) -> Result<Result<Ownership, NotClaimable>, StoreError> {
        let mut outcome = self.operations.claim(account, true).await?;
        let is_held = matches!(outcome, ClaimOutcome::NotClaimable(NotClaimable::Held));
        if is_held && self.seals_holder(account).await? {
            outcome = self.operations.claim(account, true).await?;
        }
        match outcome {
            ClaimOutcome::NotClaimable(why) => Ok(Err(why)),
            ClaimOutcome::Claimed {
                lease,
                fence,
                reason,
            } => {
                let owned = Owned::new(
                    self.operations.clone(),
                    Arc::clone(&self.parts.clock),
                    Arc::clone(&self.session.vitals),
                    lease,
                    reason,
                    Arc::clone(&self.wake) as Arc<dyn Wake>,
                );
                Ok(Ok(Ownership::new(Arc::new(owned), fence)))
            }
        }
    }

    /// Seals the session that holds an account, if it is dead. True if it has ended.
    async fn seals_holder(&self, account: &AccountId) -> Result<bool, StoreError> {
        let Some((holder, read_time)) = self.operations.holder(account).await? else {
            // It has just ended.
            return Ok(true);
        };
        if holder.id == self.session.me.session_id {
            return Ok(false);
        }
        let presence = self.parts.presence.as_ref();
        let has_left = presence.is_some_and(|presence| presence.has_left(&holder.id));
        // Right after an outage everybody has been silent.
        let lease = &self.parts.config.lease;
        let patience = lease.session_ttl + lease.lock_delay();
        let is_in_touch = self.parts.clock.boottime() >= self.began + patience;
        let is_dead = has_left || (is_in_touch && holder.is_dead(read_time, lease));
        if !is_dead {
            return Ok(false);
        }
        Ok(self.operations.seal(&holder).await? == SealOutcome::Ended)
    }

    /// Ends the session; everything that was claimed must have been released.
    /// True if the store has said so in time.
    pub async fn close(self) -> bool {
        let vitals = &self.session.vitals;
        vitals.deadline.close(CloseReason::Released);
        vitals.want(SessionState::Closed);
        tokio::select! {
            biased;
            state = vitals.ended() => state == SessionState::Closed,
            () = self.parts.clock.sleep(self.parts.config.lease.session_ttl) => false,
        }
    }
}
