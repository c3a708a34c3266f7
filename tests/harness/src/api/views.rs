//! What the API answers with: the fields that tests and demo look at.
//! Times are RFC 3339 texts.

use serde::Deserialize;

/// An account.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// `account_…`
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How it is: `connected`, `qr_ready`, ….
    pub status: String,
    /// While connecting: how far it has come.
    pub stage: Option<String>,
    /// What is wanted of it.
    pub desired: String,
    /// Who owns it.
    pub owner: Option<Owner>,
    /// Connection attempts since it was last stable.
    pub attempt: i64,
    /// When it is tried again.
    pub retry_at: Option<String>,
    /// What a person must do.
    pub action_required: Option<String>,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// Why the connection last ended.
    pub last_disconnect_reason: Option<Reason>,
    /// Own address by phone number.
    pub jid: Option<String>,
    /// Own address by LID.
    pub lid: Option<String>,
}

/// Who owns an account.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The worker's name.
    pub worker: String,
    /// The fencing number.
    pub epoch: i64,
}

/// An entry of an account's ownership history.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Which of the two.
    pub kind: HistoryKind,
    /// The fencing number.
    pub epoch: i64,
    /// The worker's name.
    pub worker: String,
    /// The worker session.
    pub session: String,
    /// Why: `owner_sealed`, `handed_off`, `drain`, ….
    pub reason: String,
    /// When, by the store's clock.
    pub at: String,
}

/// What happened to an account's ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryKind {
    /// A worker took it.
    Claimed,
    /// Its owner gave it back.
    Released,
}

/// A worker session that has not ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSession {
    /// The worker's name.
    pub name: String,
    /// `active`, `draining`, `dead`, ….
    pub state: String,
    /// So many accounts, as the worker itself last said.
    pub owned: i64,
}

/// An account's last failure.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// What happened.
    pub message: String,
    /// When.
    pub at: String,
    /// How far the connection had come.
    pub stage: Option<String>,
    /// When it is tried again.
    pub retry_at: Option<String>,
}

/// Why a connection ended.
#[derive(Debug, Clone, Deserialize)]
pub struct Reason {
    /// For example 428.
    pub code: i64,
    /// For example `connectionClosed`.
    pub name: String,
}

/// A QR code to scan. Not `Debug`: its text is a secret.
#[derive(Clone, Deserialize)]
pub struct QrCode {
    /// What the code's squares say.
    pub qr: String,
    /// Counts the codes of one pairing.
    pub seq: i64,
}

/// A conversation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// Its id.
    pub id: String,
    /// The chat's address.
    pub chat: String,
    /// The chat's address by phone number, where it is known.
    pub pn: Option<String>,
    /// Messages that were not read yet.
    pub unread: i64,
}

/// A message of a thread.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Whose conversation.
    pub account_id: String,
    /// The chat's address.
    pub chat: String,
    /// Who wrote it.
    pub sender: String,
    /// Which way it went.
    pub direction: Direction,
    /// The text, where there is one.
    pub text: Option<String>,
    /// When it was written.
    pub timestamp: String,
    /// How far it has come.
    pub state: String,
    /// WhatsApp's id.
    pub wa_message_id: String,
    /// The 202's id, if it was sent from here.
    pub message_id: Option<String>,
    /// It waited at the server while the account was offline.
    pub offline: bool,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the account.
    In,
    /// From the account.
    Out,
}

/// A message that was accepted to be sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutgoingMessage {
    /// The 202's id.
    pub message_id: String,
    /// How far it has come.
    pub state: String,
    /// WhatsApp's id, reserved when it was accepted.
    pub wa_message_id: String,
    /// How often it was sent.
    pub attempts: i64,
    /// When the server had it.
    pub sent_at: Option<String>,
    /// When the peer's device had it.
    pub delivered_at: Option<String>,
    /// When the peer had read it.
    pub read_at: Option<String>,
    /// Why it failed.
    pub error: Option<serde_json::Value>,
}
