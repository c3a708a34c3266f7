//! Opens what is stored sealed with an account's data key.

use session::{DataKey, HeadDoc};

use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::model::collections;

/// The account's data key.
///
/// # Errors
/// `stored_data_unreadable` with what to do; the store's failure.
pub(super) async fn data_key(api: &Api, id: &str) -> Result<DataKey, Problem> {
    let snapshot = api.store().get(&[collections::head(id)?]).await?;
    let head = snapshot.documents.into_iter().flatten().next();
    let head: HeadDoc = head
        .ok_or_else(|| unreadable(id, "no session head"))?
        .decode()?;
    api.keys()
        .unwrap(&head.wrapped_keys, id)
        .map_err(|_| unreadable(id, "the data key does not open"))
}

/// Opens a text.
///
/// # Errors
/// `stored_data_unreadable`.
pub(super) fn open_text(
    data_key: &DataKey,
    id: &str,
    purpose: &str,
    sealed: &[u8],
) -> Result<String, Problem> {
    let text = data_key
        .open_secret(id, purpose, sealed)
        .map_err(|_| unreadable(id, "the code does not open"))?;
    String::from_utf8(text.to_vec()).map_err(|_| unreadable(id, "the code is no text"))
}

fn unreadable(id: &str, what: &'static str) -> Problem {
    tracing::error!(account.id = %id, what, "something sealed could not be opened");
    Problem::new(
        ProblemKind::StoredDataUnreadable,
        "the stored code cannot be opened with this worker's key ring; `worker doctor` says more",
    )
}
