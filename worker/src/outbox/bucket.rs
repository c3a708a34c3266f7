//! Pacing: a token bucket. Pure; the caller brings the time.

use std::time::Duration;

use coordinator_lib::clock::Boottime;

/// Lets through `burst` at once, then `rate` a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Boottime,
}

impl Bucket {
    /// A full bucket. A `rate` of zero does not pace.
    pub fn new(rate: f64, burst: u32, now: Boottime) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            rate,
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Whether nothing was taken lately.
    pub fn is_full(&self, now: Boottime) -> bool {
        let grown = (now - self.at).as_secs_f64() * self.rate;
        self.rate <= 0.0 || self.tokens + grown >= self.burst
    }

    /// Takes one, or says how long to wait until there is one.
    ///
    /// # Errors
    /// The wait; nothing was taken.
    pub fn take(&mut self, now: Boottime) -> Result<(), Duration> {
        if self.rate <= 0.0 {
            return Ok(());
        }
        let grown = (now - self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + grown).min(self.burst);
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / self.rate;
        // Rounded up, so that the wait is never a moment too short.
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Boottime {
        Boottime::from_duration(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let mut bucket = Bucket::new(2.0, 3, at(0));
        assert!((0..3).all(|_| bucket.take(at(0)).is_ok()));
        let mut now = 0;
        for _ in 0..10 {
            let wait = bucket.take(at(now)).unwrap_err();
            now += wait.as_millis() as u64 + 1;
            assert_eq!(bucket.take(at(now)), Ok(()));
        }
        assert!(
            (4_900..5_200).contains(&now),
            "ten messages at two a second took {now} ms"
        );
    }

    #[test]
    fn a_rest_fills_no_more_than_the_burst() {
        let mut bucket = Bucket::new(2.0, 3, at(0));
        let let_through = (0..100)
            .filter(|_| bucket.take(at(3_600_000)).is_ok())
            .count();
        assert_eq!(let_through, 3);
    }

    #[test]
    fn a_rate_of_zero_does_not_pace() {
        let mut bucket = Bucket::new(0.0, 1, at(0));
        assert!((0..1_000).all(|_| bucket.take(at(0)).is_ok()));
    }
}
