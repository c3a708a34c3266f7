//! The latest events of all accounts, in memory, for all streams of a worker.
//!
//! Bounded: the oldest go first, and whoever has not taken them by then reads
//! them from the store. Each event is told once, however often the watch shows
//! it.
//!
//! Pure.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use coordinator_lib::store::StoreTime;

use super::logged::Logged;
use super::position::Position;

/// Events that are kept; a few hundred bytes each.
const EVENTS_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub struct Ring {
    events: VecDeque<Arc<Logged>>,
    /// The number of the first event; grows with each that goes.
    first: u64,
    /// Another one whenever the ring begins from nothing.
    generation: u64,
    /// Whether what the watch showed at first is in it.
    is_ready: bool,
    /// What was told, by `storedAt`, as far back as the watch may show it again.
    told: BTreeSet<(StoreTime, String)>,
    /// After all that was told, or where the watch began.
    head: Option<Position>,
}

/// A place in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    generation: u64,
    next: u64,
}

/// What there is from a place on.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// These, and the place after them.
    Events(Vec<Arc<Logged>>, Place),
    /// Nothing yet.
    Nothing,
    /// What follows is not in the ring any more.
    Gone,
}

impl Ring {
    /// A watch begins that shows what was stored after then.
    pub fn begin(&mut self, since: StoreTime) {
        self.told = self.told.split_off(&(since, String::new()));
        if self.head.is_none() {
            self.head = Some(Position::whole(since));
        }
    }

    /// Takes what the watch showed at one time. True if there was news.
    pub fn tell(&mut self, mut events: Vec<Logged>) -> bool {
        self.is_ready = true;
        events.sort_by(|a, b| a.position.cmp(&b.position));
        let before = self.told.len();
        for event in events {
            if !self.told.insert((event.stored_at(), event.id.clone())) {
                continue;
            }
            if self.head.as_ref().is_none_or(|head| *head < event.position) {
                self.head = Some(event.position.clone());
            }
            self.events.push_back(Arc::new(event));
            if self.events.len() > EVENTS_MAX {
                self.events.pop_front();
                self.first += 1;
            }
        }
        self.told.len() > before
    }

    /// The latest `storedAt` that was told.
    pub fn latest_stored(&self) -> Option<StoreTime> {
        self.told.last().map(|(stored_at, _)| *stored_at)
    }

    /// Begins from nothing: nobody listens any more.
    pub fn clear(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            ..Self::default()
        };
    }

    /// The place after everything, and the position there; none before the
    /// watch has shown anything.
    pub fn end(&self) -> Option<(Place, Position)> {
        let head = self.head.clone().filter(|_| self.is_ready)?;
        Some((self.place(self.events.len()), head))
    }

    /// The place before everything; whoever was there since and has read the
    /// store meanwhile misses nothing.
    pub fn beginning(&self) -> Option<Place> {
        self.is_ready.then(|| self.place(0))
    }

    fn place(&self, index: usize) -> Place {
        Place {
            generation: self.generation,
            next: self.first + index as u64,
        }
    }

    /// What follows a place, `events_max` at most.
    pub fn take(&self, place: Place, events_max: usize) -> Taken {
        if place.generation != self.generation || place.next < self.first {
            return Taken::Gone;
        }
        let index = usize::try_from(place.next - self.first).unwrap_or(usize::MAX);
        let events: Vec<Arc<Logged>> = self
            .events
            .iter()
            .skip(index)
            .take(events_max)
            .cloned()
            .collect();
        if events.is_empty() {
            return Taken::Nothing;
        }
        let next = self.place(index + events.len());
        Taken::Events(events, next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use coordinator_lib::store::Stamp;

    use super::*;
    use crate::events::position::position;
    use crate::model::{EventDoc, EventKind};

    fn event(seq: i64) -> Logged {
        let id = format!("a-{seq:012}");
        let at = StoreTime::from_micros(seq);
        Logged {
            position: position(seq, &id),
            id,
            event: EventDoc {
                account_id: "a".to_owned(),
                seq,
                kind: EventKind::Presence,
                at,
                stored_at: Stamp::At(at),
                epoch: 1,
                trace: None,
                data: BTreeMap::new(),
            },
        }
    }

    fn seqs(taken: Taken) -> Vec<i64> {
        match taken {
            Taken::Events(events, _) => events.iter().map(|event| event.event.seq).collect(),
            Taken::Nothing | Taken::Gone => Vec::new(),
        }
    }

    #[test]
    fn each_event_is_told_once_and_in_order() {
        let mut ring = Ring::default();
        ring.begin(StoreTime::from_micros(0));
        assert_eq!(ring.beginning(), None);
        assert_eq!(ring.end(), None);
        assert!(ring.tell(vec![event(2), event(1)]));
        let beginning = ring.beginning().unwrap();
        // A new watch shows them again.
        assert!(!ring.tell(vec![event(1), event(2)]));
        assert!(ring.tell(vec![event(2), event(3)]));
        assert_eq!(seqs(ring.take(beginning, 10)), [1, 2, 3]);
        assert_eq!(seqs(ring.take(beginning, 2)), [1, 2]);
        let (end, head) = ring.end().unwrap();
        assert_eq!(ring.take(end, 10), Taken::Nothing);
        assert_eq!(head, event(3).position);
    }

    #[test]
    fn whoever_is_too_slow_is_told_so() {
        let mut ring = Ring::default();
        ring.tell(vec![event(1)]);
        let beginning = ring.beginning().unwrap();
        for seq in 0..EVENTS_MAX as i64 {
            ring.tell(vec![event(seq + 2)]);
        }
        assert_eq!(ring.take(beginning, 10), Taken::Gone);
        assert_eq!(ring.events.len(), EVENTS_MAX);
        let now = ring.beginning().unwrap();
        ring.clear();
        assert_eq!(ring.take(now, 10), Taken::Gone);
        assert_eq!(ring.beginning(), None, "nothing was shown yet");
    }

    #[test]
    fn what_the_watch_cannot_show_again_is_forgotten() {
        let mut ring = Ring::default();
        ring.tell((1..=10).map(event).collect());
        ring.begin(StoreTime::from_micros(8));
        assert_eq!(ring.told.len(), 3);
        assert_eq!(ring.latest_stored(), Some(StoreTime::from_micros(10)));
    }
}
