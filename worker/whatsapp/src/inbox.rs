//! Where decrypted messages go before they are acknowledged to WhatsApp.
//!
//! [`Inbox::commit`] is the one awaited write of the receiving path. The
//! server forgets a message once it is acknowledged, and the engine
//! acknowledges a batch only after `commit` returned `Ok`. A batch that failed
//! comes again, whole, with the same ids: a commit must be repeatable.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::content::{Content, Extras};
use crate::history::HistoryPiece;
use crate::media::MediaRef;

/// Stores inbound messages durably.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Stores the whole batch, in order, or nothing. One message while the
    /// account is online, up to 400 while it catches up.
    ///
    /// Must not wait for anything of the same engine instance, such as a send:
    /// the receiving lane is held meanwhile.
    ///
    /// # Errors
    /// Any error leaves the batch unacknowledged; WhatsApp sends it again on
    /// the next connection.
    async fn commit(&self, batch: Vec<Inbound>) -> Result<(), InboxError>;

    /// Whether it has the message as one of its own. False as well for one that
    /// only changed another, or could not be decrypted.
    ///
    /// # Errors
    /// [`InboxError`]; the message comes again.
    async fn holds(&self, key: MessageKey<'_>) -> Result<bool, InboxError>;

    /// Makes a piece of history durable, so that it can be read in peace; an
    /// inbox that wants none drops it. The phone has been told that it came and
    /// does not give it again, so this is tried until the instance ends.
    ///
    /// # Errors
    /// [`InboxError`]; it is tried again, but for [`InboxError::NotOwner`].
    async fn keep_history(&self, _piece: &HistoryPiece) -> Result<(), InboxError> {
        Ok(())
    }
}

/// What names a message: (chat, sender, id), as the stanza has them.
#[derive(Clone, Copy)]
pub struct MessageKey<'a> {
    /// The conversation's address.
    pub chat: &'a str,
    /// The sender's, with the device.
    pub sender: &'a str,
    /// The sender's other address, if it is known.
    pub sender_alt: Option<&'a str>,
    /// The WhatsApp id.
    pub id: &'a str,
}

/// Why a batch could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// Another worker owns the account by now, or this one is stopping.
    #[error("no longer the owner of the account")]
    NotOwner,
    /// The store failed.
    #[error("storing inbound messages failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One decrypted message. (chat, sender, id) is its identity: an id alone is
/// only unique within a sender. All three are the same in every redelivery.
///
/// People have two addresses, a phone number and an alias (LID). `chat` and
/// `sender` are the phone number's wherever the message tells it, so that a
/// conversation is one whichever way its messages came.
#[derive(Clone, PartialEq)]
pub struct Inbound {
    /// The WhatsApp id.
    pub id: String,
    /// The conversation's JID, without a device.
    pub chat: String,
    /// Who wrote it, without a device.
    pub sender: String,
    /// The sender's other address, if the message tells it.
    pub sender_alt: Option<String>,
    /// The conversation's address as the message came: receipts for it go there
    /// ([`Engine::mark_read`](crate::Engine::mark_read)).
    pub wire_chat: String,
    /// The sender's address as the message came.
    pub wire_sender: String,
    /// The conversation is a group.
    pub is_group: bool,
    /// Written by another device of this account.
    pub from_me: bool,
    /// The name that the sender shows; may be empty.
    pub push_name: String,
    /// When the server took it.
    pub timestamp: DateTime<Utc>,
    /// What it holds.
    pub content: Content,
    /// What comes with that.
    pub extras: Extras,
    /// Where its file is, if it has one.
    pub media: Option<MediaRef>,
    /// Its own secret, to which votes refer.
    pub secret: Option<Bytes>,
    /// It waited at the server while the account was offline.
    pub offline: bool,
}

// Texts, names and numbers are people's own and stay out of logs.
impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("id", &self.id)
            .field("from_me", &self.from_me)
            .field("content", &self.content)
            .field("timestamp", &self.timestamp)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}
