//! When an event is tried again, and when it is given up.
//!
//! Waits grow threefold up to a longest one and are spread, so that what failed
//! together does not come back together. An event is given up by its age and
//! not by its attempts: behind one that was in the way for a day the others get
//! one attempt each, and the lane moves on.
//!
//! Pure.

use std::time::Duration;

use coordinator_lib::rng::Rng;

use super::WebhookConfig;

/// Waits grow by this.
const FACTOR: u32 = 3;

/// The share by which a wait is longer or shorter.
const JITTER: f64 = 0.2;

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// With this status.
        status: u16,
        /// It said when to come again.
        retry_after: Option<Duration>,
    },
    /// It did not.
    Failed {
        /// Why, in a word or two for people.
        error: String,
    },
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It is tried again after this.
    Again(Duration),
    /// It is kept as a dead letter.
    Dead,
}

impl Outcome {
    /// Whether the receiver has it: it said 2xx.
    pub fn is_delivered(&self) -> bool {
        match self {
            Outcome::Answered { status, .. } => (200..300).contains(status),
            Outcome::Failed { .. } => false,
        }
    }

    /// The receiver's status, if it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Outcome::Answered { status, .. } => Some(*status),
            Outcome::Failed { .. } => None,
        }
    }

    /// Why the receiver has not got it.
    pub fn error(&self) -> Option<String> {
        match self {
            Outcome::Answered { .. } if self.is_delivered() => None,
            Outcome::Answered { status, .. } if (300..400).contains(status) => {
                Some(format!("answered {status}; redirects are not followed"))
            }
            Outcome::Answered { status, .. } => Some(format!("answered {status}")),
            Outcome::Failed { error } => Some(error.clone()),
        }
    }
}

/// What follows the `attempts`th attempt (from 1 on) at an event of this age.
pub fn after(
    outcome: &Outcome,
    attempts: u32,
    age: Duration,
    config: &WebhookConfig,
    rng: &dyn Rng,
) -> Verdict {
    if outcome.is_delivered() {
        return Verdict::Delivered;
    }
    if age >= config.give_up_after {
        return Verdict::Dead;
    }
    let growth = FACTOR.saturating_pow(attempts.saturating_sub(1));
    let wait = config.retry_base.saturating_mul(growth);
    let wait = rng.jitter(wait.min(config.retry_max), JITTER);
    let asked = match outcome {
        Outcome::Answered { retry_after, .. } => retry_after.unwrap_or_default(),
        Outcome::Failed { .. } => Duration::ZERO,
    };
    // Its wish is granted, within our own patience.
    Verdict::Again(wait.max(asked.min(config.retry_max)))
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::SeededRng;
    use proptest::prelude::*;

    use super::*;

    const CONFIG: WebhookConfig = WebhookConfig {
        retry_base: Duration::from_secs(5),
        retry_max: Duration::from_secs(3600),
        give_up_after: Duration::from_secs(86_400),
        timeout: Duration::from_secs(10),
        allow_private: false,
    };

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            retry_after: None,
        }
    }

    fn wait(outcome: &Outcome, attempts: u32) -> u64 {
        let rng = SeededRng::new(3);
        match after(outcome, attempts, Duration::ZERO, &CONFIG, &rng) {
            Verdict::Again(wait) => wait.as_secs(),
            Verdict::Delivered | Verdict::Dead => panic!("it is tried again"),
        }
    }

    #[test]
    fn only_2xx_is_delivered() {
        let rng = SeededRng::new(1);
        for (status, is_delivered) in [
            (200, true),
            (204, true),
            (299, true),
            (300, false),
            (301, false),
            (400, false),
            (410, false),
            (500, false),
        ] {
            let verdict = after(&answered(status), 1, Duration::ZERO, &CONFIG, &rng);
            assert_eq!(verdict == Verdict::Delivered, is_delivered, "{status}");
        }
    }

    #[test]
    fn waits_grow_over_hours() {
        for (attempts, seconds) in [(1, 5), (2, 15), (3, 45), (4, 135), (5, 405), (6, 1215)] {
            let wait = wait(&answered(500), attempts);
            let about = seconds * 4 / 5..=seconds * 6 / 5;
            assert!(about.contains(&wait), "{attempts}: {wait}");
        }
        assert!((2880..=4320).contains(&wait(&answered(500), 7)));
        assert!((2880..=4320).contains(&wait(&answered(500), u32::MAX)));
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_ever() {
        let busy = |seconds| Outcome::Answered {
            status: 429,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(wait(&busy(600), 1), 600);
        assert_eq!(wait(&busy(u64::MAX), 1), 3600);
    }

    #[test]
    fn an_old_event_is_given_up_by_its_age() {
        let rng = SeededRng::new(1);
        let day = CONFIG.give_up_after;
        let failed = Outcome::Failed {
            error: "no answer".to_owned(),
        };
        assert_eq!(after(&failed, 1, day, &CONFIG, &rng), Verdict::Dead);
        assert_eq!(
            after(&answered(200), 9, day, &CONFIG, &rng),
            Verdict::Delivered
        );
    }

    proptest! {
        #[test]
        fn a_wait_is_never_nothing_and_never_longer_than_the_longest(
            attempts in 1..u32::MAX,
            seed in any::<u64>(),
        ) {
            let rng = SeededRng::new(seed);
            match after(&answered(503), attempts, Duration::ZERO, &CONFIG, &rng) {
                Verdict::Again(wait) => {
                    prop_assert!(wait >= CONFIG.retry_base.mul_f64(0.79));
                    prop_assert!(wait <= CONFIG.retry_max.mul_f64(1.21));
                }
                Verdict::Delivered | Verdict::Dead => prop_assert!(false),
            }
        }
    }
}
