//! What a commit writes: which files, and how many fit.
//!
//! Pure. A *unit* is what has to be written together: a changed file, or a file
//! that was split (or files that were merged) with what takes its place.
//!
//! Rules:
//! - of the core families (pending, peers, prekeys) everything that is dirty
//!   goes into one commit; only if that is too large, in the order of
//!   [`Family`], so that a message never lacks both its pending record and the
//!   ratchet to decrypt it again;
//! - the other families follow in the same commit as far as there is room, in
//!   their order, too: a record is in its place before it is young no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::kind::Family;
use crate::packed::versions_bytes;
use crate::place::{FileName, Prefix};
use crate::trie::LeafState;

/// The files of one commit, sealed. The store takes 3 MiB; the rest is for what
/// others write in the same commit.
pub(crate) const COMMIT_BYTES_MAX: usize = 2_621_440;
/// The writes of one commit; the store takes 500.
pub(crate) const COMMIT_WRITES_MAX: usize = 200;
/// Siblings are not merged where that would retire more files at once.
pub(crate) const MERGED_FILES_MAX: usize = 16;
/// A file's document besides its records and the list of files.
const DOCUMENT_BYTES: usize = 512;

/// What is written together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    family: Family,
    /// The part of the family that it concerns.
    region: Prefix,
    sets: Vec<FileName>,
    retires: Vec<FileName>,
    bytes: usize,
    /// The number of its first change that is not stored.
    since: u64,
}

impl Unit {
    fn writes(&self) -> usize {
        self.sets.len() + self.retires.len()
    }
}

/// What the next commit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Writes files with their present records, and retires others.
    Write {
        /// The files to write.
        sets: Vec<FileName>,
        /// The files whose records are in others from then on.
        retires: Vec<FileName>,
    },
    /// Splits a file once, without changing what is stored: what is to take its
    /// place is too large for one commit.
    Split(FileName),
}

/// The units of a family that have something to write. `stored` are the files
/// that hold records, `files` is how many there are with those that are retired.
pub(crate) fn units(
    family: Family,
    leaves: &[LeafState],
    stored: &BTreeSet<FileName>,
    files: usize,
) -> Vec<Unit> {
    #[derive(Default)]
    struct Region {
        retires: Vec<FileName>,
        leaves: Vec<LeafState>,
    }
    let prefixes: BTreeSet<Prefix> = leaves.iter().map(|leaf| leaf.prefix).collect();
    let mut regions: BTreeMap<Prefix, Region> = BTreeMap::new();
    for name in stored.iter().filter(|name| name.family == family) {
        if !prefixes.contains(&name.prefix) {
            // Merged into a leaf above, or split into leaves below.
            let region = lowest(name.prefix, |prefix| prefixes.contains(&prefix));
            regions
                .entry(region.unwrap_or(name.prefix))
                .or_default()
                .retires
                .push(*name);
        }
    }
    for leaf in leaves {
        let region = lowest(leaf.prefix, |prefix| regions.contains_key(&prefix));
        regions
            .entry(region.unwrap_or(leaf.prefix))
            .or_default()
            .leaves
            .push(*leaf);
    }
    let to_unit = |(region, Region { retires, leaves }): (Prefix, Region)| {
        let since = leaves.iter().filter_map(|leaf| leaf.since).min()?;
        let mut written: Vec<&LeafState> = leaves
            .iter()
            .filter(|leaf| retires.is_empty() || !leaf.is_empty)
            .collect();
        if written.is_empty() {
            // A commit must write some file: it carries the list of all.
            written.extend(leaves.first());
        }
        let overhead = DOCUMENT_BYTES + versions_bytes(files + written.len());
        Some(Unit {
            family,
            region,
            bytes: written.iter().map(|leaf| leaf.bytes).sum::<usize>()
                + (written.len() + retires.len()) * overhead,
            sets: written
                .iter()
                .map(|leaf| FileName {
                    family,
                    prefix: leaf.prefix,
                })
                .collect(),
            retires,
            since,
        })
    };
    regions.into_iter().filter_map(to_unit).collect()
}

/// The prefix itself, or else the nearest one above it, for which this holds.
fn lowest(prefix: Prefix, holds: impl Fn(Prefix) -> bool) -> Option<Prefix> {
    std::iter::successors(Some(prefix), |prefix| prefix.parent()).find(|prefix| holds(*prefix))
}

/// Chooses what the next commit does, of units in the order of their families;
/// `None` once every change up to `through` is stored.
pub(crate) fn choose(units: Vec<Unit>, through: u64) -> Option<Step> {
    let is_core_due = units
        .iter()
        .any(|unit| unit.family.is_core() && unit.since <= through);
    let due = units
        .into_iter()
        .filter(|unit| unit.since <= through || (is_core_due && unit.family.is_core()));
    let (mut sets, mut retires) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for mut unit in due {
        bytes += unit.bytes;
        let writes = sets.len() + retires.len() + unit.writes();
        if bytes > COMMIT_BYTES_MAX || writes > COMMIT_WRITES_MAX {
            if sets.is_empty() && unit.sets.len() > 1 {
                return Some(Step::Split(FileName {
                    family: unit.family,
                    prefix: unit.region,
                }));
            }
            if !sets.is_empty() {
                break;
            }
        }
        sets.append(&mut unit.sets);
        retires.append(&mut unit.retires);
    }
    (!sets.is_empty()).then_some(Step::Write { sets, retires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<FileName> {
        texts.iter().map(|text| name(text)).collect()
    }

    fn leaf(text: &str, bytes: usize, since: Option<u64>) -> LeafState {
        LeafState {
            prefix: name(text).prefix,
            bytes,
            is_empty: bytes == 0,
            since,
        }
    }

    fn stored(texts: &[&str]) -> BTreeSet<FileName> {
        names(texts).into_iter().collect()
    }

    fn write(sets: &[&str], retires: &[&str]) -> Option<Step> {
        Some(Step::Write {
            sets: names(sets),
            retires: names(retires),
        })
    }

    #[test]
    fn only_what_changed_is_written() {
        let leaves = [leaf("peers.0", 10, None), leaf("peers.1", 10, Some(3))];
        let units = units(Family::Peers, &leaves, &stored(&["peers.0", "peers.1"]), 2);
        assert_eq!(choose(units.clone(), 3), write(&["peers.1"], &[]));
        assert_eq!(choose(units, 2), None, "it changed after what is asked for");
    }

    #[test]
    fn a_split_replaces_the_file_in_one_commit_and_leaves_out_empty_parts() {
        let leaves = [
            leaf("peers.0", 10, None),
            leaf("peers.1", 0, None),
            leaf("peers.2", 10, Some(1)),
            leaf("peers.3", 10, None),
        ];
        let units = units(Family::Peers, &leaves, &stored(&["peers", "sent.0"]), 2);
        assert_eq!(
            choose(units, 1),
            write(&["peers.0", "peers.2", "peers.3"], &["peers"])
        );
    }

    #[test]
    fn a_merge_replaces_the_files_in_one_commit_even_if_nothing_is_left() {
        let leaves = [leaf("sent", 0, Some(1))];
        let units = units(Family::Sent, &leaves, &stored(&["sent.0", "sent.1.2"]), 2);
        assert_eq!(choose(units, 1), write(&["sent"], &["sent.0", "sent.1.2"]));
    }

    #[test]
    fn core_families_share_a_commit_even_where_some_changed_later() {
        let stored = BTreeSet::new();
        let mut all = Vec::new();
        all.extend(units(
            Family::Pending,
            &[leaf("pending", 10, Some(9))],
            &stored,
            0,
        ));
        all.extend(units(
            Family::Peers,
            &[leaf("peers", 10, Some(1))],
            &stored,
            0,
        ));
        all.extend(units(
            Family::Sent,
            &[leaf("sent", 10, Some(8))],
            &stored,
            0,
        ));
        assert_eq!(choose(all, 5), write(&["pending", "peers"], &[]));
    }

    #[test]
    fn what_is_too_large_for_one_commit_is_written_pending_first() {
        let stored = BTreeSet::new();
        let mut all = Vec::new();
        all.extend(units(
            Family::Pending,
            &[leaf("pending", 900_000, Some(2))],
            &stored,
            0,
        ));
        let peers = ["peers.0", "peers.1", "peers.2"].map(|name| leaf(name, 900_000, Some(1)));
        all.extend(units(Family::Peers, &peers, &stored, 0));
        assert_eq!(choose(all, 2), write(&["pending", "peers.0"], &[]));
    }

    #[test]
    fn a_split_too_large_for_one_commit_is_made_step_by_step() {
        let leaves: Vec<LeafState> = (0..4u8)
            .flat_map(|one| (0..4u8).map(move |two| format!("secrets.{one}.{two}")))
            .map(|name| leaf(&name, 250_000, Some(1)))
            .collect();
        let all = units(Family::Secrets, &leaves, &stored(&["secrets"]), 1);
        assert_eq!(choose(all, 1), Some(Step::Split(name("secrets"))));
        // Where nothing is stored there is nothing to replace.
        let all = units(Family::Secrets, &leaves, &stored(&[]), 0);
        assert!(matches!(choose(all, 1), Some(Step::Write { .. })));
    }
}
