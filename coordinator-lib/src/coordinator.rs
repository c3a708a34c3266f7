//! Claims, renews and releases accounts, in the store.
//!
//! For now a store has *one* worker, which holds the [`crate::store_lock`]: no
//! other worker session can be alive, so what an earlier one left behind is
//! claimed at once. Every claim begins a new epoch all the same, and every
//! write is conditional on what was read, so that the lock is a convenience and
//! not what safety rests on.
//!
//! Rules are in [`crate::claim`] and [`crate::lease`]; here they meet the store.
//! The machine's clock is read *before* each request, and an outcome that is
//! unknown is settled by reading back.

use std::future::Future;

use tracing::{info, warn};

use crate::claim::{self, Decision, OwnerSession};
use crate::clock::{Boottime, SharedClock};
use crate::fence::Fence;
use crate::identity::{AccountId, WorkerIdentity};
use crate::lease::{
    self, AccountLease, CLAIM_NONCE_FIELD, LEASE_EPOCH_FIELD, LEASE_SESSION_FIELD,
    LEASE_UNTIL_FIELD, LeaseConfig,
};
use crate::rng::SharedRng;
use crate::store::{
    CommitOutcome, Document, Fields, Precondition, Snapshot, Store, StoreError, StoreTime, Value,
    Write,
};

/// How often an operation reads again after a lost race or a doubtful commit,
/// before it leaves the rest to its caller's next try.
const ROUNDS_MAX: u32 = 8;

/// Claims, renews and releases accounts for one worker.
#[derive(Clone)]
pub struct Coordinator {
    store: Store,
    clock: SharedClock,
    rng: SharedRng,
    config: LeaseConfig,
    me: WorkerIdentity,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum ClaimOutcome {
    /// The account is this worker's, from now on and until the lease's deadline.
    Claimed {
        /// What was claimed.
        lease: AccountLease,
        /// What every write must prove.
        fence: Fence,
    },
    /// The account is not claimed.
    NotClaimable(NotClaimable),
}

/// Why an account was not claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotClaimable {
    /// There is no such account.
    Missing,
    /// It has no head of ours: it is the predecessor's, to be imported first.
    NeedsImport,
    /// It is not meant to run.
    NotWanted,
    /// Another worker session holds it, or won the race for it.
    Held,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RenewOutcome {
    /// The lease has a later end.
    Renewed,
    /// The account is another's, or nobody's.
    Lost,
}

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ReleaseOutcome {
    /// The account is free.
    Released,
    /// It was no longer ours; nothing was changed.
    Lost,
}

impl Coordinator {
    /// A coordinator for this worker session.
    pub fn new(
        store: Store,
        clock: SharedClock,
        rng: SharedRng,
        config: LeaseConfig,
        me: WorkerIdentity,
    ) -> Self {
        Self {
            store,
            clock,
            rng,
            config,
            me,
        }
    }

    /// Claims an account: a new epoch begins.
    ///
    /// # Errors
    /// The store failed; nothing is known to be claimed.
    pub async fn claim(&self, account: &AccountId) -> Result<ClaimOutcome, StoreError> {
        // One nonce for all rounds: whichever of them landed, it was this claim.
        let nonce = self.rng.nonce();
        // Of the attempt that may have landed unseen.
        let mut doubt: Option<Attempt> = None;
        for _ in 0..ROUNDS_MAX {
            let asked_at = self.clock.boottime();
            let read = self.read_both(account).await?;
            if let Some(attempt) = doubt.take()
                && let Some(outcome) = self.settled(account, &read, &nonce, attempt)
            {
                return Ok(outcome);
            }
            let (stored, head) = (read.documents[0].as_ref(), read.documents[1].as_ref());
            let decision = claim::decide(
                stored,
                head,
                &self.me.session_id,
                // The store lock: whoever it was, it has ended.
                OwnerSession::Ended,
                read.read_time,
                &self.config,
            );
            let (epoch, disagreement) = match decision {
                Decision::Leave(why) => return Ok(ClaimOutcome::NotClaimable(why)),
                Decision::Claim {
                    epoch,
                    disagreement,
                } => (epoch, disagreement),
            };
            let (Some(stored), Some(head)) = (stored, head) else {
                // `decide` claims only what it has seen.
                return Ok(ClaimOutcome::NotClaimable(NotClaimable::Missing));
            };
            if disagreement {
                warn!(account.id = %account, lease.epoch = epoch, "account and head named different epochs");
            }
            let attempt = Attempt {
                epoch,
                asked_at,
                claimed_at: read.read_time,
                lease_until: read.read_time.saturating_add(self.config.duration),
            };
            match self
                .commit(self.claim_writes(stored, head, &attempt, &nonce))
                .await
            {
                Ok(CommitOutcome::Committed(commit)) => {
                    return Ok(self.claimed(account, attempt, commit.update_times[1]));
                }
                // Somebody wrote one of the two; look again.
                Ok(CommitOutcome::Rejected) => {}
                Err(StoreError::Ambiguous { .. }) => doubt = Some(attempt),
                Err(error) => return Err(error),
            }
        }
        Ok(ClaimOutcome::NotClaimable(NotClaimable::Held))
    }

    /// Renews a lease, and moves its deadline.
    ///
    /// # Errors
    /// The store failed; the lease stands as it was.
    pub async fn renew(&self, lease: &mut AccountLease) -> Result<RenewOutcome, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let asked_at = self.clock.boottime();
            let Some((stored, read_time)) = self.read_mine(lease).await? else {
                return Ok(RenewOutcome::Lost);
            };
            let until = read_time.saturating_add(self.config.duration);
            let fields = lease::named([(LEASE_UNTIL_FIELD, Value::Time(until))]);
            match self.commit(vec![change(&stored, fields)]).await {
                Ok(CommitOutcome::Committed(_)) => {
                    lease.lease_until = until;
                    lease.deadline = self.config.deadline(asked_at);
                    return Ok(RenewOutcome::Renewed);
                }
                // Others write their own fields of the document; and a renewal
                // in doubt is simply made again.
                Ok(CommitOutcome::Rejected) | Err(StoreError::Ambiguous { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(&lease.account_id))
    }

    /// Gives a lease back, once the account has stopped and its gates are closed.
    ///
    /// # Errors
    /// The store failed; the lease may still stand.
    pub async fn release(&self, lease: AccountLease) -> Result<ReleaseOutcome, StoreError> {
        let mut in_doubt = false;
        for _ in 0..ROUNDS_MAX {
            let Some((stored, _)) = self.read_mine(&lease).await? else {
                // A release in doubt that is no longer ours has happened.
                return Ok(if in_doubt {
                    ReleaseOutcome::Released
                } else {
                    ReleaseOutcome::Lost
                });
            };
            match self
                .commit(vec![change(&stored, lease::released(lease.epoch))])
                .await
            {
                Ok(CommitOutcome::Committed(_)) => return Ok(ReleaseOutcome::Released),
                Ok(CommitOutcome::Rejected) => {}
                Err(StoreError::Ambiguous { .. }) => in_doubt = true,
                Err(error) => return Err(error),
            }
        }
        Err(busy(&lease.account_id))
    }

    /// This worker.
    pub fn me(&self) -> &WorkerIdentity {
        &self.me
    }

    /// The durations in use.
    pub fn config(&self) -> &LeaseConfig {
        &self.config
    }

    /// What a claim in doubt turns out to be, if it landed.
    fn settled(
        &self,
        account: &AccountId,
        read: &Snapshot,
        nonce: &str,
        attempt: Attempt,
    ) -> Option<ClaimOutcome> {
        let (stored, head) = (read.documents[0].as_ref()?, read.documents[1].as_ref()?);
        let landed =
            text(stored, CLAIM_NONCE_FIELD) == Some(nonce) && self.holds(stored, attempt.epoch);
        landed.then(|| self.claimed(account, attempt, head.update_time))
    }

    fn claimed(&self, account: &AccountId, attempt: Attempt, version: StoreTime) -> ClaimOutcome {
        let deadline = self.config.deadline(attempt.asked_at);
        if self.clock.boottime() >= deadline {
            // The answer came too late to act on; the next claim starts afresh.
            return ClaimOutcome::NotClaimable(NotClaimable::Held);
        }
        info!(account.id = %account, lease.epoch = attempt.epoch, "claimed");
        ClaimOutcome::Claimed {
            lease: AccountLease {
                account_id: account.clone(),
                epoch: attempt.epoch,
                worker_session: self.me.session_id.clone(),
                claimed_at: attempt.claimed_at,
                lease_until: attempt.lease_until,
                deadline,
            },
            fence: Fence {
                head: account.head_path(),
                version,
                epoch: attempt.epoch,
                worker_session: self.me.session_id.clone(),
            },
        }
    }

    fn claim_writes(
        &self,
        stored: &Document,
        head: &Document,
        attempt: &Attempt,
        nonce: &str,
    ) -> Vec<Write> {
        let account_fields = lease::claimed(
            &self.me,
            attempt.epoch,
            nonce,
            attempt.claimed_at,
            attempt.lease_until,
        );
        vec![
            change(stored, account_fields),
            change(head, lease::head(&self.me, attempt.epoch)),
        ]
    }

    async fn read_both(&self, account: &AccountId) -> Result<Snapshot, StoreError> {
        let paths = [account.account_path(), account.head_path()];
        self.limited(self.store.get(&paths)).await.map_err(as_read)
    }

    /// The account's document and the time it was read at, if the lease stands.
    async fn read_mine(
        &self,
        lease: &AccountLease,
    ) -> Result<Option<(Document, StoreTime)>, StoreError> {
        let paths = [lease.account_id.account_path()];
        let mut read = self
            .limited(self.store.get(&paths))
            .await
            .map_err(as_read)?;
        let stored = read.documents.swap_remove(0);
        Ok(stored
            .filter(|stored| self.holds(stored, lease.epoch))
            .map(|stored| (stored, read.read_time)))
    }

    fn holds(&self, stored: &Document, epoch: i64) -> bool {
        text(stored, LEASE_SESSION_FIELD) == Some(self.me.session_id.as_str())
            && stored.fields.get(LEASE_EPOCH_FIELD) == Some(&Value::Int(epoch))
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError> {
        self.limited(self.store.commit(writes)).await
    }

    async fn limited<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.config.attempt_timeout;
        tokio::select! {
            biased;
            result = call => result,
            () = self.clock.sleep(limit) => Err(StoreError::Ambiguous {
                reason: format!("no answer within {limit:?}"),
            }),
        }
    }
}

/// One attempt at a claim.
#[derive(Clone, Copy)]
struct Attempt {
    epoch: i64,
    /// Before the read that `claimed_at` came from.
    asked_at: Boottime,
    claimed_at: StoreTime,
    lease_until: StoreTime,
}

/// An update of named fields, if the document is still as it was read.
fn change(document: &Document, fields: Fields) -> Write {
    Write::Update {
        path: document.path.clone(),
        fields,
        precondition: Precondition::Unchanged(document.update_time),
    }
}

fn text<'a>(document: &'a Document, field: &str) -> Option<&'a str> {
    document.fields.get(field).and_then(Value::as_text)
}

/// A read has no outcome to be in doubt about.
fn as_read(error: StoreError) -> StoreError {
    match error {
        StoreError::Ambiguous { reason } => StoreError::Unavailable { reason },
        other @ (StoreError::Unavailable { .. }
        | StoreError::Full { .. }
        | StoreError::Contended { .. }
        | StoreError::Unusable { .. }
        | StoreError::Invalid { .. }
        | StoreError::Corrupt { .. }) => other,
    }
}

fn busy(account: &AccountId) -> StoreError {
    StoreError::Contended {
        reason: format!("the document of account {account} kept changing; trying again later"),
    }
}

#[cfg(test)]
mod tests;
