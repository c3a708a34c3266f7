//! What is to be sent: accepted, sent in order, settled.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | limits, pacing, patience |
//! | [`mod@accept`] | a request becomes documents, on any worker, in one commit |
//! | [`request`] | what may be asked for, and what it refers to |
//! | [`schedule`] | which message is next: pure |
//! | [`bucket`], [`pace`] | how fast, and when not at all: pure |
//! | [`verdict`] | what each answer of WhatsApp means: data |
//! | [`rule`] | what follows for the message: pure |
//! | [`pump`] | the owner's task that sends |
//! | [`attempt`] | one attempt at one message |
//! | [`acks`], [`marks`] | what attempts wait for |
//! | [`status`] | what the pump is doing, and what hangs |
//! | [`held`] | what an unlinked account does not send |
//! | [`settle`] | the states a message goes through, in fenced commits |
//!
//! One message keeps one WhatsApp id for ever, whoever sends it and however
//! often: the receiver's client drops what it has already seen.

pub mod accept;
pub mod acks;
mod attempt;
pub mod broadcast;
pub mod bucket;
pub mod config;
pub mod held;
pub mod marks;
pub mod pace;
pub mod pump;
pub mod request;
pub mod rule;
pub mod schedule;
pub mod settle;
pub mod status;
pub mod verdict;

pub use accept::{AcceptError, AcceptOutcome, AcceptParts, AcceptRequest, accept};
pub use config::OutboxConfig;
pub use request::NewMessage;
