//! When an uneven share is acted on: pure.
//!
//! Others' counts are as old as their heartbeats. So it takes two readings of
//! the roster that show it, far enough apart for everybody to have beaten in
//! between. After a gap, such as an outage of the store, it takes two again: the
//! counts that are read first then are from before it.

use std::time::Duration;

use crate::clock::Boottime;

/// A share that readings have shown as uneven.
#[derive(Debug, Default)]
pub(super) struct Uneven {
    /// The first of them without a gap, and the last.
    seen: Option<(Boottime, Boottime)>,
}

impl Uneven {
    /// Takes in a reading that shows it. True if it is to be acted on;
    /// otherwise another reading should follow soon.
    pub(super) fn seen(&mut self, at: Boottime, heartbeat: Duration) -> bool {
        let since = match self.seen {
            Some((since, last)) if at - last < heartbeat.mul_f64(GAP) => since,
            Some(_) | None => at,
        };
        self.seen = Some((since, at));
        at - since >= heartbeat.mul_f64(SHOWN_AFTER)
    }

    /// Takes in a reading that does not show it.
    pub(super) fn is_over(&mut self) {
        self.seen = None;
    }
}

/// By then everybody's next heartbeat has landed, in heartbeats.
pub(super) const SHOWN_AFTER: f64 = 1.5;
/// When the second reading is due, in heartbeats.
pub(super) const LOOK_AGAIN: f64 = 2.0;
/// Readings further apart say nothing about the time between them.
const GAP: f64 = 2.0 * LOOK_AGAIN;

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Boottime {
        Boottime::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_second_reading_must_show_it_after_everybody_has_beaten() {
        let mut uneven = Uneven::default();
        assert!(!uneven.seen(at(10), HEARTBEAT));
        assert!(!uneven.seen(at(13), HEARTBEAT));
        assert!(uneven.seen(at(16), HEARTBEAT));
        assert!(uneven.seen(at(22), HEARTBEAT));
    }

    #[test]
    fn it_begins_anew_once_it_is_over() {
        let mut uneven = Uneven::default();
        assert!(!uneven.seen(at(10), HEARTBEAT));
        uneven.is_over();
        assert!(!uneven.seen(at(16), HEARTBEAT));
        assert!(uneven.seen(at(22), HEARTBEAT));
    }

    /// Seen in a test of an outage: both readings were of one heartbeat.
    #[test]
    fn what_was_seen_before_a_gap_does_not_count() {
        let mut uneven = Uneven::default();
        assert!(!uneven.seen(at(10), HEARTBEAT));
        assert!(!uneven.seen(at(70), HEARTBEAT));
        assert!(uneven.seen(at(76), HEARTBEAT));
    }
}
