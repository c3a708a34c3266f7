//! The engine's durable write: a decrypted message becomes documents.
//!
//! Message, thread and event are one fenced commit; the engine acknowledges to
//! WhatsApp after it. What comes again is found by its id and changes nothing.
//! What changes another message (a reaction, an edit, …) changes that one; if
//! it is not there, it is stored as a message of its own, so that nothing is
//! lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::mutation::{self, Mutation};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Path, Store, StoreError, StoreTime};
use session::DataKey;
use tokio::sync::Notify;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use whatsapp::content::Target;
use whatsapp::history::{HistoryPiece, Person};
use whatsapp::{Content, Inbound, Inbox, InboxError, MessageKey};

use super::arrival::{Arrival, Kept, UNDECRYPTABLE};
use super::contacts::ContactBook;
use super::expiry::NextExpiry;
use super::history::HistoryConfig;
use super::history::intake::Intake;
use super::identity::{self, ME, PEER, Peer};
use super::threads::ThreadBook;
use crate::events::{Journal, JournalError, Need, Submitted};
use crate::killpoint::{self, KillPoint};
use crate::media::keeping::{KeepMedia, rule};
use crate::model::media::{KeptState, ReceivedFile};
use crate::model::{AccountDoc, GroupDoc, MessageDoc, Stored, ThreadKind, collections, ids};
use crate::outbox::marks::InboundMarks;
use crate::telemetry::{metrics, spans};

/// What is kept of what arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxConfig {
    /// Status updates of contacts, which nobody wrote to the account.
    pub status_updates: bool,
    /// Calls are refused at once.
    pub reject_calls: bool,
    /// Between two looks for messages that are to be gone.
    pub expiry_interval: Duration,
    /// What the phone gives when it is linked.
    pub history: HistoryConfig,
    /// Which files are kept, if any are.
    pub keep_media: Option<KeepMedia>,
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self {
            status_updates: false,
            reject_calls: false,
            expiry_interval: Duration::from_secs(10 * 60),
            history: HistoryConfig::default(),
            keep_media: None,
        }
    }
}

/// What an inbox works with.
pub struct InboxParts {
    /// Whose.
    pub account_id: String,
    /// Where the account's own addresses are.
    pub store: Store,
    /// Through which it writes.
    pub journal: Journal,
    /// Which thread a chat belongs to.
    pub threads: Arc<ThreadBook>,
    /// Who is who.
    pub contacts: Arc<ContactBook>,
    /// Takes history in.
    pub history: Intake,
    /// Who has written.
    pub marks: Arc<InboundMarks>,
    /// When the next message is to be gone.
    pub expiries: Arc<NextExpiry>,
    /// Tells that a file is to be kept.
    pub files: Arc<Notify>,
    /// For `/debug`.
    pub counters: Arc<InboxCounters>,
    /// Seals and opens secrets of polls.
    pub data_key: Arc<DataKey>,
    /// Nonces.
    pub rng: SharedRng,
    /// What is kept.
    pub config: InboxConfig,
    /// When this engine instance began.
    pub connected_at: StoreTime,
}

/// The inbox of one engine instance.
pub struct AccountInbox {
    parts: InboxParts,
}

/// What an inbox has seen.
#[derive(Debug, Default)]
pub struct InboxCounters {
    /// Stored for the first time.
    pub stored: AtomicU64,
    /// Seen again; nothing changed.
    pub repeated: AtomicU64,
    /// Changes to other messages.
    pub changed: AtomicU64,
    /// Not kept, as configured.
    pub left_out: AtomicU64,
}

/// A message on its way into the store.
struct Queued {
    change: Submitted<Kept>,
    /// Where its file stands, if it is one that is kept.
    file: Option<KeptState>,
}

impl AccountInbox {
    /// An inbox that writes through a journal.
    pub fn new(parts: InboxParts) -> Self {
        Self { parts }
    }

    /// Queues the change that stores one message.
    async fn submit(&self, message: Inbound) -> Result<Queued, JournalError> {
        let arrival = self.arrival(message).await.map_err(JournalError::Store)?;
        let file = arrival.received.as_ref().map(|file| file.state);
        if let Some(at) = arrival.expires_at() {
            self.parts.expiries.note(at);
        }
        let mut needs = vec![
            Need::Read(arrival.thread_path.clone()),
            Need::New(arrival.message_path.clone()),
        ];
        needs.extend(arrival.targets.iter().cloned().map(Need::Read));
        needs.extend(arrival.group_path.iter().cloned().map(Need::Read));
        needs.extend(arrival.expiry_path.iter().cloned().map(Need::New));
        needs.extend(arrival.received_path.iter().cloned().map(Need::New));
        let journal = &self.parts.journal;
        let submitted = journal.submit(needs, move |draft| arrival.store(draft));
        Ok(Queued {
            change: submitted.await?,
            file,
        })
    }

    /// The file of a message, if it is one that is kept.
    fn received(&self, message: &Inbound) -> Option<ReceivedFile> {
        let config = self.parts.config.keep_media.as_ref()?;
        let media = message.media.as_ref()?;
        let state = rule::on_arrival(media, message.extras.view_once, config)?;
        Some(ReceivedFile {
            id: ids::received(message.timestamp, self.parts.rng.as_ref()),
            state,
        })
    }

    async fn arrival(&self, message: Inbound) -> Result<Arrival, StoreError> {
        let parts = &self.parts;
        let peer = Peer::new(&message.chat, other_addresses(&message));
        let thread_id = parts.threads.thread_of(&peer).await?;
        if !message.from_me {
            parts.marks.mark(&thread_id);
        }
        let kind = ThreadKind::of(&peer.chat);
        let sender = identity::sender_key(
            kind,
            &message.sender,
            message.sender_alt.as_deref(),
            message.from_me,
        );
        let mut targets = Vec::new();
        if let Some(target) = message.content.target() {
            let number = self.number_in_group(kind, &thread_id, target).await?;
            let authors = authors(kind, &sender, &message.content, target);
            for author in authors.into_iter().chain(number) {
                let id = ids::message(&thread_id, &author, &target.id);
                targets.push(collections::message(&thread_id, &id)?);
            }
        }
        let own = if let Content::Vote { .. } = message.content {
            self.own_addresses().await?
        } else {
            Vec::new()
        };
        let id = ids::message(&thread_id, &sender, &message.id);
        let received = self.received(&message);
        Ok(Arrival {
            received_path: match &received {
                Some(file) if file.state.has_document() => {
                    Some(collections::received_media(&file.id)?)
                }
                Some(_) | None => None,
            },
            received,
            expiry_path: match message.extras.expires_after_seconds {
                Some(_) => Some(collections::expiry(&id)?),
                None => None,
            },
            group_path: match kind {
                ThreadKind::Group => Some(collections::group(&thread_id)?),
                ThreadKind::Direct | ThreadKind::Status | ThreadKind::Other => None,
            },
            thread_path: collections::thread(&thread_id)?,
            message_path: collections::message(&thread_id, &id)?,
            targets,
            account_id: parts.account_id.clone(),
            connected_at: parts.connected_at,
            peer,
            own,
            data_key: Arc::clone(&parts.data_key),
            rng: Arc::clone(&parts.rng),
            message,
        })
    }

    /// Whether a message of this name is stored, and not as a placeholder.
    async fn known(&self, key: MessageKey<'_>) -> Result<bool, StoreError> {
        let peer = Peer::new(key.chat, []);
        let thread = self.parts.threads.thread_of(&peer).await?;
        let kind = ThreadKind::of(&peer.chat);
        let sender = identity::sender_key(kind, key.sender, key.sender_alt, false);
        let paths = [ME, sender.as_str()]
            .map(|sender| collections::message(&thread, &ids::message(&thread, sender, key.id)));
        let [mine, theirs] = paths;
        let found = self.parts.store.get(&[mine?, theirs?]).await?;
        let wire_sender = Some(identity::bare(key.sender));
        let mut messages = found.documents.iter().flatten();
        Ok(messages.any(|document| {
            MessageDoc::read_or_skip(document).is_some_and(|message| {
                message.value.kind != UNDECRYPTABLE && message.value.wire_sender == wire_sender
            })
        }))
    }

    /// The number of whoever wrote the message that another one changes, where
    /// that names them by LID: messages are stored under the number.
    async fn number_in_group(
        &self,
        kind: ThreadKind,
        thread_id: &str,
        target: &Target,
    ) -> Result<Option<String>, StoreError> {
        let participant = target.participant.as_deref().map(identity::bare);
        let lid = participant.filter(|address| identity::is_lid(address));
        let (ThreadKind::Group, Some(lid)) = (kind, lid) else {
            return Ok(None);
        };
        let snapshot = self
            .parts
            .store
            .get(&[collections::group(thread_id)?])
            .await?;
        let group = snapshot.documents.iter().flatten().next();
        let group = group.and_then(GroupDoc::read_or_skip);
        Ok(group.and_then(|group| group.value.number_of(&lid).map(str::to_owned)))
    }

    /// Learns what writers are called. Messages are stored already, and nothing
    /// depends on a name.
    async fn learn_names(&self, people: Vec<Person>) {
        for person in people {
            let learnt = self.parts.contacts.learn_name(&self.parts.journal, person);
            if let Err(error) = learnt.await {
                tracing::debug!(account.id = %self.parts.account_id, %error, "name not learnt");
                return;
            }
        }
    }

    /// Notes what became of a message that is durable.
    fn note(&self, kept: Kept, file: Option<KeptState>, span: &Span) {
        let counters = &self.parts.counters;
        let (counter, outcome) = match kept {
            Kept::Stored => {
                self.file_came(file);
                (&counters.stored, "stored")
            }
            Kept::Repeated => (&counters.repeated, "repeated"),
            Kept::Changed => (&counters.changed, "changed"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        span.record("message.outcome", outcome);
        metrics::received(outcome);
    }

    /// A message is stored whose file stands so.
    fn file_came(&self, file: Option<KeptState>) {
        match file {
            Some(KeptState::Pending) => self.parts.files.notify_one(),
            Some(state @ (KeptState::Expired | KeptState::TooLarge | KeptState::Failed)) => {
                metrics::file_settled(state, 0);
            }
            Some(KeptState::Kept) | None => {}
        }
    }

    async fn own_addresses(&self) -> Result<Vec<String>, StoreError> {
        let path: Path = collections::account(&self.parts.account_id)?;
        let snapshot = self.parts.store.get(&[path]).await?;
        let account = snapshot.documents.iter().flatten().next();
        let account = account.and_then(AccountDoc::read_or_skip);
        let addresses = account.map(|account| [account.value.jid, account.value.lid]);
        Ok(addresses
            .into_iter()
            .flatten()
            .flatten()
            .map(|address| identity::bare(&address))
            .collect())
    }
}

/// Who may have written the message that another one changes: as
/// [`identity::sender_key`] tells people apart. Only its author edits one, and
/// in a chat between two only its author takes it back.
fn authors(kind: ThreadKind, by: &str, content: &Content, target: &Target) -> Vec<String> {
    let is_authors_only = match content {
        Content::Edit { .. } => true,
        Content::Revoke { .. } => kind == ThreadKind::Direct,
        Content::Text(_)
        | Content::Location(_)
        | Content::Contacts(_)
        | Content::Poll(_)
        | Content::Media(_)
        | Content::Reaction { .. }
        | Content::Vote { .. }
        | Content::Timer { .. }
        | Content::Other { .. } => false,
    };
    if target.from_me || is_authors_only {
        return vec![by.to_owned()];
    }
    match (kind, &target.participant) {
        (ThreadKind::Direct, _) if by == ME => vec![PEER.to_owned()],
        (ThreadKind::Direct, _) => vec![ME.to_owned()],
        (_, Some(participant)) => vec![identity::bare(participant), ME.to_owned()],
        (_, None) => vec![ME.to_owned()],
    }
}

#[async_trait]
impl Inbox for AccountInbox {
    async fn commit(&self, batch: Vec<Inbound>) -> Result<(), InboxError> {
        killpoint::reach(KillPoint::InsideHook);
        // Queued one after the other, so stored in order; settled together.
        let mut submitted = Vec::with_capacity(batch.len());
        let mut outcome = Ok(());
        let people: Vec<Person> = batch.iter().filter_map(writer).collect();
        for message in batch {
            let is_status = ThreadKind::of(&message.chat) == ThreadKind::Status;
            if is_status && !self.parts.config.status_updates {
                self.parts.counters.left_out.fetch_add(1, Ordering::Relaxed);
                metrics::received("left_out");
                continue;
            }
            let span = info_span!(
                parent: None,
                "message.receive",
                otel.kind = "consumer",
                otel.status_code = Empty,
                account.id = self.parts.account_id,
                message.kind = message.content.name(),
                message.outcome = Empty,
            );
            match self.submit(message).instrument(span.clone()).await {
                Ok(queued) => submitted.push((queued, span)),
                Err(error) => {
                    outcome = Err(not_stored(&span, error));
                    break;
                }
            }
        }
        if mutation::is_on(Mutation::AckBeforeCommit) {
            return Ok(());
        }
        // What is queued is stored, whatever becomes of the others.
        for (queued, span) in submitted {
            match queued.change.settled().instrument(span.clone()).await {
                Ok(kept) => self.note(kept, queued.file, &span),
                Err(error) => outcome = outcome.and(Err(not_stored(&span, error))),
            }
        }
        outcome?;
        killpoint::reach(KillPoint::AfterHook);
        self.learn_names(people).await;
        Ok(())
    }

    async fn holds(&self, key: MessageKey<'_>) -> Result<bool, InboxError> {
        let known = self.known(key).await;
        known.map_err(|error| InboxError::Store(error.into()))
    }

    async fn keep_history(&self, piece: &HistoryPiece) -> Result<(), InboxError> {
        if !self.parts.config.history.keep {
            return Ok(());
        }
        self.parts.history.keep(piece).await.map_err(inbox_error)
    }
}

/// Who wrote a message, by the name that came with it.
fn writer(message: &Inbound) -> Option<Person> {
    if message.from_me || message.push_name.is_empty() {
        return None;
    }
    let addresses = [Some(&message.sender), message.sender_alt.as_ref()];
    let addresses = addresses.into_iter().flatten();
    let of = |is: fn(&str) -> bool| addresses.clone().find(|address| is(address)).cloned();
    Some(Person {
        pn: of(identity::is_pn),
        lid: of(identity::is_lid),
        name: None,
        push_name: Some(message.push_name.clone()),
    })
}

/// Under what else a message names the peer of a direct chat.
fn other_addresses(message: &Inbound) -> impl Iterator<Item = &str> {
    let senders = message.sender_alt.as_deref().filter(|_| !message.from_me);
    std::iter::once(message.wire_chat.as_str()).chain(senders)
}

/// A message that was not stored is not acknowledged, and comes again; where the
/// claim is over, to the next owner.
fn not_stored(span: &Span, error: JournalError) -> InboxError {
    span.record("message.outcome", "not_stored");
    if !error.is_over() {
        spans::failed(span);
    }
    inbox_error(error)
}

fn inbox_error(error: JournalError) -> InboxError {
    if error.is_over() {
        InboxError::NotOwner
    } else {
        InboxError::Store(error.into())
    }
}

#[cfg(test)]
mod tests;
