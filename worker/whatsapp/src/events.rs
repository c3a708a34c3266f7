//! What an engine instance tells its owner.
//!
//! [`EngineEvent`] is a notice about something that has happened; nothing is
//! acknowledged to WhatsApp on account of an event, and no message arrives by
//! one: those go through the [`Inbox`](crate::Inbox), before they are
//! acknowledged.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::disconnect::DisconnectReason;
use crate::groups::GroupNews;
use crate::history::Person;
use crate::linking::PasskeyStep;
use crate::presence::PresenceState;

/// How far a connection attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Looking up the host name.
    Dns,
    /// Opening the TCP connection.
    Tcp,
    /// TLS handshake; skipped for `ws`.
    Tls,
    /// WebSocket upgrade and Noise handshake.
    Handshake,
    /// The handshake is done; waiting for the server's verdict on the login.
    Login,
    /// Logged in; catching up before the account counts as connected.
    Sync,
}

impl Stage {
    /// The name shown to users: `dns`, `tcp`, `tls`, `handshake`, `login`, `sync`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::Login => "login",
            Self::Sync => "sync",
        }
    }
}

/// What a receipt says about our messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// A device of the receiver has it.
    Delivered,
    /// As delivered, by a client in the background.
    Inactive,
    /// The receiver has read it.
    Read,
    /// The receiver has played it.
    Played,
    /// A device could not decrypt it and asks for it again; the engine
    /// answers by itself.
    Retry,
    /// Read by another device of this account.
    ReadSelf,
    /// Another device of this account has our message (or we that of another).
    Sender,
    /// The server could not deliver it.
    Undeliverable,
}

/// A QR code's content: it carries the pairing secret, so it is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct QrCode(String);

impl QrCode {
    pub(crate) fn new(code: String) -> Self {
        Self(code)
    }

    /// The text to draw. Whoever has it can take over the pairing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for QrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QrCode(…)")
    }
}

/// A notice from an engine instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A connection attempt has reached this stage.
    Stage(Stage),
    /// A QR code to be scanned. The next one replaces it.
    Qr {
        /// What to draw.
        code: QrCode,
        /// How long it can be scanned.
        valid_for: Duration,
    },
    /// The last QR code expired. A `Disconnected(QrExpired)` and `Stopped` follow.
    QrExhausted,
    /// WhatsApp wants a passkey's word before it links this device.
    Passkey(PasskeyStep),
    /// A phone has linked this device; its identity is durable already.
    /// `Disconnected(RestartRequired)` and a new connection follow.
    Paired {
        /// The phone number's JID, with the device: `4915…:3@s.whatsapp.net`.
        pn: String,
        /// The LID, the number's alias; empty if the server gave none.
        lid: String,
        /// A business account's name, else empty.
        name: String,
        /// The phone's platform as it says so, such as `android`.
        platform: String,
    },
    /// Logged in and caught up: messages can be sent.
    Connected,
    /// The connection is gone, or an attempt failed. Sent for every loss,
    /// once. After `RestartRequired` the instance connects again by itself;
    /// after any other reason `Stopped` follows.
    Disconnected(DisconnectReason),
    /// A receipt for messages of ours.
    Receipt {
        /// The conversation's JID.
        chat: String,
        /// Who sent the receipt: by number where it is known.
        sender: String,
        /// The WhatsApp ids of the messages.
        ids: Vec<String>,
        /// What it says.
        kind: ReceiptKind,
        /// When, by the server's clock.
        at: DateTime<Utc>,
    },
    /// The server has taken a message of ours, or refused it.
    ServerAck {
        /// The WhatsApp id of the message.
        id: String,
        /// The refusal's code, such as 479.
        error: Option<u16>,
    },
    /// A message came that could not be decrypted. The engine has asked for it
    /// again where that is possible.
    Undecryptable {
        /// The conversation's JID.
        chat: String,
        /// Who sent it.
        sender: String,
        /// The sender's other address, if the message tells it.
        sender_alt: Option<String>,
        /// Its WhatsApp id.
        id: String,
        /// When the server took it.
        at: DateTime<Utc>,
    },
    /// Somebody calls.
    Call {
        /// The caller's address.
        from: String,
        /// The address that [`Engine::reject_call`](crate::Engine::reject_call)
        /// wants besides.
        creator: String,
        /// The call's id.
        id: String,
        /// With pictures.
        video: bool,
        /// It rang while the account was offline.
        offline: bool,
    },
    /// Something happened in a group. The engine has acknowledged it already, so
    /// it is not told again.
    Group {
        /// The group's address.
        group: String,
        /// What happened.
        news: GroupNews,
    },
    /// Somebody came, left, writes or speaks.
    Presence {
        /// The chat, where it is about one; the person's own address otherwise.
        chat: String,
        /// Who.
        person: String,
        /// What they do.
        state: PresenceState,
        /// When they were last online, if they let others see it.
        last_seen: Option<DateTime<Utc>>,
    },
    /// A chat was put away on the phone, or taken out again.
    ChatArchived {
        /// The conversation's JID.
        chat: String,
        /// It was put away.
        archived: bool,
    },
    /// Somebody is called so in the phone's address book.
    ContactNamed(Person),
    /// The run loop has ended; the instance is of no more use. Always the last.
    Stopped,
}

impl EngineEvent {
    /// Every name that [`EngineEvent::name`] gives.
    pub const NAMES: [&'static str; 16] = [
        "stage",
        "qr",
        "qr_exhausted",
        "passkey",
        "paired",
        "connected",
        "disconnected",
        "receipt",
        "server_ack",
        "undecryptable",
        "call",
        "group",
        "presence",
        "chat_archived",
        "contact_named",
        "stopped",
    ];

    /// The name under which events are counted and logged.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stage(_) => "stage",
            Self::Qr { .. } => "qr",
            Self::QrExhausted => "qr_exhausted",
            Self::Passkey(_) => "passkey",
            Self::Paired { .. } => "paired",
            Self::Connected => "connected",
            Self::Disconnected(_) => "disconnected",
            Self::Receipt { .. } => "receipt",
            Self::ServerAck { .. } => "server_ack",
            Self::Undecryptable { .. } => "undecryptable",
            Self::Call { .. } => "call",
            Self::Group { .. } => "group",
            Self::Presence { .. } => "presence",
            Self::ChatArchived { .. } => "chat_archived",
            Self::ContactNamed(_) => "contact_named",
            Self::Stopped => "stopped",
        }
    }

    /// True for news that the account can do without: the others make its state.
    pub(crate) fn may_be_left_out(&self) -> bool {
        match self {
            Self::Receipt { .. }
            | Self::ServerAck { .. }
            | Self::Undecryptable { .. }
            | Self::Call { .. }
            | Self::Group { .. }
            | Self::Presence { .. }
            | Self::ChatArchived { .. }
            | Self::ContactNamed(_) => true,
            Self::Stage(_)
            | Self::Qr { .. }
            | Self::QrExhausted
            | Self::Passkey(_)
            | Self::Paired { .. }
            | Self::Connected
            | Self::Disconnected(_)
            | Self::Stopped => false,
        }
    }
}
