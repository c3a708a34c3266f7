//! One account: from its claim to its release.
//!
//! | Module | Holds |
//! |---|---|
//! | [`config`] | its limits and waits |
//! | [`state`] | the state machine: pure |
//! | [`reconnect`] | what follows from each reason of a disconnect: data |
//! | [`task`] | the driver: events in, effects out |
//! | [`term`] | one claim: fenced writer, journal, session files, lease |
//! | [`instance`] | one engine under that claim: gates, handlers, its end |
//! | [`link`] | the engine, as the task sees it: a small trait |
//! | [`status`] | the account document, as its owner writes it |
//! | [`timers`] | what the task waits for |
//! | [`observed`] | what others see of a running account: counters, trail |
//!
//! An account has one path to its engine, whether it is new or restored, and
//! that path attaches every handler (PREDECESSOR S2).

pub mod config;
pub mod instance;
pub mod link;
pub mod observed;
pub mod reconnect;
pub mod state;
pub mod status;
pub mod task;
pub mod term;
pub mod timers;

pub use config::AccountConfig;
