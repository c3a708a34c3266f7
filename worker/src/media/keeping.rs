//! Keeps files that came with messages, since WhatsApp removes its own after
//! some weeks.
//!
//! That a file is to be kept is noted in the commit that stores its message
//! ([`ReceivedMediaDoc`]), and stays noted until it is decided: so an owner that
//! dies at any instant leaves its work to the next one. The owner fetches the
//! file, puts it into the media store, and then says so in a fenced commit.
//! Killed in between, the next owner writes the same file under the same name.
//!
//! What is kept is WhatsApp's own ciphertext, which only the key in the message
//! opens, and that is sealed with the account's data key: whoever reads the
//! bucket reads nothing, and once the message is gone nobody does. Its hash and
//! its MAC were right before it is said to be kept.
//!
//! | Module | Holds |
//! |---|---|
//! | [`rule`] | which files, and what follows from an attempt; pure |

pub mod rule;

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gate;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Document, Store, StoreError, StoreTime};
use futures::StreamExt;
use session::DataKey;
use tokio::sync::{Notify, Semaphore};
use whatsapp::media::{MediaError, MediaFetcher};

pub use self::rule::{KeepMedia, MediaKinds};
use self::rule::{Outcome, Verdict};
use super::{FileName, MediaStore, MediaStoreError};
use crate::events::{Draft, DraftError, Journal, JournalError, Need};
use crate::messages::arrival::media_ref;
use crate::model::stored::Record;
use crate::model::{
    AccountDoc, EventKind, MessageDoc, Read, ReceivedMediaDoc, Stored, collections, queries,
};
use crate::telemetry::metrics;

/// Files that a worker fetches at a time, for all its accounts: each takes as
/// much of the disk while it is fetched, and some kilobytes of memory.
pub const FETCHES_MAX: usize = 4;

/// Files of one account that are looked for at a time.
const TOGETHER_MAX: u32 = 20;

/// The wait after the store has failed.
const STORE_WAIT: Duration = Duration::from_secs(5);

/// How much a wait may be longer or shorter.
const WAIT_SPREAD: f64 = 0.2;

/// Keeps the files of one account, as long as the claim lasts.
pub struct Keeping {
    /// Whose files.
    pub account_id: String,
    /// Where they are noted.
    pub store: Store,
    /// Through which is noted what becomes of them.
    pub journal: Journal,
    /// Where they are put.
    pub media: MediaStore,
    /// Fetches them.
    pub fetcher: MediaFetcher,
    /// Opens what is known of them.
    pub data_key: Arc<DataKey>,
    /// Which are kept.
    pub config: KeepMedia,
    /// Whose turn it is in this worker.
    pub turn: Arc<Semaphore>,
    /// Tells that one has come.
    pub news: Arc<Notify>,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub rng: SharedRng,
}

impl Keeping {
    /// Keeps files until the claim's gate closes.
    pub async fn run(self, gate: Gate) {
        tokio::select! {
            biased;
            _ = gate.closed() => {}
            () = self.keep_all() => {}
        }
    }

    async fn keep_all(&self) {
        loop {
            let next = match self.keep_due().await {
                Ok(next) => next,
                Err(error) if error.is_over() => return,
                Err(error) => {
                    tracing::warn!(account.id = %self.account_id, %error, "files are not kept yet");
                    Some(STORE_WAIT)
                }
            };
            let due = async {
                match next {
                    Some(wait) => self.clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {}
                () = self.news.notified() => {}
            }
        }
    }

    /// Makes an attempt at every file whose turn it is. Gives how long the next
    /// one waits, if there is one.
    ///
    /// # Errors
    /// [`JournalError`]; some may be settled.
    pub async fn keep_due(&self) -> Result<Option<Duration>, JournalError> {
        loop {
            let query = queries::received_media_open(&self.account_id)
                .map_err(JournalError::Store)?
                .limit(TOGETHER_MAX);
            let page = self.store.query(&query).await;
            let page = page.map_err(JournalError::Store)?;
            let found = page.documents.iter();
            let found = found.filter_map(ReceivedMediaDoc::read_or_skip);
            let now = self.now();
            let mut next: Option<Duration> = None;
            let mut due = Vec::new();
            for file in found {
                match rule::waits(file.value.next_at, now) {
                    None => due.push(file),
                    Some(wait) => next = Some(next.map_or(wait, |next| next.min(wait))),
                }
            }
            if due.is_empty() {
                return Ok(next);
            }
            let attempts = futures::stream::iter(due).map(|file| self.attempt(file));
            let mut attempts = attempts.buffer_unordered(FETCHES_MAX);
            while let Some(attempted) = attempts.next().await {
                attempted?;
            }
        }
    }

    async fn attempt(&self, file: Record<ReceivedMediaDoc>) -> Result<(), JournalError> {
        // Nobody closes it.
        let _turn = self.turn.acquire().await;
        let outcome = self.keep(&file).await.map_err(JournalError::Store)?;
        self.settle(file, outcome).await
    }

    /// Fetches a file and puts it where files lie.
    async fn keep(&self, file: &Record<ReceivedMediaDoc>) -> Result<Outcome, StoreError> {
        let ReceivedMediaDoc {
            thread_id,
            message_id,
            ..
        } = &file.value;
        let paths = [
            collections::message(thread_id, message_id)?,
            collections::account(&self.account_id)?,
        ];
        let snapshot = self.store.get(&paths).await?;
        let [Some(message), Some(account)] = &snapshot.documents[..] else {
            return Ok(Outcome::Broken);
        };
        let (Some(message), Some(account)) =
            (known::<MessageDoc>(message)?, known::<AccountDoc>(account)?)
        else {
            // A newer worker knows what to do.
            return Ok(Outcome::StoreFailed);
        };
        let Some(media) = media_ref(&message, &self.data_key) else {
            return Ok(Outcome::Broken);
        };
        let proxy = account.proxy.as_ref();
        let proxy = proxy.map(|sealed| sealed.open(&self.data_key, &self.account_id));
        let Ok(proxy) = proxy.transpose() else {
            // There is no way around it; somebody may set it anew.
            return Ok(Outcome::HostFailed);
        };
        let temporary = match self.media.temporary() {
            Ok(temporary) => temporary,
            Err(error) => return Ok(self.store_failed(file, &error.into())),
        };
        let limit = self.config.bytes_max;
        let fetched = self.fetcher.fetch_sealed(&media, proxy, temporary, limit);
        let sealed = match fetched.await {
            Ok(sealed) => sealed,
            Err(MediaError::TooLarge { .. }) => return Ok(Outcome::TooLarge),
            Err(MediaError::Gone) => return Ok(Outcome::Gone),
            Err(MediaError::Incomplete | MediaError::Broken) => return Ok(Outcome::Broken),
            Err(MediaError::Unavailable) => return Ok(Outcome::HostFailed),
            Err(MediaError::Disk(error)) => return Ok(self.store_failed(file, &error.into())),
        };
        let name = FileName::received(&self.account_id, file.path.id());
        let stored = match name {
            Ok(name) => self.media.put(&name, sealed).await,
            Err(error) => Err(error),
        };
        Ok(match stored {
            Ok(bytes) => Outcome::Stored { bytes },
            Err(error) => self.store_failed(file, &error),
        })
    }

    fn store_failed(&self, file: &Record<ReceivedMediaDoc>, error: &MediaStoreError) -> Outcome {
        let error: &dyn std::error::Error = error;
        tracing::warn!(account.id = %self.account_id, media.id = file.path.id(), error, "a received file was not put into the media store");
        Outcome::StoreFailed
    }

    /// Notes what became of an attempt.
    async fn settle(
        &self,
        file: Record<ReceivedMediaDoc>,
        outcome: Outcome,
    ) -> Result<(), JournalError> {
        let verdict = rule::after(outcome, file.value.attempts);
        let bytes = match outcome {
            Outcome::Stored { bytes } => bytes,
            Outcome::Gone
            | Outcome::TooLarge
            | Outcome::Broken
            | Outcome::HostFailed
            | Outcome::StoreFailed => 0,
        };
        let settling = Settling {
            next_at: match verdict {
                Verdict::Settled(_) => file.value.next_at,
                Verdict::Again(wait) => {
                    let wait = self.rng.jitter(wait, WAIT_SPREAD);
                    self.now().saturating_add(wait)
                }
            },
            file,
            verdict,
            bytes,
        };
        let needs = settling.needs().map_err(JournalError::Store)?;
        let settled = self
            .journal
            .apply(needs, move |draft| settling.settle(draft));
        let is_noted = settled.await?;
        match verdict {
            _ if !is_noted => {}
            Verdict::Settled(state) => metrics::file_settled(state, bytes),
            Verdict::Again(_) => metrics::file_retried(),
        }
        Ok(())
    }

    fn now(&self) -> StoreTime {
        StoreTime::from_datetime(self.clock.wall())
    }
}

fn known<T: Stored>(document: &Document) -> Result<Option<T>, StoreError> {
    Ok(match T::read(document)? {
        Read::Known(record) => Some(record.value),
        Read::Newer(_) => None,
    })
}

/// What is noted of an attempt.
struct Settling {
    file: Record<ReceivedMediaDoc>,
    verdict: Verdict,
    /// Not to be tried before, if it is to be tried.
    next_at: StoreTime,
    /// Bytes in the media store.
    bytes: u64,
}

impl Settling {
    fn needs(&self) -> Result<Vec<Need>, StoreError> {
        let file = &self.file.value;
        let message = collections::message(&file.thread_id, &file.message_id)?;
        Ok(vec![
            Need::Read(self.file.path.clone()),
            Need::Read(message),
        ])
    }

    /// Makes the change. False, if there is nothing to note: the message is gone,
    /// or has gone elsewhere, where it is looked at again.
    fn settle(&self, draft: &mut Draft<'_>) -> Result<bool, DraftError> {
        let seen = &self.file.value;
        let path = &self.file.path;
        let Some(mut file) = draft.get::<ReceivedMediaDoc>(path)? else {
            return Ok(false);
        };
        let is_same =
            file.open && file.thread_id == seen.thread_id && file.message_id == seen.message_id;
        if !is_same {
            return Ok(false);
        }
        let message_path = collections::message(&file.thread_id, &file.message_id)?;
        let message = draft.get::<MessageDoc>(&message_path)?;
        let has_file = |message: &MessageDoc| {
            let file = message.received.as_ref();
            file.is_some_and(|file| file.id == path.id())
        };
        let Some(mut message) = message.filter(has_file) else {
            draft.remove(path.clone())?;
            return Ok(false);
        };
        let state = match self.verdict {
            Verdict::Settled(state) => state,
            Verdict::Again(_) => {
                file.attempts = file.attempts.saturating_add(1);
                file.next_at = self.next_at;
                draft.put(path.clone(), &file)?;
                return Ok(true);
            }
        };
        match state.has_document() {
            true => {
                file.open = false;
                file.bytes = Some(i64::try_from(self.bytes).unwrap_or(i64::MAX));
                draft.put(path.clone(), &file)?;
            }
            false => draft.remove(path.clone())?,
        }
        if let Some(received) = &mut message.received {
            received.state = state;
        }
        draft.put(message_path, &message)?;
        draft.event(
            EventKind::MessageChanged,
            [
                ("threadId", file.thread_id.clone()),
                ("messageId", file.message_id.clone()),
                ("change", "media".to_owned()),
                ("kept", state.as_str().to_owned()),
            ],
        );
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
