//! What an account that was unlinked does not send.

use std::time::Duration;

use coordinator_lib::store::{Store, StoreError};

use super::settle::Places;
use super::verdict::Reason;
use crate::events::Journal;
use crate::model::{Stored, WaOutboxDoc, queries};

/// Marks it, for whoever asks.
///
/// # Errors
/// The store's failure.
pub async fn hold(store: &Store, journal: &Journal, account_id: &str) -> Result<(), StoreError> {
    let reason = Reason::new(
        "logged_out",
        "the account is not linked any more; link it anew and it is sent",
    );
    let page = store.query(&queries::wa_outbox_open(account_id)?).await?;
    for record in page.documents.iter().filter_map(WaOutboxDoc::read_or_skip) {
        let places = Places::new(record.path.id(), &record.value)?;
        if let Err(error) = places.again(journal, &reason, Duration::ZERO).await {
            tracing::warn!(message.id = record.path.id(), %error, "held message was not marked");
        }
    }
    Ok(())
}
