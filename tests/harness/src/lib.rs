//! What the integration tests, the demo and the chaos have in common: a simulated
//! WhatsApp in this process, real worker processes beside it, and the ledgers
//! that tell whether a message was lost or came twice.
//!
//! | Module | Holds |
//! |---|---|
//! | [`scene`] | a simulated WhatsApp, a worker and accounts that pair: where a test begins |
//! | [`worker`] | one worker process: start, signals, end |
//! | [`cluster`] | several worker processes, by name |
//! | [`chat`] | phones and clients that write to each other all the time |
//! | [`binary`] | where the `worker-sim` binary is |
//! | [`build`] | builds it |
//! | [`log`] | what a worker wrote: unexpected errors, planted texts that must not be there |
//! | [`api`] | the worker's HTTP API, as a client sees it |
//! | [`port`] | ports that are held, so that nobody listens there |
//! | [`wait`] | waiting for a condition with a deadline |
//! | [`ownership`] | what the ownership history tells: time unowned, overlaps |
//! | [`held`] | who says now that it owns what |
//! | [`logins`] | when accounts were connected, as the simulated server saw it |
//! | [`ledger`] | the counts, of `tests/history`: sent, received, stored, lost, duplicated, … |
//!
//! It talks to workers over HTTP and signals alone and does not depend on
//! their crates: what it sees is what a user sees. It reads the machine's
//! clock, for deadlines only.

// Tests and the demo wait in real time for real processes.
#![allow(
    clippy::disallowed_methods,
    reason = "deadlines of tests are real time"
)]

pub mod api;
pub mod binary;
pub mod build;
pub mod chat;
pub mod cluster;
pub mod command;
pub mod held;
pub mod log;
pub mod logins;
pub mod ownership;
pub mod port;
pub mod scene;
pub mod wait;
pub mod worker;

pub use history::ledger;
