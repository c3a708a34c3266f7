//! How long nobody owned an account, as the pods' own `/health` shows it: a pod
//! that is dead or stands still shows nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::held;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::stage::Stage;

/// How often the pods are asked: so exact are the times.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What was seen.
pub(crate) struct Watch<'a> {
    stage: &'a Stage<'a>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    unowned_since: BTreeMap<String, Instant>,
    unowned_max: BTreeMap<String, Duration>,
    act_max: Duration,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(stage: &'a Stage<'a>) -> Self {
        Self {
            stage,
            seen: Mutex::default(),
        }
    }

    /// From here on another maximum counts.
    pub(crate) fn begin_act(&self) {
        self.lock().act_max = Duration::ZERO;
    }

    /// The longest that nobody owned an account since then.
    pub(crate) fn act_max(&self) -> Duration {
        self.lock().act_max
    }

    /// The longest that nobody owned it, for each account that was seen so.
    pub(crate) fn by_account(&self) -> BTreeMap<String, Duration> {
        self.lock().unowned_max.clone()
    }

    /// Looks for ever.
    pub(crate) async fn run(&self) -> Infallible {
        let mut pace = interval(LOOK_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            pace.tick().await;
            let pods = self.stage.service.pods().into_values();
            let owned = held::by_any(pods.map(|pod| pod.api)).await;
            let now = Instant::now();
            let mut seen = self.lock();
            for account in &self.stage.accounts {
                if owned.contains(&account.id) {
                    seen.unowned_since.remove(&account.id);
                    continue;
                }
                let since = *seen.unowned_since.entry(account.id.clone()).or_insert(now);
                let unowned = now - since;
                seen.act_max = seen.act_max.max(unowned);
                let longest = seen.unowned_max.entry(account.id.clone()).or_default();
                *longest = unowned.max(*longest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
