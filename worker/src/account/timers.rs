//! What an account's task waits for: at most one timer of each kind. Pure.

use coordinator_lib::clock::Boottime;

use super::state::Timer;

/// Deadlines by the monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timers {
    connecting: Option<Boottime>,
    retry: Option<Boottime>,
    stable: Option<Boottime>,
}

impl Timers {
    /// Sets a timer; it replaces one of the same kind.
    pub fn set(&mut self, timer: Timer, at: Boottime) {
        *self.slot(timer) = Some(at);
    }

    /// Forgets a timer.
    pub fn clear(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    /// When the first of them fires.
    pub fn next(&self) -> Option<Boottime> {
        [self.connecting, self.retry, self.stable]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes one that has fired.
    pub fn fired(&mut self, now: Boottime) -> Option<Timer> {
        let due = [Timer::Connecting, Timer::Retry, Timer::Stable]
            .into_iter()
            .filter_map(|timer| self.slot(timer).map(|at| (at, timer)))
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)
            .map(|(_, timer)| timer)?;
        self.clear(due);
        Some(due)
    }

    fn slot(&mut self, timer: Timer) -> &mut Option<Boottime> {
        match timer {
            Timer::Connecting => &mut self.connecting,
            Timer::Retry => &mut self.retry,
            Timer::Stable => &mut self.stable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Boottime {
        Boottime::from_duration(Duration::from_secs(seconds))
    }

    #[test]
    fn timers_fire_once_and_in_order() {
        let mut timers = Timers::default();
        timers.set(Timer::Retry, at(9));
        timers.set(Timer::Stable, at(3));
        timers.set(Timer::Retry, at(5));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.fired(at(2)), None);
        assert_eq!(timers.fired(at(6)), Some(Timer::Stable));
        assert_eq!(timers.fired(at(6)), Some(Timer::Retry));
        assert_eq!(timers.fired(at(6)), None);
        timers.set(Timer::Connecting, at(7));
        timers.clear(Timer::Connecting);
        assert_eq!(timers, Timers::default());
    }
}
