//! The engine's durable write: a decrypted message becomes documents.
//!
//! Message, thread and event are one fenced commit; the engine acknowledges to
//! WhatsApp after it. What comes again is found by its id and changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use coordinator_lib::store::{Path, StoreError, StoreTime};
use whatsapp::{Inbound, InboundKind, Inbox, InboxError};

use super::identity::{self, Peer, Preview};
use super::order::Moment;
use super::threads::ThreadBook;
use crate::events::{Draft, DraftError, Journal, JournalError, Need, Submitted};
use crate::killpoint::{self, KillPoint};
use crate::model::{
    Direction, EventKind, MessageDoc, MessageState, ThreadDoc, ThreadKind, collections, ids,
};
use crate::outbox::marks::InboundMarks;

/// The inbox of one engine instance.
pub struct AccountInbox {
    account_id: String,
    journal: Journal,
    threads: Arc<ThreadBook>,
    marks: Arc<InboundMarks>,
    counters: Arc<InboxCounters>,
    /// When this engine instance began.
    connected_at: StoreTime,
}

/// What an inbox has seen.
#[derive(Debug, Default)]
pub struct InboxCounters {
    /// Stored for the first time.
    pub stored: AtomicU64,
    /// Seen again; nothing changed.
    pub repeated: AtomicU64,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Stored,
    Repeated,
}

impl AccountInbox {
    /// An inbox that writes through this journal.
    pub fn new(
        account_id: String,
        journal: Journal,
        threads: Arc<ThreadBook>,
        marks: Arc<InboundMarks>,
        counters: Arc<InboxCounters>,
        connected_at: StoreTime,
    ) -> Self {
        Self {
            account_id,
            journal,
            threads,
            marks,
            counters,
            connected_at,
        }
    }

    /// Queues the change that stores one message.
    async fn submit(&self, message: Inbound) -> Result<Submitted<Kept>, JournalError> {
        let arrival = self.arrival(message).await.map_err(JournalError::Store)?;
        let needs = vec![
            Need::Read(arrival.thread_path.clone()),
            Need::New(arrival.message_path.clone()),
        ];
        self.journal
            .submit(needs, move |draft| arrival.store(draft))
            .await
    }

    async fn arrival(&self, message: Inbound) -> Result<Arrival, StoreError> {
        let peer = Peer::new(&message.chat, other_addresses(&message));
        let thread_id = self.threads.thread_of(&peer).await?;
        if !message.from_me {
            self.marks.mark(&thread_id);
        }
        let kind = ThreadKind::of(&peer.chat);
        let sender = identity::sender_key(
            kind,
            &message.sender,
            message.sender_alt.as_deref(),
            message.from_me,
        );
        let id = ids::message(&thread_id, &sender, &message.id);
        Ok(Arrival {
            thread_path: collections::thread(&thread_id)?,
            message_path: collections::message(&thread_id, &id)?,
            account_id: self.account_id.clone(),
            connected_at: self.connected_at,
            thread_id,
            peer,
            message,
        })
    }
}

#[async_trait]
impl Inbox for AccountInbox {
    async fn commit(&self, batch: Vec<Inbound>) -> Result<(), InboxError> {
        killpoint::reach(KillPoint::InsideHook);
        // Queued one after the other, so stored in order; settled together.
        let mut submitted = Vec::with_capacity(batch.len());
        for message in batch {
            submitted.push(self.submit(message).await.map_err(inbox_error)?);
        }
        for change in submitted {
            let counter = match change.settled().await.map_err(inbox_error)? {
                Kept::Stored => &self.counters.stored,
                Kept::Repeated => &self.counters.repeated,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        killpoint::reach(KillPoint::AfterHook);
        Ok(())
    }
}

/// One message on its way into the store.
struct Arrival {
    account_id: String,
    connected_at: StoreTime,
    thread_id: String,
    thread_path: Path,
    message_path: Path,
    peer: Peer,
    message: Inbound,
}

impl Arrival {
    fn store(&self, draft: &mut Draft<'_>) -> Result<Kept, DraftError> {
        if draft.get::<MessageDoc>(&self.message_path)?.is_some() {
            return Ok(Kept::Repeated);
        }
        let message = &self.message;
        let now = draft.now();
        let written_at = StoreTime::from_datetime(message.timestamp);
        let known = draft.get::<ThreadDoc>(&self.thread_path)?;
        let last = known.as_ref().map(|thread| thread.last_message_at);
        let sort_at = Moment {
            written_at,
            now,
            offline: message.offline,
            connected_at: self.connected_at,
            last,
            seq: draft.next_seq(),
        }
        .place();
        let mut thread = match known {
            Some(thread) => thread,
            None => identity::new_thread(&self.account_id, self.peer.preferred(), sort_at),
        };
        self.update_thread(&mut thread, sort_at);
        draft.put(self.thread_path.clone(), &thread)?;
        let (kind, body) = content(&message.kind);
        let document = MessageDoc {
            account_id: self.account_id.clone(),
            thread_id: self.thread_id.clone(),
            chat: message.chat.clone(),
            sender: if message.from_me {
                identity::ME.to_owned()
            } else {
                identity::bare(&message.sender)
            },
            wire_chat: Some(message.wire_chat.clone()),
            wire_sender: Some(message.wire_sender.clone()),
            from_me: message.from_me,
            direction: if message.from_me {
                Direction::Out
            } else {
                Direction::In
            },
            wa_message_id: message.id.clone(),
            outbox_id: None,
            push_name: Some(message.push_name.clone()).filter(|name| !name.is_empty()),
            kind,
            body,
            timestamp: written_at,
            sort_at,
            state: if message.from_me {
                MessageState::Sent
            } else {
                MessageState::Received
            },
            state_at: now,
            error: None,
            stored_at: now,
            offline: message.offline,
        };
        draft.put(self.message_path.clone(), &document)?;
        draft.event(
            EventKind::MessageReceived,
            [
                ("threadId", self.thread_id.clone()),
                ("messageId", self.message_path.id().to_owned()),
                (
                    "direction",
                    if message.from_me { "out" } else { "in" }.to_owned(),
                ),
            ],
        );
        Ok(Kept::Stored)
    }

    fn update_thread(&self, thread: &mut ThreadDoc, sort_at: StoreTime) {
        let message = &self.message;
        // An address that was not known yet: from now on both lead here.
        thread.pn = thread.pn.take().or_else(|| self.peer.pn.clone());
        thread.lid = thread.lid.take().or_else(|| self.peer.lid.clone());
        let is_peers_name = thread.kind == ThreadKind::Direct && !message.from_me;
        if is_peers_name && !message.push_name.is_empty() {
            thread.title = Some(message.push_name.clone());
        }
        if !message.from_me {
            thread.answered = true;
            thread.unread += 1;
        }
        if thread.last_message_id.is_none() || sort_at >= thread.last_message_at {
            let preview = match &message.kind {
                InboundKind::Text { body } => Preview::of(body),
                InboundKind::Other {
                    caption: Some(caption),
                    ..
                } => Preview::of(caption),
                InboundKind::Other {
                    name,
                    caption: None,
                } => Preview::of_kind(name),
            };
            thread.last_message_at = sort_at;
            thread.last_message_preview = Some(preview.into());
            thread.last_message_id = Some(self.message_path.id().to_owned());
        }
    }
}

/// Under what else a message names the peer of a direct chat.
fn other_addresses(message: &Inbound) -> impl Iterator<Item = &str> {
    let senders = message.sender_alt.as_deref().filter(|_| !message.from_me);
    std::iter::once(message.wire_chat.as_str()).chain(senders)
}

fn content(kind: &InboundKind) -> (String, Option<String>) {
    match kind {
        InboundKind::Text { body } => ("text".to_owned(), Some(body.clone())),
        InboundKind::Other { name, caption } => ((*name).to_owned(), caption.clone()),
    }
}

fn inbox_error(error: JournalError) -> InboxError {
    match error {
        JournalError::Fenced | JournalError::Closed(_) | JournalError::Ended => {
            InboxError::NotOwner
        }
        JournalError::Store(_) | JournalError::Contended | JournalError::Draft(_) => {
            InboxError::Store(error.into())
        }
    }
}

#[cfg(test)]
mod tests;
