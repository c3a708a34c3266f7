//! Where a record lies: a hash of its kind and key, and the part of all hashes
//! that a file is responsible for.
//!
//! The hash is keyed, with a key derived from the account's data key: peers
//! choose message ids, and must not be able to choose ids that all fall into
//! one file.
//!
//! A family starts as one file for all hashes, `peers`. Where it grows too
//! large it is split in four by the hash's first two bits, `peers.0` to
//! `peers.3`, and each part again by the next two.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::datakey::KEY_BYTES;
use crate::kind::{Family, Kind};

/// How often a file can be split: 32 bits of the hash. Records that share
/// those would have to be made on purpose.
pub(crate) const DEPTH_MAX: u8 = 16;
/// The parts of one split.
pub(crate) const FANOUT: u8 = 4;
const BITS: u32 = 2;

/// Hashes records' kinds and keys for one account.
#[derive(Clone)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Sha256::new().chain_update(key))
    }

    pub(crate) fn hash(&self, kind: Kind, key: &[u8]) -> u64 {
        let hasher = self.0.clone().chain_update(kind.number().to_be_bytes());
        let digest = hasher.chain_update(key).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(first)
    }
}

/// All hashes that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix {
    /// The smallest of the hashes; zero below the prefix.
    start: u64,
    /// How many splits deep.
    depth: u8,
}

impl Prefix {
    /// All hashes.
    pub(crate) const ALL: Prefix = Prefix { start: 0, depth: 0 };

    pub(crate) fn start(self) -> u64 {
        self.start
    }

    pub(crate) fn depth(self) -> u8 {
        self.depth
    }

    /// The prefix of this depth (at most [`DEPTH_MAX`]) that holds the hash.
    pub(crate) fn of(hash: u64, depth: u8) -> Self {
        Self {
            start: hash & mask(depth),
            depth,
        }
    }

    pub(crate) fn contains(self, hash: u64) -> bool {
        hash & mask(self.depth) == self.start
    }

    /// Whether `other` is a part of this one, or the same.
    pub(crate) fn covers(self, other: Prefix) -> bool {
        self.depth <= other.depth && self.contains(other.start)
    }

    pub(crate) fn parent(self) -> Option<Self> {
        self.depth
            .checked_sub(1)
            .map(|depth| Self::of(self.start, depth))
    }

    /// One of the [`FANOUT`] parts; not to be asked of the deepest.
    pub(crate) fn child(self, index: u8) -> Self {
        let depth = self.depth + 1;
        Self {
            start: self.start | u64::from(index) << shift(depth),
            depth,
        }
    }

    pub(crate) fn children(self) -> impl Iterator<Item = Self> {
        (0..FANOUT).map(move |index| self.child(index))
    }
}

fn shift(depth: u8) -> u32 {
    u64::BITS - BITS * u32::from(depth)
}

fn mask(depth: u8) -> u64 {
    // At depth 0 the shift would be by all 64 bits.
    u64::MAX.checked_shl(shift(depth)).unwrap_or(0)
}

/// The name of a session file: `peers`, `peers.1`, `peers.1.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileName {
    pub(crate) family: Family,
    pub(crate) prefix: Prefix,
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.family.name())?;
        for depth in 1..=self.prefix.depth {
            let digit = self.prefix.start >> shift(depth) & u64::from(FANOUT - 1);
            write!(formatter, ".{digit}")?;
        }
        Ok(())
    }
}

impl FromStr for FileName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let family = parts.next().unwrap_or_default().parse()?;
        let mut prefix = Prefix::ALL;
        for part in parts {
            let digit = match part {
                "0" => 0,
                "1" => 1,
                "2" => 2,
                "3" => 3,
                _ => return Err(()),
            };
            if prefix.depth == DEPTH_MAX {
                return Err(());
            }
            prefix = prefix.child(digit);
        }
        Ok(Self { family, prefix })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_holds_exactly_the_hashes_of_one_of_its_parts(hash: u64, other: u64, depth in 0..DEPTH_MAX) {
            let prefix = Prefix::of(hash, depth);
            prop_assert!(prefix.contains(hash));
            let holders = prefix.children().filter(|child| child.contains(other)).count();
            prop_assert_eq!(holders, usize::from(prefix.contains(other)));
            for child in prefix.children() {
                prop_assert_eq!(child.parent(), Some(prefix));
                prop_assert!(prefix.covers(child) && !child.covers(prefix));
            }
        }

        #[test]
        fn names_read_back(hash: u64, depth in 0..=DEPTH_MAX) {
            for family in Family::ALL {
                let name = FileName { family, prefix: Prefix::of(hash, depth) };
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}|peers[.0-4]{0,40}") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_show_the_way_down() {
        let prefix = Prefix::ALL.child(1).child(0);
        assert_eq!(
            FileName {
                family: Family::Peers,
                prefix
            }
            .to_string(),
            "peers.1.0"
        );
        for bad in [
            "", "peers.", "peers.4", "peer", "peers.00", ".1", "peers.1.",
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }
}
