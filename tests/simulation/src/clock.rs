//! Clocks over virtual time: the store's, which is true, and each worker's own.
//!
//! A worker's clock runs a little fast or slow, and its time of day jumps.
//! Waits of a stopped process end when it goes on; the clock itself counts the
//! time in which it was stopped, as CLOCK_BOOTTIME counts a suspend.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use coordinator_lib::clock::{Boottime, Clock};
use futures::future::BoxFuture;

use crate::process::Process;
use crate::timeline::{Owner, Timeline};

/// 2026-01-01T00:00:00Z.
const WALL_START_SECONDS: i64 = 1_767_225_600;

/// Machines have run for an hour when a run begins, so that subtracting works.
const BOOTTIME_START: Duration = Duration::from_secs(3_600);

const MILLION: i128 = 1_000_000;

/// A clock of the store or of one worker.
pub struct VirtualClock {
    timeline: Arc<Timeline>,
    /// Whose waits these are.
    process: Option<Arc<Process>>,
    /// By how many millionths it runs fast.
    rate_ppm: i64,
    wall_offset_seconds: AtomicI64,
}

impl VirtualClock {
    /// The clock that is true.
    pub fn of_the_store(timeline: Arc<Timeline>) -> Self {
        Self {
            timeline,
            process: None,
            rate_ppm: 0,
            wall_offset_seconds: AtomicI64::new(0),
        }
    }

    /// A process's own clock.
    pub fn of_a_worker(timeline: Arc<Timeline>, process: Arc<Process>, rate_ppm: i64) -> Self {
        Self {
            timeline,
            process: Some(process),
            rate_ppm,
            wall_offset_seconds: AtomicI64::new(0),
        }
    }

    /// The time of day at which a run begins.
    pub fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(WALL_START_SECONDS, 0).unwrap_or_default()
    }

    /// Sets the time of day forward or back.
    pub fn jump_wall(&self, seconds: i64) {
        self.wall_offset_seconds
            .fetch_add(seconds, Ordering::Relaxed);
    }

    fn owner(&self) -> Owner {
        let process = self.process.as_ref()?;
        Some((Arc::clone(process), Process::domain()))
    }

    /// How long the store's clock takes until this one has moved on by so much.
    fn true_time(&self, own: Duration) -> Duration {
        let own = i128::try_from(own.as_nanos()).unwrap_or(i128::MAX / (2 * MILLION));
        let rate = MILLION + i128::from(self.rate_ppm);
        let true_nanos = (own.min(i128::from(u64::MAX)) * MILLION + rate - 1) / rate;
        // A nanosecond more, as both directions round down.
        Duration::from_nanos(u64::try_from(true_nanos + 1).unwrap_or(u64::MAX))
    }
}

impl Clock for VirtualClock {
    fn boottime(&self) -> Boottime {
        let elapsed = i128::from(self.timeline.now());
        let own = elapsed * (MILLION + i128::from(self.rate_ppm)) / MILLION;
        let own = Duration::from_nanos(u64::try_from(own).unwrap_or(u64::MAX));
        Boottime::from_duration(BOOTTIME_START + own)
    }

    fn wall(&self) -> DateTime<Utc> {
        let seconds = WALL_START_SECONDS + self.wall_offset_seconds.load(Ordering::Relaxed);
        let start = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let elapsed = i64::try_from(self.timeline.now()).unwrap_or(i64::MAX);
        start + chrono::Duration::nanoseconds(elapsed)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.timeline.sleep(self.true_time(duration), self.owner()))
    }

    fn sleep_until(&self, deadline: Boottime) -> BoxFuture<'static, ()> {
        self.sleep(deadline - self.boottime())
    }
}
