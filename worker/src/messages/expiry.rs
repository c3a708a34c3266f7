//! Messages that disappear, as WhatsApp says of them.
//!
//! A message with a timer is stored together with the time at which it is to be
//! gone ([`ExpiryDoc`]). The account's owner, connected or not, looks when the
//! next one is due ([`NextExpiry`]), and now and then in any case, for what other
//! workers have accepted. It removes message, receipts and what else holds its
//! text, each message whole in one fenced commit. What a crash interrupts is
//! found again.
//!
//! What was not sent yet is kept until it is: its time begins then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gate;
use coordinator_lib::store::{Path, Store, StoreError, StoreTime};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::identity::Preview;
use crate::events::{Draft, DraftError, Journal, JournalError, Need};
use crate::model::expiry::ExpiryDoc;
use crate::model::{
    Direction, EventKind, MessageDoc, MessageState, OutboxDoc, Stored, ThreadDoc, WaOutboxDoc,
    collections, queries,
};

/// Messages of one look.
const TOGETHER_MAX: u32 = 50;

/// How long a message is kept on that was still to be sent.
const UNSENT_WAIT: Duration = Duration::from_secs(60);

/// What stands in a thread's preview for a message that is gone.
pub const EXPIRED: &str = "expired";

/// The shortest wait between two looks.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// When the next message of an account is to be gone, as far as its owner knows.
#[derive(Default)]
pub struct NextExpiry {
    at: Mutex<Option<StoreTime>>,
    sooner: Notify,
}

impl NextExpiry {
    /// A message that was stored is to be gone then.
    pub fn note(&self, at: StoreTime) {
        let mut next = self.at.lock();
        if next.is_none_or(|known| at < known) {
            *next = Some(at);
            self.sooner.notify_one();
        }
    }

    fn set(&self, at: Option<StoreTime>) {
        *self.at.lock() = at;
    }

    fn get(&self) -> Option<StoreTime> {
        *self.at.lock()
    }
}

/// Removes what has expired, as long as the claim lasts.
pub struct Sweeper {
    /// Whose messages.
    pub account_id: String,
    /// Where they are found.
    pub store: Store,
    /// Through which they are removed.
    pub journal: Journal,
    /// Time.
    pub clock: SharedClock,
    /// When the next one is due.
    pub next: Arc<NextExpiry>,
    /// Between two looks, at most.
    pub interval: Duration,
}

/// Where one message, and what belongs to it, is.
struct Places {
    expiry: Path,
    message: Path,
    thread: Path,
    receipts: Path,
    /// That its file is kept, or to be kept, if it is one.
    file: Option<Path>,
    /// As it was asked for, and its WhatsApp side, if it was sent from here.
    sent: Option<(Path, Path)>,
}

impl Sweeper {
    /// Looks until the claim's gate closes.
    pub async fn run(self, gate: Gate) {
        tokio::select! {
            biased;
            _ = gate.closed() => {}
            () = self.look() => {}
        }
    }

    async fn look(&self) {
        loop {
            match self.sweep().await {
                Ok(()) => {}
                Err(error) if error.is_over() => return,
                Err(error) => {
                    tracing::warn!(account.id = %self.account_id, %error, "expired messages were not removed");
                }
            }
            self.wait().await;
        }
    }

    /// Waits until the next look.
    async fn wait(&self) {
        let end = self.clock.boottime() + self.interval;
        loop {
            let now = StoreTime::from_datetime(self.clock.wall());
            let due = self.next.get().map(|at| at.since(now).max(WAIT_MIN));
            let at = due.map_or(end, |wait| end.min(self.clock.boottime() + wait));
            tokio::select! {
                biased;
                () = self.clock.sleep_until(at) => return,
                () = self.next.sooner.notified() => {}
            }
        }
    }

    /// Removes everything that is past its time.
    ///
    /// # Errors
    /// [`JournalError`]; some may be removed.
    pub async fn sweep(&self) -> Result<(), JournalError> {
        loop {
            let (due, next) = self.due().await.map_err(JournalError::Store)?;
            let is_last = due.len() < TOGETHER_MAX as usize;
            if is_last {
                self.next.set(next);
            }
            let mut removals = Vec::with_capacity(due.len());
            for places in due {
                let mut needs = vec![
                    Need::Read(places.expiry.clone()),
                    Need::Read(places.message.clone()),
                    Need::Read(places.thread.clone()),
                    Need::Read(places.receipts.clone()),
                ];
                needs.extend(places.file.iter().cloned().map(Need::Read));
                let sent = places.sent.iter();
                needs.extend(
                    sent.flat_map(|(one, other)| [one, other])
                        .cloned()
                        .map(Need::Read),
                );
                let remove = move |draft: &mut Draft<'_>| remove(draft, &places);
                removals.push(self.journal.submit(needs, remove).await?);
            }
            for removal in removals {
                removal.settled().await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// What is past its time, and when the first is that is not.
    async fn due(&self) -> Result<(Vec<Places>, Option<StoreTime>), StoreError> {
        let now = StoreTime::from_datetime(self.clock.wall());
        let query = queries::expiries(&self.account_id)?.limit(TOGETHER_MAX);
        let page = self.store.query(&query).await?;
        let found = page.documents.iter().filter_map(ExpiryDoc::read_or_skip);
        let mut all = Vec::new();
        let mut next = None;
        for expiry in found {
            if expiry.value.expires_at > now {
                next = Some(expiry.value.expires_at);
                break;
            }
            let id = expiry.path.id();
            let thread = &expiry.value.thread_id;
            all.push(Places {
                message: collections::message(thread, id)?,
                thread: collections::thread(thread)?,
                receipts: collections::receipts(id)?,
                file: None,
                sent: None,
                expiry: expiry.path,
            });
        }
        let paths: Vec<Path> = all.iter().map(|places| places.message.clone()).collect();
        if paths.is_empty() {
            return Ok((all, next));
        }
        let snapshot = self.store.get(&paths).await?;
        for (places, document) in all.iter_mut().zip(&snapshot.documents) {
            let Some(message) = document.as_ref().and_then(MessageDoc::read_or_skip) else {
                continue;
            };
            if let Some(id) = message.value.outbox_id {
                places.sent = Some((collections::outbox(&id)?, collections::wa_outbox(&id)?));
            }
            if let Some(file) = message.value.received {
                places.file = Some(collections::received_media(&file.id)?);
            }
        }
        Ok((all, next))
    }
}

/// Removes one message, with its event.
fn remove(draft: &mut Draft<'_>, places: &Places) -> Result<(), DraftError> {
    let Some(mut expiry) = draft.get::<ExpiryDoc>(&places.expiry)? else {
        return Ok(());
    };
    if expiry.expires_at > draft.now() {
        return Ok(());
    }
    if let Some((asked, sent)) = &places.sent {
        if let Some(mut record) = draft.get::<WaOutboxDoc>(sent)? {
            if record.open {
                expiry.expires_at = draft.now().saturating_add(UNSENT_WAIT);
                return draft.put(places.expiry.clone(), &expiry);
            }
            record.payload = Bytes::new();
            draft.put(sent.clone(), &record)?;
        }
        if let Some(mut record) = draft.get::<OutboxDoc>(asked)? {
            record.body = String::new();
            draft.put(asked.clone(), &record)?;
        }
    }
    draft.remove(places.expiry.clone())?;
    draft.remove(places.receipts.clone())?;
    if let Some(file) = &places.file {
        draft.remove(file.clone())?;
    }
    let Some(message) = draft.get::<MessageDoc>(&places.message)? else {
        return Ok(());
    };
    draft.remove(places.message.clone())?;
    if let Some(mut thread) = draft.get::<ThreadDoc>(&places.thread)? {
        let is_unread =
            message.direction == Direction::In && message.state == MessageState::Received;
        let is_latest = thread.last_message_id.as_deref() == Some(places.message.id());
        if is_unread {
            thread.unread = (thread.unread - 1).max(0);
        }
        if is_latest {
            thread.last_message_preview = Some(Preview::of_kind(EXPIRED).into());
        }
        if is_unread || is_latest {
            draft.put(places.thread.clone(), &thread)?;
        }
    }
    draft.event(
        EventKind::MessageChanged,
        [
            ("threadId", places.thread.id().to_owned()),
            ("messageId", places.message.id().to_owned()),
            ("change", EXPIRED.to_owned()),
        ],
    );
    Ok(())
}

/// When a message is to be gone: `seconds` after it was written; never for 0.
pub fn expires_at(written_at: StoreTime, seconds: Option<u32>) -> Option<StoreTime> {
    let seconds = seconds.filter(|seconds| *seconds > 0)?;
    Some(written_at.saturating_add(Duration::from_secs(u64::from(seconds))))
}

/// Notes in a draft when a message of a thread is to be gone. Its place in
/// `expiries` must have been announced.
///
/// # Errors
/// [`DraftError`].
pub fn note(
    draft: &mut Draft<'_>,
    path: &Path,
    thread_id: &str,
    at: StoreTime,
) -> Result<(), DraftError> {
    let expiry = ExpiryDoc {
        account_id: draft.account_id().to_owned(),
        thread_id: thread_id.to_owned(),
        expires_at: at,
    };
    draft.put(path.clone(), &expiry)
}

#[cfg(test)]
mod tests;
