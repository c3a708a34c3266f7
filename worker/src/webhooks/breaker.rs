//! Leaves a receiver alone that has failed several times in a row, for all
//! accounts of a worker: one request now and then shows whether it is back.
//!
//! `closed → open(until) → probing → closed | open(longer)`.
//!
//! Pure; it only saves requests, and nothing's order or count rests on it.

use std::time::Duration;

use coordinator_lib::clock::Boottime;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 5;

/// The longest that a receiver is left alone.
const OPEN_MAX: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    base: Duration,
    max: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Requests go through.
    Closed { failures: u32 },
    /// None does before then.
    Open { until: Boottime, wait: Duration },
    /// One is under way; if nothing is heard of it, another goes then.
    Probing { until: Boottime, wait: Duration },
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Go,
    /// Not before then.
    Wait(Boottime),
}

impl Breaker {
    /// Closed. `base` is the first wait once it opens, `max` the longest.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max: max.min(OPEN_MAX),
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether a request may go now; one that may is expected to be told of
    /// within `patience`.
    pub fn ask(&mut self, now: Boottime, patience: Duration) -> Permission {
        match self.state {
            State::Closed { .. } => Permission::Go,
            State::Open { until, .. } | State::Probing { until, .. } if now < until => {
                Permission::Wait(until)
            }
            State::Open { wait, .. } | State::Probing { wait, .. } => {
                self.state = State::Probing {
                    until: now + patience,
                    wait,
                };
                Permission::Go
            }
        }
    }

    /// What became of a request.
    pub fn note(&mut self, is_answered: bool, now: Boottime) {
        self.state = match (self.state, is_answered) {
            (_, true) => State::Closed { failures: 0 },
            (State::Closed { failures }, false) if failures + 1 < FAILURES_MAX => State::Closed {
                failures: failures + 1,
            },
            (State::Closed { .. }, false) => self.open(now, self.base),
            // From before it opened.
            (State::Open { .. }, false) => self.state,
            (State::Probing { wait, .. }, false) => self.open(now, wait * 2),
        };
    }

    fn open(&self, now: Boottime, wait: Duration) -> State {
        let wait = wait.min(self.max);
        State::Open {
            until: now + wait,
            wait,
        }
    }

    /// Whether it holds requests back.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { .. } | State::Probing { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Boottime {
        Boottime::ZERO + Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BASE, OPEN_MAX);
        for _ in 0..FAILURES_MAX {
            assert_eq!(breaker.ask(at(0), PATIENCE), Permission::Go);
            breaker.note(false, at(0));
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let mut breaker = Breaker::new(BASE, OPEN_MAX);
        for _ in 0..3 * FAILURES_MAX {
            breaker.note(false, at(0));
            breaker.note(true, at(0));
        }
        assert!(!breaker.is_open());
        assert!(opened().is_open());
        assert_eq!(opened().ask(at(1), PATIENCE), Permission::Wait(at(30)));
    }

    #[test]
    fn one_probe_at_a_time_and_its_outcome_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(at(30), PATIENCE), Permission::Go);
        assert_eq!(breaker.ask(at(31), PATIENCE), Permission::Wait(at(50)));
        breaker.note(false, at(32));
        assert_eq!(breaker.ask(at(33), PATIENCE), Permission::Wait(at(92)));
        assert_eq!(breaker.ask(at(92), PATIENCE), Permission::Go);
        breaker.note(true, at(93));
        assert_eq!(breaker, Breaker::new(BASE, OPEN_MAX));
    }

    #[test]
    fn a_probe_that_nothing_is_heard_of_is_followed_by_another() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(at(40), PATIENCE), Permission::Go);
        assert_eq!(breaker.ask(at(60), PATIENCE), Permission::Go);
    }

    #[test]
    fn waits_have_an_end() {
        let mut breaker = opened();
        let mut now = at(0);
        for _ in 0..40 {
            if let Permission::Wait(until) = breaker.ask(now, PATIENCE) {
                assert!(until - now <= OPEN_MAX);
                now = until;
            } else {
                breaker.note(false, now);
            }
        }
    }
}
