//! The documents of a store in memory, and what changed when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::clock::{Boottime, Clock};
use crate::store::plan::Plan;
use crate::store::watch::Delta;
use crate::store::{
    Collection, Commit, CommitOutcome, Cursor, Document, Fields, Path, Query, StoreError,
    StoreTime, Write, apply, limits,
};

/// Deletions that watches may still ask for.
const REMOVALS_MAX: usize = 10_000;

pub(super) struct State {
    documents: BTreeMap<Path, Document>,
    /// Every document by the time of its last change.
    by_time: BTreeSet<(Collection, StoreTime, Path)>,
    removals: VecDeque<(Path, StoreTime)>,
    /// Deletions up to here are no longer among `removals`.
    forgotten: StoreTime,
    /// The last commit.
    last: StoreTime,
    base: StoreTime,
    base_boottime: Boottime,
}

impl State {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        let base = StoreTime::from_datetime(clock.wall());
        Self {
            documents: BTreeMap::new(),
            by_time: BTreeSet::new(),
            removals: VecDeque::new(),
            forgotten: base,
            last: base,
            base,
            base_boottime: clock.boottime(),
        }
    }

    /// Store time: never before the last commit, whatever the wall clock does.
    pub(super) fn now(&self, clock: &dyn Clock) -> StoreTime {
        self.base
            .saturating_add(clock.boottime() - self.base_boottime)
            .max(self.last)
    }

    pub(super) fn last(&self) -> StoreTime {
        self.last
    }

    pub(super) fn get(&self, path: &Path) -> Option<Document> {
        self.documents.get(path).cloned()
    }

    pub(super) fn all(&self) -> Vec<Document> {
        self.documents.values().cloned().collect()
    }

    pub(super) fn matching(
        &self,
        collection: &Collection,
        plan: &Plan,
    ) -> impl Iterator<Item = &Document> {
        let first = Path::trusted(collection.clone(), "");
        self.documents
            .range(first..)
            .take_while(move |(path, _)| path.collection() == collection)
            .map(|(_, document)| document)
            .filter(|document| plan.matches(&document.fields))
    }

    pub(super) fn page(&self, query: &Query, plan: &Plan) -> (Vec<Document>, Option<Cursor>) {
        let mut found: Vec<(Vec<Vec<u8>>, &Document)> = self
            .matching(query.collection(), plan)
            .map(|document| (plan.order_keys(&document.fields), document))
            .filter(|(keys, document)| match &plan.after {
                None => true,
                Some(after) => plan
                    .compare((keys, document.path.id()), (&after.keys, &after.id))
                    .is_gt(),
            })
            .collect();
        found.sort_by(|a, b| plan.compare((&a.0, a.1.path.id()), (&b.0, b.1.path.id())));
        let mut documents = Vec::new();
        let mut bytes = 0;
        for (_, document) in &found {
            if documents.len() == plan.limit || bytes >= limits::PAGE_BYTES_MAX {
                break;
            }
            bytes += limits::document_bytes(&document.path, &document.fields);
            documents.push((*document).clone());
        }
        let next = match documents.last() {
            Some(last) if documents.len() < found.len() => Some(Cursor::after(query, last)),
            Some(_) | None => None,
        };
        (documents, next)
    }

    pub(super) fn delta(&self, collection: &Collection, seen: StoreTime) -> Delta {
        if seen < self.forgotten {
            return Delta::Gap;
        }
        let after = StoreTime::from_micros(seen.as_micros() + 1);
        let first = (
            collection.clone(),
            after,
            Path::trusted(Collection::trusted(""), ""),
        );
        let changed = self
            .by_time
            .range(first..)
            .take_while(|(found, _, _)| found == collection)
            .filter_map(|(_, _, path)| self.get(path).map(Arc::new))
            .collect();
        let removed = self
            .removals
            .iter()
            .rev()
            .take_while(|(_, time)| *time > seen)
            .filter(|(path, _)| path.collection() == collection)
            .cloned()
            .collect();
        Delta::Since {
            changed,
            removed,
            until: self.last,
            complete: true,
        }
    }

    pub(super) fn commit(
        &mut self,
        clock: &dyn Clock,
        writes: Vec<Write>,
    ) -> Result<CommitOutcome, StoreError> {
        for write in &writes {
            let version = self
                .documents
                .get(write.path())
                .map(|document| document.update_time);
            if !apply::is_met(write, version) {
                return Ok(CommitOutcome::Rejected);
            }
        }
        // Checked before anything is changed: all or nothing.
        for write in &writes {
            if let Write::Update { path, fields, .. } = write {
                limits::check_document(path, &self.merged(path, fields))?;
            }
        }
        let time = self
            .now(clock)
            .max(StoreTime::from_micros(self.last.as_micros() + 1));
        self.last = time;
        let update_times = writes
            .into_iter()
            .map(|write| self.write(write, time))
            .collect();
        Ok(CommitOutcome::Committed(Commit { time, update_times }))
    }

    fn merged(&self, path: &Path, update: &Fields) -> Fields {
        let mut fields = self
            .documents
            .get(path)
            .map(|document| document.fields.clone())
            .unwrap_or_default();
        fields.extend(update.clone());
        fields
    }

    fn write(&mut self, write: Write, time: StoreTime) -> StoreTime {
        match write {
            Write::Set { path, fields, .. } => self.put(path, fields, time),
            Write::Update { path, fields, .. } => {
                let fields = self.merged(&path, &fields);
                self.put(path, fields, time);
            }
            Write::Delete { path, .. } => self.remove(&path, time),
            Write::Verify { update_time, .. } => return update_time,
        }
        time
    }

    fn put(&mut self, path: Path, fields: Fields, time: StoreTime) {
        self.forget_version(&path);
        self.by_time
            .insert((path.collection().clone(), time, path.clone()));
        let fields = apply::stamped(fields, time);
        self.documents.insert(
            path.clone(),
            Document {
                path,
                fields,
                update_time: time,
            },
        );
    }

    fn remove(&mut self, path: &Path, time: StoreTime) {
        if !self.forget_version(path) {
            return;
        }
        self.documents.remove(path);
        self.removals.push_back((path.clone(), time));
        if self.removals.len() > REMOVALS_MAX
            && let Some((_, forgotten)) = self.removals.pop_front()
        {
            self.forgotten = forgotten;
        }
    }

    fn forget_version(&mut self, path: &Path) -> bool {
        let Some(document) = self.documents.get(path) else {
            return false;
        };
        self.by_time.remove(&(
            path.collection().clone(),
            document.update_time,
            path.clone(),
        ));
        true
    }
}
