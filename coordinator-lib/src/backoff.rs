//! Waits that grow: how long to wait before trying the same thing again.
//!
//! A [`Backoff`] only counts; the caller sleeps. Jitter keeps many callers
//! that failed together from coming back together.

use std::time::Duration;

use crate::rng::Rng;

/// Exponential waits from `base` to `max`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// No wait is longer, jitter aside.
    pub max: Duration,
    /// Each wait is this many times the one before.
    pub factor: f64,
    /// The share of a wait, 0.0 to 1.0, by which it may be longer or shorter.
    pub jitter: f64,
    current: Option<Duration>,
}

impl Backoff {
    /// Waits that double from `base` to `max`, jittered by a fifth.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            factor: 2.0,
            jitter: 0.2,
            current: None,
        }
    }

    /// The next wait.
    pub fn next(&mut self, rng: &dyn Rng) -> Duration {
        let wait = match self.current {
            None => self.base,
            Some(before) => grow(before, self.factor, self.max),
        }
        .min(self.max);
        self.current = Some(wait);
        rng.jitter(wait, self.jitter)
    }

    /// Starts again from the first wait, as after a success.
    pub fn reset(&mut self) {
        self.current = None;
    }
}

/// `mul_f64` panics where the product does not fit a `Duration`.
fn grow(wait: Duration, factor: f64, max: Duration) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor.max(1.0)).unwrap_or(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_again_after_a_reset() {
        let rng = SeededRng::new(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        backoff.jitter = 0.0;
        let waits: Vec<u64> = (0..5).map(|_| backoff.next(&rng).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next(&rng), Duration::from_secs(1));
    }

    #[test]
    fn an_absurd_factor_does_not_panic() {
        let rng = SeededRng::new(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        backoff.factor = f64::INFINITY;
        backoff.jitter = 0.0;
        backoff.next(&rng);
        assert_eq!(backoff.next(&rng), Duration::MAX);
    }
}
