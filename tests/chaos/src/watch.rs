//! How long nobody owned an account, as the workers' own `/health` shows it: the
//! store may not answer, and a worker that is dead or stands still shows nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use harness::held;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::stage::Stage;

/// How often the workers are asked.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What was seen.
pub(crate) struct Watch<'a> {
    stage: &'a Stage<'a>,
    begun: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    unowned_since: BTreeMap<String, Instant>,
    unowned_max: Unowned,
    first_violation: Option<Duration>,
}

/// A time in which nobody owned an account.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unowned {
    /// How long it was.
    pub(crate) time: Duration,
    /// Of the run, when it ended or was last seen to go on.
    pub(crate) until: Duration,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(stage: &'a Stage<'a>) -> Self {
        Self {
            stage,
            begun: Instant::now(),
            seen: Mutex::default(),
        }
    }

    /// The longest that nobody owned an account.
    pub(crate) fn unowned_max(&self) -> Unowned {
        self.lock().unowned_max
    }

    /// When the oracle first saw a rule broken.
    pub(crate) fn first_violation(&self) -> Option<Duration> {
        self.lock().first_violation
    }

    /// Looks for ever.
    pub(crate) async fn run(&self) -> Infallible {
        let mut pace = interval(LOOK_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            pace.tick().await;
            let cluster = &self.stage.cluster;
            let running = cluster.running();
            let running = running.iter().filter_map(|name| cluster.api_of(name).ok());
            let owned = held::by_any(running).await;
            let now = Instant::now();
            let mut seen = self.lock();
            for account in &self.stage.accounts {
                if owned.contains(&account.id) {
                    seen.unowned_since.remove(&account.id);
                    continue;
                }
                let since = *seen.unowned_since.entry(account.id.clone()).or_insert(now);
                if now - since > seen.unowned_max.time {
                    seen.unowned_max = Unowned {
                        time: now - since,
                        until: now - self.begun,
                    };
                }
            }
            let is_broken = !self.stage.scene.sim().oracle().violations.is_empty();
            if is_broken && seen.first_violation.is_none() {
                seen.first_violation = Some(self.begun.elapsed());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
