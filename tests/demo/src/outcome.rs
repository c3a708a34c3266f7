//! The counts and times of a demo, and whether they may be so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use harness::ledger::Counts;
use harness::ownership;
use serde::Serialize;

use crate::acts::Times;
use crate::options::{Options, StoreKind};
use crate::stage::{Stage, max_s};

/// How long a worker session lives that is not heard of, and how long others
/// wait beyond that: the worker's defaults.
const SESSION_TTL_S: f64 = 10.0;
const LOCK_DELAY_S: f64 = 2.0;
/// For finding out, claiming, connecting.
const FAILOVER_MARGIN_S: f64 = 5.0;
/// From SIGKILL to connected elsewhere, at most.
pub(crate) const FAILOVER_MAX_S: f64 = SESSION_TTL_S + LOCK_DELAY_S + FAILOVER_MARGIN_S;
/// Unowned in a hand-off: less than this.
pub(crate) const HANDOFF_MAX_S: f64 = 1.0;
/// Between the workers' numbers of accounts.
pub(crate) const IMBALANCE_MAX: usize = 1;
/// For everything to have arrived after the last message was written.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// The same where the rules are broken and some of it may never come.
const UNFENCED_SETTLE_LIMIT: Duration = Duration::from_secs(15);

/// The last line, with `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// Which store.
    pub(crate) store: StoreKind,
    /// Whether the rules were broken on purpose.
    pub(crate) unfenced: bool,
    /// What became of the messages.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// The longest time from SIGKILL to an account's login elsewhere.
    pub(crate) failover_max_s: Option<f64>,
    /// The longest time from SIGSTOP to an account's login elsewhere.
    pub(crate) paused_failover_max_s: Option<f64>,
    /// The longest time that nobody owned an account after SIGTERM, by the
    /// ownership history.
    pub(crate) handoff_unowned_max_s: Option<f64>,
    /// The longest time that an account was not connected after SIGTERM, as the
    /// server saw it.
    pub(crate) handoff_disconnected_max_s: Option<f64>,
    /// The same as `handoff_unowned_max_s` for moves that even numbers out.
    pub(crate) rebalance_unowned_max_s: Option<f64>,
    /// How many such moves there were.
    pub(crate) rebalance_moves: usize,
    /// The difference between the most and the fewest accounts of a worker.
    pub(crate) imbalance: usize,
    /// Owners whose times overlap in the ownership history; none if it cannot
    /// be read.
    pub(crate) overlaps: Option<usize>,
    /// Logins right after a paused worker woke that no change of owner explains.
    pub(crate) woken_logins: usize,
    /// Violations by kind.
    pub(crate) violation_kinds: BTreeMap<String, usize>,
}

impl Outcome {
    /// Waits until everything has arrived, and counts.
    ///
    /// # Errors
    /// No worker answers.
    pub(crate) async fn of(stage: &Stage<'_>, options: &Options, times: Times) -> Result<Self> {
        stage.screen.head("Waiting until everything has arrived");
        let limit = match options.unfenced {
            false => SETTLE_LIMIT,
            true => UNFENCED_SETTLE_LIMIT,
        };
        let counts = stage.scene.settled(&stage.api, limit).await?;
        let mut moves = Moves::default();
        if let Err(error) = moves.read(stage, &times.stopped).await {
            stage
                .screen
                .say(&format!("the ownership history cannot be read: {error:#}"));
        }
        let violation_kinds = stage.scene.violation_kinds()?;
        Ok(Self {
            store: options.store,
            unfenced: options.unfenced,
            counts,
            failover_max_s: max_s(&times.failover),
            paused_failover_max_s: max_s(&times.paused_failover),
            handoff_unowned_max_s: max_s(&moves.handoffs),
            handoff_disconnected_max_s: max_s(&times.handoff_disconnected),
            rebalance_unowned_max_s: max_s(&moves.rebalances),
            rebalance_moves: moves.rebalances.len(),
            imbalance: times.imbalance,
            overlaps: moves.overlaps,
            woken_logins: times.woken_logins,
            violation_kinds,
        })
    }

    /// What is not as it must be, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .counts
            .faults()
            .into_iter()
            .map(|(name, number)| format!("{name} is {number}"))
            .collect();
        let mut must = |is_so: bool, what: String| {
            if !is_so {
                faults.push(what);
            }
        };
        must(
            self.failover_max_s.is_some_and(|s| s <= FAILOVER_MAX_S),
            format!("failover took {:?} s", self.failover_max_s),
        );
        must(
            self.handoff_unowned_max_s
                .is_some_and(|s| s < HANDOFF_MAX_S),
            format!("hand-off took {:?} s", self.handoff_unowned_max_s),
        );
        must(
            self.imbalance <= IMBALANCE_MAX,
            format!("imbalance is {}", self.imbalance),
        );
        must(
            self.overlaps == Some(0),
            format!("overlaps are {:?}", self.overlaps),
        );
        must(
            self.woken_logins == 0,
            format!("woken logins are {}", self.woken_logins),
        );
        must(
            !self.unfenced || self.counts.violations > 0,
            "the rules were broken, and the oracle saw no violation: it cannot fail".to_owned(),
        );
        faults
    }
}

/// What the ownership history tells.
#[derive(Debug, Default)]
struct Moves {
    handoffs: Vec<Duration>,
    rebalances: Vec<Duration>,
    overlaps: Option<usize>,
}

impl Moves {
    async fn read(&mut self, stage: &Stage<'_>, stopped: &str) -> Result<()> {
        let mut overlaps = 0;
        for account in &stage.accounts {
            let history = stage.api.history(&account.id).await?;
            let tenures = ownership::tenures(&history)?;
            overlaps += ownership::overlaps(&tenures);
            self.handoffs
                .extend(ownership::unowned(&tenures, Some(stopped), &["drain"]));
            self.rebalances
                .extend(ownership::unowned(&tenures, None, &["rebalance"]));
        }
        self.overlaps = Some(overlaps);
        Ok(())
    }
}
