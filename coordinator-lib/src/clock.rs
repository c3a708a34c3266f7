//! Time, the one way in: everything else takes a [`Clock`] in its constructor.
//!
//! Vocabulary:
//! - [`Boottime`] is the machine's monotonic clock that *counts suspend*
//!   (`CLOCK_BOOTTIME`). It decides about oneself: deadlines, timeouts. It is
//!   read *before* a request is sent, never after the reply.
//! - *wall time* is for people and for the outside world (a QR code's expiry, a
//!   message's timestamp). No rule about leases looks at it.
//! - *store time* ([`crate::store::StoreTime`]) decides about others, and comes
//!   from the store, not from here.
//!
//! [`SystemClock`] is the real one; [`ManualClock`] stands still until a test
//! moves it.

use std::ops::{Add, AddAssign, Sub};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};

mod manual;

pub use manual::ManualClock;

/// A clock that may be shared between tasks.
pub type SharedClock = Arc<dyn Clock>;

/// Reads time and waits for it.
pub trait Clock: Send + Sync + 'static {
    /// Time since the machine started, suspend included; never goes back.
    fn boottime(&self) -> Boottime;

    /// The time of day; may jump in either direction.
    fn wall(&self) -> DateTime<Utc>;

    /// Waits for a duration.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Waits until [`Clock::boottime`] has reached `deadline`; at once if it has.
    fn sleep_until(&self, deadline: Boottime) -> BoxFuture<'static, ()>;

    /// Waits for a duration and at most half a second more: for what need not be
    /// punctual, and there is much of. All such waits end at the same moments, so
    /// that a worker with hundreds of them is woken once.
    fn sleep_loosely(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let end = self.boottime() + duration;
        self.sleep_until(end + until_multiple(end, LOOSE_GRID))
    }
}

/// Where loose waits end.
const LOOSE_GRID: Duration = Duration::from_millis(500);

/// The time from an instant to the next whole multiple of `step` since the boot.
fn until_multiple(instant: Boottime, step: Duration) -> Duration {
    let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
    let behind = instant.as_nanos() % step;
    Duration::from_nanos(if behind == 0 { 0 } else { step - behind })
}

/// An instant of the machine's suspend-counting monotonic clock.
///
/// Comparable within one boot of one machine only, so it is never stored.
/// Arithmetic saturates: an instant before the boot is the boot, and
/// [`Boottime::FAR_FUTURE`] plus anything stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(Duration);

impl Boottime {
    /// The instant of the boot.
    pub const ZERO: Boottime = Boottime(Duration::ZERO);

    /// Later than every instant a machine will see: "no deadline".
    pub const FAR_FUTURE: Boottime = Boottime(Duration::from_nanos(u64::MAX));

    /// The instant this long after the boot, at most [`Boottime::FAR_FUTURE`].
    pub fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot.min(Self::FAR_FUTURE.0))
    }

    /// The time since the boot.
    pub fn as_duration(self) -> Duration {
        self.0
    }

    /// Nanoseconds since the boot (they fit for 584 years).
    pub(crate) fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }
}

impl Add<Duration> for Boottime {
    type Output = Boottime;

    fn add(self, rhs: Duration) -> Boottime {
        Boottime::from_duration(self.0.saturating_add(rhs))
    }
}

impl AddAssign<Duration> for Boottime {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Boottime {
    type Output = Boottime;

    fn sub(self, rhs: Duration) -> Boottime {
        Boottime(self.0.saturating_sub(rhs))
    }
}

impl Sub for Boottime {
    type Output = Duration;

    /// The time from `rhs` to `self`; zero if `rhs` is the later one.
    fn sub(self, rhs: Boottime) -> Duration {
        self.0.saturating_sub(rhs.0)
    }
}

/// The machine's clocks, with tokio's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// A [`SharedClock`] of the machine.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

/// Tokio's timers stop while the machine is suspended, so a long wait looks at the
/// clock again whenever this much more has passed since the boot. All of them at
/// the same moments: a worker with thousands of long waits is woken once.
const SLEEP_LOOK_EVERY: Duration = Duration::from_secs(30);

impl Clock for SystemClock {
    fn boottime(&self) -> Boottime {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Boottime::from_duration(Duration::new(seconds, nanos))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn wall(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.boottime() + duration)
    }

    fn sleep_until(&self, deadline: Boottime) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let now = SystemClock.boottime();
                let left = deadline - now;
                if left.is_zero() {
                    return;
                }
                let look = until_multiple(now + Duration::from_nanos(1), SLEEP_LOOK_EVERY);
                tokio::time::sleep(left.min(look)).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_future_plus_anything_stays() {
        assert_eq!(
            Boottime::FAR_FUTURE + Duration::from_secs(1),
            Boottime::FAR_FUTURE
        );
        assert_eq!(Boottime::ZERO - Duration::from_secs(1), Boottime::ZERO);
    }

    #[test]
    fn nanoseconds_survive_a_round_trip() {
        let instant = Boottime::from_duration(Duration::new(77, 123_456_789));
        assert_eq!(Boottime::from_nanos(instant.as_nanos()), instant);
    }

    #[test]
    fn loose_waits_end_together() {
        let at = |ms| Boottime::ZERO + Duration::from_millis(ms);
        let left = |ms| until_multiple(at(ms), LOOSE_GRID).as_millis();
        assert_eq!([left(0), left(1), left(499), left(500)], [0, 499, 1, 0]);
    }

    #[tokio::test]
    async fn a_loose_wait_is_a_little_longer() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_millis(200));
        let mut wait = clock.sleep_loosely(Duration::from_secs(10));
        assert!(futures::poll!(&mut wait).is_pending());
        clock.advance(Duration::from_millis(10_200));
        assert!(futures::poll!(&mut wait).is_pending());
        clock.advance(Duration::from_millis(100));
        assert!(futures::poll!(&mut wait).is_ready());
    }

    #[tokio::test]
    async fn system_sleep_lasts_at_least_as_long_as_asked() {
        let before = SystemClock.boottime();
        SystemClock.sleep(Duration::from_millis(5)).await;
        assert!(SystemClock.boottime() - before >= Duration::from_millis(5));
    }
}
