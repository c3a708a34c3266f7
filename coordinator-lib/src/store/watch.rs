//! Watches: what a query matches now, then every change of it.
//!
//! A [`Watch`] pulls: it reads what changed when it is asked for the next
//! change, so a slow reader makes nothing queue up, and sees several changes of
//! one document as one. [`View`] is the pure part: what the watcher has been
//! told, and what it has to be told now.
//!
//! What one reading found is handed over without a pause: [`Watch::next`] is ready
//! until all of it was taken. So whoever takes what is ready has been told
//! everything up to the latest update time among it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, Stream};

use super::plan::Plan;
use super::{Document, Path, StoreTime};

mod notifier;
mod puller;
mod tail;

pub(crate) use notifier::Notifier;
pub(crate) use puller::{Source, pull};

/// One thing that happened to the documents of a watched query.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// All that matches now. The first change of every watch, and again after
    /// the watch missed something; replaces whatever was known.
    Snapshot(Vec<Document>),
    /// A document matches that did not, or has changed and still matches.
    Changed(Document),
    /// A document no longer matches: changed or deleted.
    Removed(Path),
}

/// The changes of a query, from [`super::DocumentStore::watch`].
///
/// Dropping it ends the watch.
pub struct Watch {
    changes: BoxStream<'static, Change>,
}

impl Watch {
    /// A watch over a stream of changes, for adapters.
    pub fn new(changes: impl Stream<Item = Change> + Send + 'static) -> Self {
        Self {
            changes: changes.boxed(),
        }
    }

    /// Waits for the next change; `None` once the store is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.next().await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watch")
    }
}

/// What changed in a collection since some time.
#[derive(Debug)]
pub(crate) enum Delta {
    /// These documents changed and these were deleted, up to `until`.
    Since {
        /// In the order of their update times.
        changed: Vec<Arc<Document>>,
        /// Each with the time of its deletion.
        removed: Vec<(Path, StoreTime)>,
        until: StoreTime,
        /// Whether nothing has happened since `until`; otherwise ask again.
        complete: bool,
    },
    /// The store no longer knows all that was deleted: begin again.
    Gap,
}

/// What one watcher has been told.
#[derive(Debug)]
pub(crate) struct View {
    plan: Plan,
    known: HashMap<Path, StoreTime>,
    /// Everything up to here has been looked at.
    pub(crate) seen: StoreTime,
}

impl View {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            known: HashMap::new(),
            seen: StoreTime::from_micros(i64::MIN),
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Begins (again) from all documents that match.
    pub(crate) fn reset(&mut self, documents: Vec<Document>, seen: StoreTime) -> Change {
        self.known = documents
            .iter()
            .map(|document| (document.path.clone(), document.update_time))
            .collect();
        self.seen = seen;
        Change::Snapshot(documents)
    }

    /// What the watcher has to be told about a delta.
    pub(crate) fn apply(
        &mut self,
        changed: Vec<Arc<Document>>,
        removed: Vec<(Path, StoreTime)>,
        until: StoreTime,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, removed_at) in removed {
            // A document that was made again since is among the changed.
            if self
                .known
                .get(&path)
                .is_some_and(|known| *known < removed_at)
            {
                self.known.remove(&path);
                changes.push(Change::Removed(path));
            }
        }
        for document in changed {
            if self.plan.matches(&document.fields) {
                let before = self
                    .known
                    .insert(document.path.clone(), document.update_time);
                if before != Some(document.update_time) {
                    changes.push(Change::Changed(Arc::unwrap_or_clone(document)));
                }
            } else if self.known.remove(&document.path).is_some() {
                changes.push(Change::Removed(document.path.clone()));
            }
        }
        self.seen = self.seen.max(until);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Fields, Op, Query};

    fn at(micros: i64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    fn document(id: &str, free: bool, time: i64) -> Document {
        Document {
            path: Path::new(&format!("accounts/{id}")).unwrap(),
            fields: Fields::from([("free".into(), free.into())]),
            update_time: at(time),
        }
    }

    fn view() -> View {
        let query = Query::new(Collection::new("accounts").unwrap()).filter("free", Op::Eq, true);
        View::new(Plan::for_watch(&query).unwrap())
    }

    #[test]
    fn a_document_that_stops_matching_is_removed_once() {
        let mut view = view();
        view.reset(vec![document("a", true, 1)], at(1));
        let changes = view.apply(vec![Arc::new(document("a", false, 2))], vec![], at(2));
        assert_eq!(changes, [Change::Removed(document("a", true, 1).path)]);
        assert_eq!(
            view.apply(vec![Arc::new(document("a", false, 3))], vec![], at(3)),
            []
        );
    }

    #[test]
    fn a_document_made_again_after_its_deletion_stays() {
        let mut view = view();
        view.reset(vec![document("a", true, 1)], at(1));
        let again = document("a", true, 3);
        let changes = view.apply(
            vec![Arc::new(again.clone())],
            vec![(again.path.clone(), at(2))],
            at(3),
        );
        assert_eq!(
            changes,
            [Change::Removed(again.path.clone()), Change::Changed(again)]
        );
    }

    #[test]
    fn a_repeated_delta_says_nothing_new() {
        let mut view = view();
        view.reset(vec![], at(1));
        let path = document("a", true, 1).path;
        assert_eq!(
            view.apply(vec![Arc::new(document("a", true, 2))], vec![], at(2))
                .len(),
            1
        );
        assert_eq!(
            view.apply(
                vec![Arc::new(document("a", true, 2))],
                vec![(path, at(1))],
                at(2)
            ),
            []
        );
    }
}
