//! The worker: owns WhatsApp accounts, keeps them connected, stores what
//! arrives, sends what is queued, and serves the HTTP API.
//!
//! | Module | Holds |
//! |---|---|
//! | [`cli`] | the command line; `serve` is the worker itself |
//! | [`config`] | every option, checked before anything is opened |
//! | [`app`] | start-up and drain: what is built in which order |
//! | [`http`] | the API: all routes in [`http::router`], one resource a file |
//! | [`health`] | the `/health` document, from what is known |
//! | [`model`] | the documents as they are stored |
//! | [`supervisor`] | accounts owned against accounts running |
//! | [`account`] | one account: its state machine and its task |
//! | [`operator`] | a tool's own worker session, which claims single accounts |
//! | [`backup`] | accounts in one encrypted file, and the way back |
//! | [`baileys`] | sessions of the predecessor's library: in, and out again |
//! | [`groups`] | groups as documents, and what is asked of them |
//! | [`media`] | files that are to be sent |
//! | [`messages`] | what arrives, threads, receipts |
//! | [`outbox`] | what is to be sent: accepted, pumped, settled |
//! | [`telemetry`] | logs, traces and metrics |
//! | [`waha`] | WAHA's words for what there is here |
//! | [`webhooks`] | events that go to an address of the client's |
//! | [`purge`] | everything of an account removed, and the table of what that is |
//! | [`sweep`] | records whose time is over |
//! | [`killpoint`] | where tests end the process; in no shipped binary |
//!
//! The store and the leases are in `coordinator_lib`, encryption in `session`,
//! and everything that names the WhatsApp engine's types in `whatsapp`.

pub mod account;
pub mod app;
pub mod auth;
pub mod backup;
pub mod baileys;
pub mod cli;
pub mod commands;
pub mod config;
pub mod events;
pub mod exit;
pub mod groups;
pub mod health;
pub mod http;
pub mod killpoint;
pub mod media;
pub mod messages;
pub mod model;
pub mod operator;
pub mod outbox;
pub mod passes;
pub mod purge;
pub mod qr;
pub mod shutdown;
pub mod supervisor;
pub mod sweep;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod waha;
pub mod webhooks;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it is built from, or `unknown`; set by `build.rs`.
pub const COMMIT: &str = env!("LEASEHOLD_COMMIT");
