//! One message of a conversation, in either direction.

use bytes::Bytes;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use whatsapp::content::{Contact, Content, Extras, Location, Media, Poll};

use super::media::ReceivedFile;
use super::stored::Stored;

/// `threads/{id}/messages/{id}`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageDoc {
    /// Whose conversation.
    pub account_id: String,
    /// The thread it belongs to.
    pub thread_id: String,
    /// The chat's address, as the message carried it.
    pub chat: String,
    /// Who wrote it: an address, or `me`.
    pub sender: String,
    /// The chat's address as WhatsApp used it: read receipts go there.
    #[serde(default)]
    pub wire_chat: Option<String>,
    /// The sender's address as WhatsApp used it.
    #[serde(default)]
    pub wire_sender: Option<String>,
    /// Written by this account (here or on its phone).
    pub from_me: bool,
    /// In or out.
    pub direction: Direction,
    /// WhatsApp's id, as the sender chose it.
    pub wa_message_id: String,
    /// The `outbox` document, when it was sent from here.
    #[serde(default)]
    pub outbox_id: Option<String>,
    /// The name that the sender carries.
    #[serde(default)]
    pub push_name: Option<String>,
    /// `text`, or WhatsApp's name for what it is.
    pub kind: String,
    /// The text, where there is one.
    #[serde(default)]
    pub body: Option<String>,
    /// The place, the cards, the poll or the file that it holds.
    #[serde(default)]
    pub details: Option<Details>,
    /// What comes with it: whom it names, what it answers, …
    #[serde(default)]
    pub extras: Option<Extras>,
    /// Emojis on it, one a person.
    #[serde(default)]
    pub reactions: Vec<ReactionDoc>,
    /// Votes in it, if it is a poll, one a person.
    #[serde(default)]
    pub votes: Vec<VoteDoc>,
    /// A poll's secret, sealed with the data key: it opens votes.
    #[serde(default)]
    pub poll_secret: Option<Bytes>,
    /// Where its file is and how it is opened, sealed with the data key.
    #[serde(default)]
    pub media_ref: Option<Bytes>,
    /// Where its file stands, if it is one that is kept.
    #[serde(default)]
    pub received: Option<ReceivedFile>,
    /// When its author last changed it.
    #[serde(default)]
    pub edited_at: Option<StoreTime>,
    /// When it was taken back; its text is gone then.
    #[serde(default)]
    pub revoked_at: Option<StoreTime>,
    /// When it was written, as WhatsApp says (in seconds) or as we accepted it.
    pub timestamp: StoreTime,
    /// The order within the thread: `timestamp`, and within one second the
    /// order of arrival.
    pub sort_at: StoreTime,
    /// How far it has come.
    pub state: MessageState,
    /// When `state` last changed.
    pub state_at: StoreTime,
    /// Why it failed, if it did.
    #[serde(default)]
    pub error: Option<String>,
    /// When it is to be gone, if it disappears.
    #[serde(default)]
    pub expires_at: Option<StoreTime>,
    /// When it was committed here.
    pub stored_at: StoreTime,
    /// It waited at the server while this account was offline.
    #[serde(default)]
    pub offline: bool,
    /// It is from before the account was linked: the phone gave it.
    #[serde(default)]
    pub history: bool,
    /// W3C trace context of the request to send it, or of its arrival.
    #[serde(default)]
    pub traceparent: Option<String>,
}

impl Stored for MessageDoc {}

/// What a message holds that is no text.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Details {
    /// A place.
    Location(Location),
    /// Address cards.
    Contacts(Vec<Contact>),
    /// A poll.
    Poll(Poll),
    /// A file.
    Media(Media),
}

impl Details {
    /// Of a message's content.
    pub fn of(content: &Content) -> Option<Self> {
        match content {
            Content::Location(location) => Some(Details::Location(location.clone())),
            Content::Contacts(contacts) => Some(Details::Contacts(contacts.clone())),
            Content::Poll(poll) => Some(Details::Poll(poll.clone())),
            Content::Media(media) => Some(Details::Media(media.clone())),
            Content::Text(_)
            | Content::Reaction { .. }
            | Content::Edit { .. }
            | Content::Revoke { .. }
            | Content::Vote { .. }
            | Content::Timer { .. }
            | Content::Other { .. } => None,
        }
    }
}

/// Somebody's emoji on a message.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Reaction)]
pub struct ReactionDoc {
    /// An address, or `me`.
    pub sender: String,
    /// The emoji.
    pub emoji: String,
    /// When.
    pub at: StoreTime,
}

/// Somebody's vote in a poll.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Vote)]
pub struct VoteDoc {
    /// An address, or `me`.
    pub sender: String,
    /// What was chosen; nothing, if the vote was taken back.
    pub options: Vec<String>,
    /// When.
    pub at: StoreTime,
}

/// What another message does to this one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// An emoji; empty, it takes the one before off.
    Reaction(String),
    /// Another text.
    Edit(String),
    /// It is taken back.
    Revoke,
    /// A vote for these options.
    Vote(Vec<String>),
}

impl Change {
    /// The name in events and in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Reaction(_) => "reaction",
            Change::Edit(_) => "edit",
            Change::Revoke => "revoke",
            Change::Vote(_) => "vote",
        }
    }
}

/// People whose reactions or votes one message keeps: a group's largest number
/// of members.
const PEOPLE_MAX: usize = 1_024;

impl MessageDoc {
    /// Makes a change, unless it is known already or a later one is. Changes
    /// come twice and out of order; the latest of a person holds.
    pub fn change(&mut self, by: &str, change: &Change, at: StoreTime) -> bool {
        if self.revoked_at.is_some() {
            return false;
        }
        match change {
            Change::Reaction(emoji) => {
                let known = self.reactions.iter().position(|known| known.sender == by);
                let reaction = ReactionDoc {
                    sender: by.to_owned(),
                    emoji: emoji.clone(),
                    at,
                };
                latest(&mut self.reactions, known, reaction, |reaction| reaction.at)
            }
            Change::Vote(options) => {
                let known = self.votes.iter().position(|known| known.sender == by);
                let vote = VoteDoc {
                    sender: by.to_owned(),
                    options: options.clone(),
                    at,
                };
                latest(&mut self.votes, known, vote, |vote| vote.at)
            }
            Change::Edit(text) => {
                let is_news = self.edited_at.is_none_or(|known| known <= at)
                    && self.body.as_ref() != Some(text);
                if is_news {
                    self.body = Some(text.clone());
                    self.edited_at = Some(at);
                }
                is_news
            }
            Change::Revoke => {
                self.revoked_at = Some(at);
                self.body = None;
                self.details = None;
                self.extras = None;
                self.poll_secret = None;
                self.media_ref = None;
                self.received = None;
                true
            }
        }
    }
}

/// Puts an entry in the place of an older one.
fn latest<T: PartialEq>(
    all: &mut Vec<T>,
    known: Option<usize>,
    new: T,
    at: impl Fn(&T) -> StoreTime,
) -> bool {
    match known {
        Some(place) if at(&all[place]) > at(&new) || all[place] == new => false,
        Some(place) => {
            all[place] = new;
            true
        }
        None if all.len() >= PEOPLE_MAX => false,
        None => {
            all.push(new);
            true
        }
    }
}

/// Hides what was written and who is concerned.
impl std::fmt::Debug for MessageDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageDoc")
            .field("thread_id", &self.thread_id)
            .field("wa_message_id", &self.wa_message_id)
            .field("direction", &self.direction)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From somebody else.
    In,
    /// From this account.
    Out,
}

/// How far a message has come. The order of the variants is the order of
/// progress; ends that are no progress (`Failed` …) come last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Out: accepted, not yet sent.
    Queued,
    /// Out: about to leave, or left without an answer yet.
    Sending,
    /// Out: the server has it.
    Sent,
    /// In: stored.
    Received,
    /// Out: the peer's device has it.
    Delivered,
    /// Read: by the peer (out), by us (in).
    Read,
    /// Played (voice, video once).
    Played,
    /// Out: given up, see `error`.
    Failed,
    /// Out: its time was up before it could be sent.
    Expired,
    /// Out: taken back while queued.
    Cancelled,
}

impl MessageState {
    /// All of them.
    pub const ALL: [MessageState; 10] = [
        MessageState::Queued,
        MessageState::Sending,
        MessageState::Sent,
        MessageState::Received,
        MessageState::Delivered,
        MessageState::Read,
        MessageState::Played,
        MessageState::Failed,
        MessageState::Expired,
        MessageState::Cancelled,
    ];

    /// The state of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Queued => "queued",
            MessageState::Sending => "sending",
            MessageState::Sent => "sent",
            MessageState::Received => "received",
            MessageState::Delivered => "delivered",
            MessageState::Read => "read",
            MessageState::Played => "played",
            MessageState::Failed => "failed",
            MessageState::Expired => "expired",
            MessageState::Cancelled => "cancelled",
        }
    }

    /// Whether a message in this state moves to `next`: receipts come late,
    /// twice and out of order, and a state never goes back. A receipt proves
    /// that a message arrived, whatever we thought of it.
    pub fn moves_to(self, next: MessageState) -> bool {
        match self {
            MessageState::Failed | MessageState::Expired | MessageState::Cancelled => matches!(
                next,
                MessageState::Delivered | MessageState::Read | MessageState::Played
            ),
            MessageState::Queued
            | MessageState::Sending
            | MessageState::Sent
            | MessageState::Received
            | MessageState::Delivered
            | MessageState::Read
            | MessageState::Played => {
                let gives_up = matches!(
                    next,
                    MessageState::Failed | MessageState::Expired | MessageState::Cancelled
                );
                if gives_up {
                    self < MessageState::Sent
                } else {
                    next > self
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_state_never_goes_back() {
        use MessageState::{Delivered, Failed, Played, Queued, Read, Sending, Sent};
        let progress = [Queued, Sending, Sent, Delivered, Read, Played];
        for (at, from) in progress.into_iter().enumerate() {
            for (to, next) in progress.into_iter().enumerate() {
                assert_eq!(from.moves_to(next), to > at, "{from:?} to {next:?}");
            }
        }
        assert!(Sending.moves_to(Failed));
        assert!(!Sent.moves_to(Failed));
        assert!(!Delivered.moves_to(Failed));
    }

    /// A text that came in.
    pub(crate) fn text(body: &str) -> MessageDoc {
        let at = StoreTime::from_micros(0);
        MessageDoc {
            account_id: "a1".to_owned(),
            thread_id: "t1".to_owned(),
            chat: "c".to_owned(),
            sender: "s".to_owned(),
            wire_chat: None,
            wire_sender: None,
            from_me: false,
            direction: Direction::In,
            wa_message_id: "ID1".to_owned(),
            outbox_id: None,
            push_name: None,
            kind: "text".to_owned(),
            body: Some(body.to_owned()),
            details: None,
            extras: None,
            reactions: Vec::new(),
            votes: Vec::new(),
            poll_secret: None,
            media_ref: None,
            received: None,
            edited_at: None,
            revoked_at: None,
            timestamp: at,
            sort_at: at,
            state: MessageState::Received,
            state_at: at,
            error: None,
            expires_at: None,
            stored_at: at,
            offline: false,
            history: false,
            traceparent: None,
        }
    }

    #[test]
    fn of_changes_that_come_twice_and_out_of_order_the_latest_holds() {
        let at = StoreTime::from_micros;
        let mut message = text("one");
        let edit = |text: &str| Change::Edit(text.to_owned());
        assert!(message.change("s", &edit("three"), at(3)));
        assert!(!message.change("s", &edit("two"), at(2)));
        assert!(!message.change("s", &edit("three"), at(3)));
        assert_eq!(message.body.as_deref(), Some("three"));

        let reaction = |emoji: &str| Change::Reaction(emoji.to_owned());
        assert!(message.change("anna", &reaction("👍"), at(1)));
        assert!(message.change("ben", &reaction("👎"), at(1)));
        assert!(!message.change("anna", &reaction("👍"), at(1)));
        assert!(message.change("anna", &reaction(""), at(2)));
        assert!(!message.change("anna", &reaction("👍"), at(1)));
        assert_eq!(message.reactions.len(), 2);
        assert_eq!(message.reactions[0].emoji, "");

        assert!(message.change("s", &Change::Revoke, at(4)));
        assert_eq!(message.body, None);
        assert!(!message.change("s", &edit("five"), at(5)), "gone is gone");
    }

    #[test]
    fn the_people_of_one_message_are_bounded() {
        let mut message = text("one");
        for n in 0..PEOPLE_MAX + 10 {
            let vote = Change::Vote(vec!["now".to_owned()]);
            message.change(&n.to_string(), &vote, StoreTime::from_micros(1));
        }
        assert_eq!(message.votes.len(), PEOPLE_MAX);
    }

    #[test]
    fn a_receipt_outweighs_a_failure() {
        assert!(MessageState::Failed.moves_to(MessageState::Delivered));
        assert!(!MessageState::Failed.moves_to(MessageState::Sent));
        assert!(!MessageState::Cancelled.moves_to(MessageState::Queued));
    }
}
