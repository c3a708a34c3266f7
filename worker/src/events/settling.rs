//! Puts events that were read in pages into the order of all events.
//!
//! Pages can be had by `storedAt` only, which lies before the update time by up
//! to [`LAG`], so an event may come on a later page than one that it precedes.
//! It is held back until nothing can come any more that belongs before it:
//!
//! - a page that ends at `storedAt` = `c` has shown all with an update time
//!   before `c`, for no update time lies before its `storedAt`;
//! - what was not there when the *first* page was read is not settled, since it
//!   may stand where that page had looked already. The next reading finds it.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use coordinator_lib::store::StoreTime;

use super::logged::Logged;
use super::position::Position;

/// How much later than `storedAt` the store may take an event in: Firestore
/// stamps a request when it comes and commits it soon after. SQLite has one time
/// for both.
pub const LAG: Duration = Duration::from_secs(15);

/// Events that were read, of which some are held back.
#[derive(Debug)]
pub struct Settling {
    after: Position,
    waiting: BTreeMap<Position, Logged>,
    /// When the first page was read.
    horizon: Option<StoreTime>,
}

impl Settling {
    /// For everything after a place.
    pub fn new(after: Position) -> Self {
        Self {
            after,
            waiting: BTreeMap::new(),
            horizon: None,
        }
    }

    /// From which `storedAt` on pages are to be read.
    pub fn stored_after(&self) -> StoreTime {
        let time = self.after.time();
        time.checked_sub(LAG).unwrap_or(time)
    }

    /// Takes a page that was read at `read_time`; gives what is settled, in
    /// order. `next_from` is the `storedAt` of its last event, if another page
    /// follows.
    pub fn page(
        &mut self,
        events: impl IntoIterator<Item = Logged>,
        read_time: StoreTime,
        next_from: Option<StoreTime>,
    ) -> Vec<Logged> {
        let horizon = *self.horizon.get_or_insert(read_time);
        for event in events {
            if event.position > self.after {
                self.waiting.insert(event.position.clone(), event);
            }
        }
        let settled = match next_from {
            Some(stored_at) => horizon.min(before(stored_at)),
            None => horizon,
        };
        let later = self.waiting.split_off(&just_after(settled));
        let released = std::mem::replace(&mut self.waiting, later);
        if let Some(last) = released.keys().next_back() {
            self.after = last.clone();
        }
        released.into_values().collect()
    }

    /// Whether further pages can bring nothing that is settled.
    pub fn is_over(&self, next_from: StoreTime) -> bool {
        self.horizon.is_some_and(|horizon| next_from > horizon)
    }

    /// The place after all that was given.
    pub fn position(&self) -> &Position {
        &self.after
    }
}

fn before(time: StoreTime) -> StoreTime {
    StoreTime::from_micros(time.as_micros().saturating_sub(1))
}

/// The first place that is not within `time`; no event has it.
fn just_after(time: StoreTime) -> Position {
    Position::whole(time)
}

#[cfg(test)]
mod tests;
