//! What came of the jobs.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::{CLAIM_RETRY, Done, Draining, Held, SeenBy, Steward};
use crate::balance;
use crate::clock::Boottime;
use crate::coordinator::operations::{
    ClaimOutcome, NotClaimable, ReleaseOutcome, RenewOutcome, SealOutcome,
};
use crate::coordinator::ownership::{Owned, Ownership, Wake};
use crate::history::{ClaimReason, ReleaseReason};
use crate::identity::{AccountId, WorkerSessionId};
use crate::lease::{AccountLease, LEASE_SESSION_FIELD};
use crate::store::{Document, StoreError, Value};

/// After a renewal that failed.
const RENEW_RETRY: Duration = Duration::from_secs(5);

impl Steward {
    pub(super) fn done(&mut self, done: Done) {
        let now = self.parts.clock.boottime();
        match done {
            Done::Claimed(account, outcome) => self.claimed(account, outcome, now),
            Done::Renewed(account, outcome) => self.renewed(&account, outcome, now),
            Done::Roster(asked_at, read) => {
                self.reading = false;
                self.looked(asked_at);
                match read {
                    // A later reading has overtaken it.
                    Ok(_) if self.roster.read_at() > Some(asked_at) => {}
                    Ok(documents) => {
                        let lease = &self.parts.config.lease;
                        let dead = self.roster.replace(&documents, asked_at, lease);
                        self.seal_silent(dead);
                        self.reconsider();
                        self.plan_shedding(asked_at);
                    }
                    Err(error) => debug!(%error, "roster was not read"),
                }
            }
            Done::Neighbours(asked_at, asked, read) => {
                self.looking = false;
                match read {
                    Ok(read) => {
                        for (session, document) in asked.iter().zip(&read.documents) {
                            if document.is_none() {
                                self.roster.ended(session, now);
                            }
                        }
                        let documents = read.documents.into_iter().flatten();
                        let lease = &self.parts.config.lease;
                        let dead = self
                            .roster
                            .refresh(documents, read.read_time, asked_at, lease);
                        self.seal_silent(dead);
                    }
                    Err(error) => debug!(%error, "neighbours were not read"),
                }
            }
            Done::Sealed(session, outcome) => {
                self.sealing.remove(&session.id);
                match outcome {
                    Ok(SealOutcome::Ended) => {
                        self.rescue(&session.id, now);
                        // The next ones around the ring may be dead, too.
                        self.neighbours_at = now;
                    }
                    Ok(SealOutcome::Lives) => {}
                    Err(error) => {
                        warn!(worker.session = %session.id, %error, "a dead session was not sealed")
                    }
                }
            }
            Done::Found(seen_by, found) => match found {
                Ok(documents) => {
                    for document in documents {
                        if self.has_no_owner(&document, seen_by) {
                            self.note_free(document, seen_by, now);
                        }
                    }
                }
                Err(error) => {
                    warn!(%error, "accounts were not looked for; the next sweep finds them");
                    self.sweep_at = self.sweep_at.min(now + CLAIM_RETRY);
                }
            },
            Done::Swept(Ok(count)) => {
                debug!(count, "documents of ended worker sessions removed")
            }
            Done::Swept(Err(error)) => {
                debug!(%error, "documents of ended worker sessions were not removed")
            }
            Done::Released(account, outcome) => {
                self.releasing.remove(&account);
                match outcome {
                    Ok(ReleaseOutcome::Released | ReleaseOutcome::Lost) => {
                        // The watch will say so, too.
                        self.own.remove(&account);
                    }
                    Err(error) => {
                        warn!(account.id = %account, %error, "account was not given back");
                    }
                }
            }
        }
    }

    /// Whether a document that a sweep or a rescue found may have no owner: its
    /// session is none that lives. The claim itself decides.
    pub(super) fn has_no_owner(&self, document: &Document, seen_by: SeenBy) -> bool {
        match document
            .fields
            .get(LEASE_SESSION_FIELD)
            .and_then(Value::as_text)
        {
            None => true,
            Some(session) => {
                let session = WorkerSessionId::from_text(session);
                seen_by == SeenBy::Rescue
                    || (session != self.me.session_id && !self.roster.has(&session))
            }
        }
    }

    pub(super) fn claimed(
        &mut self,
        account: AccountId,
        outcome: Result<ClaimOutcome, StoreError>,
        now: Boottime,
    ) {
        self.claiming.remove(&account);
        match outcome {
            Ok(ClaimOutcome::Claimed {
                lease,
                fence,
                reason,
            }) => {
                self.free.remove(&account);
                if self.draining != Draining::No || self.vitals.deadline.closed().is_some() {
                    let me = self.me.session_id.clone();
                    let to = balance::taker(&me, self.members(), |_| 0).cloned();
                    self.release(lease, ReleaseReason::Drain, to);
                    return;
                }
                self.hold(lease, fence, reason, now);
            }
            Ok(ClaimOutcome::NotClaimable(why)) => {
                debug!(account.id = %account, ?why, "account was not claimed");
                self.not_claimed(&account, why, now);
            }
            Err(error) => {
                warn!(account.id = %account, %error, "claim failed");
                if let Some(free) = self.free.get_mut(&account) {
                    free.not_before = now + CLAIM_RETRY;
                }
            }
        }
    }

    pub(super) fn not_claimed(&mut self, account: &AccountId, why: NotClaimable, now: Boottime) {
        let by_watch = self
            .free
            .get(account)
            .is_some_and(|free| free.seen_by.is_watch());
        match why {
            // The watch still shows it as free; it tells when that changes.
            NotClaimable::Held | NotClaimable::NotWanted | NotClaimable::NeedsImport
                if by_watch =>
            {
                if let Some(free) = self.free.get_mut(account) {
                    free.not_before = now + CLAIM_RETRY;
                }
            }
            NotClaimable::Held
            | NotClaimable::Missing
            | NotClaimable::NotWanted
            | NotClaimable::NeedsImport => {
                self.free.remove(account);
            }
        }
    }

    pub(super) fn hold(
        &mut self,
        lease: AccountLease,
        fence: crate::fence::Fence,
        reason: ClaimReason,
        now: Boottime,
    ) {
        let account = lease.account_id.clone();
        let wake: Arc<dyn Wake> = Arc::clone(&self.shared) as Arc<dyn Wake>;
        let owned = Arc::new(Owned::new(
            self.operations.clone(),
            Arc::clone(&self.parts.clock),
            Arc::clone(&self.vitals),
            lease,
            reason,
            wake,
        ));
        // The watch of own accounts is often faster than the claim's answer, and
        // tells nothing twice.
        if let Some(own) = self.own.get(&account) {
            owned.learn(own.document.clone());
        }
        // The first renewal comes early by a random share, so that those of
        // accounts that were claimed together spread out.
        let refresh = self.parts.config.lease.refresh;
        let renew_at = now + self.parts.rng.jitter(refresh.mul_f64(0.75), 0.25);
        let held = Held {
            owned: Arc::clone(&owned),
            renew_at,
            renewing: false,
        };
        self.held.insert(account.clone(), held);
        self.held_changed = true;
        if self.ready.try_send(Ownership::new(owned, fence)).is_err() {
            warn!(account.id = %account, "nobody takes claimed accounts");
        }
    }

    pub(super) fn renewed(
        &mut self,
        account: &AccountId,
        outcome: Result<RenewOutcome, StoreError>,
        now: Boottime,
    ) {
        let Some(held) = self.held.get_mut(account) else {
            return;
        };
        held.renewing = false;
        match outcome {
            Ok(RenewOutcome::Renewed { .. }) => {
                debug!(account.id = %account, "lease renewed");
                held.renew_at = now + self.parts.config.lease.refresh;
            }
            Ok(RenewOutcome::Lost) => {
                warn!(account.id = %account, "lease lost");
            }
            Err(error) => {
                warn!(account.id = %account, %error, "lease was not renewed");
                held.renew_at = now + RENEW_RETRY;
            }
        }
    }
}
