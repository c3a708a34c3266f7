//! What a peer tells: one JSON object a line, as `peer.mjs` prints it.
//!
//! `Debug` shows neither texts nor codes: they are secrets in a log.

use std::fmt;

use serde::Deserialize;

/// Something that happened to the account, in the order of Baileys' events.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// A linking code to be scanned; each replaces the one before.
    Qr { code: String },
    /// Logged in.
    Open { jid: String, lid: Option<String> },
    /// Disconnected, with Baileys' `DisconnectReason`. It does not come back by
    /// itself.
    Close {
        code: Option<u16>,
        reason: Option<String>,
    },
    /// A text message, also one of the account's own from another device.
    Message {
        id: String,
        from: String,
        from_me: bool,
        /// Who wrote it, in a group: by number, where Baileys knows it.
        #[serde(default)]
        by: Option<String>,
        text: String,
        /// False for what was kept while the account was offline.
        live: bool,
    },
    /// What any message holds, as protobuf's JSON.
    Content {
        id: String,
        from: String,
        from_me: bool,
        content: String,
    },
    /// Options with votes, of a poll that this account made.
    Votes { id: String, chosen: Vec<String> },
    /// A message that Baileys could not decrypt, or not yet.
    Undecryptable {
        id: String,
        from: String,
        from_me: bool,
    },
    /// A message in a one-to-one chat has come further.
    Update {
        id: String,
        chat: String,
        from_me: bool,
        status: Status,
    },
    /// A message in a group has come further, for one member.
    Receipt {
        id: String,
        chat: String,
        by: String,
        status: Status,
    },
    /// A group is new, or another than before: Baileys' word for what happened.
    Group { group: String, change: String },
    /// Somebody came, left, or writes: Baileys' word for it.
    Presence {
        chat: String,
        by: String,
        state: String,
    },
    /// A piece of the history that the phone gave.
    History {
        chats: Vec<String>,
        texts: Vec<String>,
        names: Vec<String>,
    },
    /// A chat was put away, or taken out again.
    Archived { chat: String, archived: bool },
    /// The name of somebody in the address book.
    Contact { id: String, name: String },
    /// A promise was rejected somewhere inside Baileys.
    Trouble { error: String },
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Error,
    Pending,
    /// The server has it.
    Sent,
    /// The other side's device has it.
    Delivered,
    Read,
    Played,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Qr { .. } => write!(f, "qr"),
            Event::Open { .. } => write!(f, "open"),
            Event::Close {
                code: Some(code), ..
            } => write!(f, "close {code}"),
            Event::Close { code: None, .. } => write!(f, "close"),
            Event::Message { id, live: true, .. } => write!(f, "message {id}"),
            Event::Message {
                id, live: false, ..
            } => write!(f, "kept message {id}"),
            Event::Content { id, .. } => write!(f, "content {id}"),
            Event::Votes { id, .. } => write!(f, "votes {id}"),
            Event::Undecryptable { id, .. } => write!(f, "undecryptable {id}"),
            Event::Update { id, status, .. } => write!(f, "update {id} {status:?}"),
            Event::Receipt { id, status, .. } => write!(f, "receipt {id} {status:?}"),
            Event::Group { change, .. } => write!(f, "group {change}"),
            Event::Presence { state, .. } => write!(f, "presence {state}"),
            Event::History { chats, texts, .. } => {
                write!(f, "history of {} chats, {} texts", chats.len(), texts.len())
            }
            Event::Archived { archived, .. } => write!(f, "archived {archived}"),
            Event::Contact { .. } => write!(f, "contact"),
            Event::Trouble { error } => write!(f, "trouble: {error}"),
        }
    }
}
