//! Who may claim what: one pure function.
//!
//! [`decide`] looks at the two documents as they were read, and says which
//! epoch a claim would begin or why there is none. That nobody else claims at
//! the same time is the commit's business: it is made on the versions read.

use crate::coordinator::NotClaimable;
use crate::identity::WorkerSessionId;
use crate::lease::{
    self, DESIRED_FIELD, EPOCH_FIELD, LEASE_EPOCH_FIELD, LEASE_SESSION_FIELD, LEASE_UNTIL_FIELD,
    LeaseConfig, RELEASED_EPOCH_FIELD,
};
use crate::store::{Document, StoreTime, Value};

/// What clients may want of an account so that somebody has to own it.
const WANTED: [&str; 3] = ["running", "logging_out", "deleting"];

/// What is known of the worker session that holds an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerSession {
    /// It has ended: closed, sealed, or impossible while we hold the store.
    Ended,
    /// It lives, or may.
    MayLive,
}

/// What a worker may do about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Claim it and begin this epoch.
    Claim {
        /// One more than any epoch that the account has seen.
        epoch: i64,
        /// Account and head named different epochs, which nobody should see:
        /// somebody edited or restored one of them.
        disagreement: bool,
    },
    /// Leave it.
    Leave(NotClaimable),
}

/// Decides about one account, as it was read at `read_time`.
pub fn decide(
    account: Option<&Document>,
    head: Option<&Document>,
    me: &WorkerSessionId,
    owner: OwnerSession,
    read_time: StoreTime,
    config: &LeaseConfig,
) -> Decision {
    let Some(account) = account else {
        return Decision::Leave(NotClaimable::Missing);
    };
    let Some(head) = head else {
        return Decision::Leave(NotClaimable::NeedsImport);
    };
    if !is_wanted(account) {
        return Decision::Leave(NotClaimable::NotWanted);
    }
    let account_epoch = int(account, LEASE_EPOCH_FIELD);
    let head_epoch = int(head, EPOCH_FIELD);
    let epoch = account_epoch.max(head_epoch);
    if !is_free(account, epoch, me, owner, read_time, config) {
        return Decision::Leave(NotClaimable::Held);
    }
    Decision::Claim {
        epoch: epoch.saturating_add(1),
        disagreement: account_epoch != head_epoch,
    }
}

/// Whether clients want the account to be owned by somebody.
pub fn is_wanted(account: &Document) -> bool {
    match account.fields.get(DESIRED_FIELD) {
        None => true,
        Some(desired) => desired
            .as_text()
            .is_some_and(|desired| WANTED.contains(&desired)),
    }
}

fn is_free(
    account: &Document,
    epoch: i64,
    me: &WorkerSessionId,
    owner: OwnerSession,
    read_time: StoreTime,
    config: &LeaseConfig,
) -> bool {
    // A bare `claimedBy = null` written by a person proves nothing; only the
    // owner writes `releasedEpoch`, and only after it has stopped.
    let released = epoch == 0 || int(account, RELEASED_EPOCH_FIELD) == epoch;
    let session = account
        .fields
        .get(LEASE_SESSION_FIELD)
        .and_then(Value::as_text);
    let mine = session == Some(me.as_str());
    let owner_ended = session.is_some() && owner == OwnerSession::Ended;
    // A nulled end is read as the longest possible one.
    let lease_until = match account.fields.get(LEASE_UNTIL_FIELD) {
        Some(Value::Time(until)) => Some(capped(*until, account.update_time, config)),
        Some(_) | None => account.update_time.checked_add(config.duration),
    };
    let over = lease_until.is_some_and(|until| lease::is_over(until, read_time, config));
    released || mine || owner_ended || over
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
