//! The contract of a document store: one suite, for every adapter.
//!
//! Each property is an async function over an empty store. [`store_contract!`]
//! makes a test of each:
//! ```ignore
//! async fn fixture() -> contract::Fixture { … }
//! coordinator_lib::store_contract!(fixture);
//! ```
//! A fixture may share one server between tests as long as each gets documents
//! of its own (Firestore: a project id a test).
//!
//! [`store_contract!`]: crate::store_contract
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::any::Any;
use std::future::Future;
use std::time::Duration;

use super::{
    Collection, Commit, CommitOutcome, DocumentStore, Fields, Path, Precondition, Store, StoreTime,
    Value, Write,
};

pub mod commits;
pub mod queries;
pub mod watches;

/// Makes a `#[tokio::test]` of every property, from a function without
/// arguments whose future is a [`Fixture`](crate::store::contract::Fixture).
#[macro_export]
macro_rules! store_contract {
    ($fixture:path) => {
        $crate::store_contract!($fixture, commits:
            a_document_reads_back_with_every_type
            preconditions_decide
            a_rejected_commit_writes_nothing
            an_update_changes_only_the_named_fields
            an_update_needs_its_document
            verify_checks_and_changes_nothing
            update_times_strictly_increase
            the_commit_time_is_the_stores
            what_firestore_refuses_is_refused
            an_update_that_makes_a_document_too_large_is_refused
            independent_writes_have_their_own_outcomes
            of_racing_claims_exactly_one_wins
            a_batch_reads_in_order_and_at_one_time
            a_document_deleted_and_made_again_is_another_version
            store_time_goes_on_without_writes
        );
        $crate::store_contract!($fixture, queries:
            equality_range_and_order
            types_do_not_mix
            null_is_found_and_missing_is_not
            one_of_several_values
            pages_follow_each_other_without_gap_or_repetition
            pages_follow_each_other_in_mixed_directions
            a_page_of_large_documents_ends_early
            a_nested_collection_is_its_own
            counting_counts_what_matches
            odd_ids_and_texts_are_kept
            what_firestore_refuses_to_query_is_refused
        );
        $crate::store_contract!($fixture, watches:
            a_watch_begins_with_a_snapshot_and_follows
            a_watch_tells_what_stops_matching
            several_watchers_see_the_same
            a_watch_over_many_changes_ends_in_the_same_state
            watchers_learn_of_many_changes_at_once
        );
    };
    ($fixture:path, $module:ident: $($property:ident)*) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                let fixture = $fixture().await;
                $crate::store::contract::$module::$property(fixture.store()).await;
            })*
        }
    };
}

/// An empty store, and what must live as long as it (a folder, a server).
pub struct Fixture {
    store: Store,
    _guard: Box<dyn Any + Send>,
}

impl Fixture {
    /// A fixture of this store.
    pub fn new(store: impl DocumentStore, guard: impl Any + Send) -> Self {
        Self {
            store: std::sync::Arc::new(store),
            _guard: Box::new(guard),
        }
    }

    /// The store.
    pub fn store(&self) -> Store {
        self.store.clone()
    }
}

/// Longer than any of these waits takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it happens within the deadline")
}

fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

fn collection(text: &str) -> Collection {
    Collection::new(text).unwrap()
}

fn fields<const N: usize>(entries: [(&str, Value); N]) -> Fields {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn set<const N: usize>(at: &str, entries: [(&str, Value); N], precondition: Precondition) -> Write {
    Write::Set {
        path: path(at),
        fields: fields(entries),
        precondition,
    }
}

fn update<const N: usize>(
    at: &str,
    entries: [(&str, Value); N],
    precondition: Precondition,
) -> Write {
    Write::Update {
        path: path(at),
        fields: fields(entries),
        precondition,
    }
}

async fn committed(store: &Store, writes: Vec<Write>) -> Commit {
    match store.commit(writes).await.unwrap() {
        CommitOutcome::Committed(commit) => commit,
        CommitOutcome::Rejected => panic!("the commit was rejected"),
    }
}

async fn put<const N: usize>(store: &Store, at: &str, entries: [(&str, Value); N]) -> StoreTime {
    committed(store, vec![set(at, entries, Precondition::None)])
        .await
        .update_times[0]
}

async fn read(store: &Store, at: &str) -> Option<super::Document> {
    store.get(&[path(at)]).await.unwrap().documents.remove(0)
}
