//! The engine adapter: one WhatsApp account's connection, and the only crate
//! that names the engine's types.
//!
//! [`Engine::start`] takes an account's session files, the two gates of its
//! claim and an [`Inbox`], and connects; [`EngineEvent`]s say what happens;
//! [`Engine::send`] sends. An instance belongs to one epoch and makes one
//! connection (two if it pairs). Whether, when and under which claim another
//! follows is the supervisor's decision.
//!
//! # Where fencing meets the engine
//!
//! ```text
//!                         Engine (one epoch, one pair of gates)
//!  owner ── send ───────► ┌──────────────────────────────────┐
//!        ◄─ events ────── │ monitor  ◄── listener ◄──┐       │
//!                         │ driver ────────────────► engine  │
//!  Inbox ◄── commit ───── │ hook ◄───────────────────┤ │ │   │
//!                         └────────────────────────────┼─┼───┘
//!            store gate ══► backend ◄── writes ────────┘ │
//!                             │ SessionFiles, fenced     │ frames
//!             wire gate ══► transport ◄──────────────────┘
//!                             │ barrier: the identity is durable first
//!                             ▼ TLS, TCP (the wire gate once more, at each write)
//! ```
//!
//! - **Nothing leaves without the wire gate.** Every dial, every frame and every
//!   write to TCP passes it. When it closes the TCP stream is dropped.
//! - **Nothing is written without the store gate**, and every write that is made
//!   durable is fenced by the epoch ([`session::SessionFiles`]).
//! - **Durable before the wire**: the counters that encrypt a message, prekeys
//!   before their upload, a new identity before it is confirmed to the server.
//!   All else is write-behind, and reads come from memory.
//! - **Stored before acknowledged**: the engine acknowledges a message after
//!   [`Inbox::commit`]; what was not stored comes again.
//! - **Every loss of the connection is told, once, with its reason**
//!   ([`DisconnectReason`]): also those about which the engine is silent.
//! - **Nothing outlives an instance**: its tasks are counted, and stopped at the
//!   end of [`Engine::shutdown`] where they do not end by themselves. Dropping an
//!   instance stops them too, without a flush.
//!
//! To freeze an account: close both gates (O(1), from anywhere), then
//! `shutdown`. To release it: stop sending, close the wire gate, `shutdown`
//! (which flushes), close the store gate.
//!
//! # Not here
//! - Which account, which lease, when to connect again: the supervisor.
//! - Where history goes: a piece is handed over once it is fetched
//!   ([`Inbox::keep_history`]).
//!
//! # Builds
//! The cargo feature `simulation` makes the engine accept forged certificates,
//! for the simulated WhatsApp: [`assert_chain_is_verified`] keeps a strict build
//! strict, [`assert_endpoint_is_allowed`] a simulation build on this machine.

// The engine's futures lie deep within one another.
#![recursion_limit = "256"]

mod backend;
pub mod baileys;
mod barrier;
mod chains;
mod clues;
mod config;
mod connection;
pub mod content;
mod disconnect;
mod engine;
mod events;
pub mod groups;
pub mod history;
mod hook;
mod http;
mod inbox;
mod linking;
mod listener;
pub mod media;
mod message;
mod monitor;
mod presence;
mod proxy;
mod redelivery;
mod runtime;
mod send_error;
pub mod stale;
#[cfg(test)]
mod testing;
mod transport;
mod verification;
mod version;

pub use config::{
    Endpoint, EngineConfig, InvalidEndpoint, PREKEYS_WANTED, PairingMethod, WHATSAPP_ORIGIN,
    WHATSAPP_URL,
};
pub use content::{Content, Extras};
pub use disconnect::{DisconnectReason, UnreachableReason};
pub use engine::{Engine, EngineError, EngineStats, OutboundMessage, OwnIdentity, ShutdownReport};
pub use events::{EngineEvent, QrCode, ReceiptKind, Stage};
pub use groups::{GroupAnswer, GroupError, GroupNews, GroupRequest};
pub use inbox::{Inbound, Inbox, InboxError, MessageKey};
pub use linking::{LinkingError, PairingCode, PasskeyStep};
pub use message::{
    InvalidRecipient, MESSAGE_SECRET_BYTES, MessageSecret, TEXT_BYTES_MAX, encode_text,
    generate_message_id, generate_message_secret, normalise_recipient,
};
pub use presence::PresenceState;
pub use proxy::{InvalidProxy, Proxy, ProxyKind};
pub use send_error::SendError;
pub use verification::{
    SIMULATION, VerificationError, assert_chain_is_verified, assert_endpoint_is_allowed,
    assert_proxy_is_allowed,
};
pub use version::{VersionError, WHATSAPP_VERSION_URL, fetch_version};
