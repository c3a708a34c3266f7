//! One message on its way into the store: a message of its own, or a change to
//! another one.

use std::sync::Arc;

use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Path, StoreTime};
use session::DataKey;
use whatsapp::content::votes::{self, Ballot};
use whatsapp::media::MediaRef;
use whatsapp::{Content, Extras, Inbound};

use super::expiry;
use super::identity::{self, Peer, Preview};
use super::order::Moment;
use crate::events::{Draft, DraftError};
use crate::groups::shelf;
use crate::model::media::{ReceivedFile, ReceivedMediaDoc};
use crate::model::message::Details;
use crate::model::thread::title_key;
use crate::model::{
    Change, Direction, EventKind, GroupDoc, MessageDoc, MessageState, ThreadDoc, ThreadKind,
    collections,
};

/// The kind of a message that could not be decrypted yet.
pub const UNDECRYPTABLE: &str = "undecryptable";

/// The purpose under which a poll's secret is sealed.
pub fn poll_purpose(wa_message_id: &str) -> String {
    format!("messages.pollSecret/{wa_message_id}")
}

/// The purpose under which the place and key of a file are sealed.
pub fn media_purpose(wa_message_id: &str) -> String {
    format!("messages.mediaRef/{wa_message_id}")
}

/// Where the file of a message is and how it is opened; nothing, if it has none
/// or that does not open.
pub fn media_ref(message: &MessageDoc, data_key: &DataKey) -> Option<MediaRef> {
    let sealed = message.media_ref.as_ref()?;
    let purpose = media_purpose(&message.wa_message_id);
    let plain = data_key
        .open_secret(&message.account_id, &purpose, sealed)
        .ok()?;
    serde_json::from_slice(&plain).ok()
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Stored for the first time.
    Stored,
    /// Seen before; nothing changed.
    Repeated,
    /// It changed another message.
    Changed,
}

/// One message on its way into the store.
pub struct Arrival {
    /// Whose.
    pub account_id: String,
    /// When the engine instance began.
    pub connected_at: StoreTime,
    /// Where it is noted when it is to be gone, if it disappears.
    pub expiry_path: Option<Path>,
    /// Its file, if it is one that is kept.
    pub received: Option<ReceivedFile>,
    /// Where it is noted that the file is to be kept.
    pub received_path: Option<Path>,
    /// Where its group is, if it came in one.
    pub group_path: Option<Path>,
    /// Where its thread is.
    pub thread_path: Path,
    /// Where it is to be.
    pub message_path: Path,
    /// Where the message may be that it changes; the first that exists is it.
    pub targets: Vec<Path>,
    /// The chat's addresses.
    pub peer: Peer,
    /// The account's own addresses, where a vote needs them.
    pub own: Vec<String>,
    /// Seals and opens secrets of polls.
    pub data_key: Arc<DataKey>,
    /// Nonces.
    pub rng: SharedRng,
    /// The message.
    pub message: Inbound,
}

impl Arrival {
    /// Makes the change, in a commit with others.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn store(&self, draft: &mut Draft<'_>) -> Result<Kept, DraftError> {
        for path in &self.targets {
            if let Some(target) = draft.get::<MessageDoc>(path)? {
                return self.change(draft, path, target);
            }
        }
        let placeholder = draft.get::<MessageDoc>(&self.message_path)?;
        let is_placeholder = |known: &MessageDoc| known.kind == UNDECRYPTABLE;
        if placeholder
            .as_ref()
            .is_some_and(|known| !is_placeholder(known))
        {
            return Ok(Kept::Repeated);
        }
        let message = &self.message;
        let now = draft.now();
        let written_at = StoreTime::from_datetime(message.timestamp);
        let known = draft.get::<ThreadDoc>(&self.thread_path)?;
        let last = known.as_ref().map(|thread| thread.last_message_at);
        let sort_at = match &placeholder {
            Some(placeholder) => placeholder.sort_at,
            None => Moment {
                written_at,
                now,
                offline: message.offline,
                connected_at: self.connected_at,
                last,
                seq: draft.next_seq(),
            }
            .place(),
        };
        let mut thread = match known {
            Some(thread) => thread,
            None => self.new_thread(draft, sort_at)?,
        };
        self.update_thread(&mut thread, sort_at, placeholder.is_none());
        draft.put(self.thread_path.clone(), &thread)?;
        let document = self.document(sort_at, draft);
        draft.put(self.message_path.clone(), &document)?;
        if let (Some(path), Some(at)) = (&self.expiry_path, self.expires_at()) {
            expiry::note(draft, path, self.thread_path.id(), at)?;
        }
        if let Some(path) = &self.received_path {
            draft.put(path.clone(), &self.received_document(now))?;
        }
        draft.event(
            EventKind::MessageReceived,
            [
                ("threadId", self.thread_path.id().to_owned()),
                ("messageId", self.message_path.id().to_owned()),
                (
                    "direction",
                    if message.from_me { "out" } else { "in" }.to_owned(),
                ),
            ],
        );
        Ok(Kept::Stored)
    }

    /// A thread for it, with the group's name if that is known.
    fn new_thread(&self, draft: &Draft<'_>, at: StoreTime) -> Result<ThreadDoc, DraftError> {
        let mut thread = identity::new_thread(&self.account_id, self.peer.preferred(), at);
        if let Some(path) = &self.group_path
            && let Some(group) = draft.get::<GroupDoc>(path)?
        {
            shelf::name(&mut thread, &group);
        }
        Ok(thread)
    }

    /// That its file is to be kept.
    fn received_document(&self, now: StoreTime) -> ReceivedMediaDoc {
        ReceivedMediaDoc {
            account_id: self.account_id.clone(),
            thread_id: self.thread_path.id().to_owned(),
            message_id: self.message_path.id().to_owned(),
            open: true,
            attempts: 0,
            next_at: now,
            bytes: None,
        }
    }

    /// When it is to be gone.
    pub(super) fn expires_at(&self) -> Option<StoreTime> {
        let written_at = StoreTime::from_datetime(self.message.timestamp);
        expiry::expires_at(written_at, self.message.extras.expires_after_seconds)
    }

    /// Who wrote it.
    fn author(&self) -> String {
        match self.message.from_me {
            true => identity::ME.to_owned(),
            false => identity::bare(&self.message.sender),
        }
    }

    /// The message's document, in this place.
    pub(super) fn document(&self, sort_at: StoreTime, draft: &Draft<'_>) -> MessageDoc {
        let message = &self.message;
        let poll_secret = match (&message.content, &message.secret) {
            (Content::Poll(_), Some(secret)) => {
                let purpose = poll_purpose(&message.id);
                let sealed = self.data_key.seal_secret(
                    self.rng.as_ref(),
                    &self.account_id,
                    &purpose,
                    secret,
                );
                Some(sealed.into())
            }
            (_, _) => None,
        };
        MessageDoc {
            account_id: self.account_id.clone(),
            thread_id: self.thread_path.id().to_owned(),
            chat: message.chat.clone(),
            sender: self.author(),
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
            kind: message.content.name().to_owned(),
            body: message.content.text().map(str::to_owned),
            details: Details::of(&message.content),
            extras: Some(message.extras.clone()).filter(|extras| *extras != Extras::default()),
            reactions: Vec::new(),
            votes: Vec::new(),
            poll_secret,
            media_ref: message.media.as_ref().and_then(|media| self.seal(media)),
            received: self.received.clone(),
            edited_at: None,
            revoked_at: None,
            timestamp: StoreTime::from_datetime(message.timestamp),
            sort_at,
            state: if message.from_me {
                MessageState::Sent
            } else {
                MessageState::Received
            },
            state_at: draft.now(),
            error: None,
            expires_at: self.expires_at(),
            stored_at: draft.now(),
            offline: message.offline,
            history: false,
            traceparent: draft.trace(),
        }
    }

    fn seal(&self, media: &MediaRef) -> Option<bytes::Bytes> {
        let plain = serde_json::to_vec(media).ok()?;
        let purpose = media_purpose(&self.message.id);
        let rng = self.rng.as_ref();
        let sealed = self
            .data_key
            .seal_secret(rng, &self.account_id, &purpose, &plain);
        Some(sealed.into())
    }

    fn update_thread(&self, thread: &mut ThreadDoc, sort_at: StoreTime, is_new: bool) {
        let message = &self.message;
        // An address that was not known yet: from now on both lead here.
        thread.pn = thread.pn.take().or_else(|| self.peer.pn.clone());
        thread.lid = thread.lid.take().or_else(|| self.peer.lid.clone());
        let is_peers_name = thread.kind == ThreadKind::Direct && !message.from_me;
        if is_peers_name && !message.push_name.is_empty() {
            thread.title = Some(message.push_name.clone());
            thread.title_key = Some(title_key(&message.push_name));
        }
        if !message.from_me {
            thread.answered = true;
            thread.unread += i64::from(is_new);
        }
        if let Content::Timer { seconds } = message.content {
            thread.timer_seconds = Some(i64::from(seconds)).filter(|seconds| *seconds > 0);
        }
        thread.archived &= message.from_me;
        if thread.last_message_id.is_none() || sort_at >= thread.last_message_at {
            let preview = Preview::of_content(&message.content);
            thread.last_message_at = sort_at;
            thread.last_message_preview = Some(preview.into());
            thread.last_message_id = Some(self.message_path.id().to_owned());
        }
    }

    /// Changes another message.
    fn change(
        &self,
        draft: &mut Draft<'_>,
        path: &Path,
        target: MessageDoc,
    ) -> Result<Kept, DraftError> {
        let Some(change) = self.change_to(&target) else {
            return Ok(Kept::Repeated);
        };
        let at = StoreTime::from_datetime(self.message.timestamp);
        let is_news = change_message(draft, path, &self.thread_path, &self.author(), &change, at)?;
        Ok(match is_news {
            true => Kept::Changed,
            false => Kept::Repeated,
        })
    }

    /// What it does to the message; nothing, if that cannot be told.
    fn change_to(&self, target: &MessageDoc) -> Option<Change> {
        match &self.message.content {
            Content::Reaction { emoji, .. } => Some(Change::Reaction(emoji.clone())),
            Content::Edit { text, .. } => Some(Change::Edit(text.clone())),
            Content::Revoke { .. } => Some(Change::Revoke),
            Content::Vote { vote, .. } => self.open_vote(target, vote).map(Change::Vote),
            Content::Text(_)
            | Content::Location(_)
            | Content::Contacts(_)
            | Content::Poll(_)
            | Content::Media(_)
            | Content::Timer { .. }
            | Content::Other { .. } => None,
        }
    }

    fn open_vote(
        &self,
        target: &MessageDoc,
        vote: &whatsapp::content::SealedVote,
    ) -> Option<Vec<String>> {
        let Some(Details::Poll(poll)) = &target.details else {
            return None;
        };
        let purpose = poll_purpose(&target.wa_message_id);
        let sealed = target.poll_secret.as_ref()?;
        let secret = self
            .data_key
            .open_secret(&self.account_id, &purpose, sealed)
            .ok()?;
        let theirs = [
            Some(&self.message.wire_sender),
            Some(&self.message.sender),
            self.message.sender_alt.as_ref(),
        ];
        let theirs: Vec<&String> = theirs.into_iter().flatten().collect();
        let own: Vec<&String> = self.own.iter().collect();
        let voters = if self.message.from_me { &own } else { &theirs };
        let author = [target.wire_sender.as_ref(), Some(&target.sender)];
        let author: Vec<&String> = author.into_iter().flatten().collect();
        let creators = if target.from_me { &own } else { &author };
        let mut ballots = Vec::new();
        for creator in creators {
            for voter in voters {
                ballots.push(Ballot {
                    secret: &secret,
                    poll: &target.wa_message_id,
                    creator,
                    voter,
                });
            }
        }
        match votes::open(vote, &ballots, &poll.options) {
            Ok(options) => Some(options),
            Err(error) => {
                tracing::warn!(account.id = %self.account_id, %error, "vote was not read");
                None
            }
        }
    }
}

/// Changes a stored message, with its event and its thread's preview. Says
/// whether it was news. The message and its thread must have been announced.
///
/// # Errors
/// [`DraftError`].
pub fn change_message(
    draft: &mut Draft<'_>,
    path: &Path,
    thread_path: &Path,
    by: &str,
    change: &Change,
    at: StoreTime,
) -> Result<bool, DraftError> {
    let Some(mut message) = draft.get::<MessageDoc>(path)? else {
        return Ok(false);
    };
    let file = message.received.clone();
    if !message.change(by, change, at) {
        return Ok(false);
    }
    draft.put(path.clone(), &message)?;
    if let Some(file) = file.filter(|_| message.received.is_none()) {
        draft.erase(collections::received_media(&file.id)?);
    }
    if let Some(mut thread) = draft.get::<ThreadDoc>(thread_path)?
        && thread.last_message_id.as_deref() == Some(path.id())
    {
        let preview = match change {
            Change::Edit(text) => Some(Preview::of(text)),
            Change::Revoke => Some(Preview::of_kind("revoked")),
            Change::Reaction(_) | Change::Vote(_) => None,
        };
        if let Some(preview) = preview {
            thread.last_message_preview = Some(preview.into());
            draft.put(thread_path.clone(), &thread)?;
        }
    }
    draft.event(
        EventKind::MessageChanged,
        [
            ("threadId", thread_path.id().to_owned()),
            ("messageId", path.id().to_owned()),
            ("change", change.name().to_owned()),
        ],
    );
    Ok(true)
}
