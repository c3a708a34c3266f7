//! What an attempt's outcome means for its message: pure.

use std::time::Duration;

use super::OutboxConfig;
use super::verdict::{Reason, Scope, Verdict};
use crate::account::reconnect::doubling;

/// What is to be done after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Commit `sent`.
    Sent,
    /// Leave it in `sending`: the next connection begins with it.
    Keep {
        /// Not before this time has passed.
        wait: Duration,
    },
    /// Commit the reason and try again.
    Retry {
        /// Not before this time has passed.
        wait: Duration,
        /// Why.
        reason: Reason,
        /// Who else waits, and for how long.
        pause: Option<(Scope, Duration)>,
    },
    /// Commit that it is given up.
    Fail {
        /// Why.
        reason: Reason,
        /// Who else waits, and for how long.
        pause: Option<(Scope, Duration)>,
    },
}

/// What follows from a verdict on the attempt of this number (from 1).
pub fn step(verdict: Verdict, attempt: u32, config: &OutboxConfig) -> Step {
    let is_last = attempt >= config.attempts_max;
    let given_up = |reason: Reason| Reason {
        message: format!("given up after {attempt} attempts: {}", reason.message),
        ..reason
    };
    let wait = || doubling(config.retry_base, config.retry_max, attempt);
    match verdict {
        Verdict::Sent => Step::Sent,
        Verdict::Unconnected => Step::Keep {
            wait: config.retry_base,
        },
        Verdict::Retry(reason) if is_last => Step::Fail {
            reason: given_up(reason),
            pause: None,
        },
        Verdict::Retry(reason) => Step::Retry {
            wait: wait(),
            reason,
            pause: None,
        },
        Verdict::Pause {
            scope,
            pause,
            reason,
        } if is_last => Step::Fail {
            reason: given_up(reason),
            pause: Some((scope, pause)),
        },
        Verdict::Pause {
            scope,
            pause,
            reason,
        } => Step::Retry {
            wait: wait().max(pause),
            reason,
            pause: Some((scope, pause)),
        },
        Verdict::Fail(reason) => Step::Fail {
            reason,
            pause: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OutboxConfig {
        OutboxConfig {
            attempts_max: 3,
            retry_base: Duration::from_secs(2),
            retry_max: Duration::from_secs(60),
            ..OutboxConfig::default()
        }
    }

    fn reason() -> Reason {
        Reason::new("no_answer", "nobody answered")
    }

    #[test]
    fn attempts_are_bounded_and_the_last_one_says_why() {
        let retry = |attempt| step(Verdict::Retry(reason()), attempt, &config());
        assert!(matches!(retry(1), Step::Retry { .. }));
        assert!(matches!(retry(2), Step::Retry { .. }));
        let Step::Fail { reason, pause } = retry(3) else {
            panic!("a fourth attempt");
        };
        assert_eq!(
            (reason.code, reason.message.as_str(), pause),
            (
                "no_answer",
                "given up after 3 attempts: nobody answered",
                None
            )
        );
    }

    #[test]
    fn waits_double() {
        let wait = |attempt| match step(Verdict::Retry(reason()), attempt, &config()) {
            Step::Retry { wait, .. } => wait,
            other @ (Step::Sent | Step::Keep { .. } | Step::Fail { .. }) => panic!("{other:?}"),
        };
        assert!(wait(1) < wait(2));
    }

    #[test]
    fn a_lost_connection_costs_no_attempt() {
        let kept = step(Verdict::Unconnected, 1_000, &config());
        assert_eq!(
            kept,
            Step::Keep {
                wait: Duration::from_secs(2)
            }
        );
    }

    #[test]
    fn a_pause_outlasts_the_messages_own_wait_and_goes_on_after_its_end() {
        let pause = Duration::from_secs(900);
        let verdict = || Verdict::Pause {
            scope: Scope::Account,
            pause,
            reason: reason(),
        };
        let Step::Retry { wait, pause: p, .. } = step(verdict(), 1, &config()) else {
            panic!("not tried again");
        };
        assert_eq!((wait, p), (pause, Some((Scope::Account, pause))));
        let Step::Fail { pause: p, .. } = step(verdict(), 3, &config()) else {
            panic!("a fourth attempt");
        };
        assert_eq!(p, Some((Scope::Account, pause)));
    }
}
