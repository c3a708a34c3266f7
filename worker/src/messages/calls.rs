//! That somebody calls: an event, and nothing else. This program has no voice.

use std::sync::Arc;

use super::identity::Peer;
use super::threads::ThreadBook;
use crate::events::{Journal, JournalError};
use crate::model::EventKind;

/// A call that comes in.
pub struct Call {
    /// The caller's address.
    pub from: String,
    /// The call's id.
    pub id: String,
    /// With pictures.
    pub video: bool,
    /// It was refused at once, as configured.
    pub rejected: bool,
}

/// Writes the event.
///
/// # Errors
/// [`JournalError`].
pub async fn note(
    journal: &Journal,
    threads: &Arc<ThreadBook>,
    call: Call,
) -> Result<(), JournalError> {
    let peer = Peer::new(&call.from, []);
    let thread = threads
        .thread_of(&peer)
        .await
        .map_err(JournalError::Store)?;
    let noted = journal.apply(Vec::new(), move |draft| {
        draft.event(
            EventKind::CallReceived,
            [
                ("threadId", thread.clone()),
                ("callId", call.id.clone()),
                ("video", call.video.to_string()),
                ("rejected", call.rejected.to_string()),
            ],
        );
        Ok(())
    });
    noted.await
}
