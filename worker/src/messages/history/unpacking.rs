//! Reads durable pieces of history into threads and contacts, in peace.
//!
//! A piece at a time for the whole worker, so that however many accounts are
//! linked at once no more than one is unpacked in memory; and a change at a
//! time for the account, so that a live message waits for one commit at most.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Path, Store, StoreError, StoreTime};
use session::DataKey;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use whatsapp::history::{
    HistoryKind, PastChat, Person, UnpackError, UnpackLimits, UnpackReport, Unpacked, unpack,
};

use super::intake::part_purpose;
use super::past::{Keeper, peer_of};
use super::{HistoryConfig, UNPACKED_TIMES};
use crate::events::{Journal, JournalError, Need};
use crate::messages::contacts::ContactBook;
use crate::messages::threads::ThreadBook;
use crate::model::stored::Record;
use crate::model::{
    EventKind, HistoryCounts, HistoryPartDoc, HistoryPieceDoc, PieceState, Stored, ThreadKind,
    collections, queries,
};

/// Conversations between the thread that reads and the task that stores.
const CHATS_AHEAD: usize = 1;

/// People that are learnt together.
const PEOPLE_TOGETHER: usize = 50;

/// Parts that are read together.
const PARTS_TOGETHER: usize = 4;

/// Pieces that are looked for together.
const PIECES_TOGETHER: u32 = 20;

/// The wait after a failure.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// Unpacks the pieces of one account while its engine runs.
pub struct Unpacking {
    /// Whose.
    pub account_id: String,
    /// The owner's epoch.
    pub epoch: i64,
    /// Where pieces are.
    pub store: Store,
    /// Through which it writes.
    pub journal: Journal,
    /// Which thread a chat belongs to.
    pub threads: Arc<ThreadBook>,
    /// Who is who.
    pub contacts: Arc<ContactBook>,
    /// Opens what is sealed, and seals it.
    pub data_key: Arc<DataKey>,
    /// Nonces.
    pub rng: SharedRng,
    /// Time.
    pub clock: SharedClock,
    /// Runs what must not be waited for.
    pub tracker: TaskTracker,
    /// How much is kept.
    pub config: HistoryConfig,
    /// Whose turn it is in this worker.
    pub turn: Arc<Semaphore>,
    /// Tells that a piece has come.
    pub news: Arc<Notify>,
}

/// Why a piece was not settled.
#[derive(Debug, thiserror::Error)]
enum UnpackingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What reading a piece came to.
type Outcome = Result<UnpackReport, UnpackError>;

impl Unpacking {
    /// Settles pieces until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.settle_all() => {}
        }
    }

    async fn settle_all(&self) {
        loop {
            if let Err(error) = self.settle_open().await {
                tracing::warn!(account.id = %self.account_id, %error, "history is not settled yet");
                self.clock.sleep(RETRY_WAIT).await;
                continue;
            }
            self.news.notified().await;
        }
    }

    /// Settles what is open: what the last owner left, and what has come since.
    async fn settle_open(&self) -> Result<(), UnpackingError> {
        loop {
            let query = queries::history_open(&self.account_id)?;
            let page = self.store.query(&query.limit(PIECES_TOGETHER)).await?;
            let pieces = page.documents.iter();
            let pieces = pieces.filter_map(HistoryPieceDoc::read_or_skip);
            // What this owner is still taking in is announced once it is whole.
            let is_ready = |piece: &Record<HistoryPieceDoc>| {
                piece.value.state == PieceState::Whole || piece.value.epoch < self.epoch
            };
            let ready: Vec<_> = pieces.filter(is_ready).collect();
            if ready.is_empty() {
                return Ok(());
            }
            for piece in ready {
                self.settle(&piece.path, &piece.value).await?;
            }
        }
    }

    /// Brings one piece to its end.
    async fn settle(&self, path: &Path, piece: &HistoryPieceDoc) -> Result<(), UnpackingError> {
        match piece.state {
            PieceState::Whole => {
                // Nobody closes it.
                let _turn = self.turn.acquire().await;
                let mut counts = HistoryCounts::default();
                let state = match self.unpack(path, piece, &mut counts).await? {
                    Ok(report) => {
                        counts.left_out += report.chats_left_out as i64;
                        PieceState::Stored
                    }
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(account.id = %self.account_id, error, "a piece of history is broken");
                        PieceState::Lost
                    }
                };
                self.close(path, piece, state, counts).await
            }
            PieceState::Coming => {
                tracing::warn!(account.id = %self.account_id, "a piece of history was lost with its owner");
                let counts = HistoryCounts::default();
                self.close(path, piece, PieceState::Lost, counts).await
            }
            // Settled by somebody.
            PieceState::Stored | PieceState::Lost => Ok(()),
        }
    }

    /// Stores what is in a piece, and counts it.
    async fn unpack(
        &self,
        path: &Path,
        piece: &HistoryPieceDoc,
        counts: &mut HistoryCounts,
    ) -> Result<Outcome, UnpackingError> {
        let wanted = self.config.keep && piece.kind != HistoryKind::Status;
        let compressed = match wanted {
            true => self.whole(path, piece).await?,
            false => return Ok(Ok(UnpackReport::default())),
        };
        let now = StoreTime::from_datetime(self.clock.wall());
        let limits = UnpackLimits {
            unpacked_bytes_max: UNPACKED_TIMES * self.config.piece_bytes_max,
            since: self.config.since(now).to_datetime().unwrap_or_default(),
            chat_messages_max: self.config.chat_messages_max as usize,
        };
        let (ahead, mut unpacked) = mpsc::channel(CHATS_AHEAD);
        let reading = self.tracker.spawn_blocking(move || {
            unpack(&compressed, &limits, |item| {
                match ahead.blocking_send(item) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Whoever stores it has gone.
                    Err(_) => ControlFlow::Break(()),
                }
            })
        });
        let mut people: Vec<Person> = Vec::new();
        while let Some(item) = unpacked.recv().await {
            match item {
                Unpacked::Person(person) => people.push(person),
                Unpacked::Chat(chat) => {
                    people.extend(named_peer(&chat));
                    self.shelve(*chat, counts).await?;
                }
            }
            if people.len() >= PEOPLE_TOGETHER {
                counts.contacts += self.learn(std::mem::take(&mut people)).await?;
            }
        }
        counts.contacts += self.learn(people).await?;
        match reading.await {
            Ok(outcome) => Ok(outcome),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The program ends.
                Err(_cancelled) => Err(JournalError::Ended.into()),
            },
        }
    }

    async fn learn(&self, people: Vec<Person>) -> Result<i64, JournalError> {
        let learnt = self.contacts.learn(&self.journal, people).await?;
        Ok(i64::try_from(learnt).unwrap_or(i64::MAX))
    }

    /// The piece as it came.
    async fn whole(&self, path: &Path, piece: &HistoryPieceDoc) -> Result<Vec<u8>, StoreError> {
        let mut whole = Vec::with_capacity(usize::try_from(piece.bytes).unwrap_or(0));
        let numbers: Vec<i64> = (0..piece.parts).collect();
        for some in numbers.chunks(PARTS_TOGETHER) {
            let paths = some
                .iter()
                .map(|n| collections::history_part(path.id(), *n));
            let paths = paths.collect::<Result<Vec<_>, _>>()?;
            let snapshot = self.store.get(&paths).await?;
            for (number, document) in some.iter().zip(snapshot.documents) {
                let part = document.as_ref().map(HistoryPartDoc::read).transpose()?;
                let part = part.and_then(|part| part.known());
                let purpose = part_purpose(path.id(), *number);
                let opened = part.and_then(|part| {
                    let sealed = &part.value.sealed;
                    let opened = self
                        .data_key
                        .open_secret(&self.account_id, &purpose, sealed);
                    opened.ok()
                });
                // What is missing makes the piece a broken one.
                whole.extend_from_slice(opened.as_deref().map_or(&[], Vec::as_slice));
            }
        }
        Ok(whole)
    }

    /// Stores one conversation.
    async fn shelve(
        &self,
        chat: PastChat,
        counts: &mut HistoryCounts,
    ) -> Result<(), UnpackingError> {
        counts.left_out += chat.left_out as i64;
        let peer = peer_of(&chat);
        let messages = chat.messages.len() as i64;
        match ThreadKind::of(&peer.chat) {
            ThreadKind::Direct | ThreadKind::Group if messages > 0 => {}
            ThreadKind::Direct | ThreadKind::Group | ThreadKind::Status | ThreadKind::Other => {
                counts.left_out += messages;
                return Ok(());
            }
        }
        let thread_id = self.threads.thread_of(&peer).await?;
        let keeper = Keeper {
            account_id: self.account_id.clone(),
            data_key: Arc::clone(&self.data_key),
            rng: Arc::clone(&self.rng),
            chat_messages_max: i64::from(self.config.chat_messages_max),
            messages_max: i64::from(self.config.messages_max),
        };
        let mut is_kept = false;
        for bundle in keeper.bundles(chat, &thread_id)? {
            let needs = bundle.needs();
            let stored = self.journal.apply(needs, move |draft| bundle.store(draft));
            let shelved = stored.await?;
            counts.messages += shelved.stored;
            counts.known += shelved.known;
            counts.left_out += shelved.left_out;
            is_kept |= shelved.stored + shelved.known > 0;
        }
        counts.chats += i64::from(is_kept);
        Ok(())
    }

    /// Settles a piece: its parts go, and its event is written.
    async fn close(
        &self,
        path: &Path,
        piece: &HistoryPieceDoc,
        state: PieceState,
        counts: HistoryCounts,
    ) -> Result<(), UnpackingError> {
        let parts = (0..piece.parts).map(|number| collections::history_part(path.id(), number));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let path = path.clone();
        let (before, epoch) = (piece.state, piece.epoch);
        let closed = self
            .journal
            .apply(vec![Need::Read(path.clone())], move |draft| {
                let Some(piece) = draft.get::<HistoryPieceDoc>(&path)? else {
                    return Ok(());
                };
                // A lost one may just be coming again.
                if piece.state != before || piece.epoch != epoch {
                    return Ok(());
                }
                let (kind, progress) = (piece.kind, piece.progress);
                let settled = HistoryPieceDoc {
                    state,
                    open: false,
                    done_at: Some(draft.now()),
                    counts,
                    ..piece
                };
                draft.put(path.clone(), &settled)?;
                for part in &parts {
                    draft.erase(part.clone());
                }
                let data = [
                    ("kind", kind.as_str().to_owned()),
                    ("state", state.as_str().to_owned()),
                    (
                        "progress",
                        progress.map_or_else(String::new, |progress| progress.to_string()),
                    ),
                    ("chats", counts.chats.to_string()),
                    ("messages", counts.messages.to_string()),
                    ("contacts", counts.contacts.to_string()),
                    ("leftOut", counts.left_out.to_string()),
                ];
                draft.event(EventKind::HistoryReceived, data);
                Ok(())
            });
        Ok(closed.await?)
    }
}

/// The peer of a conversation, by the name in the phone's address book.
fn named_peer(chat: &PastChat) -> Option<Person> {
    let peer = peer_of(chat);
    let name = chat.name.clone()?;
    (ThreadKind::of(&peer.chat) == ThreadKind::Direct).then_some(Person {
        pn: peer.pn,
        lid: peer.lid,
        name: Some(name),
        push_name: None,
    })
}
