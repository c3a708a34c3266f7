//! One account: from its claim to its release.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | its limits and waits |
//! | [`state`] | the state machine: pure |
//! | [`ladder`] | what it remembers between attempts, over takeovers: pure |
//! | [`reconnect`] | what follows from each reason of a disconnect: data |
//! | [`task`] | the driver: events in, effects out |
//! | [`term`] | one claim: fenced writer, journal, session files, lease |
//! | [`instance`] | one engine under that claim: gates, handlers, its end |
//! | [`link`] | the engine, as the task sees it: a small trait |
//! | [`status`] | the account document, as its owner writes it |
//! | [`pulse`] | whether a connection is alive: pure |
//! | [`timers`] | what the task waits for |
//! | [`observed`] | what others see of a running account: counters, trail |
//!
//! An account has one path to its engine, whether it is new or restored, and
//! that path attaches every handler (PREDECESSOR S2).

pub mod archive;
pub mod config;
pub mod instance;
pub mod ladder;
pub mod link;
pub mod observed;
pub mod pulse;
pub mod reconnect;
pub mod rewrap;
pub mod state;
pub mod status;
pub mod task;
pub mod term;
pub mod timers;

pub use config::AccountConfig;
