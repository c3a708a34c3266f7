//! An account's session as Baileys' files: the way back.
//!
//! The account is claimed, so that no worker runs it, and is `needs_import`
//! from then on: from that moment the session belongs to whoever has the files,
//! and two with one session would destroy it.

use coordinator_lib::identity::AccountId;
use coordinator_lib::store::StoreTime;
use session::{Kind, SessionFiles};
use whatsapp::baileys::{ExportError, Exported, Generation, Records, export};

use super::original::{self, OriginalError};
use crate::account::term::{Term, TermError};
use crate::model::{Desired, Status};
use crate::operator::{Operator, OperatorError};

/// What a person is told of an account that was exported.
const EXPORTED: &str = "its session was exported to Baileys and belongs to that program now: \
                        stop it, and import its files again";

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The operator cannot work on it.
    #[error("{0}")]
    Operator(#[from] OperatorError),
    /// The session has no such form.
    #[error("{0}")]
    Export(#[from] ExportError),
    /// The original cannot be given back.
    #[error("{0}")]
    Original(#[from] OriginalError),
    /// The claim was lost, or something cannot be written.
    #[error("{0}")]
    Term(#[from] TermError),
}

/// Exports an account's session as it is now.
///
/// # Errors
/// [`OutletError`]; the account stays as it was then.
pub async fn current(
    operator: &Operator,
    account: &AccountId,
    generation: Generation,
) -> Result<Exported, OutletError> {
    let term = operator.claim(account).await?;
    let exported = async {
        let exported = export(&records(&term.files), generation)?;
        part_with(&term).await?;
        Ok(exported)
    };
    let exported: Result<Exported, OutletError> = exported.await;
    operator.give_back(term).await?;
    exported
}

/// Gives the files of the import back as they were, as a tar.gz. The account
/// stays as it is: these files are as old as the import.
///
/// # Errors
/// [`OutletError`].
pub async fn as_imported(operator: &Operator, account: &AccountId) -> Result<Vec<u8>, OutletError> {
    let term = operator.claim(account).await?;
    let packed = original::give_back(term.store(), account, &term.data_key).await;
    operator.give_back(term).await?;
    Ok(packed?)
}

/// All records of a session.
pub fn records(files: &SessionFiles) -> Records {
    Kind::ALL
        .into_iter()
        .flat_map(|kind| {
            files
                .scan(kind, b"")
                .into_iter()
                .map(move |(key, record)| ((kind, key.to_vec()), record.value))
        })
        .collect()
}

async fn part_with(term: &Term) -> Result<(), TermError> {
    let now = StoreTime::from_datetime(term.clock().wall());
    let names = ["status", "statusAt", "desired", "actionRequired", "retryAt"];
    term.change_account(&names, |doc| {
        doc.status = Status::NeedsImport;
        doc.status_at = Some(now);
        doc.desired = Desired::Stopped;
        doc.action_required = Some(EXPORTED.to_owned());
        doc.retry_at = None;
    })
    .await
}
