//! The lanes of one account: one for each webhook that gets its events.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gate;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::hooks::{Hook, Hooks};
use super::lane::{Lane, LaneParts, LaneSight};
use super::replays::Replays;
use crate::events::Journal;
use crate::telemetry::gauges::WebhookMeasure;

/// How far the lanes of an account are; shared with whoever ends the claim.
#[derive(Default)]
pub struct LaneBoard {
    sights: Mutex<HashMap<String, watch::Receiver<LaneSight>>>,
}

impl LaneBoard {
    /// Waits until every lane has settled what there is, or its receiver does
    /// not take it, at most for `limit`: what is left waits for the next owner.
    pub async fn settled(&self, journal: &Journal, clock: &SharedClock, limit: Duration) {
        let newest = journal.seq();
        let sights: Vec<_> = self.sights.lock().values().cloned().collect();
        let all = async {
            for mut sight in sights {
                // A lane that has ended settles nothing more.
                let _ = sight
                    .wait_for(|sight| sight.is_failing || sight.settled_seq >= Some(newest))
                    .await;
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = clock.sleep(limit) => {}
        }
    }

    /// What waits, where `newest` is the account's last event. A webhook that is
    /// switched off has no lane and does not count.
    pub fn measure(&self, newest: i64) -> WebhookMeasure {
        let mut measure = WebhookMeasure::default();
        for sight in self.sights.lock().values() {
            let sight = *sight.borrow();
            let settled = sight.settled_seq.unwrap_or(newest);
            measure.backlog += u64::try_from(newest - settled).unwrap_or(0);
            measure.failing += u64::from(sight.is_failing);
        }
        measure
    }

    fn note(&self, hook: &str, sight: watch::Receiver<LaneSight>) {
        self.sights.lock().insert(hook.to_owned(), sight);
    }

    fn forget(&self, hook: &str) {
        self.sights.lock().remove(hook);
    }
}

/// Keeps the lanes of one account in step with the webhooks.
pub struct Lanes {
    /// What each lane works with.
    pub parts: LaneParts,
    /// The webhooks.
    pub hooks: watch::Receiver<Hooks>,
    /// Where is shown how far they are.
    pub board: Arc<LaneBoard>,
}

/// A lane under way.
struct Running {
    hook: Hook,
    stop: CancellationToken,
}

impl Lanes {
    /// Delivers until the claim's gate closes.
    pub async fn run(self, gate: Gate) {
        tokio::select! {
            biased;
            _ = gate.closed() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(mut self) {
        // Its tasks end with it.
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut running: HashMap<String, Running> = HashMap::new();
        // Webhooks that had a lane in this claim.
        let mut known: HashSet<String> = HashSet::new();
        let mut replaying: Option<CancellationToken> = None;
        loop {
            let hooks = self.hooks.borrow_and_update().clone();
            let account = &self.parts.account_id;
            let wanted: Vec<&Hook> = hooks
                .iter()
                .filter(|hook| hook.is_enabled && hook.is_for(account))
                .collect();
            running.retain(|id, lane| {
                let goes_on = wanted.iter().any(|hook| **hook == lane.hook);
                if !goes_on {
                    lane.stop.cancel();
                    self.board.forget(id);
                }
                goes_on
            });
            for hook in &wanted {
                if !running.contains_key(&hook.id) {
                    let known_seq = match known.insert(hook.id.clone()) {
                        true => self.parts.claimed_seq,
                        false => self.parts.journal.seq(),
                    };
                    let lane = self.begin(hook, known_seq, &mut tasks);
                    running.insert(hook.id.clone(), lane);
                }
            }
            replaying = self.replays(replaying, !wanted.is_empty(), &mut tasks);
            tokio::select! {
                biased;
                changed = self.hooks.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    fn begin(&self, hook: &Hook, known_seq: i64, tasks: &mut JoinSet<()>) -> Running {
        let (sender, sight) = watch::channel(LaneSight::default());
        self.board.note(&hook.id, sight);
        let lane = Lane::new(self.parts.clone(), hook.clone(), known_seq, sender);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = lane.run() => {}
            }
        });
        Running {
            hook: hook.clone(),
            stop,
        }
    }

    /// Replays are looked for while there is a webhook.
    fn replays(
        &self,
        running: Option<CancellationToken>,
        are_wanted: bool,
        tasks: &mut JoinSet<()>,
    ) -> Option<CancellationToken> {
        match (running, are_wanted) {
            (Some(stop), true) => Some(stop),
            (None, false) => None,
            (Some(stop), false) => {
                stop.cancel();
                None
            }
            (None, true) => {
                let replays = Replays {
                    parts: self.parts.clone(),
                    hooks: self.hooks.clone(),
                };
                let stop = CancellationToken::new();
                let stopped = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = stopped.cancelled() => {}
                        () = replays.run() => {}
                    }
                });
                Some(stop)
            }
        }
    }
}

#[cfg(test)]
mod tests;
