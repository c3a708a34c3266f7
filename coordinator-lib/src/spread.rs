//! Which accounts are preferred where several would do: those of one group, such as a
//! customer's, had better be with several workers, so that a lost one takes few of
//! them along. Pure.
//!
//! A wish, never a condition: it decides *which* accounts are claimed, shed or handed
//! off to whom, never whether, when or how many. It is read from documents that a
//! worker has anyway.

use std::collections::BTreeMap;

use crate::store::{Document, Value};

/// Account: the name of its group; absent or null where it has none.
pub const SPREAD_FIELD: &str = "spread";

/// The group of an account.
pub fn group_of(account: &Document) -> Option<&str> {
    account.fields.get(SPREAD_FIELD).and_then(Value::as_text)
}

/// How many accounts of each group a worker has. Accounts without a group count
/// nowhere.
#[derive(Clone, Debug, Default)]
pub struct Groups<'a> {
    counts: BTreeMap<&'a str, usize>,
}

impl<'a> Groups<'a> {
    /// One account more.
    pub fn add(&mut self, group: Option<&'a str>) {
        if let Some(group) = group {
            *self.counts.entry(group).or_default() += 1;
        }
    }

    /// Accounts of a group that are here.
    pub fn count(&self, group: Option<&str>) -> usize {
        group
            .and_then(|group| self.counts.get(group))
            .copied()
            .unwrap_or(0)
    }

    /// Accounts of a group that are here beside a first one: as many should rather be
    /// elsewhere.
    pub fn surplus(&self, group: Option<&str>) -> usize {
        self.count(group).saturating_sub(1)
    }

    /// Takes up to `count` candidates: those first whose group has fewest accounts here,
    /// those taken before included, and among these in their order.
    pub fn choose<T: Ord>(
        mut self,
        mut candidates: Vec<(T, Option<&'a str>)>,
        count: usize,
    ) -> Vec<T> {
        candidates.sort();
        let mut chosen = Vec::new();
        while chosen.len() < count {
            // The first one of several that are as good.
            let best = (0..candidates.len()).min_by_key(|&at| self.count(candidates[at].1));
            let Some(best) = best else {
                return chosen;
            };
            let (candidate, group) = candidates.remove(best);
            self.add(group);
            chosen.push(candidate);
        }
        chosen
    }
}

impl<'a> FromIterator<Option<&'a str>> for Groups<'a> {
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(groups: I) -> Self {
        let mut counted = Self::default();
        for group in groups {
            counted.add(group);
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUPS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("c")];

    fn groups() -> impl Strategy<Value = Vec<Option<&'static str>>> {
        prop::collection::vec(prop::sample::select(GROUPS.to_vec()), 0..12)
    }

    fn numbered(groups: &[Option<&'static str>]) -> Vec<(usize, Option<&'static str>)> {
        groups.iter().copied().enumerate().collect()
    }

    #[test]
    fn a_group_that_is_here_comes_after_one_that_is_not() {
        let here: Groups<'_> = [Some("a"), Some("a"), Some("b"), None]
            .into_iter()
            .collect();
        let candidates = vec![(1, Some("a")), (2, Some("b")), (3, Some("c")), (4, None)];
        assert_eq!(here.choose(candidates, 3), [3, 4, 2]);
    }

    #[test]
    fn what_was_taken_counts() {
        let candidates = vec![(1, Some("a")), (2, Some("a")), (3, Some("b"))];
        assert_eq!(Groups::default().choose(candidates, 2), [1, 3]);
    }

    #[test]
    fn one_of_a_group_is_none_too_many() {
        let here: Groups<'_> = [Some("a"), Some("b"), Some("b"), None, None]
            .into_iter()
            .collect();
        let surplus = [None, Some("a"), Some("b")].map(|group| here.surplus(group));
        assert_eq!(surplus, [0, 0, 1]);
    }

    proptest! {
        /// Groups never change how many are taken, and nothing is taken twice.
        #[test]
        fn as_many_are_taken_as_there_is_room_for(
            here in groups(),
            candidates in groups(),
            room in 0_usize..14,
        ) {
            let here: Groups<'_> = here.into_iter().collect();
            let mut chosen = here.choose(numbered(&candidates), room);
            prop_assert_eq!(chosen.len(), room.min(candidates.len()));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), room.min(candidates.len()));
        }

        /// Without groups the order alone decides, as if there were none of this.
        #[test]
        fn accounts_without_a_group_are_taken_in_order(
            here in groups(),
            count in 0_usize..12,
            room in 0_usize..14,
        ) {
            let here: Groups<'_> = here.into_iter().collect();
            let candidates = (0..count).rev().map(|number| (number, None)).collect();
            let chosen = here.choose(candidates, room);
            prop_assert_eq!(chosen, (0..count.min(room)).collect::<Vec<_>>());
        }

        /// No other choice of as many leaves the fullest group smaller.
        #[test]
        fn nothing_that_is_left_would_have_been_better(
            here in groups(),
            candidates in groups(),
            room in 0_usize..14,
        ) {
            let here: Groups<'_> = here.into_iter().collect();
            let chosen = here.clone().choose(numbered(&candidates), room);
            let mut after = here;
            for number in &chosen {
                after.add(candidates[*number]);
            }
            let left = (0..candidates.len()).filter(|number| !chosen.contains(number));
            for left in left {
                for taken in &chosen {
                    let (taken, left) = (candidates[*taken], candidates[left]);
                    prop_assert!(after.count(taken) <= after.count(left) + 1, "{taken:?} {left:?}");
                }
            }
        }
    }
}
