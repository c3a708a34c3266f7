//! Integration tests: real `worker-sim` processes against the simulated
//! WhatsApp, seen from outside through HTTP, signals and the phones.
//!
//! One file a topic, one test a property. Every test plays in a
//! `harness::scene`, which asks at its end what must hold always: no violation
//! seen by the oracle, no unexpected ERROR line, no text, number or key in a
//! log. `tests/run` builds what they need and runs them.

// Tests wait in real time for real processes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

#[cfg(test)]
mod app_state;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bad_start;
#[cfg(test)]
mod balance;
#[cfg(test)]
mod broken_store;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod conflict;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod database;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod desired;
#[cfg(test)]
mod disconnects;
#[cfg(test)]
mod events;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod handoff;
#[cfg(test)]
mod history;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod killpoints;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod mass;
#[cfg(test)]
mod media;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod pairing;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod people;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod purge;
#[cfg(test)]
mod race;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod skipped;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod stalls;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod waha;
#[cfg(test)]
mod webhooks;
