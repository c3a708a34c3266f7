//! What a message holds, both ways: one shape for what is sent, stored and
//! shown.
//!
//! | Module | Holds |
//! |---|---|
//! | [`decode`] | from the protocol's message, with limits on everything |
//! | [`encode`] | to the protocol's message |
//! | [`votes`] | votes in polls, which are encrypted once more |
//!
//! Some contents are not messages of their own but change another one
//! ([`Content::target`]): reactions, edits, revocations, votes.

pub(crate) mod decode;
pub mod encode;
pub mod votes;

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most options of a poll, as WhatsApp's clients allow.
pub const POLL_OPTIONS_MAX: usize = 12;

/// What a message says.
#[derive(Clone, PartialEq)]
pub enum Content {
    /// A text.
    Text(String),
    /// A place.
    Location(Location),
    /// Address cards.
    Contacts(Vec<Contact>),
    /// A question with options to vote for.
    Poll(Poll),
    /// A picture, a film, a sound, a file.
    Media(Media),
    /// An emoji on another message; an empty one takes it off again.
    Reaction {
        /// The message.
        target: Target,
        /// The emoji.
        emoji: String,
    },
    /// Another text for a message.
    Edit {
        /// The message.
        target: Target,
        /// Its text from now on.
        text: String,
    },
    /// A message is taken back.
    Revoke {
        /// The message.
        target: Target,
    },
    /// A vote in a poll, still encrypted.
    Vote {
        /// The poll.
        target: Target,
        /// What was voted for.
        vote: SealedVote,
    },
    /// The time after which the messages of a chat disappear; 0 for never.
    Timer {
        /// Seconds.
        seconds: u32,
    },
    /// Anything else, under the protocol's name, such as `eventMessage`.
    Other {
        /// The name.
        name: &'static str,
    },
}

/// What comes with a message, of whatever kind it is.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Extras {
    /// The people it names, by address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// What it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// The page that its first link leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<LinkPreview>,
    /// It was forwarded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
    /// It is to be looked at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub view_once: bool,
    /// It disappears after so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_after_seconds: Option<u32>,
}

/// Another message, as the protocol names it from its author's point of view.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Its WhatsApp id.
    pub id: String,
    /// It was written by whoever names it.
    pub from_me: bool,
    /// Its author, in a group.
    pub participant: Option<String>,
}

/// A message that is answered.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// Its WhatsApp id.
    pub wa_message_id: String,
    /// Its author's address.
    pub sender: String,
    /// Its text, where it has one.
    #[serde(default)]
    pub text: Option<String>,
}

/// What a link leads to.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkPreview {
    /// The link, as it stands in the text.
    pub url: String,
    /// The page's title.
    #[serde(default)]
    pub title: Option<String>,
    /// What it is about.
    #[serde(default)]
    pub description: Option<String>,
}

/// A place.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Location {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// What it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// Where it is.
    #[serde(default)]
    pub address: Option<String>,
    /// It moves.
    #[serde(default)]
    pub live: bool,
}

/// An address card.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = AddressCard))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contact {
    /// The name shown.
    pub name: String,
    /// The card itself.
    pub vcard: String,
}

/// A poll.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Poll {
    /// What is asked.
    pub question: String,
    /// What can be voted for.
    pub options: Vec<String>,
    /// How many options one person may choose; 0 for any number.
    #[serde(default)]
    pub selectable: u32,
}

/// A file that came with a message: what is said about it, not the file.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Its media type, as the sender says.
    #[serde(default)]
    pub mime_type: Option<String>,
    /// Its size, as the sender says.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Its text.
    #[serde(default)]
    pub caption: Option<String>,
    /// Its name.
    #[serde(default)]
    pub file_name: Option<String>,
    /// How long it plays.
    #[serde(default)]
    pub seconds: Option<u32>,
    /// Pixels.
    #[serde(default)]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default)]
    pub height: Option<u32>,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A sound.
    Audio,
    /// A sound that was spoken into the phone.
    Voice,
    /// Any file.
    Document,
    /// A sticker.
    Sticker,
}

impl MediaKind {
    /// All of them.
    pub const ALL: [MediaKind; 6] = [
        MediaKind::Image,
        MediaKind::Video,
        MediaKind::Audio,
        MediaKind::Voice,
        MediaKind::Document,
        MediaKind::Sticker,
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaKind::Image => "image",
            MediaKind::Video => "video",
            MediaKind::Audio => "audio",
            MediaKind::Voice => "voice",
            MediaKind::Document => "document",
            MediaKind::Sticker => "sticker",
        }
    }
}

/// A vote as it travels.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedVote {
    /// The ciphertext.
    pub payload: Bytes,
    /// Its nonce.
    pub nonce: Bytes,
}

impl Content {
    /// The kind's name in the store and in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Content::Text(_) => "text",
            Content::Location(_) => "location",
            Content::Contacts(_) => "contact",
            Content::Poll(_) => "poll",
            Content::Media(media) => media.kind.as_str(),
            Content::Reaction { .. } => "reaction",
            Content::Edit { .. } => "edit",
            Content::Revoke { .. } => "revoke",
            Content::Vote { .. } => "vote",
            Content::Timer { .. } => "timer",
            Content::Other { name } => name,
        }
    }

    /// The text that stands for it: its own, a caption, a name, a question.
    pub fn text(&self) -> Option<&str> {
        match self {
            Content::Text(text) | Content::Edit { text, .. } => Some(text),
            Content::Location(location) => location.name.as_deref(),
            Content::Contacts(contacts) => contacts.first().map(|contact| contact.name.as_str()),
            Content::Poll(poll) => Some(&poll.question),
            Content::Media(media) => media.caption.as_deref().or(media.file_name.as_deref()),
            Content::Reaction { emoji, .. } => Some(emoji),
            Content::Revoke { .. }
            | Content::Vote { .. }
            | Content::Timer { .. }
            | Content::Other { .. } => None,
        }
    }

    /// The message that it changes, if it is none of its own.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Content::Reaction { target, .. }
            | Content::Edit { target, .. }
            | Content::Revoke { target }
            | Content::Vote { target, .. } => Some(target),
            Content::Text(_)
            | Content::Location(_)
            | Content::Contacts(_)
            | Content::Poll(_)
            | Content::Media(_)
            | Content::Timer { .. }
            | Content::Other { .. } => None,
        }
    }
}

// What people write, and where they are, stays out of logs.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({})", self.name())
    }
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extras(…)")
    }
}
