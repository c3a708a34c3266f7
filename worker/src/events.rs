//! The account's journal: everything that its owner writes about it, in order,
//! each change with the event that tells of it.
//!
//! | Module | Holds |
//! |---|---|
//! | [`draft`] | one commit in the making: reads, changes, events |
//! | [`journal`] | the task that commits drafts through the fenced writer |
//! | [`known`] | documents that the journal wrote or read lately |
//! | [`logged`], [`position`] | an event as clients see it, and the order of all of them |
//! | [`scan`], [`settling`] | reads the log of all accounts in that order |
//! | [`feed`], [`ring`] | one watch of the log for all streams of a worker |
//! | [`numbers`] | whether that watch left an event out |
//! | [`streams`] | what clients listen to |
//!
//! An account's events are numbered without a gap, because one task gives the
//! numbers and commits them in order. Session files do not go through here:
//! they have no events and are written by the crate `session`, through the same
//! fenced writer.

pub mod draft;
pub mod feed;
pub mod journal;
pub mod known;
pub mod logged;
pub mod numbers;
pub mod position;
pub mod ring;
pub mod scan;
pub mod settling;
pub mod streams;

pub use draft::{Draft, DraftError};
pub use journal::{Journal, JournalError, JournalParts, Need, Submitted};
pub use logged::{Filter, Logged};
pub use position::Position;
pub use streams::{Streams, StreamsConfig};
