//! A purge: everything of an account is removed, for good.
//!
//! 1. The account is marked (`desired` = `purging`), in one conditional write:
//!    from then on nothing is accepted for it, nobody starts it, and whoever owns
//!    it stops.
//! 2. Once it is free it is claimed: a new epoch begins, so that no write of an
//!    earlier owner can land any more, however late it comes.
//! 3. What belongs to it is removed ([`belongings`] says what that is).
//! 4. One last commit makes tombstones of the account and its head: id, epoch
//!    and time, nothing else. They stay, since an epoch must never begin anew.
//! 5. What was written by a request that had read the account before it was
//!    marked is looked for once more; until then the tombstone says so.
//!
//! Every run has a limit of time. Interrupted anywhere, by it or by the process's
//! end, the next run goes on; if nobody asks for one, a worker makes it.
//!
//! | Module | Holds |
//! |---|---|
//! | [`belongings`] | the table: every collection, and what a purge does to it |
//! | [`erasure`] | removes it |
//! | [`resume`] | goes on with what was left half-way |

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::Boottime;
use coordinator_lib::coordinator::Ownership;
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::{
    EPOCH_FIELD, LEASE_EPOCH_FIELD, RELEASED_EPOCH_FIELD, WORKER_SESSION_FIELD,
};
use coordinator_lib::store::{
    CommitOutcome, Document, Fields, Precondition, StoreError, StoreTime, Value, Write,
};

pub use self::erasure::EraseError;
use self::erasure::{Erasure, Reached};
use crate::media::MediaStore;
use crate::model::Desired;
use crate::model::stored::SCHEMA_VERSION;
use crate::operator::{Operator, OperatorError};

pub mod belongings;
mod erasure;
pub mod resume;

/// How often it is looked whether the owner has let the account go.
const POLL: Duration = Duration::from_millis(200);
/// Attempts at a change that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;
/// The account's field that says what is wanted.
const DESIRED: &str = "desired";
/// The tombstone's field that says since when.
pub const PURGED_AT: &str = "purgedAt";
/// The tombstone's field that says that its purge is still to look once more.
const SECOND_LOOK: &str = "secondLook";
/// What a person is told of an account that is being purged.
const UNDER_WAY: &str = "its purge was begun and has not ended: it goes on by itself, `worker accounts purge` hurries it";

/// How far a purge came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Only the tombstone is left.
    Purged {
        /// Since when.
        at: StoreTime,
        /// Documents that this run removed.
        removed: u64,
    },
    /// The time was up; there is more.
    UnderWay {
        /// Documents that this run removed.
        removed: u64,
    },
    /// A worker owns the account and has been asked to stop.
    Waiting {
        /// Its name, if the account names one.
        owner: Option<String>,
    },
}

/// Why a purge did not come further.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// There is no such account.
    #[error("there is no such account")]
    Missing,
    /// The predecessor's.
    #[error("the account is the predecessor's and was never imported: remove it there")]
    NotOurs,
    /// Others keep changing the account.
    #[error("the account keeps changing; try again")]
    Busy,
    /// The claim went to somebody else.
    #[error("somebody else claimed the account meanwhile; try again")]
    Lost,
    /// The operator cannot work on it.
    #[error("{0}")]
    Operator(#[from] OperatorError),
    /// Something was not removed.
    #[error("{0}")]
    Erase(#[from] EraseError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
}

/// What is known of an account's purge.
enum Mark {
    /// It was purged before.
    Purged(StoreTime),
    /// It is marked now.
    Marked,
}

/// Purges an account, as far as it comes within `limit`.
///
/// # Errors
/// [`PurgeError`]; what was removed by then is.
pub async fn run(
    operator: &Operator,
    media: &MediaStore,
    account: &AccountId,
    limit: Duration,
) -> Result<Progress, PurgeError> {
    let clock = Arc::clone(&operator.parts().clock);
    let until = clock.boottime() + limit;
    if let Mark::Purged(at) = mark(operator, account).await? {
        // An earlier run ended between the tombstone and its second look.
        let (reached, removed) = erase(operator, media, account, until).await?;
        if reached == Reached::End {
            settle(operator, account).await?;
        }
        return Ok(Progress::Purged { at, removed });
    }
    let ownership = loop {
        match operator.hold(account).await {
            Ok(ownership) => break ownership,
            Err(OperatorError::Held) => {}
            Err(OperatorError::NeedsImport) => return Err(PurgeError::NotOurs),
            Err(OperatorError::Missing) => return Err(PurgeError::Missing),
            Err(error) => return Err(error.into()),
        }
        if clock.boottime() >= until {
            let owner = owner(operator, account).await?;
            return Ok(Progress::Waiting { owner });
        }
        clock.sleep(POLL).await;
    };
    let epoch = ownership.fence().epoch;
    let done = async {
        let (reached, removed) = erase(operator, media, account, until).await?;
        if reached == Reached::Limit {
            return Ok(Progress::UnderWay { removed });
        }
        let at = bury(operator, account, epoch).await?;
        let (reached, late) = erase(operator, media, account, until).await?;
        if reached == Reached::End {
            settle(operator, account).await?;
        }
        Ok(Progress::Purged {
            at,
            removed: removed + late,
        })
    };
    let done: Result<Progress, PurgeError> = done.await;
    give_back(ownership).await;
    if let Ok(Progress::Purged { removed, .. }) = &done {
        tracing::info!(account.id = %account, removed, "account purged");
    }
    done
}

async fn erase(
    operator: &Operator,
    media: &MediaStore,
    account: &AccountId,
    until: Boottime,
) -> Result<(Reached, u64), EraseError> {
    let parts = operator.parts();
    let mut erasure = Erasure {
        store: &parts.store,
        media,
        clock: &parts.clock,
        account,
        until,
        removed: 0,
    };
    let reached = erasure.run().await?;
    Ok((reached, erasure.removed))
}

/// Says in the account that it is to be purged.
async fn mark(operator: &Operator, account: &AccountId) -> Result<Mark, PurgeError> {
    let store = &operator.parts().store;
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(operator, account).await?;
        if let Some(at) = purged_at(&stored.fields) {
            return Ok(Mark::Purged(at));
        }
        if desired(&stored) == Some(Desired::Purging.as_str()) {
            return Ok(Mark::Marked);
        }
        // Named fields alone: whatever shape the rest has, it can be purged.
        let write = Write::Update {
            path: stored.path,
            fields: [
                (DESIRED.to_owned(), Desired::Purging.as_str().into()),
                ("actionRequired".to_owned(), UNDER_WAY.into()),
            ]
            .into(),
            precondition: Precondition::Unchanged(stored.update_time),
        };
        match store.commit(vec![write]).await? {
            CommitOutcome::Committed(_) => {
                tracing::warn!(account.id = %account, "account is to be purged");
                return Ok(Mark::Marked);
            }
            CommitOutcome::Rejected => {}
        }
    }
    Err(PurgeError::Busy)
}

/// Puts the tombstones in the place of the account and its head.
async fn bury(
    operator: &Operator,
    account: &AccountId,
    epoch: i64,
) -> Result<StoreTime, PurgeError> {
    let store = &operator.parts().store;
    let paths = [account.account_path(), account.head_path()];
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = store.get(&paths).await?;
        let [Some(stored), Some(head)] = &snapshot.documents[..] else {
            return Err(PurgeError::Missing);
        };
        if let Some(at) = purged_at(&stored.fields) {
            return Ok(at);
        }
        if stored.fields.get(LEASE_EPOCH_FIELD) != Some(&Value::Int(epoch))
            || head.fields.get(EPOCH_FIELD) != Some(&Value::Int(epoch))
        {
            return Err(PurgeError::Lost);
        }
        let at = snapshot.read_time;
        let [mut account_fields, head_fields] = tombstones(epoch, at);
        account_fields.insert(SECOND_LOOK.to_owned(), Value::Bool(true));
        let writes = vec![set(stored, account_fields), set(head, head_fields)];
        match store.commit(writes).await {
            Ok(CommitOutcome::Committed(_)) => return Ok(at),
            // Somebody changed the account, or it may have been made: look again.
            Ok(CommitOutcome::Rejected) | Err(StoreError::Ambiguous { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PurgeError::Busy)
}

/// Says in the tombstone that nothing more is to be looked for.
async fn settle(operator: &Operator, account: &AccountId) -> Result<(), PurgeError> {
    let store = &operator.parts().store;
    for _ in 0..ATTEMPTS_MAX {
        let mut tombstone = read(operator, account).await?;
        if tombstone.fields.remove(SECOND_LOOK).is_none() {
            return Ok(());
        }
        let settled = set(&tombstone, tombstone.fields.clone());
        match store.commit(vec![settled]).await? {
            CommitOutcome::Committed(_) => return Ok(()),
            // Somebody else goes on with it, too.
            CommitOutcome::Rejected => {}
        }
    }
    Err(PurgeError::Busy)
}

/// What is left of an account and of its head: pure.
fn tombstones(epoch: i64, at: StoreTime) -> [Fields; 2] {
    let version = || (SCHEMA_VERSION.to_owned(), Value::Int(1));
    [
        [
            version(),
            (DESIRED.to_owned(), Desired::Purged.as_str().into()),
            (PURGED_AT.to_owned(), Value::Time(at)),
            (LEASE_EPOCH_FIELD.to_owned(), Value::Int(epoch)),
            (RELEASED_EPOCH_FIELD.to_owned(), Value::Int(epoch)),
        ]
        .into(),
        [
            version(),
            (EPOCH_FIELD.to_owned(), Value::Int(epoch)),
            (WORKER_SESSION_FIELD.to_owned(), Value::Null),
        ]
        .into(),
    ]
}

/// Since when this is a tombstone, if it is one.
pub fn purged_at(account: &Fields) -> Option<StoreTime> {
    match account.get(PURGED_AT) {
        Some(Value::Time(at)) => Some(*at),
        Some(_) | None => None,
    }
}

fn desired(account: &Document) -> Option<&str> {
    account.fields.get(DESIRED).and_then(Value::as_text)
}

fn set(document: &Document, fields: Fields) -> Write {
    Write::Set {
        path: document.path.clone(),
        fields,
        precondition: Precondition::Unchanged(document.update_time),
    }
}

async fn read(operator: &Operator, account: &AccountId) -> Result<Document, PurgeError> {
    let store = &operator.parts().store;
    let found = store.get(&[account.account_path()]).await?;
    let document = found.documents.into_iter().flatten().next();
    document.ok_or(PurgeError::Missing)
}

async fn owner(operator: &Operator, account: &AccountId) -> Result<Option<String>, PurgeError> {
    let stored = read(operator, account).await?;
    let owner = stored.fields.get("claimedBy").and_then(Value::as_text);
    Ok(owner.map(ToOwned::to_owned))
}

/// Gives the claim back; after the tombstone there is none any more.
async fn give_back(ownership: Ownership) {
    if let Err(error) = ownership.release(ReleaseReason::Asked).await {
        tracing::warn!(%error, "the claim of a purge was not given back; it ends by itself");
    }
}

#[cfg(test)]
mod tests;
