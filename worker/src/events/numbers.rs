//! Whether a watch left an event out: events of an account are numbered without a
//! gap, and a watch shows them in that order.
//!
//! A watch that shows a number whose predecessor it has not shown cannot be
//! trusted, and what it says is read anew before anybody is told. Of an account
//! of which nothing was shown yet there is no saying.
//!
//! Pure.

use std::collections::{BTreeSet, HashMap};

use crate::model::collections;

/// The latest number that was shown of each account.
#[derive(Debug, Default)]
pub struct Numbers(HashMap<String, i64>);

impl Numbers {
    /// Notes the events with these ids as shown, whatever is missing before them:
    /// a reading of the store, which has all there is.
    pub fn take(&mut self, ids: &[String]) {
        for (account, seq) in read(ids) {
            let latest = self.0.entry(account.to_owned()).or_default();
            *latest = seq.max(*latest);
        }
    }

    /// Notes the events with these ids as shown, unless one that precedes one of
    /// them is missing: then nothing, and false.
    #[must_use]
    pub fn follow(&mut self, ids: &[String]) -> bool {
        let mut shown: HashMap<&str, i64> = HashMap::new();
        let sorted: BTreeSet<_> = read(ids).collect();
        let is_whole = sorted.into_iter().all(|(account, seq)| {
            let before = shown.insert(account, seq);
            let latest = before.max(self.0.get(account).copied());
            latest.is_none_or(|latest| seq <= latest + 1)
        });
        if is_whole {
            self.take(ids);
        }
        is_whole
    }
}

fn read(ids: &[String]) -> impl Iterator<Item = (&str, i64)> {
    let ids = ids.iter().map(String::as_str);
    ids.filter_map(collections::event_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(events: &[(&str, i64)]) -> Vec<String> {
        let id = |(account, seq): &(&str, i64)| collections::event_id(account, *seq);
        events.iter().map(id).collect()
    }

    #[test]
    fn an_id_is_an_account_and_a_number() {
        assert_eq!(
            collections::event_number("a-b-000000000012"),
            Some(("a-b", 12))
        );
        for other in ["", "a", "a-", "a-x", "12"] {
            assert_eq!(collections::event_number(other), None, "{other}");
        }
    }

    #[test]
    fn what_follows_on_is_taken() {
        let mut numbers = Numbers::default();
        numbers.take(&ids(&[("a", 4), ("a", 6)]));
        assert!(numbers.follow(&ids(&[("a", 8), ("a", 7), ("b", 9)])));
        assert!(numbers.follow(&ids(&[("a", 9), ("b", 10), ("a", 5)])));
        assert!(numbers.follow(&[]));
    }

    #[test]
    fn a_gap_is_found_and_nothing_is_taken() {
        let mut numbers = Numbers::default();
        assert!(numbers.follow(&ids(&[("a", 4)])));
        assert!(!numbers.follow(&ids(&[("a", 6)])));
        assert!(!numbers.follow(&ids(&[("a", 5), ("a", 7)])));
        assert!(!numbers.follow(&ids(&[("b", 1), ("b", 3)])));
        assert!(numbers.follow(&ids(&[("a", 5), ("a", 6)])));
        // A reading of the store has what there is.
        numbers.take(&ids(&[("a", 9)]));
        assert!(numbers.follow(&ids(&[("a", 10)])));
    }
}
