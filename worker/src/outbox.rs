//! What is to be sent: accepted, sent in order, settled.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | limits, pacing, patience |
//! | [`mod@accept`] | a request becomes documents, on any worker, in one commit |
//! | [`schedule`] | which message is next: pure |
//! | [`bucket`] | pacing: pure |
//! | [`verdict`] | what follows from each answer of WhatsApp: data |
//! | [`pump`] | the owner's task that sends |
//! | [`settle`] | the states a message goes through, in fenced commits |
//!
//! One message keeps one WhatsApp id for ever, whoever sends it and however
//! often: the receiver's client drops what it has already seen.

pub mod accept;
pub mod bucket;
pub mod config;
pub mod pump;
pub mod schedule;
pub mod settle;
pub mod verdict;

pub use accept::{AcceptError, AcceptOutcome, AcceptParts, AcceptRequest, accept};
pub use config::OutboxConfig;
