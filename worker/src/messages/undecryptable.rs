//! Messages that came and could not be decrypted, shown until they can.
//!
//! The engine asks for them again by WhatsApp's own means; what comes then has
//! the same id and takes the placeholder's place.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use coordinator_lib::store::StoreTime;

use super::arrival::UNDECRYPTABLE;
use super::identity::{self, Peer, Preview};
use super::threads::ThreadBook;
use crate::events::{Journal, JournalError, Need};
use crate::model::{
    Direction, EventKind, MessageDoc, MessageState, ThreadDoc, ThreadKind, collections, ids,
};

/// A message that could not be decrypted.
pub struct Undecryptable {
    /// The chat's address.
    pub chat: String,
    /// Who wrote it.
    pub sender: String,
    /// The sender's other address, if the message tells it.
    pub sender_alt: Option<String>,
    /// Its WhatsApp id.
    pub id: String,
    /// When the server took it.
    pub at: DateTime<Utc>,
}

/// Puts a placeholder where the message would be, unless it is there already.
///
/// # Errors
/// [`JournalError`].
pub async fn note(
    account_id: &str,
    journal: &Journal,
    threads: &Arc<ThreadBook>,
    message: Undecryptable,
) -> Result<(), JournalError> {
    let account_id = account_id.to_owned();
    let peer = Peer::new(&message.chat, message.sender_alt.as_deref());
    let thread_id = threads
        .thread_of(&peer)
        .await
        .map_err(JournalError::Store)?;
    let kind = ThreadKind::of(&peer.chat);
    let sender = identity::sender_key(kind, &message.sender, message.sender_alt.as_deref(), false);
    let id = ids::message(&thread_id, &sender, &message.id);
    let thread_path = collections::thread(&thread_id).map_err(JournalError::Store)?;
    let path = collections::message(&thread_id, &id).map_err(JournalError::Store)?;
    let needs = vec![Need::Read(thread_path.clone()), Need::Read(path.clone())];
    let noted = journal.apply(needs, move |draft| {
        if draft.get::<MessageDoc>(&path)?.is_some() {
            return Ok(());
        }
        let now = draft.now();
        let mut thread = match draft.get::<ThreadDoc>(&thread_path)? {
            Some(thread) => thread,
            None => identity::new_thread(&account_id, peer.preferred(), now),
        };
        let sort_at = now.max(thread.last_message_at);
        thread.unread += 1;
        thread.last_message_at = sort_at;
        thread.last_message_preview = Some(Preview::of_kind(UNDECRYPTABLE).into());
        thread.last_message_id = Some(path.id().to_owned());
        draft.put(thread_path.clone(), &thread)?;
        let document = MessageDoc {
            account_id: account_id.clone(),
            thread_id: thread_path.id().to_owned(),
            chat: identity::bare(&message.chat),
            sender: identity::bare(&message.sender),
            wire_chat: Some(message.chat.clone()),
            wire_sender: Some(message.sender.clone()),
            from_me: false,
            direction: Direction::In,
            wa_message_id: message.id.clone(),
            outbox_id: None,
            push_name: None,
            kind: UNDECRYPTABLE.to_owned(),
            body: None,
            details: None,
            extras: None,
            reactions: Vec::new(),
            votes: Vec::new(),
            poll_secret: None,
            media_ref: None,
            received: None,
            edited_at: None,
            revoked_at: None,
            timestamp: StoreTime::from_datetime(message.at),
            sort_at,
            state: MessageState::Received,
            state_at: now,
            error: None,
            expires_at: None,
            stored_at: now,
            offline: false,
            history: false,
            traceparent: draft.trace(),
        };
        draft.put(path.clone(), &document)?;
        draft.event(
            EventKind::MessageUndecryptable,
            [
                ("threadId", thread_path.id().to_owned()),
                ("messageId", path.id().to_owned()),
                ("waMessageId", message.id.clone()),
            ],
        );
        Ok(())
    });
    noted.await
}
