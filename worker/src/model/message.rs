//! One message of a conversation, in either direction.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

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
    /// When it was committed here.
    pub stored_at: StoreTime,
    /// It waited at the server while this account was offline.
    #[serde(default)]
    pub offline: bool,
}

impl Stored for MessageDoc {}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From somebody else.
    In,
    /// From this account.
    Out,
}

/// How far a message has come. The order of the variants is the order of
/// progress; ends that are no progress (`Failed` …) come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
mod tests {
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

    #[test]
    fn a_receipt_outweighs_a_failure() {
        assert!(MessageState::Failed.moves_to(MessageState::Delivered));
        assert!(!MessageState::Failed.moves_to(MessageState::Sent));
        assert!(!MessageState::Cancelled.moves_to(MessageState::Queued));
    }
}
