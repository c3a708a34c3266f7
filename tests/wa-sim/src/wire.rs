//! What travels on the WebSocket: frames, and the binary nodes inside them.
//!
//! - [`mod@frame`]: bytes ↔ frames (3-byte length, once the `WA` intro)
//! - [`codec`]: frame payloads ↔ [`Node`]s, with the dictionaries of [`tokens`]
//! - [`jid`][]: addresses
//!
//! Everything here is pure: no sockets, no clocks, no keys.

pub mod codec;
pub mod frame;
pub mod jid;
pub mod node;
pub mod tokens;

pub use codec::{DecodeError, decode, encode, unpack};
pub use frame::{FrameError, FrameReader, frame};
pub use jid::{Jid, JidError};
pub use node::{Content, Node};
