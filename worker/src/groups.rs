//! The groups of an account: kept as documents, changed on request.
//!
//! | Module | Holds |
//! |---|---|
//! | [`shelf`] | writes what WhatsApp says of a group into its documents |
//! | [`keeper`] | the owner's task: asks WhatsApp for what has changed |
//! | [`answers`] | carries out what other workers ask of the owner |
//!
//! A notification of WhatsApp's says *that* a group has changed; what it is like
//! then is asked for, so that what was missed, doubled or came out of order
//! changes nothing. WhatsApp takes a notification for received before it is
//! stored: what a crash loses of them is caught up by asking for every group
//! once a claim.

pub mod answers;
pub mod keeper;
pub mod shelf;
