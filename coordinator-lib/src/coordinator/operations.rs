//! Claims, renews, releases and seals, in the store.
//!
//! Rules are in [`crate::claim`] and [`crate::lease`]; here they meet the store.
//! The machine's clock is read *before* each request, and an outcome that is
//! unknown is settled by reading back. Nothing is ever locked: documents are
//! read, then committed on the condition that they are still as they were read.
//! A live session's document is only ever read outside of a commit.

use std::future::Future;
use std::time::Duration;

use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span, warn};

use crate::call::limited;
use crate::claim::{self, Decision, OwnerSession};
use crate::clock::{Boottime, SharedClock};
use crate::fence::Fence;
use crate::history::{self, ClaimReason, ReleaseReason};
use crate::identity::{AccountId, WorkerIdentity, WorkerSessionId};
use crate::lease::{
    self, AccountLease, CLAIM_NONCE_FIELD, CLAIMED_BY_FIELD, LEASE_EPOCH_FIELD,
    LEASE_SESSION_FIELD, LEASE_TRACE_FIELD, LEASE_UNTIL_FIELD, LeaseConfig,
};
use crate::mutation::{self, Mutation};
use crate::observer::{self, LeaseEvent};
use crate::rng::SharedRng;
use crate::store::{
    CommitOutcome, Document, Fields, Precondition, Snapshot, Store, StoreError, StoreTime, Value,
    Write,
};
use crate::worker_session::{self, WorkerSession};

/// How often an operation reads again after a lost race or a doubtful commit,
/// before it leaves the rest to its caller's next try.
const ROUNDS_MAX: u32 = 8;

/// What one worker session does to leases in the store.
#[derive(Clone)]
pub struct Operations {
    store: Store,
    clock: SharedClock,
    rng: SharedRng,
    config: LeaseConfig,
    me: WorkerIdentity,
    wanted: Wanted,
}

/// Says of an account's document whether somebody has to own it.
pub type Wanted = fn(&Document) -> bool;

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
        /// Why it could be claimed.
        reason: ClaimReason,
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

impl NotClaimable {
    /// The name in traces.
    pub fn as_str(&self) -> &'static str {
        match self {
            NotClaimable::Missing => "missing",
            NotClaimable::NeedsImport => "needs_import",
            NotClaimable::NotWanted => "not_wanted",
            NotClaimable::Held => "held",
        }
    }
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RenewOutcome {
    /// The lease has a later end.
    Renewed {
        /// Until when others leave it alone, in store time.
        lease_until: StoreTime,
        /// Until when this worker may act on it.
        deadline: Boottime,
    },
    /// The account is another's, or nobody's.
    Lost,
}

/// What became of a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SealOutcome {
    /// The session is sealed, or had ended before.
    Ended,
    /// It lives: it has beaten since it was read.
    Lives,
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

impl Operations {
    /// The operations of this worker session.
    pub fn new(
        store: Store,
        clock: SharedClock,
        rng: SharedRng,
        config: LeaseConfig,
        me: WorkerIdentity,
        wanted: Wanted,
    ) -> Self {
        Self {
            store,
            clock,
            rng,
            config,
            me,
            wanted,
        }
    }

    /// Claims an account: a new epoch begins. A lease that has merely run out
    /// is taken only if `trusts_expiry`: after an outage owners come first.
    ///
    /// # Errors
    /// The store failed; nothing is known to be claimed.
    pub async fn claim(
        &self,
        account: &AccountId,
        trusts_expiry: bool,
    ) -> Result<ClaimOutcome, StoreError> {
        let span = info_span!(
            parent: None, "lease.claim",
            account.id = %account, worker.name = %self.me.name, worker.session = %self.me.session_id,
            lease.epoch = Empty, lease.reason = Empty, lease.from = Empty, lease.unowned_ms = Empty,
            lease.outcome = Empty, otel.status_code = Empty,
        );
        let outcome = self.claim_in_span(account, trusts_expiry);
        let outcome = outcome.instrument(span.clone()).await;
        match &outcome {
            Ok(ClaimOutcome::Claimed { .. }) => span.record("lease.outcome", "claimed"),
            Ok(ClaimOutcome::NotClaimable(why)) => span.record("lease.outcome", why.as_str()),
            Err(_) => span
                .record("lease.outcome", "failed")
                .record("otel.status_code", "ERROR"),
        };
        outcome
    }

    async fn claim_in_span(
        &self,
        account: &AccountId,
        trusts_expiry: bool,
    ) -> Result<ClaimOutcome, StoreError> {
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
            let (Some(stored), Some(head)) = (stored, head) else {
                return Ok(ClaimOutcome::NotClaimable(match stored {
                    None => NotClaimable::Missing,
                    Some(_) => NotClaimable::NeedsImport,
                }));
            };
            if !(self.wanted)(stored) {
                return Ok(ClaimOutcome::NotClaimable(NotClaimable::NotWanted));
            }
            let (owner, last_sign_at) = self.owner_session(stored).await?;
            let decision = claim::decide(
                stored,
                head,
                &self.me.session_id,
                owner,
                read.read_time,
                trusts_expiry,
                &self.config,
            );
            let (epoch, reason, disagreement) = match decision {
                Decision::Leave => return Ok(ClaimOutcome::NotClaimable(NotClaimable::Held)),
                Decision::Claim {
                    epoch,
                    reason,
                    disagreement,
                } => (epoch, reason, disagreement),
            };
            if disagreement {
                warn!(account.id = %account, lease.epoch = epoch, "account and head named different epochs");
            }
            let attempt = Attempt {
                epoch,
                reason,
                asked_at,
                claimed_at: read.read_time,
                lease_until: read.read_time.saturating_add(self.config.duration),
                unowned: unowned(stored, reason, last_sign_at, read.read_time),
            };
            let span = Span::current();
            span.record("lease.from", text(stored, CLAIMED_BY_FIELD));
            observer::link(&span, text(stored, LEASE_TRACE_FIELD));
            if mutation::is_on(Mutation::AnnounceEarly) {
                return Ok(self.announced(account, stored, head, attempt, &nonce).await);
            }
            match self
                .commit(self.claim_writes(account, stored, head, &attempt, &nonce)?)
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

    /// Renews a lease: says until when it now lasts.
    ///
    /// # Errors
    /// The store failed; the lease stands as it was.
    pub async fn renew(&self, lease: &AccountLease) -> Result<RenewOutcome, StoreError> {
        let span = info_span!(
            parent: None, "lease.renew",
            account.id = %lease.account_id, lease.epoch = lease.epoch, otel.status_code = Empty,
        );
        let outcome = self.renew_in_span(lease).instrument(span.clone()).await;
        if !matches!(outcome, Ok(RenewOutcome::Renewed { .. })) {
            span.record("otel.status_code", "ERROR");
        }
        outcome
    }

    async fn renew_in_span(&self, lease: &AccountLease) -> Result<RenewOutcome, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let asked_at = self.clock.boottime();
            let Some((stored, read_time)) = self.read_mine(lease).await? else {
                return Ok(RenewOutcome::Lost);
            };
            let lease_until = read_time.saturating_add(self.config.duration);
            let fields = lease::named([(LEASE_UNTIL_FIELD, Value::Time(lease_until))]);
            match self.commit(vec![change(&stored, fields)]).await {
                Ok(CommitOutcome::Committed(_)) => {
                    return Ok(RenewOutcome::Renewed {
                        lease_until,
                        deadline: self.config.deadline(self.stamp(asked_at)),
                    });
                }
                // Others write their own fields of the document; and a renewal
                // in doubt is simply made again.
                Ok(CommitOutcome::Rejected) | Err(StoreError::Ambiguous { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(&lease.account_id))
    }

    /// Gives a lease back, once the account has stopped and its gates are
    /// closed; `to` is to have it next.
    ///
    /// # Errors
    /// The store failed; the lease may still stand.
    pub async fn release(
        &self,
        lease: &AccountLease,
        reason: ReleaseReason,
        to: Option<&WorkerSessionId>,
    ) -> Result<ReleaseOutcome, StoreError> {
        let span = info_span!(
            parent: None, "lease.release",
            account.id = %lease.account_id, lease.epoch = lease.epoch, lease.reason = reason.as_str(),
            lease.to = to.map(WorkerSessionId::as_str), otel.status_code = Empty,
        );
        let outcome = self.release_in_span(lease, reason, to);
        let outcome = outcome.instrument(span.clone()).await;
        match &outcome {
            Ok(ReleaseOutcome::Released) => observer::happened(LeaseEvent::Released { reason }),
            Ok(ReleaseOutcome::Lost) | Err(_) => {
                span.record("otel.status_code", "ERROR");
            }
        }
        outcome
    }

    async fn release_in_span(
        &self,
        lease: &AccountLease,
        reason: ReleaseReason,
        to: Option<&WorkerSessionId>,
    ) -> Result<ReleaseOutcome, StoreError> {
        let mut in_doubt = false;
        for _ in 0..ROUNDS_MAX {
            let Some((stored, _)) = self.read_mine(lease).await? else {
                // A release in doubt that is no longer ours has happened.
                return Ok(if in_doubt {
                    ReleaseOutcome::Released
                } else {
                    ReleaseOutcome::Lost
                });
            };
            let entry =
                history::release_entry(&lease.account_id, &self.me, lease.epoch, reason, to)?;
            observer::link(&Span::current(), text(&stored, LEASE_TRACE_FIELD));
            let free = change(&stored, traced(lease::released(lease.epoch, to), &stored));
            match self.commit(vec![free, entry]).await {
                Ok(CommitOutcome::Committed(_)) => return Ok(ReleaseOutcome::Released),
                Ok(CommitOutcome::Rejected) => {}
                Err(StoreError::Ambiguous { .. }) => in_doubt = true,
                Err(error) => return Err(error),
            }
        }
        Err(busy(&lease.account_id))
    }

    /// Declares a session dead, if it is still as it was read.
    ///
    /// # Errors
    /// The store failed; the session may be sealed.
    pub async fn seal(&self, session: &WorkerSession) -> Result<SealOutcome, StoreError> {
        let span = info_span!(
            parent: None, "lease.seal",
            worker.session = %self.me.session_id, sealed.name = %session.name,
            sealed.session = %session.id, otel.status_code = Empty,
        );
        let outcome = self.seal_in_span(session).instrument(span.clone()).await;
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        outcome
    }

    async fn seal_in_span(&self, session: &WorkerSession) -> Result<SealOutcome, StoreError> {
        let write = Write::Update {
            path: worker_session::path(&session.id),
            fields: worker_session::seal_fields(&self.me.session_id, session.update_time),
            precondition: Precondition::Unchanged(session.update_time),
        };
        match self.commit(vec![write]).await? {
            CommitOutcome::Committed(_) => {
                warn!(worker.session = %session.id, worker.name = session.name, "sealed a dead worker session");
                observer::happened(LeaseEvent::Sealed);
                Ok(SealOutcome::Ended)
            }
            CommitOutcome::Rejected => match self.read_session(&session.id).await? {
                Some(now) if !now.state.is_final() => Ok(SealOutcome::Lives),
                Some(_) | None => Ok(SealOutcome::Ended),
            },
        }
    }

    /// The session that holds an account and has not ended, with a time of the
    /// store that is not after its reading.
    ///
    /// # Errors
    /// The store's.
    pub async fn holder(
        &self,
        account: &AccountId,
    ) -> Result<Option<(WorkerSession, StoreTime)>, StoreError> {
        let read = self.read_both(account).await?;
        let stored = read.documents[0].as_ref();
        let Some(owner) = stored.and_then(|stored| text(stored, LEASE_SESSION_FIELD)) else {
            return Ok(None);
        };
        let session = self
            .read_session(&WorkerSessionId::from_text(owner))
            .await?
            .filter(|session| !session.state.is_final());
        Ok(session.map(|session| (session, read.read_time)))
    }

    /// What the store says of the session that holds an account, and when that
    /// last proved that it lived. Asked after the account was read: the final
    /// states are final.
    async fn owner_session(
        &self,
        stored: &Document,
    ) -> Result<(OwnerSession, Option<StoreTime>), StoreError> {
        let Some(owner) = text(stored, LEASE_SESSION_FIELD) else {
            return Ok((OwnerSession::None, None));
        };
        let owner = WorkerSessionId::from_text(owner);
        if owner == self.me.session_id {
            return Ok((OwnerSession::Me, None));
        }
        let Some(session) = self.read_session(&owner).await? else {
            // A missing document proves nothing.
            return Ok((OwnerSession::MayLive, None));
        };
        Ok((session.state.into(), Some(session.last_sign_at)))
    }

    async fn read_session(
        &self,
        session: &WorkerSessionId,
    ) -> Result<Option<WorkerSession>, StoreError> {
        let paths = [worker_session::path(session)];
        let mut read = self
            .limited(self.store.get(&paths))
            .await
            .map_err(as_read)?;
        let document = read.documents.swap_remove(0);
        Ok(document.map(|document| WorkerSession::read(&document, &self.config)))
    }

    /// A rule broken on purpose: the account counts as claimed before the store
    /// has said so.
    async fn announced(
        &self,
        account: &AccountId,
        stored: &Document,
        head: &Document,
        attempt: Attempt,
        nonce: &str,
    ) -> ClaimOutcome {
        let version = match self.claim_writes(account, stored, head, &attempt, nonce) {
            Ok(writes) => match self.commit(writes).await {
                Ok(CommitOutcome::Committed(commit)) => commit.update_times[1],
                Ok(CommitOutcome::Rejected) | Err(_) => head.update_time,
            },
            Err(_) => head.update_time,
        };
        self.claimed(account, attempt, version)
    }

    /// From when a deadline counts: before the request, unless that rule is
    /// broken on purpose.
    fn stamp(&self, asked_at: Boottime) -> Boottime {
        if mutation::is_on(Mutation::StampAfterReply) {
            self.clock.boottime()
        } else {
            asked_at
        }
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
        let deadline = self.config.deadline(self.stamp(attempt.asked_at));
        if self.clock.boottime() >= deadline {
            // The answer came too late to act on; the next claim starts afresh.
            return ClaimOutcome::NotClaimable(NotClaimable::Held);
        }
        info!(account.id = %account, lease.epoch = attempt.epoch, reason = attempt.reason.as_str(), "claimed");
        let span = Span::current();
        span.record("lease.epoch", attempt.epoch);
        span.record("lease.reason", attempt.reason.as_str());
        span.record("lease.unowned_ms", attempt.unowned.map(in_ms));
        observer::happened(LeaseEvent::Claimed {
            reason: attempt.reason,
            unowned: attempt.unowned,
        });
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
            reason: attempt.reason,
        }
    }

    fn claim_writes(
        &self,
        account: &AccountId,
        stored: &Document,
        head: &Document,
        attempt: &Attempt,
        nonce: &str,
    ) -> Result<Vec<Write>, StoreError> {
        let account_fields = lease::claimed(
            &self.me,
            attempt.epoch,
            nonce,
            attempt.claimed_at,
            attempt.lease_until,
        );
        Ok(vec![
            change(stored, traced(account_fields, stored)),
            change(head, lease::head(&self.me, attempt.epoch)),
            history::claim_entry(account, stored, &self.me, attempt.epoch, attempt.reason)?,
        ])
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
        limited(&self.clock, self.config.attempt_timeout, call).await
    }
}

/// One attempt at a claim.
#[derive(Clone, Copy)]
struct Attempt {
    epoch: i64,
    reason: ClaimReason,
    /// Before the read that `claimed_at` came from.
    asked_at: Boottime,
    claimed_at: StoreTime,
    lease_until: StoreTime,
    /// How long nobody could act for the account.
    unowned: Option<Duration>,
}

/// How long an account has been without an owner that could act, as far as it is
/// known: since it was given back, or since the last proof that its owner lived.
fn unowned(
    stored: &Document,
    reason: ClaimReason,
    last_sign_at: Option<StoreTime>,
    now: StoreTime,
) -> Option<Duration> {
    match reason {
        ClaimReason::New | ClaimReason::Own => None,
        ClaimReason::Released | ClaimReason::HandedOff => Some(now.since(stored.update_time)),
        ClaimReason::OwnerClosed | ClaimReason::OwnerSealed | ClaimReason::Expired => {
            last_sign_at.map(|at| now.since(at))
        }
    }
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The fields of a claim or a release with the context of its span, so that the
/// next one links to it. One that is not traced takes an older context away.
fn traced(mut fields: Fields, stored: &Document) -> Fields {
    let traceparent = observer::traceparent();
    if traceparent.is_some() || stored.fields.contains_key(LEASE_TRACE_FIELD) {
        fields.insert(LEASE_TRACE_FIELD.to_owned(), traceparent.into());
    }
    fields
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
#[path = "operations_tests.rs"]
mod tests;
