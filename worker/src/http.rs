//! The HTTP API: [`router`] has every route on one page, each resource a file.
//!
//! Handlers read and write documents and never wait for the owner of an
//! account: what concerns it is written to the store, where the owner sees it.
//! Errors are problems (RFC 9457) from the one table in [`problem`]; limits on
//! size, time and origin are in [`limits`], those on connections in [`server`].

mod account_qr;
mod accounts;
mod archives;
mod broadcasts;
mod contacts;
mod dashboard;
mod debug;
mod do_not_contact;
mod embedded;
mod events;
mod extract;
mod groups;
mod guard;
mod history;
mod keys;
pub mod limits;
mod linking;
mod media;
mod message_body;
mod messages;
pub(crate) mod openapi;
mod outbox;
mod page;
pub mod problem;
pub mod proxy;
mod purge;
mod reference;
mod router;
mod rules;
mod sealed;
pub mod server;
mod sessions;
mod sign_in;
pub mod state;
mod status;
mod threads;
mod trace;
mod waha;
mod webhooks;
mod workers;

#[cfg(test)]
mod tests;

pub use router::router;
pub use server::Server;
pub use state::{Api, ApiParts, WorkerView};
