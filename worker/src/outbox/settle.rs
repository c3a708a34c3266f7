//! The states that a message goes through while it is sent, in fenced commits.
//!
//! Each is conditional on what the documents say at that moment: a cancel, or a
//! receipt that came first, wins. The thread's copy moves in the same commit.

use std::time::Duration;

use coordinator_lib::store::{Path, StoreError, StoreTime};

use super::verdict::Reason;
use crate::events::{Draft, DraftError, Journal, JournalError, Need};
use crate::messages::arrival::change_message;
use crate::messages::identity::ME;
use crate::messages::receipts::move_message;
use crate::model::outbox::SendFailure;
use crate::model::{MessageState, ThreadDoc, WaOutboxDoc, collections};

/// Where the two documents of an outgoing message are.
#[derive(Debug, Clone)]
pub struct Places {
    outbox: Path,
    message: Path,
    thread: Path,
    /// The message that this one changes, if it does.
    amended: Option<Path>,
    /// W3C trace context of the request.
    pub(super) traceparent: Option<String>,
}

/// What the documents said before an attempt.
#[derive(Debug, Clone)]
pub enum Begun {
    /// `sending` is committed: it may go on the wire.
    Send(Box<Ready>),
    /// It would begin a conversation, which may not be done now.
    NewChat,
    /// It was settled or cancelled meanwhile.
    Gone,
    /// Its time was up; that is committed.
    Expired,
}

/// A message that may go on the wire.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The message.
    pub document: WaOutboxDoc,
    /// Every address of its recipient that is known.
    pub addresses: Vec<String>,
}

impl Places {
    /// Of a message.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the ids cannot be paths.
    pub fn new(id: &str, document: &WaOutboxDoc) -> Result<Self, StoreError> {
        let thread_id = &document.thread_id;
        let amended = document
            .amends
            .as_ref()
            .map(|amends| &amends.stored_message_id);
        Ok(Self {
            outbox: collections::wa_outbox(id)?,
            message: collections::message(thread_id, &document.stored_message_id)?,
            thread: collections::thread(thread_id)?,
            amended: amended
                .map(|message| collections::message(thread_id, message))
                .transpose()?,
            traceparent: document.traceparent.clone(),
        })
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::Read(self.outbox.clone()),
            Need::Read(self.message.clone()),
        ]
    }

    /// The message, as long as the owner has something to do for it.
    fn open(&self, draft: &Draft<'_>) -> Result<Option<WaOutboxDoc>, DraftError> {
        Ok(draft
            .get::<WaOutboxDoc>(&self.outbox)?
            .filter(|document| document.open))
    }

    fn close(
        &self,
        draft: &mut Draft<'_>,
        mut document: WaOutboxDoc,
        state: MessageState,
    ) -> Result<(), DraftError> {
        document.state = state;
        document.open = false;
        document.next_attempt_at = None;
        let error = document.error.as_ref().map(|error| error.message.clone());
        draft.put(self.outbox.clone(), &document)?;
        move_message(draft, &self.message, state, error)
    }

    /// Commits `sending`, the last thing before the wire.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn begin(
        &self,
        journal: &Journal,
        expire_after: Duration,
        new_chats_closed: bool,
    ) -> Result<Begun, JournalError> {
        let places = self.clone();
        let change = move |draft: &mut Draft<'_>| {
            let Some(mut document) = places.open(draft)? else {
                return Ok(Begun::Gone);
            };
            let now = draft.now();
            if now.since(document.accepted_at) > expire_after {
                places.close(draft, document, MessageState::Expired)?;
                return Ok(Begun::Expired);
            }
            let thread = draft.get::<ThreadDoc>(&places.thread)?;
            let is_new = thread.as_ref().is_none_or(|thread| !thread.answered);
            if new_chats_closed && is_new {
                return Ok(Begun::NewChat);
            }
            document.state = MessageState::Sending;
            document.attempts += 1;
            document.next_attempt_at = None;
            draft.put(places.outbox.clone(), &document)?;
            move_message(draft, &places.message, MessageState::Sending, None)?;
            let known = thread.map(|thread| [thread.pn, thread.lid]);
            let addresses = std::iter::once(Some(document.chat.clone()))
                .chain(known.into_iter().flatten())
                .flatten()
                .collect();
            Ok(Begun::Send(Box::new(Ready {
                document,
                addresses,
            })))
        };
        let mut needs = self.needs();
        needs.push(Need::Read(self.thread.clone()));
        journal.apply(needs, change).await
    }

    /// Commits `sent`: the server has it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn sent(&self, journal: &Journal) -> Result<(), JournalError> {
        let places = self.clone();
        let change = move |draft: &mut Draft<'_>| {
            let Some(mut document) = draft.get::<WaOutboxDoc>(&places.outbox)? else {
                return Ok(());
            };
            let first = document.sent_at.is_none();
            document.sent_at.get_or_insert(draft.now());
            if first && let (Some(path), Some(amends)) = (&places.amended, &document.amends) {
                let (now, change) = (draft.now(), &amends.change);
                change_message(draft, path, &places.thread, ME, change, now)?;
            }
            if document.open {
                document.error = None;
                places.close(draft, document, MessageState::Sent)
            } else if first {
                // A receipt came first; the state stays further on.
                draft.put(places.outbox.clone(), &document)
            } else {
                Ok(())
            }
        };
        let mut needs = self.needs();
        if let Some(amended) = &self.amended {
            needs.extend([amended, &self.thread].map(|path| Need::Read(path.clone())));
        }
        journal.apply(needs, change).await
    }

    /// Commits that an attempt failed and when there is another.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn again(
        &self,
        journal: &Journal,
        reason: &Reason,
        wait: Duration,
    ) -> Result<(), JournalError> {
        let (places, reason) = (self.clone(), reason.clone());
        let change = move |draft: &mut Draft<'_>| {
            let Some(mut document) = places.open(draft)? else {
                return Ok(());
            };
            document.next_attempt_at = Some(draft.now().saturating_add(wait));
            document.error = Some(failure(&reason, draft.now()));
            draft.put(places.outbox.clone(), &document)
        };
        journal.apply(self.needs(), change).await
    }

    /// Commits that the message is given up.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn fail(&self, journal: &Journal, reason: &Reason) -> Result<(), JournalError> {
        let (places, reason) = (self.clone(), reason.clone());
        let change = move |draft: &mut Draft<'_>| {
            let Some(mut document) = places.open(draft)? else {
                return Ok(());
            };
            document.error = Some(failure(&reason, draft.now()));
            places.close(draft, document, MessageState::Failed)
        };
        journal.apply(self.needs(), change).await
    }
}

fn failure(reason: &Reason, at: StoreTime) -> SendFailure {
    SendFailure {
        code: reason.code.to_owned(),
        message: reason.message.clone(),
        wa_code: reason.wa_code.map(i64::from),
        at,
    }
}
