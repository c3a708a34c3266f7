//! What a listener has been told: the pure part of a watch.
//!
//! Firestore sends changes, then says that they are consistent (`CURRENT`, or
//! `NO_CHANGE` at a time). Only then are they told on. A `RESET`, and a stream
//! that begins anew, send everything again: the emulator does so at every
//! change. Whatever does not come again then is gone; whatever comes with the
//! version that is known is no change.

use std::collections::HashMap;

use crate::store::plan::Plan;
use crate::store::{Change, Document, Path, StoreTime};

/// The documents of one watched query.
#[derive(Debug)]
pub(super) struct Target {
    plan: Plan,
    /// What the watcher knows.
    known: HashMap<Path, StoreTime>,
    /// What came since the last consistent point; `None` left.
    pending: HashMap<Path, Option<Document>>,
    /// Whether everything there is has come.
    current: bool,
    /// Whether the watcher has had its first snapshot.
    begun: bool,
}

impl Target {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            known: HashMap::new(),
            pending: HashMap::new(),
            current: false,
            begun: false,
        }
    }

    /// Whether the listener has caught up.
    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    /// Everything will come again.
    pub(super) fn reset(&mut self) {
        self.current = false;
        self.pending = self.known.keys().map(|path| (path.clone(), None)).collect();
    }

    /// A stream goes on where a token says: what was not consistent yet comes
    /// again.
    pub(super) fn resume(&mut self) {
        self.current = false;
        self.pending.clear();
    }

    /// A document that matches.
    pub(super) fn changed(&mut self, document: Document) {
        self.pending.insert(document.path.clone(), Some(document));
    }

    /// A document that does not match any more.
    pub(super) fn left(&mut self, path: Path) {
        self.pending.insert(path, None);
    }

    /// So many documents match, says the server, which may know that it sent
    /// too little.
    pub(super) fn has(&self, count: usize) -> bool {
        let mut mine = self.known.len();
        for (path, document) in &self.pending {
            match (document, self.known.contains_key(path)) {
                (Some(_), false) => mine += 1,
                (None, true) => mine -= 1,
                (Some(_), true) | (None, false) => {}
            }
        }
        mine == count
    }

    /// Everything has come; the first time this is a snapshot.
    pub(super) fn caught_up(&mut self) -> Vec<Change> {
        self.current = true;
        if self.begun {
            return self.consistent();
        }
        self.begun = true;
        let documents: Vec<Document> = std::mem::take(&mut self.pending)
            .into_values()
            .flatten()
            .filter(|document| self.plan.matches(&document.fields))
            .collect();
        self.know(&documents);
        vec![Change::Snapshot(documents)]
    }

    /// What came since the last consistent point, as changes.
    pub(super) fn consistent(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, document) in std::mem::take(&mut self.pending) {
            match document.filter(|document| self.plan.matches(&document.fields)) {
                Some(document) => {
                    let newer = self
                        .known
                        .get(&path)
                        .is_none_or(|known| *known < document.update_time);
                    if newer {
                        self.known.insert(path, document.update_time);
                        changes.push(Change::Changed(document));
                    }
                }
                None => {
                    if self.known.remove(&path).is_some() {
                        changes.push(Change::Removed(path));
                    }
                }
            }
        }
        changes
    }

    /// What a query found, now, against what is known: empty if the listener
    /// had told it all.
    pub(super) fn compare(&mut self, found: Vec<Document>) -> Vec<Change> {
        let current = self.current;
        self.reset();
        for document in found {
            self.changed(document);
        }
        self.current = current;
        self.consistent()
    }

    fn know(&mut self, documents: &[Document]) {
        self.known = documents
            .iter()
            .map(|document| (document.path.clone(), document.update_time))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Collection, Fields, Op, Query};

    fn document(id: &str, time: i64) -> Document {
        Document {
            path: path(id),
            fields: Fields::from([("free".into(), true.into())]),
            update_time: StoreTime::from_micros(time),
        }
    }

    fn path(id: &str) -> Path {
        Path::new(&format!("accounts/{id}")).unwrap()
    }

    fn begun(documents: Vec<Document>) -> Target {
        let query = Query::new(Collection::new("accounts").unwrap()).filter("free", Op::Eq, true);
        let mut target = Target::new(Plan::for_watch(&query).unwrap());
        for document in &documents {
            target.changed(document.clone());
        }
        let first = target.caught_up();
        assert!(matches!(&first[..], [Change::Snapshot(found)] if found.len() == documents.len()));
        target
    }

    #[test]
    fn what_is_sent_again_unchanged_is_no_change() {
        let mut target = begun(vec![document("a", 1), document("b", 1)]);
        target.reset();
        assert!(!target.is_current());
        target.changed(document("a", 1));
        target.changed(document("b", 2));
        assert_eq!(target.caught_up(), [Change::Changed(document("b", 2))]);
    }

    #[test]
    fn what_is_not_sent_again_is_gone() {
        let mut target = begun(vec![document("a", 1), document("b", 1)]);
        target.reset();
        target.changed(document("a", 1));
        assert_eq!(target.caught_up(), [Change::Removed(path("b"))]);
        assert_eq!(target.consistent(), []);
    }

    #[test]
    fn a_stream_that_goes_on_forgets_only_what_was_not_consistent() {
        let mut target = begun(vec![document("a", 1)]);
        target.left(path("a"));
        target.resume();
        assert_eq!(target.caught_up(), []);
        target.left(path("a"));
        assert_eq!(target.consistent(), [Change::Removed(path("a"))]);
    }

    #[test]
    fn an_old_version_does_not_replace_a_newer_one() {
        let mut target = begun(vec![]);
        assert_eq!(
            target.compare(vec![document("a", 5)]),
            [Change::Changed(document("a", 5))]
        );
        target.changed(document("a", 4));
        assert_eq!(target.consistent(), []);
        assert_eq!(target.compare(vec![document("a", 5)]), []);
    }

    #[test]
    fn a_count_that_differs_is_noticed() {
        let mut target = begun(vec![document("a", 1), document("b", 1)]);
        assert!(target.has(2));
        target.left(path("a"));
        target.changed(document("c", 1));
        target.changed(document("d", 1));
        assert!(target.has(3) && !target.has(2));
    }
}
