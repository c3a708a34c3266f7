//! Messages of the past become documents: of their thread, in their place, and
//! of no interest to anybody who waits for news.

use std::sync::Arc;

use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Path, StoreError, StoreTime};
use session::DataKey;
use whatsapp::history::{PastChat, PastMessage, PastState};

use crate::events::{Draft, DraftError, Need};
use crate::messages::arrival::{Arrival, UNDECRYPTABLE};
use crate::messages::expiry;
use crate::messages::identity::{self, ME, Peer, Preview};
use crate::model::message::ReactionDoc;
use crate::model::thread::title_key;
use crate::model::{
    HistoryTotalsDoc, MessageDoc, MessageState, ThreadDoc, ThreadKind, collections, ids,
};

/// Messages of one change, and bytes of their texts: with what others change it
/// must fit into one commit.
const TOGETHER_MAX: usize = 50;
const TOGETHER_BYTES_MAX: usize = 512 * 1024;

/// What all messages of an account have in common.
#[derive(Clone)]
pub struct Keeper {
    /// Whose.
    pub account_id: String,
    /// Seals secrets of polls and places of files.
    pub data_key: Arc<DataKey>,
    /// Nonces.
    pub rng: SharedRng,
    /// Messages of one thread.
    pub chat_messages_max: i64,
    /// Messages of the account.
    pub messages_max: i64,
}

/// Some messages of one conversation, on their way into the store.
pub struct Bundle {
    chat: ChatFacts,
    totals_path: Path,
    thread_path: Path,
    limits: (i64, i64),
    messages: Vec<Placed>,
}

/// What is known of a conversation, its messages aside.
#[derive(Clone)]
struct ChatFacts {
    account_id: String,
    peer: Peer,
    title: Option<String>,
    archived: bool,
    timer_seconds: Option<i64>,
}

/// A message with its place.
struct Placed {
    arrival: Arrival,
    sort_at: StoreTime,
    state: MessageState,
    reactions: Vec<ReactionDoc>,
}

/// What became of a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shelved {
    /// Stored.
    pub stored: i64,
    /// There already.
    pub known: i64,
    /// Left out, because there are enough.
    pub left_out: i64,
}

/// The addresses of a conversation of the past.
pub fn peer_of(chat: &PastChat) -> Peer {
    Peer::new(&chat.chat, chat.alt.as_deref())
}

impl Keeper {
    /// A conversation in bundles, each for a change of its own.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when an id cannot be a document's.
    pub fn bundles(&self, chat: PastChat, thread_id: &str) -> Result<Vec<Bundle>, StoreError> {
        let peer = peer_of(&chat);
        let kind = ThreadKind::of(&peer.chat);
        let thread_path = collections::thread(thread_id)?;
        let totals_path = collections::history_totals(&self.account_id)?;
        let pushed = |message: &&PastMessage| {
            !message.inbound.from_me && !message.inbound.push_name.is_empty()
        };
        let push_name = || {
            let of_peer = chat.messages.iter().rev().find(pushed)?;
            Some(of_peer.inbound.push_name.clone())
        };
        let title = match kind {
            ThreadKind::Direct => chat.name.clone().or_else(push_name),
            ThreadKind::Group | ThreadKind::Status | ThreadKind::Other => chat.name.clone(),
        };
        let facts = ChatFacts {
            account_id: self.account_id.clone(),
            peer: peer.clone(),
            title,
            archived: chat.archived,
            timer_seconds: chat.timer_seconds.map(i64::from),
        };
        let mut bundles = Vec::new();
        let (mut some, mut bytes, mut last) = (Vec::new(), 0, None);
        for message in chat.messages {
            let text = message.inbound.content.text().map_or(0, str::len);
            if some.len() >= TOGETHER_MAX || bytes + text > TOGETHER_BYTES_MAX {
                bundles.push(std::mem::take(&mut some));
                bytes = 0;
            }
            bytes += text;
            let sort_at = place(StoreTime::from_datetime(message.inbound.timestamp), last);
            last = Some(sort_at);
            some.push(self.placed(message, &peer, kind, &thread_path, sort_at)?);
        }
        bundles.push(some);
        bundles.retain(|messages| !messages.is_empty());
        let bundle = |messages| Bundle {
            chat: facts.clone(),
            totals_path: totals_path.clone(),
            thread_path: thread_path.clone(),
            limits: (self.chat_messages_max, self.messages_max),
            messages,
        };
        // The newest first: they are wanted most, if there are too many.
        Ok(bundles.into_iter().rev().map(bundle).collect())
    }

    fn placed(
        &self,
        message: PastMessage,
        peer: &Peer,
        kind: ThreadKind,
        thread_path: &Path,
        sort_at: StoreTime,
    ) -> Result<Placed, StoreError> {
        let inbound = message.inbound;
        let sender = identity::sender_key(
            kind,
            &inbound.sender,
            inbound.sender_alt.as_deref(),
            inbound.from_me,
        );
        let id = ids::message(thread_path.id(), &sender, &inbound.id);
        let state = match (inbound.from_me, message.state) {
            // Nothing of the past is unread.
            (false, _) | (true, PastState::Read) => MessageState::Read,
            (true, PastState::Delivered) => MessageState::Delivered,
            (true, PastState::Sent) => MessageState::Sent,
        };
        let reactions = message.reactions.into_iter().map(|reaction| ReactionDoc {
            sender: reaction.sender.unwrap_or_else(|| ME.to_owned()),
            emoji: reaction.emoji,
            at: StoreTime::from_datetime(reaction.at),
        });
        Ok(Placed {
            sort_at,
            state,
            reactions: reactions.collect(),
            arrival: Arrival {
                expiry_path: match inbound.extras.expires_after_seconds {
                    Some(_) => Some(collections::expiry(&id)?),
                    None => None,
                },
                // What the past holds stays with WhatsApp.
                received: None,
                received_path: None,
                // What a group is called is asked for once the account is online.
                group_path: None,
                account_id: self.account_id.clone(),
                connected_at: sort_at,
                thread_path: thread_path.clone(),
                message_path: collections::message(thread_path.id(), &id)?,
                targets: Vec::new(),
                peer: peer.clone(),
                own: Vec::new(),
                data_key: Arc::clone(&self.data_key),
                rng: Arc::clone(&self.rng),
                message: inbound,
            },
        })
    }
}

/// Where a message stands: at the time at which it was written, which is told
/// in seconds, and after the one before it.
fn place(written_at: StoreTime, last: Option<StoreTime>) -> StoreTime {
    match last {
        Some(last) if last >= written_at => {
            StoreTime::from_micros(last.as_micros().saturating_add(1))
        }
        Some(_) | None => written_at,
    }
}

impl Bundle {
    /// What the change reads.
    pub fn needs(&self) -> Vec<Need> {
        let messages = self.messages.iter();
        let expiries = self.messages.iter();
        let expiries = expiries.filter_map(|placed| placed.arrival.expiry_path.clone());
        [&self.thread_path, &self.totals_path]
            .into_iter()
            .chain(messages.map(|placed| &placed.arrival.message_path))
            .cloned()
            .map(Need::Read)
            .chain(expiries.map(Need::New))
            .collect()
    }

    /// Makes the change, in a commit with others.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn store(&self, draft: &mut Draft<'_>) -> Result<Shelved, DraftError> {
        let mut shelved = Shelved::default();
        let totals = draft.get::<HistoryTotalsDoc>(&self.totals_path)?;
        let mut totals = totals.unwrap_or_default();
        let mut thread = draft.get::<ThreadDoc>(&self.thread_path)?;
        let (chat_max, all_max) = self.limits;
        for placed in self.messages.iter().rev() {
            let path = &placed.arrival.message_path;
            let known = draft.get::<MessageDoc>(path)?;
            if known.is_some_and(|known| known.kind != UNDECRYPTABLE) {
                shelved.known += 1;
                continue;
            }
            let expires_at = placed.arrival.expires_at();
            if expires_at.is_some_and(|at| at <= draft.now()) {
                // It has disappeared.
                shelved.left_out += 1;
                continue;
            }
            let in_thread = thread.as_ref().map_or(0, |thread| thread.history_messages);
            if in_thread >= chat_max || totals.messages >= all_max {
                shelved.left_out += 1;
                continue;
            }
            let thread = thread.get_or_insert_with(|| self.chat.thread(placed.sort_at));
            thread.history_messages += 1;
            totals.messages += 1;
            shelved.stored += 1;
            placed.appear_in(thread);
            let document = placed.document(draft);
            draft.put(path.clone(), &document)?;
            if let (Some(path), Some(at)) = (&placed.arrival.expiry_path, expires_at) {
                expiry::note(draft, path, self.thread_path.id(), at)?;
            }
        }
        let Some(mut thread) = thread.filter(|_| shelved.stored > 0) else {
            return Ok(shelved);
        };
        thread.pn = thread.pn.take().or_else(|| self.chat.peer.pn.clone());
        thread.lid = thread.lid.take().or_else(|| self.chat.peer.lid.clone());
        if let (None, Some(title)) = (&thread.title, &self.chat.title) {
            thread.title = Some(title.clone());
            thread.title_key = Some(title_key(title));
        }
        draft.put(self.thread_path.clone(), &thread)?;
        draft.put(self.totals_path.clone(), &totals)?;
        Ok(shelved)
    }
}

impl ChatFacts {
    /// The thread of a conversation that is seen for the first time.
    fn thread(&self, at: StoreTime) -> ThreadDoc {
        let mut thread = identity::new_thread(&self.account_id, self.peer.preferred(), at);
        thread.archived = self.archived;
        thread.timer_seconds = self.timer_seconds;
        thread
    }
}

impl Placed {
    fn appear_in(&self, thread: &mut ThreadDoc) {
        let message = &self.arrival.message;
        thread.answered |= !message.from_me;
        thread.created_at = thread.created_at.min(self.sort_at);
        if thread.last_message_id.is_none() || self.sort_at > thread.last_message_at {
            let preview = Preview::of_content(&message.content);
            thread.last_message_at = self.sort_at;
            thread.last_message_preview = Some(preview.into());
            thread.last_message_id = Some(self.arrival.message_path.id().to_owned());
        }
    }

    fn document(&self, draft: &Draft<'_>) -> MessageDoc {
        MessageDoc {
            state: self.state,
            reactions: self.reactions.clone(),
            offline: false,
            history: true,
            traceparent: None,
            ..self.arrival.document(self.sort_at, draft)
        }
    }
}
