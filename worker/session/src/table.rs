//! All of an account's records in memory: a trie for each family, and one
//! counter of changes across them.
//!
//! A record is in one family. Where its own has [young](Family::young) ones, it
//! begins there, and moves to its place with all others once they are many: so
//! one record more is one small file, and the many files of all records are
//! written once for hundreds. What is in its place is changed there.
//!
//! Pure, and behind one lock in [`crate::files`].

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::kind::{Family, Kind};
use crate::place::{FileName, Hasher};
use crate::plan::{MERGED_FILES_MAX, Step, choose, units};
use crate::record::{ACCOUNT_BYTES_MAX, Record, RecordError, check_size, packed_bytes};
use crate::trie::{Entries, LeafState, Trie};

/// Young records move to their places once they take more than this. A larger
/// file would be written again with each record, a smaller one would move more
/// often and write all others each time; an account whose secrets take a few
/// megabytes writes least around here.
const YOUNG_BYTES: usize = 128 * 1024;

pub(crate) struct Table {
    tries: [Trie; Family::ALL.len()],
    /// The number of the last change.
    number: u64,
}

/// What of all that is dirty a commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    All,
    /// What [may wait](Family::may_wait) waits.
    Urgent,
}

/// The content of one commit.
pub(crate) struct Batch {
    pub(crate) sets: Vec<(FileName, Entries)>,
    pub(crate) retires: Vec<FileName>,
}

impl Table {
    pub(crate) fn new(hasher: &Hasher) -> Self {
        Self {
            tries: Family::ALL.map(|_| Trie::new(hasher.clone())),
            number: 0,
        }
    }

    fn trie(&self, family: Family) -> &Trie {
        &self.tries[family as usize]
    }

    fn trie_mut(&mut self, family: Family) -> &mut Trie {
        &mut self.tries[family as usize]
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The tries that may hold records of a kind.
    fn tries_of(&self, kind: Kind) -> impl Iterator<Item = &Trie> {
        let family = kind.family();
        let families = std::iter::once(family).chain(family.young());
        families.map(|family| self.trie(family))
    }

    pub(crate) fn get(&self, kind: Kind, key: &[u8]) -> Option<&Record> {
        self.tries_of(kind).find_map(|trie| trie.get(kind, key))
    }

    pub(crate) fn put(
        &mut self,
        kind: Kind,
        key: &[u8],
        record: Record,
    ) -> Result<(), RecordError> {
        check_size(kind, key, &record)?;
        let before = self
            .get(kind, key)
            .map_or(0, |before| packed_bytes(key, before));
        let growth = packed_bytes(key, &record).saturating_sub(before);
        if growth > 0 && self.bytes() + growth > ACCOUNT_BYTES_MAX {
            return Err(RecordError::AccountFull {
                kind,
                bytes: record.value.len(),
            });
        }
        self.change(kind, key, Some(record));
        Ok(())
    }

    /// Whether there was such a record.
    pub(crate) fn remove(&mut self, kind: Kind, key: &[u8]) -> bool {
        let existed = self.get(kind, key).is_some();
        if existed {
            self.change(kind, key, None);
        }
        existed
    }

    fn change(&mut self, kind: Kind, key: &[u8], record: Option<Record>) {
        self.number += 1;
        let number = self.number;
        let key = Bytes::copy_from_slice(key);
        let family = match kind.family().young() {
            Some(young) if !self.trie(kind.family()).knows(kind, &key) => young,
            Some(_) | None => kind.family(),
        };
        self.trie_mut(family).set(kind, key, record, number);
    }

    /// Moves young records to their places, if they are many. To be called when
    /// a flush of everything begins: what it is to store through is all that is
    /// there then, so that it stores the records in their places, and after them
    /// that they are young no more.
    pub(crate) fn settle_young(&mut self) {
        let number = self.number;
        for (family, young) in Family::with_young() {
            let trie = self.trie(young);
            if trie.since().is_none() || trie.bytes() <= YOUNG_BYTES {
                continue;
            }
            for ((kind, key), record) in trie.all() {
                self.trie_mut(young).set(kind, key.clone(), None, number);
                self.trie_mut(family).set(kind, key, Some(record), number);
            }
        }
    }

    /// Where a record is both young and in its place, leaves the one that counts.
    /// To be called once all files are restored.
    pub(crate) fn drop_doubled(&mut self) {
        for (family, young) in Family::with_young() {
            for ((kind, key), record) in self.trie(young).all() {
                let Some(in_place) = self.trie(family).get(kind, &key).cloned() else {
                    continue;
                };
                self.number += 1;
                let number = self.number;
                let counts = Record::that_counts(in_place, record);
                self.trie_mut(young).set(kind, key.clone(), None, number);
                self.trie_mut(family).set(kind, key, Some(counts), number);
            }
        }
    }

    pub(crate) fn scan<'a>(
        &'a self,
        kind: Kind,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Record)> {
        self.tries_of(kind)
            .flat_map(move |trie| trie.scan(kind, prefix))
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.tries.iter().any(Trie::is_dirty)
    }

    pub(crate) fn count(&self) -> usize {
        self.tries.iter().map(Trie::count).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.tries.iter().map(Trie::bytes).sum()
    }

    /// Takes over a file that was loaded, less what has expired.
    pub(crate) fn restore(&mut self, file: FileName, mut entries: Entries, now: i64) {
        entries.retain(|(_, record)| !record.is_expired(now));
        self.trie_mut(file.family).restore(file.prefix, entries);
    }

    /// Begins the next commit, until every change up to `through` is stored, to
    /// this extent. `stored` are the files that hold records, of `files` in all.
    pub(crate) fn begin(
        &mut self,
        stored: &BTreeSet<FileName>,
        files: usize,
        through: u64,
        extent: Extent,
        now: i64,
    ) -> Option<Batch> {
        let mut all = Vec::new();
        for family in Family::ALL {
            if extent == Extent::Urgent && family.may_wait() {
                continue;
            }
            let trie = self.trie_mut(family);
            if trie.since().is_none() {
                continue;
            }
            trie.drop_expired(now);
            trie.balance(|parent| {
                let below = |name: &&FileName| name.family == family && parent.covers(name.prefix);
                stored.iter().filter(below).count() <= MERGED_FILES_MAX
            });
            let leaves: Vec<LeafState> = trie.leaves().collect();
            all.extend(units(family, &leaves, stored, files));
        }
        match choose(all, through)? {
            Step::Write { sets, retires } => {
                let mut contents = Vec::with_capacity(sets.len());
                for name in sets {
                    let trie = self.trie_mut(name.family);
                    contents.push((name, trie.entries(name.prefix)));
                    trie.begin(name.prefix);
                }
                // Parts that are empty now are not written: that the whole is
                // retired makes durable that they are empty.
                for name in &retires {
                    self.trie_mut(name.family).begin(name.prefix);
                }
                Some(Batch {
                    sets: contents,
                    retires,
                })
            }
            Step::Split(name) => Some(self.split(name)),
        }
    }

    /// Cuts a stored file into its parts, with what is stored in it.
    fn split(&self, name: FileName) -> Batch {
        let parts = name.prefix.children().map(|prefix| {
            let part = FileName { prefix, ..name };
            (part, self.trie(name.family).stored(prefix))
        });
        let mut sets: Vec<(FileName, Entries)> =
            parts.filter(|(_, entries)| !entries.is_empty()).collect();
        if sets.is_empty() {
            sets.push((
                FileName {
                    prefix: name.prefix.child(0),
                    ..name
                },
                Entries::new(),
            ));
        }
        Batch {
            sets,
            retires: vec![name],
        }
    }

    /// The commit that was begun has succeeded.
    pub(crate) fn commit(&mut self) {
        self.tries.iter_mut().for_each(Trie::commit);
    }

    /// The commit that was begun has failed.
    pub(crate) fn abort(&mut self) {
        self.tries.iter_mut().for_each(Trie::abort);
    }
}

#[cfg(test)]
mod tests;
