//! Store time of a SQLite file: a base kept in the file, and boottime since.

use crate::clock::{Boottime, SharedClock};
use crate::store::StoreTime;

/// Runs with the machine's boottime; see [`super`] for what holds of it.
#[derive(Clone)]
pub(super) struct StoreClock {
    clock: SharedClock,
    base: StoreTime,
    base_boottime: Boottime,
}

impl StoreClock {
    /// A clock that showed `base` at `base_boottime`.
    pub(super) fn new(clock: SharedClock, base: StoreTime, base_boottime: Boottime) -> Self {
        Self {
            clock,
            base,
            base_boottime,
        }
    }

    /// Store time, as far as this process knows: the last commit's may be
    /// later.
    pub(super) fn now(&self) -> StoreTime {
        self.base
            .saturating_add(self.clock.boottime() - self.base_boottime)
    }

    /// The time of a commit that follows one at `last`.
    pub(super) fn after(&self, last: StoreTime) -> StoreTime {
        self.now()
            .max(StoreTime::from_micros(last.as_micros().saturating_add(1)))
    }

    pub(super) fn base(&self) -> StoreTime {
        self.base
    }
}
