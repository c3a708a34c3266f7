//! History: what a phone gives a device that it has just linked.
//!
//! It comes in pieces, each a compressed list of conversations with messages,
//! of names, and of pairs of addresses. The engine fetches and decrypts a piece
//! and hands it to [`Inbox::keep_history`](crate::Inbox::keep_history);
//! [`unpack`] reads it, one conversation after the other, so that no more than
//! the piece as it came and its largest conversation are in memory.
//!
//! Everything in a piece has a limit ([`UnpackLimits`]): what is older, more or
//! larger is left out and counted.

mod past;
mod people;

use std::ops::ControlFlow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use wacore::history_sync::{HistorySyncError, HistorySyncStream};
use waproto::whatsapp as wa;

use self::people::Addresses;
use crate::inbox::Inbound;

/// The largest conversation of one piece, in bytes. Phones cut pieces at some
/// hundreds of messages a conversation.
const CHAT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// People that one piece may name: more than a phone's address book holds.
const PEOPLE_MAX: usize = 20_000;

/// What a piece is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryKind {
    /// The first: recent conversations with a few messages each.
    Bootstrap,
    /// Status updates.
    Status,
    /// Messages as far back as the phone keeps them.
    Full,
    /// Messages of the last months.
    Recent,
    /// Names that people gave themselves.
    PushNames,
    /// What is nobody's message.
    Upkeep,
    /// What was asked for.
    OnDemand,
    /// Something newer than this program.
    Unknown,
}

impl HistoryKind {
    /// From the protocol's number.
    pub(crate) fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Bootstrap,
            1 => Self::Status,
            2 => Self::Full,
            3 => Self::Recent,
            4 => Self::PushNames,
            5 => Self::Upkeep,
            6 => Self::OnDemand,
            _ => Self::Unknown,
        }
    }

    /// The name in the store and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Status => "status",
            Self::Full => "full",
            Self::Recent => "recent",
            Self::PushNames => "push_names",
            Self::Upkeep => "upkeep",
            Self::OnDemand => "on_demand",
            Self::Unknown => "unknown",
        }
    }
}

/// A piece of history, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryPiece {
    /// What it is about.
    pub kind: HistoryKind,
    /// Its number among those of its kind.
    pub order: Option<u32>,
    /// How much of all there is with it, in per cent.
    pub progress: Option<u32>,
    /// Compressed with zlib.
    pub compressed: Bytes,
}

/// What is kept of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes that it may unpack to; what lies beyond is left out.
    pub unpacked_bytes_max: u64,
    /// Messages from before are left out.
    pub since: DateTime<Utc>,
    /// Messages of one conversation; the newest are kept.
    pub chat_messages_max: usize,
}

/// What a piece holds.
#[derive(Clone, PartialEq)]
pub enum Unpacked {
    /// Somebody.
    Person(Person),
    /// A conversation.
    Chat(Box<PastChat>),
}

/// What is known of somebody. One of the addresses at least is there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// By phone number.
    pub pn: Option<String>,
    /// By LID.
    pub lid: Option<String>,
    /// The name in the phone's address book.
    pub name: Option<String>,
    /// The name that this person goes by.
    pub push_name: Option<String>,
}

/// A conversation of the past.
#[derive(Clone, PartialEq)]
pub struct PastChat {
    /// Its address, by phone number where that is known.
    pub chat: String,
    /// The other address of the peer.
    pub alt: Option<String>,
    /// The peer's name in the address book, or the group's.
    pub name: Option<String>,
    /// It was put away.
    pub archived: bool,
    /// Messages disappear after so many seconds.
    pub timer_seconds: Option<u32>,
    /// The oldest first.
    pub messages: Vec<PastMessage>,
    /// Messages that are not among them, for a limit or because they hold
    /// nothing that is kept.
    pub left_out: usize,
}

/// A message of the past.
#[derive(Clone, PartialEq)]
pub struct PastMessage {
    /// What it was, as if it came now.
    pub inbound: Inbound,
    /// How far it has come, if this account wrote it.
    pub state: PastState,
    /// Emojis on it.
    pub reactions: Vec<PastReaction>,
}

/// How far a message of this account has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastState {
    /// The server has it, or it is on its way there.
    Sent,
    /// A device of the receiver has it.
    Delivered,
    /// It was read.
    Read,
}

/// Somebody's emoji on a message of the past.
#[derive(Clone, PartialEq, Eq)]
pub struct PastReaction {
    /// An address; none for this account.
    pub sender: Option<String>,
    /// The emoji.
    pub emoji: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackReport {
    /// Conversations that could not be read, or were too large.
    pub chats_left_out: usize,
    /// Whoever took it had enough before its end.
    pub stopped: bool,
}

/// Why a piece cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
#[error("a piece of history cannot be read")]
pub struct UnpackError(#[from] HistorySyncError);

/// Reads a piece: people first, then conversations. Takes tens of milliseconds
/// a megabyte and never waits: run it where that stops nobody.
///
/// # Errors
/// [`UnpackError`], for a piece that is broken or unpacks to more than allowed;
/// `take` has had what lies before.
pub fn unpack(
    compressed: &[u8],
    limits: &UnpackLimits,
    mut take: impl FnMut(Unpacked) -> ControlFlow<()>,
) -> Result<UnpackReport, UnpackError> {
    let mut report = UnpackReport::default();
    let (addresses, people) = people::read(compressed, limits.unpacked_bytes_max)?;
    for person in people {
        if take(Unpacked::Person(person)).is_break() {
            report.stopped = true;
            return Ok(report);
        }
    }
    let mut stream = HistorySyncStream::new(compressed, limits.unpacked_bytes_max);
    while let Some(bytes) = stream.next_conversation_bytes()? {
        let Some(chat) = read_chat(bytes, &addresses, limits) else {
            report.chats_left_out += 1;
            continue;
        };
        if take(Unpacked::Chat(Box::new(chat))).is_break() {
            report.stopped = true;
            break;
        }
    }
    Ok(report)
}

fn read_chat(bytes: &[u8], addresses: &Addresses, limits: &UnpackLimits) -> Option<PastChat> {
    if bytes.len() > CHAT_BYTES_MAX {
        return None;
    }
    let mut conversation = wa::Conversation::default();
    waproto::codec::conversation_merge_from_slice(&mut conversation, bytes).ok()?;
    past::chat(conversation, addresses, limits)
}

// Texts, names and numbers are people's own and stay out of logs.
impl std::fmt::Debug for HistoryPiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryPiece")
            .field("kind", &self.kind)
            .field("bytes", &self.compressed.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person(…)")
    }
}

#[cfg(test)]
mod tests;
