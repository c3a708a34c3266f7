//! The event log: what happened to an account, in the order in which it did.
//!
//! Numbers of one account start at 1 and have no gap: an event is written by
//! the owner, in the same commit as what it tells of. Nothing orders events of
//! different accounts. Whoever sweeps old events keeps the newest of each
//! account: the next owner goes on from its number.

use std::collections::BTreeMap;

use coordinator_lib::store::{Stamp, StoreTime};
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `events/{account}-{seq}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDoc {
    /// Whose event.
    pub account_id: String,
    /// Its number within the account.
    pub seq: i64,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it was written, by the owner's clock; the order is `seq`.
    pub at: StoreTime,
    /// When it was stored, by the store's clock: the commit's time, or one
    /// shortly before it. What streams and sweeps find it by.
    #[serde(default = "long_ago")]
    pub stored_at: Stamp,
    /// The owner's epoch.
    pub epoch: i64,
    /// The trace that it belongs to, as in the W3C header `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// References and facts; never a text, a number or a key.
    pub data: BTreeMap<String, String>,
}

impl Stored for EventDoc {}

/// Of events that were stored before there was the field.
fn long_ago() -> Stamp {
    Stamp::At(StoreTime::from_micros(0))
}

/// What kinds of things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum EventKind {
    /// `data`: `threadId`, `messageId`.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// `data`: `threadId`, `messageId`, `state`, `outboxId?`.
    #[serde(rename = "message.updated")]
    MessageUpdated,
    /// Another message changed one: `data`: `threadId`, `messageId`, `change`
    /// (`reaction`, `edit`, `revoke`, `vote`), or its time was over (`expired`),
    /// or it is decided whether its file is kept (`media`, with `kept`).
    #[serde(rename = "message.changed")]
    MessageChanged,
    /// Somebody calls. `data`: `threadId`, `callId`, `video`, `rejected`.
    #[serde(rename = "call.received")]
    CallReceived,
    /// A message came that could not be decrypted; it has been asked for again.
    /// `data`: `threadId`, `messageId`, `waMessageId`.
    #[serde(rename = "message.undecryptable")]
    MessageUndecryptable,
    /// A group is another than before: `data`: `groupId`, `change` (`joined`,
    /// `left`, `added`, `removed`, `promoted`, `demoted`, `subject`,
    /// `description`, `settings`, …).
    #[serde(rename = "group.changed")]
    GroupChanged,
    /// Two threads turned out to be one person's: `data`: `threadId`, which has
    /// the messages of both, and `mergedThreadId`, which is no more.
    #[serde(rename = "thread.merged")]
    ThreadMerged,
    /// Somebody came, left, writes or speaks, told while the account asks for
    /// it: `data`: `threadId`, `state` (`available`, `unavailable`, `typing`,
    /// `recording`, `paused`), `lastSeen?`.
    #[serde(rename = "presence")]
    Presence,
    /// A piece of the history that the phone gave is stored, or is lost: `data`:
    /// `kind`, `state` (`stored`, `lost`), `progress?` (per cent of all there
    /// is), `chats`, `messages`, `contacts`, `leftOut`. Its messages have no
    /// events of their own.
    #[serde(rename = "history.received")]
    HistoryReceived,
    /// `data`: `from`, `to`, `reason`.
    #[serde(rename = "account.status")]
    AccountStatus,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 10] = [
        EventKind::MessageReceived,
        EventKind::MessageUpdated,
        EventKind::MessageChanged,
        EventKind::CallReceived,
        EventKind::MessageUndecryptable,
        EventKind::GroupChanged,
        EventKind::ThreadMerged,
        EventKind::Presence,
        EventKind::HistoryReceived,
        EventKind::AccountStatus,
    ];

    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::MessageReceived => "message.received",
            EventKind::MessageUpdated => "message.updated",
            EventKind::MessageChanged => "message.changed",
            EventKind::CallReceived => "call.received",
            EventKind::MessageUndecryptable => "message.undecryptable",
            EventKind::GroupChanged => "group.changed",
            EventKind::ThreadMerged => "thread.merged",
            EventKind::Presence => "presence",
            EventKind::HistoryReceived => "history.received",
            EventKind::AccountStatus => "account.status",
        }
    }
}
