//! What changed lately in a collection: read once for all who watch it.
//!
//! Each account has its own watches, and a worker has many accounts. Without
//! this, one commit would make every one of them read it from the store.

use std::sync::Arc;

use super::Delta;
use crate::store::{Document, Path, StoreTime};

/// Changes that are kept. Who watches is woken at once and needs the latest
/// ones; who was away for longer reads for itself.
const CHANGES_KEPT: usize = 128;

/// What one reading of the store would say of everything after `from`.
#[derive(Debug)]
pub(super) struct Tail {
    from: StoreTime,
    until: StoreTime,
    /// The last wake that was there before the latest reading began.
    wake: u64,
    changed: Vec<Arc<Document>>,
    removed: Vec<(Path, StoreTime)>,
}

impl Tail {
    /// Begins with what a reading of everything after `from` said.
    pub(super) fn new(from: StoreTime) -> Self {
        Self {
            from,
            until: from,
            wake: 0,
            changed: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Whether it knows everything after this time, once it is read on.
    pub(super) fn reaches(&self, seen: StoreTime) -> bool {
        self.from <= seen
    }

    /// Whether it has been read since this wake.
    pub(super) fn is_read(&self, wake: u64) -> bool {
        self.wake >= wake
    }

    /// Up to where it is read.
    pub(super) fn until(&self) -> StoreTime {
        self.until
    }

    /// Adds what a reading of everything after [`Tail::until`] said, which began
    /// after this wake.
    pub(super) fn extend(
        &mut self,
        changed: Vec<Arc<Document>>,
        removed: Vec<(Path, StoreTime)>,
        until: StoreTime,
        wake: u64,
    ) {
        // As in a reading of its own: a document is there once, as it is now.
        self.changed.retain(|old| {
            let is_replaced = changed.iter().any(|new| new.path == old.path);
            !is_replaced && !removed.iter().any(|(path, _)| *path == old.path)
        });
        self.changed.extend(changed);
        self.removed.extend(removed);
        self.until = self.until.max(until);
        self.wake = wake;
    }

    /// What a reading of everything after this time would say.
    pub(super) fn since(&self, seen: StoreTime) -> Delta {
        let first = self
            .changed
            .partition_point(|document| document.update_time <= seen);
        let removed = self.removed.iter().filter(|(_, time)| *time > seen);
        Delta::Since {
            changed: self.changed[first..].to_vec(),
            removed: removed.cloned().collect(),
            until: self.until,
            complete: true,
        }
    }

    /// Drops the oldest changes, all of one time at once. Only after whoever read
    /// on has been told: its reading may have been longer than what is kept.
    pub(super) fn forget(&mut self) {
        let too_many = (self.changed.len() + self.removed.len()).saturating_sub(CHANGES_KEPT);
        if too_many == 0 {
            return;
        }
        let changes = self.changed.iter().map(|document| document.update_time);
        let mut times: Vec<StoreTime> = changes
            .chain(self.removed.iter().map(|(_, time)| *time))
            .collect();
        times.sort_unstable();
        self.from = times[too_many - 1];
        self.changed
            .retain(|document| document.update_time > self.from);
        self.removed.retain(|(_, time)| *time > self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fields;

    fn at(micros: i64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    fn path(id: &str) -> Path {
        Path::new(&format!("things/{id}")).unwrap()
    }

    fn document(id: &str, time: i64) -> Arc<Document> {
        Arc::new(Document {
            path: path(id),
            fields: Fields::new(),
            update_time: at(time),
        })
    }

    fn since(tail: &Tail, seen: i64) -> (Vec<String>, Vec<String>) {
        let Delta::Since {
            changed, removed, ..
        } = tail.since(at(seen))
        else {
            unreachable!("a tail has no gaps")
        };
        let changed = changed.iter().map(|document| document.path.id().to_owned());
        let removed = removed.iter().map(|(path, _)| path.id().to_owned());
        (changed.collect(), removed.collect())
    }

    #[test]
    fn it_says_what_a_reading_would_say() {
        let mut tail = Tail::new(at(0));
        tail.extend(vec![document("a", 1), document("b", 2)], vec![], at(2), 1);
        tail.extend(vec![document("a", 3)], vec![(path("b"), at(4))], at(4), 2);
        // Each document once; one that is gone, not at all.
        assert_eq!(since(&tail, 0), (vec!["a".into()], vec!["b".into()]));
        assert_eq!(since(&tail, 3), (vec![], vec!["b".into()]));
        assert_eq!(since(&tail, 4), (vec![], vec![]));
        // Made again.
        tail.extend(vec![document("b", 5)], vec![], at(5), 3);
        assert_eq!(
            since(&tail, 2),
            (vec!["a".into(), "b".into()], vec!["b".into()])
        );
        assert!(tail.is_read(3) && !tail.is_read(4));
    }

    #[test]
    fn what_is_forgotten_is_not_claimed_to_be_known() {
        let mut tail = Tail::new(at(0));
        let kept = i64::try_from(CHANGES_KEPT).unwrap();
        let changed: Vec<_> = (1..=kept)
            .map(|n| document(&format!("d{n}"), n))
            .chain([document("x", kept), document("y", kept + 1)])
            .collect();
        tail.extend(changed, vec![], at(kept + 1), 1);
        // Whoever read that far is told all of it.
        assert!(tail.reaches(at(0)));
        assert_eq!(since(&tail, 0).0.len(), CHANGES_KEPT + 2);
        tail.forget();
        assert!(!tail.reaches(at(1)) && tail.reaches(at(2)));
        assert_eq!(since(&tail, 2).0.len(), CHANGES_KEPT);
    }

    #[test]
    fn changes_of_one_time_are_forgotten_together() {
        let mut tail = Tail::new(at(0));
        let changed = (0..CHANGES_KEPT + 5).map(|n| document(&format!("d{n}"), 7));
        tail.extend(changed.collect(), vec![], at(7), 1);
        tail.forget();
        assert!(!tail.reaches(at(6)) && tail.reaches(at(7)));
        assert_eq!(since(&tail, 7).0.len(), 0);
    }
}
