//! The server: accepts connections, knows accounts, and carries stanzas between
//! their devices.
//!
//! [`World`] is everything the server knows, and its rules: plain functions
//! under one lock, no I/O. A connection's task feeds it with stanzas, writes what it
//! answers, and fetches what waits in the device's mailbox. Phones are devices
//! like any other, except that they live in this process and have no socket.
//!
//! ```text
//! socket ─ connection ─┐            ┌─ mailbox ─ connection ─ socket
//!                      ├─► World ───┤
//!             phone ───┘            └─ mailbox ─ phone
//! ```
//!
//! Locks are taken in the order phone, world; nothing waits while it holds one.

mod account;
mod app_state;
mod clock;
mod connection;
mod delivery;
mod group_queries;
mod group_routing;
mod groups;
mod listener;
mod login;
mod mailbox;
mod pairing;
mod prekeys;
mod presence;
mod queries;
mod routing;
mod session;
mod stanza;
mod typed_code;
mod usync;
mod view;
mod world;

pub use self::{
    account::DeviceId,
    groups::{GROUP_MEMBERS_MAX, GroupRefusal, Overheard, Rank},
    pairing::PairError,
    session::SessionId,
    view::{AccountView, DeviceView},
    world::World,
};
pub(crate) use self::{
    account::{Device, PreKey, SignedPreKey},
    clock::Clock,
    connection::Hub,
    groups::GroupChange,
    listener::serve,
    pairing::Vouching,
    prekeys::{Bundle, three_bytes},
    session::Mail,
    stanza::fresh_id,
};
