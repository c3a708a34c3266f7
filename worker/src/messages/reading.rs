//! Does in a thread what a client asks of its owner: marks it as read, shows
//! that somebody is writing.
//!
//! The request is a flag in the thread's document, set by any worker; the owner
//! watches for it. What stands unread is told to WhatsApp first and recorded
//! after, so a crash between repeats the receipt, which does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::{Change, Path, Store, StoreError, StoreTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::presence::Presences;
use super::receipts::move_message;
use crate::account::link::Link;
use crate::events::{Journal, JournalError, Need};
use crate::model::stored::Record;
use crate::model::{MessageDoc, MessageState, Stored, ThreadDoc, ThreadKind, collections, queries};

/// Messages of one receipt.
const TOGETHER_MAX: u32 = 100;

/// Whoever is writing says so again every few seconds.
const TYPING_WORTH: Duration = Duration::from_secs(10);

/// The wait after a failure.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// Marks threads as read while one engine instance runs.
pub struct Reading {
    /// Whose threads.
    pub account_id: String,
    /// Where they are watched.
    pub store: Store,
    /// Through which they are written.
    pub journal: Journal,
    /// Through which the senders are told.
    pub link: Arc<dyn Link>,
    /// Whether messages can be sent.
    pub connected: watch::Receiver<bool>,
    /// Whether the account is to be shown as online.
    pub available: watch::Receiver<Option<bool>>,
    /// Of whose presence to be told.
    pub presences: Arc<Presences>,
    /// Time.
    pub clock: SharedClock,
}

/// Why a thread was not marked.
#[derive(Debug, thiserror::Error)]
enum ReadingError {
    #[error(transparent)]
    Send(#[from] whatsapp::SendError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reading {
    /// Obeys requests until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.obey() => {}
        }
    }

    async fn obey(&mut self) {
        let mut waiting: BTreeMap<Path, ThreadDoc> = BTreeMap::new();
        let mut watch = loop {
            let watch = match queries::threads_pending(&self.account_id) {
                Ok(query) => self.store.watch(&query).await,
                Err(error) => Err(error),
            };
            match watch {
                Ok(watch) => break watch,
                Err(error) => {
                    tracing::warn!(account.id = %self.account_id, %error, "threads cannot be watched");
                    self.clock.sleep(RETRY_WAIT).await;
                }
            }
        };
        let mut shown = None;
        let mut asked = false;
        loop {
            let connected = *self.connected.borrow_and_update();
            let available = *self.available.borrow_and_update();
            if connected && (shown != available || !asked) {
                match self
                    .show_presence(available.filter(|_| shown != available), !asked)
                    .await
                {
                    Ok(()) => (shown, asked) = (available, true),
                    Err(error) => {
                        tracing::warn!(account.id = %self.account_id, %error, "presence was not shown or asked for");
                        self.clock.sleep(RETRY_WAIT).await;
                    }
                }
                continue;
            }
            if connected && let Some((path, thread)) = waiting.pop_first() {
                if let Err(error) = self.do_in(&path, &thread).await {
                    tracing::warn!(account.id = %self.account_id, thread.id = path.id(), %error, "what was asked in a thread was not done");
                    waiting.insert(path, thread);
                    self.clock.sleep(RETRY_WAIT).await;
                }
                continue;
            }
            tokio::select! {
                biased;
                change = watch.next() => match change {
                    Some(Change::Snapshot(documents)) => {
                        waiting = documents.iter().filter_map(ThreadDoc::read_or_skip).map(pending).collect();
                    }
                    Some(Change::Changed(document)) => {
                        waiting.extend(ThreadDoc::read_or_skip(&document).map(pending));
                    }
                    Some(Change::Removed(path)) => {
                        waiting.remove(&path);
                    }
                    None => return,
                },
                changed = self.connected.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = self.available.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Shows the account as wanted, and asks for those of whom to be told.
    async fn show_presence(
        &self,
        available: Option<bool>,
        ask: bool,
    ) -> Result<(), whatsapp::SendError> {
        if let Some(is_available) = available {
            self.link.show_available(is_available).await?;
        }
        for person in self.presences.watched().iter().filter(|_| ask) {
            self.link.watch_presence(person).await?;
        }
        Ok(())
    }

    /// Everything that is asked in one thread.
    async fn do_in(&self, path: &Path, thread: &ThreadDoc) -> Result<(), ReadingError> {
        if let Some(is_typing) = thread.typing_pending {
            self.show_typing(path, thread, is_typing).await?;
        }
        if thread.presence_pending {
            self.watch_presence(path, thread).await?;
        }
        match thread.read_pending {
            true => self.mark(path, thread).await,
            false => Ok(()),
        }
    }

    /// Asks to be told of the peer's presence, now and on later connections.
    async fn watch_presence(&self, path: &Path, thread: &ThreadDoc) -> Result<(), ReadingError> {
        let person = thread.pn.as_ref().or(thread.lid.as_ref());
        if let Some(person) = person
            && self.presences.watch(person)
        {
            self.link.watch_presence(person).await?;
        }
        let path = path.clone();
        let asked = self
            .journal
            .apply(vec![Need::Read(path.clone())], move |draft| {
                let Some(mut thread) = draft.get::<ThreadDoc>(&path)? else {
                    return Ok(());
                };
                thread.presence_pending = false;
                thread.pending = thread.read_pending || thread.typing_pending.is_some();
                // As below: written in any case.
                draft.put(path.clone(), &thread)
            });
        Ok(asked.await?)
    }

    /// Shows the peer that somebody is writing; not if that was long ago.
    async fn show_typing(
        &self,
        path: &Path,
        thread: &ThreadDoc,
        is_typing: bool,
    ) -> Result<(), ReadingError> {
        let now = StoreTime::from_datetime(self.clock.wall());
        let is_recent = |at: StoreTime| now.since(at) < TYPING_WORTH;
        if thread.typing_at.is_some_and(is_recent) {
            let chat = thread.lid.as_ref().or(thread.pn.as_ref());
            let chat = chat.unwrap_or(&thread.chat);
            self.link.typing(chat, is_typing).await?;
        }
        let (path, asked_at) = (path.clone(), thread.typing_at);
        let shown = self
            .journal
            .apply(vec![Need::Read(path.clone())], move |draft| {
                let Some(mut thread) = draft.get::<ThreadDoc>(&path)? else {
                    return Ok(());
                };
                if thread.typing_at == asked_at {
                    thread.typing_pending = None;
                    thread.pending = thread.read_pending || thread.presence_pending;
                }
                // Written in any case: what is known here may be older than the
                // request, and the write's condition finds that out.
                draft.put(path.clone(), &thread)
            });
        Ok(shown.await?)
    }

    async fn mark(&self, path: &Path, thread: &ThreadDoc) -> Result<(), ReadingError> {
        let query = queries::messages_unread(path.id())?.limit(TOGETHER_MAX);
        let page = self.store.query(&query).await?;
        let more = page.next.is_some();
        let messages: Vec<Record<MessageDoc>> = page
            .documents
            .iter()
            .filter_map(MessageDoc::read_or_skip)
            .collect();
        let mut by_sender: BTreeMap<(String, Option<String>), Vec<String>> = BTreeMap::new();
        for message in messages.iter().map(|message| &message.value) {
            let wire_sender = message.wire_sender.as_ref().unwrap_or(&message.sender);
            let sender = (thread.kind != ThreadKind::Direct).then(|| wire_sender.clone());
            let chat = message.wire_chat.as_ref().unwrap_or(&message.chat);
            by_sender
                .entry((chat.clone(), sender))
                .or_default()
                .push(message.wa_message_id.clone());
        }
        for ((chat, sender), ids) in &by_sender {
            self.link.mark_read(chat, sender.as_deref(), ids).await?;
        }
        let thread_path = collections::thread(path.id())?;
        let paths: Vec<Path> = messages.into_iter().map(|message| message.path).collect();
        let needs = std::iter::once(&thread_path)
            .chain(&paths)
            .cloned()
            .map(Need::Read)
            .collect();
        let marked = self.journal.apply(needs, move |draft| {
            for path in &paths {
                move_message(draft, path, MessageState::Read, None)?;
            }
            if let Some(mut thread) = draft.get::<ThreadDoc>(&thread_path)? {
                // What came meanwhile stays unread; so does what did not fit.
                let count = i64::try_from(paths.len()).unwrap_or(i64::MAX);
                thread.unread = (thread.unread - count).max(0);
                thread.read_pending = more;
                thread.pending = more || thread.typing_pending.is_some() || thread.presence_pending;
                draft.put(thread_path.clone(), &thread)?;
            }
            Ok(())
        });
        Ok(marked.await?)
    }
}

fn pending(record: Record<ThreadDoc>) -> (Path, ThreadDoc) {
    (record.path, record.value)
}
