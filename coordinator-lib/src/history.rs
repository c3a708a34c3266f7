//! The ownership history: who held an account, in which epoch, and why it moved.
//!
//! `accounts/{id}/history/{epoch}-{kind}`, written in the same commit as the
//! claim or the release that it tells of, so that it can neither be missing nor
//! be of something that did not happen. What a dead owner could not write, the
//! claim after it tells: [`ClaimReason`] and the one it was taken from.

use crate::identity::{AccountId, WorkerIdentity, WorkerSessionId};
use crate::lease::{self, CLAIMED_BY_FIELD, LEASE_SESSION_FIELD};
use crate::observer;
use crate::store::{
    Collection, Direction, Document, Fields, Path, Precondition, Query, StoreError, Value, Write,
};

/// How entries are written by this version of the library.
pub const SCHEMA_VERSION: i64 = 1;

/// Why an account could be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimReason {
    /// Nobody ever owned it.
    New,
    /// Its owner had given it back.
    Released,
    /// Its owner had given it back for this worker session to take.
    HandedOff,
    /// Its owner had ended in an orderly way.
    OwnerClosed,
    /// Its owner was found dead.
    OwnerSealed,
    /// Its lease had run out.
    Expired,
    /// This worker session had it already, and lost sight of it.
    Own,
}

impl ClaimReason {
    /// Every reason.
    pub const ALL: [ClaimReason; 7] = [
        ClaimReason::New,
        ClaimReason::Released,
        ClaimReason::HandedOff,
        ClaimReason::OwnerClosed,
        ClaimReason::OwnerSealed,
        ClaimReason::Expired,
        ClaimReason::Own,
    ];

    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            ClaimReason::New => "new",
            ClaimReason::Released => "released",
            ClaimReason::HandedOff => "handed_off",
            ClaimReason::OwnerClosed => "owner_closed",
            ClaimReason::OwnerSealed => "owner_sealed",
            ClaimReason::Expired => "expired",
            ClaimReason::Own => "own",
        }
    }
}

/// Why an account was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReleaseReason {
    /// Nobody wants it to run any more, or it has ended.
    NotWanted,
    /// The worker drains.
    Drain,
    /// Another worker has more room.
    Rebalance,
    /// Somebody asked for it.
    Asked,
    /// Its owner could not go on with it.
    Failed,
}

impl ReleaseReason {
    /// Every reason.
    pub const ALL: [ReleaseReason; 5] = [
        ReleaseReason::NotWanted,
        ReleaseReason::Drain,
        ReleaseReason::Rebalance,
        ReleaseReason::Asked,
        ReleaseReason::Failed,
    ];

    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            ReleaseReason::NotWanted => "not_wanted",
            ReleaseReason::Drain => "drain",
            ReleaseReason::Rebalance => "rebalance",
            ReleaseReason::Asked => "asked",
            ReleaseReason::Failed => "failed",
        }
    }
}

/// The history of an account: `accounts/{id}/history`.
///
/// # Errors
/// `Invalid` where the id is too long for a collection below it.
pub fn collection(account: &AccountId) -> Result<Collection, StoreError> {
    account.account_path().collection_below("history")
}

/// The history of an account, the latest first.
///
/// # Errors
/// As for [`collection`].
pub fn of(account: &AccountId) -> Result<Query, StoreError> {
    Ok(Query::new(collection(account)?).order("seq", Direction::Descending))
}

/// The entry of a claim, to be committed with it.
pub(crate) fn claim_entry(
    account: &AccountId,
    before: &Document,
    me: &WorkerIdentity,
    epoch: i64,
    reason: ClaimReason,
) -> Result<Write, StoreError> {
    let copied = |field| before.fields.get(field).cloned().unwrap_or(Value::Null);
    let mut fields = entry("claimed", me, epoch, reason.as_str());
    fields.insert("from".to_owned(), copied(CLAIMED_BY_FIELD));
    fields.insert("fromSession".to_owned(), copied(LEASE_SESSION_FIELD));
    fields.insert("seq".to_owned(), Value::Int(epoch * 2));
    write(account, epoch, "claimed", fields)
}

/// The entry of a release, to be committed with it.
pub(crate) fn release_entry(
    account: &AccountId,
    me: &WorkerIdentity,
    epoch: i64,
    reason: ReleaseReason,
    to: Option<&WorkerSessionId>,
) -> Result<Write, StoreError> {
    let mut fields = entry("released", me, epoch, reason.as_str());
    fields.insert(
        "toSession".to_owned(),
        to.map(WorkerSessionId::as_str).into(),
    );
    fields.insert("seq".to_owned(), Value::Int(epoch * 2 + 1));
    write(account, epoch, "released", fields)
}

fn entry(kind: &str, me: &WorkerIdentity, epoch: i64, reason: &str) -> Fields {
    let mut fields = lease::named([
        ("schemaVersion", SCHEMA_VERSION.into()),
        ("kind", kind.into()),
        ("epoch", epoch.into()),
        ("worker", me.name.as_str().into()),
        ("session", me.session_id.as_str().into()),
        ("reason", reason.into()),
        ("at", Value::CommitTime),
    ]);
    // Who reads of it later finds the trace of the claim or the release.
    if let Some(traceparent) = observer::traceparent() {
        fields.insert("traceparent".to_owned(), traceparent.as_str().into());
    }
    fields
}

fn write(account: &AccountId, epoch: i64, kind: &str, fields: Fields) -> Result<Write, StoreError> {
    Ok(Write::Set {
        path: entry_path(account, epoch, kind)?,
        fields,
        // The account's own condition decides; a retry writes the same again.
        precondition: Precondition::None,
    })
}

fn entry_path(account: &AccountId, epoch: i64, kind: &str) -> Result<Path, StoreError> {
    collection(account)?.doc(&format!("{epoch:012}-{kind}"))
}
