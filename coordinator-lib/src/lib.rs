//! Leases on accounts, and the document store that they live in.
//!
//! Knows nothing of WhatsApp. From the bottom up:
//! - [`clock`], [`rng`], [`backoff`]: time and randomness come in here only;
//! - [`store`]: the document store, a port shaped like Firestore, with adapters
//!   for SQLite, Firestore (feature `firestore`) and memory;
//! - [`gate`]: what stands between an account's work and the world;
//! - [`fence`]: commits that only the owner of the present epoch can make;
//! - [`lease`], [`claim`]: who may own what, as pure rules;
//! - [`coordinator`]: claims, renews and releases, in the store.
#![deny(missing_docs)]

pub mod backoff;
pub mod claim;
pub mod clock;
pub mod coordinator;
pub mod fence;
pub mod gate;
pub mod identity;
pub mod lease;
pub mod rng;
pub mod store;
pub mod store_lock;
