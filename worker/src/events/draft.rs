//! One commit in the making: what it reads, what it changes, its events.
//!
//! Changes see one another: two changes of one document become one write, on
//! the version that was read. A change that fails leaves nothing behind.
//!
//! Pure: reads come from what was fetched before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coordinator_lib::store::{
    Document, Fields, Path, Precondition, Stamp, StoreError, StoreTime, Write, limits,
};

use crate::model::{EventDoc, EventKind, Read, Stored, collections};

/// Writes of one commit, with room for the fence's own and for the last
/// change's (Firestore's limit is 500).
const WRITES_MAX: usize = 300;

/// Bytes of one commit, with room for the last change's.
const BYTES_MAX: usize = limits::COMMIT_BYTES_MAX / 2;

/// One commit in the making.
pub struct Draft<'a> {
    header: Header,
    base: &'a HashMap<Path, Option<Document>>,
    done: Layer,
    current: Layer,
    trace: Option<String>,
}

/// What is the same for all changes of a draft.
#[derive(Debug, Clone)]
pub struct Header {
    /// Whose journal.
    pub account_id: String,
    /// The owner's epoch.
    pub epoch: i64,
    /// The owner's clock.
    pub now: StoreTime,
    /// The number of the last event before this draft.
    pub seq: i64,
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DraftError {
    /// A newer worker wrote a document that the change concerns.
    #[error("{path} was written by a newer worker")]
    Newer {
        /// Which one.
        path: Path,
    },
    /// A document is not what it should be, or could not be made.
    #[error(transparent)]
    Document(#[from] StoreError),
}

#[derive(Debug, Clone, Default)]
struct Layer {
    /// Whole documents; none where one is removed.
    sets: BTreeMap<Path, Option<Fields>>,
    updates: BTreeMap<Path, Fields>,
    erased: BTreeSet<Path>,
    events: Vec<EventDoc>,
}

impl<'a> Draft<'a> {
    /// An empty draft over documents that were read.
    pub fn new(header: Header, base: &'a HashMap<Path, Option<Document>>) -> Self {
        Self {
            header,
            base,
            done: Layer::default(),
            current: Layer::default(),
            trace: None,
        }
    }

    /// Begins a change that is part of the trace of a `traceparent`.
    pub(super) fn begin(&mut self, trace: Option<String>) {
        self.trace = trace;
    }

    /// The trace that the present change is part of, as a `traceparent`: that of
    /// whoever submitted it. The present span is the commit's.
    pub fn trace(&self) -> Option<String> {
        self.trace.clone()
    }

    /// Whose journal.
    pub fn account_id(&self) -> &str {
        &self.header.account_id
    }

    /// The time that the changes of this draft carry.
    pub fn now(&self) -> StoreTime {
        self.header.now
    }

    /// The number that the next event will have.
    pub fn next_seq(&self) -> i64 {
        self.header.seq + 1 + (self.done.events.len() + self.current.events.len()) as i64
    }

    /// A document, as it is with the changes so far.
    ///
    /// # Errors
    /// [`DraftError`]; a path that the change did not announce is `Invalid`.
    pub fn get<T: Stored>(&self, path: &Path) -> Result<Option<T>, DraftError> {
        let changed = self
            .current
            .sets
            .get(path)
            .or_else(|| self.done.sets.get(path));
        match changed {
            Some(Some(fields)) => return Ok(Some(coordinator_lib::store::from_fields(fields)?)),
            Some(None) => return Ok(None),
            None => {}
        }
        let Some(read) = self.base.get(path) else {
            return Err(StoreError::invalid(format!("{path} was not announced")).into());
        };
        match read.as_ref().map(T::read).transpose()? {
            Some(Read::Known(record)) => Ok(Some(record.value)),
            Some(Read::Newer(_)) => Err(DraftError::Newer { path: path.clone() }),
            None => Ok(None),
        }
    }

    /// Writes a whole document, on the condition that it is as it was read.
    ///
    /// # Errors
    /// [`DraftError::Document`] when it has no form in the store, or its path
    /// was not announced.
    pub fn put<T: Stored>(&mut self, path: Path, document: &T) -> Result<(), DraftError> {
        if !self.base.contains_key(&path) {
            return Err(StoreError::invalid(format!("{path} was not announced")).into());
        }
        self.current
            .sets
            .insert(path, Some(document.to_document()?));
        Ok(())
    }

    /// Removes a document, on the condition that it is as it was read; one that
    /// is not there stays so.
    ///
    /// # Errors
    /// [`DraftError::Document`] when its path was not announced.
    pub fn remove(&mut self, path: Path) -> Result<(), DraftError> {
        if !self.base.contains_key(&path) {
            return Err(StoreError::invalid(format!("{path} was not announced")).into());
        }
        self.current.sets.insert(path, None);
        Ok(())
    }

    /// Removes a document whatever is in it, if it is there. What is changed in
    /// it before or after in this draft is not written. It has no condition, and
    /// so is only made together with something that has one.
    pub fn erase(&mut self, path: Path) {
        self.current.erased.insert(path);
    }

    /// Writes named fields of a document that exists, whatever else is in it.
    pub fn update(&mut self, path: Path, fields: Fields) {
        self.current.updates.entry(path).or_default().extend(fields);
    }

    /// Adds an event; gives its number.
    pub fn event<const N: usize>(&mut self, kind: EventKind, data: [(&str, String); N]) -> i64 {
        let seq = self.next_seq();
        self.current.events.push(EventDoc {
            account_id: self.header.account_id.clone(),
            seq,
            kind,
            at: self.header.now,
            stored_at: Stamp::Commit,
            epoch: self.header.epoch,
            data: data
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            trace: self.trace(),
        });
        seq
    }

    /// Keeps the changes since the last time.
    pub(super) fn keep(&mut self) {
        let current = std::mem::take(&mut self.current);
        self.done.sets.extend(current.sets);
        self.done.erased.extend(current.erased);
        for (path, fields) in current.updates {
            self.done.updates.entry(path).or_default().extend(fields);
        }
        self.done.events.extend(current.events);
    }

    /// Forgets the changes since the last time.
    pub(super) fn discard(&mut self) {
        self.current = Layer::default();
    }

    /// Whether another change would be too much for one commit.
    pub(super) fn is_full(&self) -> bool {
        let done = &self.done;
        let writes = done.sets.len() + done.updates.len() + done.erased.len() + done.events.len();
        let sets = self.done.sets.iter();
        let bytes: usize = sets
            .filter_map(|(path, fields)| Some((path, fields.as_ref()?)))
            .chain(&self.done.updates)
            .map(|(path, fields)| limits::document_bytes(path, fields))
            .sum();
        writes >= WRITES_MAX || bytes >= BYTES_MAX
    }

    /// Events kept so far.
    pub(super) fn events(&self) -> usize {
        self.done.events.len()
    }

    /// The commit.
    pub(super) fn into_writes(self) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        let Layer {
            mut sets,
            mut updates,
            erased,
            events,
        } = self.done;
        // One commit names a document once.
        sets.retain(|path, _| !erased.contains(path));
        updates.retain(|path, _| !erased.contains(path));
        for (path, fields) in sets {
            let read = self.base.get(&path).and_then(Option::as_ref);
            let precondition = match read {
                Some(document) => Precondition::Unchanged(document.update_time),
                None => Precondition::Absent,
            };
            match fields {
                Some(fields) => writes.push(Write::Set {
                    path,
                    fields,
                    precondition,
                }),
                None if read.is_some() => writes.push(Write::Delete { path, precondition }),
                None => {}
            }
        }
        for (path, fields) in updates {
            writes.push(Write::Update {
                path,
                fields,
                precondition: Precondition::Exists,
            });
        }
        for path in erased {
            let precondition = Precondition::None;
            writes.push(Write::Delete { path, precondition });
        }
        for event in events {
            let path = collections::event(&event.account_id, event.seq)?;
            writes.push(Write::Set {
                path,
                fields: event.to_document()?,
                precondition: Precondition::Absent,
            });
        }
        Ok(writes)
    }
}
