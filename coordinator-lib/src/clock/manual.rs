//! A clock that stands still until a test moves it.
//!
//! Sleepers are woken by [`ManualClock::advance`], in the order of their
//! deadlines; the clock reads the full new time by then. It never runs by
//! itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Boottime, Clock};

/// The wall time at which a new manual clock stands: 2026-01-01T00:00:00Z.
const WALL_START_SECONDS: i64 = 1_767_225_600;

/// A clock for tests; clones share the same time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    boottime: Boottime,
    wall: DateTime<Utc>,
    sleepers: BTreeMap<(Boottime, u64), Waker>,
    next_sleeper: u64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock one hour after its machine's boot, so that subtracting works.
    pub fn new() -> Self {
        let wall = DateTime::from_timestamp(WALL_START_SECONDS, 0)
            .expect("a constant within chrono's range");
        Self {
            state: Arc::new(Mutex::new(State {
                boottime: Boottime::from_duration(Duration::from_secs(3600)),
                wall,
                sleepers: BTreeMap::new(),
                next_sleeper: 0,
            })),
        }
    }

    /// Moves both clocks on and wakes whoever was waiting for a time up to then.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.state.lock();
            state.boottime += by;
            if let Ok(by) = chrono::Duration::from_std(by) {
                state.wall = state.wall.checked_add_signed(by).unwrap_or(state.wall);
            }
            let now = state.boottime;
            let later = state.sleepers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut state.sleepers, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// Moves on to the earliest deadline that someone sleeps for.
    ///
    /// Returns false, and moves nothing, if nobody sleeps.
    pub fn advance_to_next_sleeper(&self) -> bool {
        let next = {
            let state = self.state.lock();
            state
                .sleepers
                .keys()
                .next()
                .map(|(deadline, _)| *deadline - state.boottime)
        };
        match next {
            Some(by) => {
                self.advance(by);
                true
            }
            None => false,
        }
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, wall: DateTime<Utc>) {
        self.state.lock().wall = wall;
    }

    /// How many sleeps are being awaited.
    pub fn sleepers(&self) -> usize {
        self.state.lock().sleepers.len()
    }
}

impl Clock for ManualClock {
    fn boottime(&self) -> Boottime {
        self.state.lock().boottime
    }

    fn wall(&self) -> DateTime<Utc> {
        self.state.lock().wall
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.boottime() + duration)
    }

    fn sleep_until(&self, deadline: Boottime) -> BoxFuture<'static, ()> {
        Box::pin(Sleep {
            state: Arc::clone(&self.state),
            deadline,
            registered: None,
        })
    }
}

struct Sleep {
    state: Arc<Mutex<State>>,
    deadline: Boottime,
    registered: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.state.lock();
        if state.boottime >= this.deadline {
            return Poll::Ready(());
        }
        let number = *this.registered.get_or_insert_with(|| {
            state.next_sleeper += 1;
            state.next_sleeper
        });
        state
            .sleepers
            .insert((this.deadline, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.registered {
            self.state.lock().sleepers.remove(&(self.deadline, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn sleepers_wake_when_the_clock_has_passed_them_and_not_before() {
        let clock = ManualClock::new();
        let mut sleep = clock.sleep(Duration::from_secs(10));
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(Duration::from_secs(9));
        assert!((&mut sleep).now_or_never().is_none());
        assert!(clock.advance_to_next_sleeper());
        assert!((&mut sleep).now_or_never().is_some());
        drop(sleep);
        assert_eq!(clock.sleepers(), 0);
        assert!(!clock.advance_to_next_sleeper());
    }

    #[test]
    fn a_wall_clock_set_back_does_not_move_boottime() {
        let clock = ManualClock::new();
        let before = clock.boottime();
        clock.set_wall(clock.wall() - chrono::Duration::hours(1));
        assert_eq!(clock.boottime(), before);
    }
}
