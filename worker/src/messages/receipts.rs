//! Receipts move messages through their states.
//!
//! They come late, twice, out of order and in batches; a state never goes back
//! ([`MessageState::moves_to`]). A message that was sent from here has two
//! documents to move, in one commit: as it was sent and as the thread shows it.
//!
//! In a group the state is that of whoever came furthest; who has got and read
//! it is a document beside the message, [`ReceiptsDoc`].

use std::collections::HashMap;
use std::sync::Arc;

use coordinator_lib::store::{Path, Store, StoreError, StoreTime};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use whatsapp::ReceiptKind;

use super::identity::{ME, Peer, bare};
use super::threads::ThreadBook;
use crate::events::{Draft, DraftError, Journal, JournalError, Need, Submitted};
use crate::model::group::Seen;
use crate::model::{
    EventKind, MessageDoc, MessageState, ReceiptsDoc, Stored, ThreadKind, WaOutboxDoc, collections,
    ids, queries,
};
use crate::telemetry::{metrics, propagation, spans};

/// Receipts that wait for the store; more are dropped and counted, for a state
/// that is missed is caught up by the next receipt.
pub const RECEIPTS_MAX: usize = 1_024;

/// Receipts that are applied together.
const TOGETHER_MAX: usize = 64;

/// Sent messages of one generation.
const GENERATION_MAX: usize = 1_024;

/// A receipt for messages of ours, as the engine reports it.
pub struct Receipt {
    /// The conversation.
    pub chat: String,
    /// Who says it, by address.
    pub sender: String,
    /// WhatsApp's ids of the messages.
    pub ids: Vec<String>,
    /// What it says.
    pub kind: ReceiptKind,
    /// When, by the server's clock.
    pub at: StoreTime,
}

/// Where a sent message is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its thread.
    pub thread_id: String,
    /// Its document there.
    pub stored_message_id: String,
    /// Its `outbox` document, if it was sent from here.
    pub outbox_id: Option<String>,
    /// W3C trace context of the request that it was sent for.
    pub traceparent: Option<String>,
}

/// Messages sent lately, by WhatsApp's id: saves the query for each receipt.
/// Bounded: two generations, of which the older is dropped.
#[derive(Default)]
pub struct SentIndex {
    generations: Mutex<[HashMap<String, Target>; 2]>,
}

impl SentIndex {
    /// Remembers a message.
    pub fn learn(&self, wa_message_id: String, target: Target) {
        let [young, old] = &mut *self.generations.lock();
        if young.len() >= GENERATION_MAX {
            *old = std::mem::take(young);
        }
        young.insert(wa_message_id, target);
    }

    /// Where a message is stored, if it was sent lately.
    pub fn get(&self, wa_message_id: &str) -> Option<Target> {
        let [young, old] = &*self.generations.lock();
        young
            .get(wa_message_id)
            .or_else(|| old.get(wa_message_id))
            .cloned()
    }
}

/// Applies receipts of one engine instance.
pub struct Receipts {
    /// Whose.
    pub account_id: String,
    /// Where messages are looked up.
    pub store: Store,
    /// Through which states are written.
    pub journal: Journal,
    /// Which thread a chat belongs to.
    pub threads: Arc<ThreadBook>,
    /// What was sent lately.
    pub sent: Arc<SentIndex>,
}

impl Receipts {
    /// Applies receipts until there will be no more.
    pub async fn run(self, mut queue: mpsc::Receiver<Receipt>) {
        let mut receipts = Vec::with_capacity(TOGETHER_MAX);
        while queue.recv_many(&mut receipts, TOGETHER_MAX).await > 0 {
            if let Err(error) = self.apply(receipts.drain(..)).await {
                if error.is_over() {
                    return;
                }
                tracing::warn!(account.id = %self.account_id, %error, "receipts were not stored");
            }
        }
    }

    async fn apply(&self, receipts: impl Iterator<Item = Receipt>) -> Result<(), JournalError> {
        let mut moves = Vec::new();
        for receipt in receipts {
            let Some(state) = state_of(receipt.kind) else {
                continue;
            };
            let by = match ThreadKind::of(&receipt.chat) {
                ThreadKind::Group => seen_of(state).map(|seen| (bare(&receipt.sender), seen)),
                ThreadKind::Direct | ThreadKind::Status | ThreadKind::Other => None,
            };
            for wa_message_id in &receipt.ids {
                let target = self
                    .target(&receipt.chat, wa_message_id)
                    .await
                    .map_err(JournalError::Store)?;
                let step = Step {
                    state,
                    at: receipt.at,
                    by: by.clone(),
                };
                let span = self.span(&target, state);
                let advance = self.advance(target, step);
                let advance = advance.instrument(span.clone()).await?;
                moves.push((advance, state, span));
            }
        }
        let mut outcome = Ok(());
        for (advance, state, span) in moves {
            match advance.settled().instrument(span.clone()).await {
                Ok(_) => metrics::receipt(state.as_str()),
                Err(error) => {
                    if !error.is_over() {
                        spans::failed(&span);
                    }
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }

    /// A receipt is part of the trace of the request that the message was sent
    /// for; others have none.
    fn span(&self, target: &Target, state: MessageState) -> Span {
        if target.traceparent.is_none() {
            return Span::none();
        }
        let span = info_span!(
            parent: None,
            "message.receipt",
            otel.kind = "consumer",
            otel.status_code = Empty,
            account.id = self.account_id,
            message.id = target.outbox_id,
            message.state = state.as_str(),
        );
        propagation::continues(&span, target.traceparent.as_deref());
        span
    }

    async fn target(&self, chat: &str, wa_message_id: &str) -> Result<Target, StoreError> {
        if let Some(target) = self.sent.get(wa_message_id) {
            return Ok(target);
        }
        let query = queries::wa_outbox_by_wa_id(&self.account_id, wa_message_id)?;
        let page = self.store.query(&query).await?;
        let target = match page.documents.first().and_then(WaOutboxDoc::read_or_skip) {
            Some(record) => Target {
                outbox_id: Some(record.path.id().to_owned()),
                traceparent: record.value.traceparent,
                thread_id: record.value.thread_id,
                stored_message_id: record.value.stored_message_id,
            },
            // Written on the phone, or not ours at all: then there is no document.
            None => {
                let thread_id = self.threads.thread_of(&Peer::new(chat, [])).await?;
                let stored_message_id = ids::message(&thread_id, ME, wa_message_id);
                Target {
                    thread_id,
                    stored_message_id,
                    outbox_id: None,
                    traceparent: None,
                }
            }
        };
        self.sent.learn(wa_message_id.to_owned(), target.clone());
        Ok(target)
    }

    async fn advance(&self, target: Target, step: Step) -> Result<Submitted<()>, JournalError> {
        let (message, outbox) = target.paths().map_err(JournalError::Store)?;
        let Step { state, at, by } = step;
        let people = match by {
            Some((by, seen)) => {
                let path = collections::receipts(&target.stored_message_id);
                Some((path.map_err(JournalError::Store)?, by, seen))
            }
            None => None,
        };
        let needs = std::iter::once(&message)
            .chain(&outbox)
            .chain(people.as_ref().map(|(path, ..)| path))
            .cloned()
            .map(Need::Read)
            .collect();
        let change = move |draft: &mut Draft<'_>| {
            if let Some((path, by, seen)) = &people {
                note_person(draft, &message, path, (by, *seen, at))?;
            }
            if let Some(outbox) = &outbox
                && let Some(mut document) = draft.get::<WaOutboxDoc>(outbox)?
                && advance_outbox(&mut document, state, at)
            {
                draft.put(outbox.clone(), &document)?;
            }
            move_message(draft, &message, state, None)
        };
        self.journal.submit(needs, change).await
    }
}

/// What one receipt does to one message.
struct Step {
    state: MessageState,
    at: StoreTime,
    /// In a group, who says what.
    by: Option<(String, Seen)>,
}

/// Notes who has got or read a message to a group.
fn note_person(
    draft: &mut Draft<'_>,
    message: &Path,
    path: &Path,
    (by, seen, at): (&str, Seen, StoreTime),
) -> Result<(), DraftError> {
    let Some(message) = draft.get::<MessageDoc>(message)? else {
        return Ok(());
    };
    let known = draft.get::<ReceiptsDoc>(path)?;
    let mut receipts = known.unwrap_or_else(|| ReceiptsDoc {
        account_id: message.account_id,
        thread_id: message.thread_id,
        people: Vec::new(),
    });
    match receipts.note(by, seen, at) {
        true => draft.put(path.clone(), &receipts),
        false => Ok(()),
    }
}

impl Target {
    fn paths(&self) -> Result<(Path, Option<Path>), StoreError> {
        let outbox = self.outbox_id.as_deref().map(collections::wa_outbox);
        Ok((
            collections::message(&self.thread_id, &self.stored_message_id)?,
            outbox.transpose()?,
        ))
    }
}

/// Moves a stored message to a state, with its event; nothing where it is
/// unknown or already further.
///
/// # Errors
/// [`DraftError`].
pub fn move_message(
    draft: &mut Draft<'_>,
    path: &Path,
    state: MessageState,
    error: Option<String>,
) -> Result<(), DraftError> {
    let Some(mut message) = draft.get::<MessageDoc>(path)? else {
        return Ok(());
    };
    if !message.state.moves_to(state) {
        return Ok(());
    }
    message.state = state;
    message.state_at = draft.now();
    message.error = error;
    let data = [
        ("threadId", message.thread_id.clone()),
        ("messageId", path.id().to_owned()),
        ("state", state.as_str().to_owned()),
        ("outboxId", message.outbox_id.clone().unwrap_or_default()),
    ];
    draft.put(path.clone(), &message)?;
    draft.event(EventKind::MessageUpdated, data);
    Ok(())
}

/// Whether a receipt changed the WhatsApp side of a message.
fn advance_outbox(document: &mut WaOutboxDoc, state: MessageState, at: StoreTime) -> bool {
    let before = document.clone();
    if document.state.moves_to(state) {
        document.state = state;
        document.open = false;
        document.error = None;
        document.next_attempt_at = None;
    }
    match state {
        MessageState::Delivered => {
            document.delivered_at.get_or_insert(at);
        }
        MessageState::Read | MessageState::Played => {
            document.read_at.get_or_insert(at);
        }
        MessageState::Queued
        | MessageState::Sending
        | MessageState::Sent
        | MessageState::Received
        | MessageState::Failed
        | MessageState::Expired
        | MessageState::Cancelled => {}
    }
    *document != before
}

/// What a state says of the person whose receipt proves it.
fn seen_of(state: MessageState) -> Option<Seen> {
    match state {
        MessageState::Delivered => Some(Seen::Delivered),
        MessageState::Read => Some(Seen::Read),
        MessageState::Played => Some(Seen::Played),
        MessageState::Queued
        | MessageState::Sending
        | MessageState::Sent
        | MessageState::Received
        | MessageState::Failed
        | MessageState::Expired
        | MessageState::Cancelled => None,
    }
}

/// The state that a receipt proves, if it proves one.
fn state_of(kind: ReceiptKind) -> Option<MessageState> {
    match kind {
        ReceiptKind::Delivered | ReceiptKind::Inactive => Some(MessageState::Delivered),
        ReceiptKind::Read => Some(MessageState::Read),
        ReceiptKind::Played => Some(MessageState::Played),
        // The engine answers a retry; the others concern our own devices, or
        // say nothing that a state could show.
        ReceiptKind::Retry
        | ReceiptKind::ReadSelf
        | ReceiptKind::Sender
        | ReceiptKind::Undeliverable => None,
    }
}
