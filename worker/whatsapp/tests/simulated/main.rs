//! The engine adapter against the simulated WhatsApp: the real engine, over a
//! real socket, on session files in a store in memory.
//!
//! Each test has a simulation of its own, and ends with the oracle's verdict.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test program"
)]

mod account;
mod fencing;
mod lifecycle;
mod losses;
mod messages;
