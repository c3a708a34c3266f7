//! Leases on accounts, and the document store that they live in.
//!
//! Knows nothing of WhatsApp. From the bottom up:
//! - [`clock`], [`rng`], [`backoff`]: time and randomness come in here only;
//! - [`store`]: the document store, a port shaped like Firestore, with adapters
//!   for Firestore (feature `firestore`), SQLite and memory;
//! - [`deadline`], [`gate`]: what stands between an account's work and the world;
//! - [`fence`]: commits that only the owner of the present epoch can make;
//! - [`lease`], [`claim`], [`worker_session`], [`balance`], [`spread`]: who may own
//!   what, as pure rules;
//! - [`heartbeat`], [`presence`]: proof that a worker lives, or is gone;
//! - [`coordinator`]: claims, renews, hands off and takes over, in the store;
//! - [`history`]: what became of an account, and why;
//! - [`observer`]: who is told of it, for metrics and traces;
//! - [`mutation`]: rules broken on purpose, in tests.

#![deny(missing_docs)]

pub mod backoff;
pub mod balance;
mod call;
pub mod claim;
pub mod clock;
pub mod coordinator;
pub mod deadline;
pub mod fence;
pub mod gate;
mod hash;
pub mod heartbeat;
pub mod history;
pub mod identity;
pub mod lease;
pub mod mutation;
pub mod observer;
pub mod presence;
pub mod rendezvous;
pub mod rng;
pub mod shard;
pub mod spread;
pub mod store;
mod watchdog;
pub mod worker_session;
