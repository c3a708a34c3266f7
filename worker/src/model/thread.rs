//! A conversation of an account with a peer or a group.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stored::Stored;

/// `threads/{id}`. A peer's phone number and LID are one thread, where the
/// mapping between them is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadDoc {
    /// Whose conversation.
    pub account_id: String,
    /// The address that made the thread's id: by phone number where known.
    pub chat: String,
    /// The peer's address by phone number, where known.
    #[serde(default)]
    pub pn: Option<String>,
    /// The peer's address by LID, where known.
    #[serde(default)]
    pub lid: Option<String>,
    /// One peer, a group, …
    pub kind: ThreadKind,
    /// The name that the peer carries.
    #[serde(default)]
    pub title: Option<String>,
    /// The name in small letters, to be searched by its beginning.
    #[serde(default)]
    pub title_key: Option<String>,
    /// The time of the latest message.
    pub last_message_at: StoreTime,
    /// The start of its text.
    #[serde(default)]
    pub last_message_preview: Option<String>,
    /// Its document.
    #[serde(default)]
    pub last_message_id: Option<String>,
    /// Received and not yet marked as read.
    pub unread: i64,
    /// The peer has written here at least once.
    #[serde(default)]
    pub answered: bool,
    /// Messages of this conversation disappear after so many seconds.
    #[serde(default)]
    pub timer_seconds: Option<i64>,
    /// It was put away; the next message brings it back.
    #[serde(default)]
    pub archived: bool,
    /// It is one with another thread, and its messages move there.
    #[serde(default)]
    pub merging: bool,
    /// Which one.
    #[serde(default)]
    pub merging_into: Option<String>,
    /// A client has asked for something that the owner is to do here, and that
    /// it clears: what the owner watches.
    #[serde(default)]
    pub pending: bool,
    /// Asked: mark it as read.
    #[serde(default)]
    pub read_pending: bool,
    /// Asked: show the peer that somebody is writing, or no longer is.
    #[serde(default)]
    pub typing_pending: Option<bool>,
    /// Asked: to be told of the peer's presence.
    #[serde(default)]
    pub presence_pending: bool,
    /// When typing was asked: it is worth nothing soon after.
    #[serde(default)]
    pub typing_at: Option<StoreTime>,
    /// Messages from before the account was linked.
    #[serde(default)]
    pub history_messages: i64,
    /// When the first message came or went.
    pub created_at: StoreTime,
}

impl Stored for ThreadDoc {}

/// `merged_threads/{id}`: where a thread went that is one with another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MergedThreadDoc {
    /// Whose conversation.
    pub account_id: String,
    /// The thread that it is now.
    pub into: String,
}

impl Stored for MergedThreadDoc {}

/// What a name is searched by.
pub fn title_key(title: &str) -> String {
    title.chars().flat_map(char::to_lowercase).collect()
}

/// What kind of conversation a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreadKind {
    /// With one peer.
    Direct,
    /// With a group.
    Group,
    /// Status updates.
    Status,
    /// A newsletter, a broadcast list, …
    Other,
}

impl ThreadKind {
    /// From the server part of a JID.
    pub fn of(chat: &str) -> Self {
        if chat == "status@broadcast" {
            return ThreadKind::Status;
        }
        match chat.rsplit_once('@').map(|(_, server)| server) {
            Some("s.whatsapp.net" | "lid" | "c.us") => ThreadKind::Direct,
            Some("g.us") => ThreadKind::Group,
            Some(_) | None => ThreadKind::Other,
        }
    }
}
