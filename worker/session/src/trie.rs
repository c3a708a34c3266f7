//! One family's records in memory, cut into the files that they are stored in.
//!
//! Invariants:
//! - the leaves' prefixes hold every hash exactly once;
//! - `bytes` is what the leaf's records take packed, at most;
//! - for each record that differs from what is stored, `changes` has the
//!   stored one (or `None`), and only for those. A change that is taken back is
//!   no change, so it costs no write;
//! - while a commit is in flight, `changes` is relative to what that commit
//!   writes, and `in_flight` leads from there back to what is stored.
//!
//! Pure: no store, no clock, no encryption.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::kind::Kind;
use crate::place::{DEPTH_MAX, Hasher, Prefix};
use crate::record::{Record, packed_bytes};

/// A leaf is split once its records take more than this. Small enough that
/// rewriting a file for one record is cheap, large enough that a takeover
/// reads few.
pub(crate) const SPLIT_BYTES: usize = 256 * 1024;
/// Siblings are merged once all of them take less than this: far from
/// [`SPLIT_BYTES`], so that a family does not go back and forth.
pub(crate) const MERGE_BYTES: usize = SPLIT_BYTES / 4;

pub(crate) type RecordKey = (Kind, Bytes);
/// Records as they are packed into a file; no key twice.
pub(crate) type Entries = Vec<(RecordKey, Record)>;

/// What is stored where a record differs, and since when.
#[derive(Clone, Default)]
struct Changes {
    stored: BTreeMap<RecordKey, Option<Record>>,
    /// The number of the first change; `None` exactly if there are none.
    since: Option<u64>,
}

impl Changes {
    /// Notes that the record, which was `before`, is now `after`.
    fn note(
        &mut self,
        key: RecordKey,
        before: Option<Record>,
        after: Option<&Record>,
        number: u64,
    ) {
        use std::collections::btree_map::Entry;
        match self.stored.entry(key) {
            Entry::Vacant(entry) => {
                if before.as_ref() != after {
                    entry.insert(before);
                    self.since.get_or_insert(number);
                }
            }
            Entry::Occupied(entry) => {
                if entry.get().as_ref() == after {
                    entry.remove();
                }
            }
        }
        if self.stored.is_empty() {
            self.since = None;
        }
    }
}

#[derive(Default)]
struct Leaf {
    depth: u8,
    records: BTreeMap<Kind, BTreeMap<Bytes, Record>>,
    count: usize,
    bytes: usize,
    changes: Changes,
    in_flight: Changes,
}

impl Leaf {
    fn get(&self, kind: Kind, key: &[u8]) -> Option<&Record> {
        self.records.get(&kind)?.get(key)
    }

    /// Whether the record is there, or its removal is not stored yet.
    fn knows(&self, kind: Kind, key: &Bytes) -> bool {
        self.get(kind, key).is_some() || {
            let key = (kind, key.clone());
            let changes = [&self.changes, &self.in_flight];
            changes.iter().any(|of| of.stored.contains_key(&key))
        }
    }

    /// Puts or removes without noting a change.
    fn replace(&mut self, kind: Kind, key: &Bytes, record: Option<Record>) -> Option<Record> {
        let of_kind = self.records.entry(kind).or_default();
        let before = match record {
            Some(record) => {
                self.bytes += packed_bytes(key, &record);
                self.count += 1;
                of_kind.insert(key.clone(), record)
            }
            None => of_kind.remove(key),
        };
        if let Some(before) = &before {
            self.bytes -= packed_bytes(key, before);
            self.count -= 1;
        }
        before
    }

    fn set(&mut self, kind: Kind, key: Bytes, record: Option<Record>, number: u64) {
        let before = self.replace(kind, &key, record);
        let after = self
            .records
            .get(&kind)
            .and_then(|of_kind| of_kind.get(&key));
        self.changes.note((kind, key), before, after, number);
    }

    fn entries(&self) -> Entries {
        self.iter()
            .map(|(kind, key, record)| ((kind, key.clone()), record.clone()))
            .collect()
    }

    fn iter(&self) -> impl Iterator<Item = (Kind, &Bytes, &Record)> {
        self.records
            .iter()
            .flat_map(|(kind, of_kind)| of_kind.iter().map(|(key, record)| (*kind, key, record)))
    }

    /// What is stored: the records without the changes.
    fn stored(&self) -> Entries {
        let mut entries: BTreeMap<RecordKey, Record> = self.entries().into_iter().collect();
        for changes in [&self.changes, &self.in_flight] {
            for (key, stored) in &changes.stored {
                match stored {
                    Some(record) => entries.insert(key.clone(), record.clone()),
                    None => entries.remove(key),
                };
            }
        }
        entries.into_iter().collect()
    }

    /// The commit in flight has failed: changes are relative to what is stored
    /// again.
    fn abort(&mut self) {
        let newer = std::mem::take(&mut self.changes);
        let mut older = std::mem::take(&mut self.in_flight);
        for (key, stored) in newer.stored {
            older.stored.entry(key).or_insert(stored);
        }
        older
            .stored
            .retain(|(kind, key), stored| self.get(*kind, key) != stored.as_ref());
        older.since = older
            .since
            .or(newer.since)
            .filter(|_| !older.stored.is_empty());
        self.changes = older;
    }
}

/// A leaf as the planner sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafState {
    pub(crate) prefix: Prefix,
    pub(crate) bytes: usize,
    pub(crate) is_empty: bool,
    /// The number of its first change that is not stored.
    pub(crate) since: Option<u64>,
}

pub(crate) struct Trie {
    hasher: Hasher,
    /// By the start of the prefix.
    leaves: BTreeMap<u64, Leaf>,
}

impl Trie {
    pub(crate) fn new(hasher: Hasher) -> Self {
        Self {
            hasher,
            leaves: BTreeMap::from([(0, Leaf::default())]),
        }
    }

    fn leaf(&self, hash: u64) -> &Leaf {
        let (_, leaf) = self
            .leaves
            .range(..=hash)
            .next_back()
            .expect("the leaves hold every hash, the first one from 0");
        leaf
    }

    fn leaf_of(&mut self, kind: Kind, key: &[u8]) -> &mut Leaf {
        let hash = self.hasher.hash(kind, key);
        let (_, leaf) = self
            .leaves
            .range_mut(..=hash)
            .next_back()
            .expect("the leaves hold every hash, the first one from 0");
        leaf
    }

    pub(crate) fn get(&self, kind: Kind, key: &[u8]) -> Option<&Record> {
        self.leaf(self.hasher.hash(kind, key)).get(kind, key)
    }

    /// Whether the record is there, or its removal is not stored yet.
    pub(crate) fn knows(&self, kind: Kind, key: &Bytes) -> bool {
        self.leaf(self.hasher.hash(kind, key)).knows(kind, key)
    }

    /// Puts (or removes) a record, as the change with this number.
    pub(crate) fn set(&mut self, kind: Kind, key: Bytes, record: Option<Record>, number: u64) {
        self.leaf_of(kind, &key).set(kind, key, record, number);
    }

    /// The records of a kind whose keys begin so; in no particular order.
    pub(crate) fn scan<'a>(
        &'a self,
        kind: Kind,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Record)> {
        self.leaves
            .values()
            .filter_map(move |leaf| leaf.records.get(&kind))
            .flat_map(move |of_kind| {
                of_kind
                    .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
                    .take_while(move |(key, _)| key.starts_with(prefix))
            })
    }

    pub(crate) fn count(&self) -> usize {
        self.leaves.values().map(|leaf| leaf.count).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.leaves.values().map(|leaf| leaf.bytes).sum()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.leaves
            .values()
            .any(|leaf| leaf.changes.since.is_some() || leaf.in_flight.since.is_some())
    }

    /// The number of the first change that is not stored.
    pub(crate) fn since(&self) -> Option<u64> {
        self.leaves
            .values()
            .filter_map(|leaf| leaf.changes.since)
            .min()
    }

    pub(crate) fn leaves(&self) -> impl Iterator<Item = LeafState> {
        self.leaves.iter().map(|(start, leaf)| LeafState {
            prefix: Prefix::of(*start, leaf.depth),
            bytes: leaf.bytes,
            is_empty: leaf.count == 0,
            since: leaf.changes.since,
        })
    }

    /// All records.
    pub(crate) fn all(&self) -> Entries {
        self.leaves.values().flat_map(Leaf::entries).collect()
    }

    /// The records of one leaf.
    pub(crate) fn entries(&self, leaf: Prefix) -> Entries {
        self.leaf(leaf.start()).entries()
    }

    /// What is stored of the hashes of the prefix, however it is cut.
    pub(crate) fn stored(&self, prefix: Prefix) -> Entries {
        self.leaves
            .iter()
            .filter(|(start, leaf)| {
                let own = Prefix::of(**start, leaf.depth);
                prefix.covers(own) || own.covers(prefix)
            })
            .flat_map(|(_, leaf)| leaf.stored())
            .filter(|((kind, key), _)| prefix.contains(self.hasher.hash(*kind, key)))
            .collect()
    }

    /// Drops expired records of leaves that are to be written anyway. On its
    /// own, expiry is no reason to write.
    pub(crate) fn drop_expired(&mut self, now: i64) {
        for leaf in self.leaves.values_mut() {
            let Some(since) = leaf.changes.since else {
                continue;
            };
            let expired: Vec<RecordKey> = leaf
                .iter()
                .filter(|(_, _, record)| record.is_expired(now))
                .map(|(kind, key, _)| (kind, key.clone()))
                .collect();
            for (kind, key) in expired {
                leaf.set(kind, key, None, since);
            }
        }
    }

    /// Splits and merges what has changed, to the sizes above. Merges only
    /// where `may_merge` allows the result. Nothing may be in flight.
    pub(crate) fn balance(&mut self, may_merge: impl Fn(Prefix) -> bool) {
        let dirty: Vec<Prefix> = self
            .leaves()
            .filter(|leaf| leaf.since.is_some())
            .map(|leaf| leaf.prefix)
            .collect();
        for prefix in dirty {
            self.split(prefix);
            self.merge(prefix, &may_merge);
        }
    }

    fn split(&mut self, prefix: Prefix) {
        let leaf = self.leaf(prefix.start());
        let fits = leaf.bytes <= SPLIT_BYTES || leaf.count < 2 || prefix.depth() == DEPTH_MAX;
        if fits || leaf.depth != prefix.depth() {
            return;
        }
        self.cut(prefix);
        for child in prefix.children() {
            self.split(child);
        }
    }

    /// Replaces a leaf by its parts.
    fn cut(&mut self, prefix: Prefix) {
        let Some(whole) = self.leaves.remove(&prefix.start()) else {
            return;
        };
        for child in prefix.children() {
            self.leaves.insert(
                child.start(),
                Leaf {
                    depth: child.depth(),
                    ..Leaf::default()
                },
            );
        }
        self.absorb(whole);
    }

    /// Merges a leaf with its siblings, and the result with its own, as long as
    /// they are small.
    fn merge(&mut self, prefix: Prefix, may_merge: &impl Fn(Prefix) -> bool) {
        let Some(parent) = prefix.parent().filter(|parent| may_merge(*parent)) else {
            return;
        };
        let siblings: Vec<u64> = parent.children().map(Prefix::start).collect();
        let mut bytes = 0;
        for start in &siblings {
            match self.leaves.get(start) {
                Some(leaf) if leaf.depth == prefix.depth() => bytes += leaf.bytes,
                // Merged already, or split further.
                Some(_) | None => return,
            }
        }
        if bytes >= MERGE_BYTES {
            return;
        }
        let parts: Vec<Leaf> = siblings
            .iter()
            .filter_map(|start| self.leaves.remove(start))
            .collect();
        self.leaves.insert(
            parent.start(),
            Leaf {
                depth: parent.depth(),
                ..Leaf::default()
            },
        );
        for part in parts {
            self.absorb(part);
        }
        self.merge(parent, may_merge);
    }

    /// Moves a removed leaf's records and changes to the leaves that are now
    /// responsible for them.
    fn absorb(&mut self, removed: Leaf) {
        for (kind, of_kind) in removed.records {
            for (key, record) in of_kind {
                self.leaf_of(kind, &key).replace(kind, &key, Some(record));
            }
        }
        for ((kind, key), stored) in removed.changes.stored {
            let changes = &mut self.leaf_of(kind, &key).changes;
            changes.stored.insert((kind, key), stored);
            changes.since = changes.since.into_iter().chain(removed.changes.since).min();
        }
    }

    /// A commit begins that makes the records of these hashes durable as they
    /// are now. May be said twice of the same hashes.
    pub(crate) fn begin(&mut self, prefix: Prefix) {
        for (start, leaf) in &mut self.leaves {
            let own = Prefix::of(*start, leaf.depth);
            let is_concerned = prefix.covers(own) || own.covers(prefix);
            if is_concerned && leaf.changes.since.is_some() {
                leaf.in_flight = std::mem::take(&mut leaf.changes);
            }
        }
    }

    /// All commits in flight have succeeded.
    pub(crate) fn commit(&mut self) {
        for leaf in self.leaves.values_mut() {
            leaf.in_flight = Changes::default();
        }
    }

    /// All commits in flight have failed.
    pub(crate) fn abort(&mut self) {
        self.leaves
            .values_mut()
            .filter(|leaf| leaf.in_flight.since.is_some())
            .for_each(Leaf::abort);
    }

    /// Takes over a stored file's records. To be called for every file before
    /// anything else is done.
    pub(crate) fn restore(&mut self, file: Prefix, entries: Entries) {
        for depth in 0..file.depth() {
            let whole = Prefix::of(file.start(), depth);
            if self.leaf(file.start()).depth == depth {
                self.cut(whole);
            }
        }
        for ((kind, key), record) in entries {
            self.leaf_of(kind, &key).replace(kind, &key, Some(record));
        }
    }
}

#[cfg(test)]
mod tests;
