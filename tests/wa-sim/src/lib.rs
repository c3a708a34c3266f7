//! A simulated WhatsApp: a server of our own, and phones to go with it.
//!
//! Unmodified clients connect to it over a WebSocket, pair by QR with a
//! simulated phone, log in, and exchange end-to-end encrypted messages. An
//! oracle watches what no client may do.
//!
//! It shares no code with the clients it is there to test: frames, node codec,
//! Noise and Signal are written here from the protocol's facts. A server built
//! on a client's codec would share that codec's mistakes.
//!
//! - [`wire`]: frames, binary nodes, JIDs
//! - [`noise`]: the encrypted transport, server side
//! - [`signal`]: the phones' end-to-end encryption
//! - [`adv`]: how a phone vouches for its linked devices
//! - [`server`]: accounts, connections, and the way of stanzas between them
//! - [`phone`]: simulated phones and their ledgers
//! - [`media`]: the host of files
//! - [`fault`], [`oracle`]: what goes wrong on purpose, and what must not
//! - [`sim`], [`admin`]: all of it together, as a library and over HTTP
//!
//! It is for tests on the loopback interface: it knows no TLS, keeps its state
//! in memory and believes everyone who scans a code.

pub mod admin;
pub mod adv;
pub mod fault;
pub mod keys;
pub mod media;
pub mod noise;
pub mod oracle;
pub mod phone;
pub mod server;
pub mod signal;
pub mod sim;
pub mod wire;

pub use self::{
    fault::{Disconnect, Fault, FaultKind},
    phone::Phone,
    sim::{Sim, SimConfig},
};
