//! What clients asked to send, and its WhatsApp side.
//!
//! Both documents and the stored message are created in one commit; after that
//! only the owner of the account writes them, except that anybody may cancel
//! what is still queued (a conditional write: one of the two wins).

use bytes::Bytes;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::message::{Change, MessageState};
use super::stored::Stored;

/// How far an outgoing message has come: the same states as a stored message's.
pub type OutboxState = MessageState;

/// The purpose under which a message's payload is sealed with the data key: it
/// does not open in another message's place.
pub fn payload_purpose(message_id: &str) -> String {
    format!("wa_outbox.payload/{message_id}")
}

/// `outbox/{msg_…}`: the request, as it was accepted.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxDoc {
    /// Who sends.
    pub account_id: String,
    /// The channel that carries it: `whatsapp`.
    pub channel: String,
    /// The recipient, normalised to an address.
    pub to: String,
    /// `text`, `location`, `poll`, …
    pub kind: String,
    /// The text that stands for what is sent.
    pub body: String,
    /// The client's key for repetitions of the request.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The thread that shows it.
    pub thread_id: String,
    /// The stored message that shows it.
    pub stored_message_id: String,
    /// Commit time of the acceptance: the order of sending within a chat.
    pub accepted_at: StoreTime,
    /// W3C trace context of the request.
    #[serde(default)]
    pub traceparent: Option<String>,
}

impl Stored for OutboxDoc {}

/// Hides what is written and to whom.
impl std::fmt::Debug for OutboxDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxDoc")
            .field("account_id", &self.account_id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// `wa_outbox/{msg_…}`: sending it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaOutboxDoc {
    /// Who sends.
    pub account_id: String,
    /// The recipient's address; messages of one chat are sent in order.
    pub chat: String,
    /// Reserved at acceptance: every attempt uses the same, so that a receiver
    /// drops what it has already seen.
    pub wa_message_id: String,
    /// The encoded message with its message secret, sealed with the data key.
    pub payload: Bytes,
    /// How far it has come.
    pub state: OutboxState,
    /// Whether the owner still has something to do for it; with `accountId`
    /// what the owner watches.
    pub open: bool,
    /// Attempts to put it on the wire.
    pub attempts: i64,
    /// Commit time of the acceptance: the order of sending within a chat.
    pub accepted_at: StoreTime,
    /// Not before this.
    #[serde(default)]
    pub next_attempt_at: Option<StoreTime>,
    /// The server acknowledged it.
    #[serde(default)]
    pub sent_at: Option<StoreTime>,
    /// The peer's device has it.
    #[serde(default)]
    pub delivered_at: Option<StoreTime>,
    /// The peer read it.
    #[serde(default)]
    pub read_at: Option<StoreTime>,
    /// Why the last attempt failed.
    #[serde(default)]
    pub error: Option<SendFailure>,
    /// The file that goes with it.
    #[serde(default)]
    pub media_id: Option<String>,
    /// What it does to another message, once it is sent; it is none of its own
    /// then.
    #[serde(default)]
    pub amends: Option<AmendsDoc>,
    /// The thread that shows it.
    pub thread_id: String,
    /// The stored message that shows it.
    pub stored_message_id: String,
    /// W3C trace context of the request.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// A change to another message of the same thread.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AmendsDoc {
    /// The stored message.
    pub stored_message_id: String,
    /// What is done to it.
    pub change: Change,
}

impl Stored for WaOutboxDoc {}

/// Hides the recipient and the payload.
impl std::fmt::Debug for WaOutboxDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaOutboxDoc")
            .field("account_id", &self.account_id)
            .field("wa_message_id", &self.wa_message_id)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Why an attempt failed: a stable code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendFailure {
    /// For programs: `timed_out`, `rejected`, `not_linked`, …
    pub code: String,
    /// For people.
    pub message: String,
    /// WhatsApp's number, where it gave one.
    #[serde(default)]
    pub wa_code: Option<i64>,
    /// When.
    pub at: StoreTime,
}

/// `idempotency_keys/{id}`: a key that was used, and for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyDoc {
    /// Whose key.
    pub account_id: String,
    /// The message that the first request made.
    pub message_id: String,
    /// A hash of what was asked for.
    pub body_hash: String,
    /// Until when the key is remembered.
    pub expires_at: StoreTime,
}

impl Stored for IdempotencyDoc {}
