//! What becomes of the outbox of an account that is not linked any more.

use std::time::Duration;

use coordinator_lib::store::{Store, StoreError};

use crate::events::Journal;
use crate::model::{Stored, WaOutboxDoc, queries};
use crate::outbox::settle::Places;
use crate::outbox::verdict::Reason;

/// What an account that was unlinked does not send: told to whoever asks.
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
        let places = Places::new(
            record.path.id(),
            &record.value.thread_id,
            &record.value.stored_message_id,
        )?;
        if let Err(error) = places.again(journal, &reason, Duration::ZERO).await {
            tracing::warn!(message.id = record.path.id(), %error, "held message was not marked");
        }
    }
    Ok(())
}
