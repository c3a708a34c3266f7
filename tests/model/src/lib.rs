//! A model of the lease protocol, for the stateright checker: every order of
//! steps, every pause, every lost or late answer within its bounds.
//!
//! It models the *rules* and not the code: what `coordinator-lib` and `worker`
//! do is tested where they are. What the model says is that a worker which keeps
//! these rules is safe, and that each rule is needed: with any of them broken
//! ([`mutation`]) an invariant fails ([`invariants`]).
//!
//! # Reading order
//! - [`state`]: what there is, and which abstractions lose nothing;
//! - [`action`]: what may happen, beside the operations of the protocol;
//! - [`rules`] and [`store`]: who may do what, decided by the worker and by the
//!   store;
//! - [`step`]: what each action does;
//! - [`invariants`] (S0–S4) and [`milestone`] (what a run has to reach);
//! - [`config`]: the two kinds of run, with clocks and without;
//! - [`check`], [`report`]: running it.
//!
//! # What is modelled
//! Worker sessions, heartbeats, seals, claims, renewals, fenced flushes, the
//! wire gate with the earlier of two deadlines, releases, the closing of a
//! session, restarts, an operator's edit; a store whose answers are lost and to
//! which requests come late; one sending chain an account.
//!
//! # What is not
//! - *Liveness*: nothing is said about how soon an account is taken over. Who
//!   takes what, and the wait after an outage, only make workers claim less.
//! - *The gates' mechanics*: that closing one is O(1), and that a call which
//!   passed is counted, is tested in `coordinator-lib`.
//! - *The store gate's deadline while an engine shuts down*: flushes may then be
//!   sent at any time, and the fence alone decides.
//! - *The inbound side of the ratchet*, the pairing identity, prekeys, outbox
//!   states: one chain stands for all session files.
//! - *More than one file write in a commit*: atomicity is the store's.
//! - *Wrapped keys*: the head changes with claims only.
//! - *Handing over, restored databases, imports, the watchdog.*

pub mod action;
pub mod check;
pub mod config;
pub mod invariants;
pub mod milestone;
pub mod mutation;
pub mod report;
pub mod rules;
pub mod state;
pub mod step;
pub mod store;
pub mod symmetry;

mod model;
