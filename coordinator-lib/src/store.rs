//! The document store: a port shaped like Firestore, and its adapters.
//!
//! # Vocabulary
//! - A *document* lies at a [`Path`] (`accounts/a1`), has [`Fields`] and the
//!   `update_time` of its last change. The update time is the document's
//!   version: it strictly increases, and conditions are made of it.
//! - A *collection* ([`Collection`]) is the set of documents with the same
//!   parent: `accounts`, or `threads/t1/messages`.
//! - A *commit* is a list of [`Write`]s that happen all or not at all, each on
//!   its own [`Precondition`]. Nothing is ever locked: read, decide, commit on
//!   the condition that what was read is still so.
//! - *Store time* ([`StoreTime`]) is the one clock that judges others. It never
//!   goes back, whatever happens to the machine's wall clock.
//!
//! # Errors
//! A lost race is a value: [`CommitOutcome::Rejected`], [`WriteOutcome::Rejected`].
//! Nobody says which of a commit's conditions failed (Firestore does not); look
//! again. A [`StoreError`] is a failure, and [`StoreError::Ambiguous`] the one
//! to be careful with: the commit may have happened, or may *still* happen.
//! Settle it by reading back, never by blind repetition; [`crate::fence`] does.
//!
//! # Example
//! ```
//! # async fn example() -> Result<(), coordinator_lib::store::StoreError> {
//! use coordinator_lib::clock::SystemClock;
//! use coordinator_lib::store::*;
//!
//! let store = MemoryStore::new(SystemClock::shared());
//! let path = Path::new("accounts/a1")?;
//! let created = Write::Set {
//!     path: path.clone(),
//!     fields: Fields::from([("name".into(), "first".into())]),
//!     precondition: Precondition::Absent,
//! };
//! assert!(matches!(store.commit(vec![created.clone()]).await?, CommitOutcome::Committed(_)));
//! assert_eq!(store.commit(vec![created]).await?, CommitOutcome::Rejected);
//! let snapshot = store.get(&[path]).await?;
//! assert_eq!(snapshot.documents[0].as_ref().unwrap().fields["name"], Value::from("first"));
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! # Limits
//! Every adapter refuses what Firestore would refuse ([`limits`]), so that what
//! works on one machine works on the cluster.

use std::sync::Arc;

use async_trait::async_trait;

mod apply;
mod codec;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod doctor;
mod document;
mod error;
mod fields;
#[cfg(feature = "firestore")]
mod firestore;
pub mod indexes;
mod key;
pub mod limits;
mod memory;
mod path;
mod plan;
mod query;
mod serde;
mod sqlite;
mod time;
mod value;
mod watch;
mod write;

pub use codec::{fields_from_bytes, fields_to_bytes};
pub use document::{Document, Page, Snapshot};
pub use error::StoreError;
pub use fields::Fields;
#[cfg(feature = "firestore")]
pub use firestore::{FirestoreOptions, FirestoreStore};
pub use memory::{Fault, MemoryStore};
pub use path::{Collection, Path, encode_id};
pub use query::{Cursor, Direction, Filter, Matcher, Op, Order, Query, QueryShape};
pub use serde::{Stamp, from_fields, to_fields};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use time::StoreTime;
pub use value::Value;
pub use watch::{Change, Watch};
pub use write::{Commit, CommitOutcome, Precondition, Write, WriteOutcome};

/// A store that may be shared between tasks.
pub type Store = Arc<dyn DocumentStore>;

/// What a store can do; see the module's documentation for the words.
///
/// # Cancel safety
/// A read that is dropped has no effect. A commit that is dropped may have
/// happened, or may still happen: its outcome is as unknown as after
/// [`StoreError::Ambiguous`].
#[async_trait]
pub trait DocumentStore: Send + Sync + 'static {
    /// Reads documents as they are now (strongly), all at one `read_time`.
    ///
    /// The answer has one entry for each path, in order; `None` where there is
    /// no document. At most [`limits::GET_PATHS_MAX`] paths.
    ///
    /// # Errors
    /// `Invalid` for too many paths; `Corrupt` for a document that cannot be
    /// read; `Unavailable`.
    async fn get(&self, paths: &[Path]) -> Result<Snapshot, StoreError>;

    /// Reads one page of a query's documents, strongly.
    ///
    /// A page ends at the query's limit, or earlier where the documents are
    /// large ([`limits::PAGE_BYTES_MAX`]). `next` is set whenever there is
    /// more; pass it to [`Query::start_after`].
    ///
    /// # Errors
    /// `Invalid` for a query that Firestore would refuse; `Corrupt`;
    /// `Unavailable`.
    async fn query(&self, query: &Query) -> Result<Page, StoreError>;

    /// Counts the documents that a query's filters match; its order, limit and
    /// cursor do not matter.
    ///
    /// # Errors
    /// As for [`DocumentStore::query`].
    async fn count(&self, query: &Query) -> Result<u64, StoreError>;

    /// Makes all the writes, or none of them if a precondition does not hold.
    ///
    /// # Errors
    /// `Invalid` for a commit over [`limits`], or with the same path twice;
    /// `Full`, `Unavailable`, `Contended`: nothing was written; `Ambiguous`:
    /// the outcome is unknown.
    async fn commit(&self, writes: Vec<Write>) -> Result<CommitOutcome, StoreError>;

    /// Makes each write by itself, as if it were a commit of its own; one
    /// outcome for each, in order.
    ///
    /// # Errors
    /// As for [`DocumentStore::commit`]; after an error any of the writes may
    /// have been made.
    async fn commit_each(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, StoreError>;

    /// Watches a query: what matches now, then every change.
    ///
    /// Order, limit and cursor have no meaning here and are `Invalid`.
    ///
    /// # Errors
    /// As for [`DocumentStore::query`]. Once a watch has begun the adapter
    /// deals with failures itself: it waits, and sends a new snapshot if it
    /// missed something.
    async fn watch(&self, query: &Query) -> Result<Watch, StoreError>;

    /// Asks the store for its time, to see whether it answers.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn ping(&self) -> Result<StoreTime, StoreError>;

    /// The adapter's name: `sqlite`, `memory`, `firestore`.
    fn backend(&self) -> &'static str;
}

/// Reads all pages of a query, up to a number of documents.
///
/// # Errors
/// As for [`DocumentStore::query`], and `Invalid` if more than
/// `documents_max` documents match.
pub async fn query_all(
    store: &dyn DocumentStore,
    query: &Query,
    documents_max: usize,
) -> Result<Vec<Document>, StoreError> {
    let mut documents = Vec::new();
    let mut query = query.clone();
    loop {
        let page = store.query(&query).await?;
        documents.extend(page.documents);
        if documents.len() > documents_max {
            return Err(StoreError::invalid(format!(
                "more than {documents_max} documents in {}",
                query.collection()
            )));
        }
        match page.next {
            Some(cursor) => query = query.start_after(cursor),
            None => return Ok(documents),
        }
    }
}
