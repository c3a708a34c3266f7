//! Spreads connects over time: each start reserves its place.

use std::time::Duration;

use coordinator_lib::clock::Boottime;
use parking_lot::Mutex;

/// Hands out starting times, `burst` at once and then `rate` a second.
#[derive(Debug)]
pub struct ConnectPacer {
    interval: Duration,
    /// How far ahead of its pace it may be.
    slack: Duration,
    /// When the next start would be due if none came in a burst.
    due: Mutex<Boottime>,
}

impl ConnectPacer {
    /// A rate of zero does not pace.
    pub fn new(rate: f64, burst: u32, now: Boottime) -> Self {
        let interval = if rate > 0.0 {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::ZERO)
        } else {
            Duration::ZERO
        };
        Self {
            interval,
            slack: interval.saturating_mul(burst.max(1) - 1),
            due: Mutex::new(now),
        }
    }

    /// Reserves the next start; it may be due at once.
    pub fn reserve(&self, now: Boottime) -> Boottime {
        let mut due = self.due.lock();
        let at = (*due).max(now);
        *due = at + self.interval;
        (at - self.slack).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_starts_at_once_and_the_rest_at_the_rate() {
        let now = Boottime::from_duration(Duration::from_secs(100));
        let pacer = ConnectPacer::new(2.0, 3, now);
        let waits: Vec<u128> = (0..6)
            .map(|_| (pacer.reserve(now) - now).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 500, 1_000, 1_500]);
    }

    #[test]
    fn a_rate_of_zero_does_not_pace() {
        let now = Boottime::from_duration(Duration::from_secs(100));
        let pacer = ConnectPacer::new(0.0, 1, now);
        assert!((0..100).all(|_| pacer.reserve(now) == now));
    }
}
