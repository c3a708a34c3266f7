//! The cluster's budget of connects from one egress address: pure.
//!
//! WhatsApp throttles an address that logs in many accounts at once, so all
//! workers behind one address share a token bucket. It is kept as the time at
//! which the next start would be due if none came in a burst (GCRA): starts are
//! handed out by moving that time on, a slice of several at once.

use std::time::Duration;

use coordinator_lib::store::StoreTime;

/// Starts are never planned further ahead than this, whatever is stored.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// How much slower starts are while WhatsApp is busy.
const SLOW_FACTOR: u32 = 4;

/// How long they are slower, from the last report of many busy answers.
const SLOW_FOR: Duration = Duration::from_secs(60);

/// What an address may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Starts a second in the long run; 0 does not pace.
    pub rate: f64,
    /// Starts at once after a pause.
    pub burst: u32,
}

impl Budget {
    /// Between two starts in the long run; zero if it does not pace.
    pub fn interval(&self) -> Duration {
        if self.rate > 0.0 {
            Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(AHEAD_MAX)
        } else {
            Duration::ZERO
        }
    }
}

/// What was handed out so far: what the store keeps of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// When the next start would be due if none came in a burst.
    pub due: StoreTime,
    /// Until when starts are slower and no burst is allowed.
    pub slow_until: Option<StoreTime>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            due: StoreTime::from_micros(0),
            slow_until: None,
        }
    }
}

impl Tally {
    /// Hands out the next `count` starts: how long from `now` until each.
    pub fn lease(&mut self, now: StoreTime, count: u32, budget: Budget) -> Vec<Duration> {
        let is_slow = self.slow_until.is_some_and(|until| until > now);
        let (interval, slack) = if is_slow {
            (budget.interval() * SLOW_FACTOR, Duration::ZERO)
        } else {
            let interval = budget.interval();
            (interval, interval.saturating_mul(budget.burst.max(1) - 1))
        };
        let mut due = self.due.max(now).min(now.saturating_add(AHEAD_MAX));
        let waits = (0..count)
            .map(|_| {
                let wait = due.since(now).saturating_sub(slack);
                due = due.saturating_add(interval);
                wait
            })
            .collect();
        self.due = due;
        waits
    }

    /// WhatsApp answered many that it is busy: slower for a while.
    pub fn slow_down(&mut self, now: StoreTime) {
        self.slow_until = Some(now.saturating_add(SLOW_FOR));
    }

    /// Whether it was slowed down so lately that once more changes little.
    pub fn is_freshly_slowed(&self, now: StoreTime) -> bool {
        self.slow_until
            .is_some_and(|until| until.since(now) > SLOW_FOR / 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Budget = Budget {
        rate: 2.0,
        burst: 3,
    };

    fn at(seconds: i64) -> StoreTime {
        StoreTime::from_micros(seconds * 1_000_000)
    }

    fn ms(waits: &[Duration]) -> Vec<u128> {
        waits.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn a_burst_starts_at_once_and_the_rest_at_the_rate() {
        let mut tally = Tally::default();
        let waits = tally.lease(at(100), 6, BUDGET);
        assert_eq!(ms(&waits), [0, 0, 0, 500, 1_000, 1_500]);
        // The next slice, of whichever worker, goes on behind it.
        assert_eq!(ms(&tally.lease(at(100), 2, BUDGET)), [2_000, 2_500]);
        // A pause fills the bucket again, and not beyond its size.
        assert_eq!(ms(&tally.lease(at(900), 4, BUDGET)), [0, 0, 0, 500]);
    }

    #[test]
    fn while_whatsapp_is_busy_starts_are_slower_and_there_is_no_burst() {
        let mut tally = Tally::default();
        tally.slow_down(at(100));
        assert!(tally.is_freshly_slowed(at(101)) && !tally.is_freshly_slowed(at(140)));
        assert_eq!(ms(&tally.lease(at(101), 3, BUDGET)), [0, 2_000, 4_000]);
        assert_eq!(ms(&tally.lease(at(161), 3, BUDGET)), [0, 0, 0]);
    }

    #[test]
    fn a_rate_of_zero_does_not_pace_and_nonsense_in_the_store_ends() {
        let free = Budget {
            rate: 0.0,
            burst: 1,
        };
        let waits = Tally::default().lease(at(100), 50, free);
        assert!(waits.iter().all(Duration::is_zero));
        let mut far = Tally {
            due: StoreTime::from_micros(i64::MAX),
            slow_until: Some(StoreTime::from_micros(i64::MIN)),
        };
        let waits = far.lease(at(100), 1, BUDGET);
        assert!(waits[0] <= AHEAD_MAX, "{waits:?}");
    }

    proptest! {
        /// However starts are cut into slices and whenever they are asked for,
        /// no window has more than a burst and the rate's share of it.
        #[test]
        fn no_window_has_more_than_the_budget(asks in prop::collection::vec((0_u64..3_000, 1_u32..8), 1..40)) {
            let mut tally = Tally::default();
            let mut now = at(1_000);
            let mut starts = Vec::new();
            for (pause_ms, count) in asks {
                now = now.saturating_add(Duration::from_millis(pause_ms));
                let waits = tally.lease(now, count, BUDGET);
                starts.extend(waits.into_iter().map(|wait| now.saturating_add(wait)));
            }
            starts.sort_unstable();
            for (first, from) in starts.iter().enumerate() {
                for (number, to) in starts[first..].iter().enumerate() {
                    let allowed = to.since(*from).as_secs_f64() * BUDGET.rate + f64::from(BUDGET.burst);
                    prop_assert!((number + 1) as f64 <= allowed + 1e-6, "{} within {:?}", number + 1, to.since(*from));
                }
            }
        }
    }
}
