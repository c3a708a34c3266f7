//! Who may claim what: one pure function.
//!
//! [`decide`] looks at the two documents as they were read, and says which
//! epoch a claim would begin or why there is none. That nobody else claims at
//! the same time is the commit's business: it is made on the versions read.

use crate::history::ClaimReason;
use crate::identity::WorkerSessionId;
use crate::lease::{
    self, DESIRED_FIELD, EPOCH_FIELD, HANDOFF_FIELD, LEASE_EPOCH_FIELD, LEASE_UNTIL_FIELD,
    LeaseConfig, RELEASED_EPOCH_FIELD, WANTED,
};
use crate::store::{Document, StoreTime, Value};
use crate::worker_session::SessionState;

/// What is known of the worker session that an account names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSession {
    /// It names none.
    None,
    /// It names the one that asks.
    Me,
    /// Another, which ended in an orderly way.
    Closed,
    /// Another, which was found dead.
    Sealed,
    /// Another, which lives, or may.
    MayLive,
}

impl From<SessionState> for OwnerSession {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Active | SessionState::Draining => OwnerSession::MayLive,
            SessionState::Closed => OwnerSession::Closed,
            SessionState::Sealed => OwnerSession::Sealed,
        }
    }
}

/// What a worker may do about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Claim it and begin this epoch.
    Claim {
        /// One more than any epoch that the account has seen.
        epoch: i64,
        /// Why it may.
        reason: ClaimReason,
        /// Account and head named different epochs, which nobody should see:
        /// somebody edited or restored one of them.
        disagreement: bool,
    },
    /// Another has it, or may have.
    Leave,
}

/// Decides about one account, as it was read at `read_time`. That its lease has
/// run out counts only if `trusts_expiry`.
pub fn decide(
    account: &Document,
    head: &Document,
    me: &WorkerSessionId,
    owner: OwnerSession,
    read_time: StoreTime,
    trusts_expiry: bool,
    config: &LeaseConfig,
) -> Decision {
    let account_epoch = int(account, LEASE_EPOCH_FIELD);
    let head_epoch = int(head, EPOCH_FIELD);
    let epoch = account_epoch.max(head_epoch);
    let is_over = trusts_expiry && is_over(account, read_time, config);
    // Only the owner writes `releasedEpoch`, and only after it has stopped.
    let released = int(account, RELEASED_EPOCH_FIELD) == epoch;
    let reason = match owner {
        _ if epoch == 0 => Some(ClaimReason::New),
        OwnerSession::None if released && is_handed_to(account, me) => Some(ClaimReason::HandedOff),
        OwnerSession::None if released => Some(ClaimReason::Released),
        OwnerSession::Me => Some(ClaimReason::Own),
        OwnerSession::Closed => Some(ClaimReason::OwnerClosed),
        OwnerSession::Sealed => Some(ClaimReason::OwnerSealed),
        // A bare `claimedBy = null` written by a person proves nothing.
        OwnerSession::None | OwnerSession::MayLive => is_over.then_some(ClaimReason::Expired),
    };
    match reason {
        None => Decision::Leave,
        Some(reason) => Decision::Claim {
            epoch: epoch.saturating_add(1),
            reason,
            disagreement: account_epoch != head_epoch,
        },
    }
}

/// Whether clients want the account to be owned by somebody, as far as its
/// `desired` field says.
pub fn is_wanted(account: &Document) -> bool {
    match account.fields.get(DESIRED_FIELD) {
        None => true,
        Some(desired) => desired
            .as_text()
            .is_some_and(|desired| WANTED.contains(&desired)),
    }
}

/// Whether the account's last owner gave it back for this session to take.
pub fn is_handed_to(account: &Document, session: &WorkerSessionId) -> bool {
    account.fields.get(HANDOFF_FIELD).and_then(Value::as_text) == Some(session.as_str())
}

/// Whether the account's lease has run out for everybody. A nulled end is read
/// as the longest possible one.
pub fn is_over(account: &Document, read_time: StoreTime, config: &LeaseConfig) -> bool {
    let until = match account.fields.get(LEASE_UNTIL_FIELD) {
        Some(Value::Time(until)) => Some(capped(*until, account.update_time, config)),
        Some(_) | None => account.update_time.checked_add(config.duration),
    };
    until.is_some_and(|until| lease::is_over(until, read_time, config))
}

/// A lease cannot end later than a renewal at the last change could have made
/// it; a value far ahead is a mistake.
fn capped(until: StoreTime, update_time: StoreTime, config: &LeaseConfig) -> StoreTime {
    update_time
        .checked_add(config.duration)
        .map_or(until, |longest| until.min(longest))
}

fn int(document: &Document, field: &str) -> i64 {
    match document.fields.get(field) {
        Some(Value::Int(number)) => *number,
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests;
