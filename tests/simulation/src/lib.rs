//! A deterministic simulation of a cluster of workers.
//!
//! The coordinators are the real ones, and in some seeds the whole worker below
//! its API is. Time is virtual, the store is in memory
//! and misbehaves, workers are killed, stopped, cut off and drained, and a
//! simulated server watches as the oracle. One seed is one run, to the event.
//!
//! | Module | Holds |
//! |---|---|
//! | [`timeline`] | virtual time: events, one after another |
//! | [`process`] | a worker's process: running, stopped, dead |
//! | [`clock`] | clocks that run fast or slow |
//! | [`sea`] | the store that all share, and its outages |
//! | [`link`], [`port`] | a worker's way to it, and what goes wrong there |
//! | [`worker`] | one boot of a worker, with the real coordinator |
//! | [`work`] | what stands in for the worker's account tasks in most seeds |
//! | [`engine`] | what stands in for the WhatsApp engine where they are real |
//! | [`post`] | the server's side of messages |
//! | [`desk`] | a worker's API |
//! | [`plan`] | what a seed stands for |
//! | [`world`] | one run |
//! | [`ledger`] | checks every commit as it lands |
//! | [`server`] | the oracle: checks every frame as it arrives |
//! | [`history`] | the ownership history, for the checker of `tests/history` |
//! | [`record`], [`report`] | what happened, in one run and in all |
//! | [`kinds`] | what a large run has to have met |

pub mod clock;
pub mod desk;
pub mod engine;
pub mod history;
pub mod kinds;
pub mod ledger;
pub mod link;
pub mod plan;
pub mod port;
pub mod post;
pub mod process;
pub mod record;
pub mod report;
pub mod sea;
pub mod server;
pub mod timeline;
pub mod work;
pub mod worker;
pub mod world;
