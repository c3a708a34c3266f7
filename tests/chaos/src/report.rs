//! The counts, and whether they may be so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use harness::ledger::Counts;
use harness::ownership;
use serde::Serialize;

use crate::faults::Faults;
use crate::options::{Options, StoreKind};
use crate::stage::Stage;
use crate::watch::Watch;

/// For everything to have arrived after all is mended.
const SETTLE_LIMIT: Duration = Duration::from_secs(240);

/// The same where rules are broken and some of it may never come.
const BROKEN_SETTLE_LIMIT: Duration = Duration::from_secs(45);

/// So many violations are shown in full.
const VIOLATIONS_SHOWN: usize = 5;

/// The last line, with `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Which store.
    store: StoreKind,
    /// What the schedule followed from.
    seed: u64,
    /// How long things went wrong.
    minutes: f64,
    /// The rules that were broken on purpose.
    mutations: String,
    /// How often each kind of fault happened.
    faults: BTreeMap<&'static str, usize>,
    /// What became of the messages.
    #[serde(flatten)]
    counts: Counts,
    /// Violations by kind.
    violation_kinds: BTreeMap<String, usize>,
    /// When the oracle saw the first of them.
    first_violation_s: Option<f64>,
    /// Owners whose times overlap in the ownership history.
    overlaps: usize,
    /// How often an account changed its owner.
    takeovers: usize,
    /// The longest that nobody owned an account.
    unowned_max_s: f64,
    /// Of the run, when that ended.
    unowned_until_s: f64,
}

impl Report {
    /// Waits until everything has arrived, and counts.
    ///
    /// # Errors
    /// No worker answers.
    pub(crate) async fn of(
        stage: &Stage<'_>,
        options: &Options,
        faults: &Faults<'_>,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let api = stage.cluster.api();
        let limit = match options.mutations.as_str() {
            "" => SETTLE_LIMIT,
            _ => BROKEN_SETTLE_LIMIT,
        };
        let counts = stage.scene.settled(&api, limit).await?;
        let (mut overlaps, mut takeovers) = (0, 0);
        for account in &stage.accounts {
            let tenures = ownership::tenures(&api.history(&account.id).await?)?;
            overlaps += ownership::overlaps(&tenures);
            takeovers += tenures.len().saturating_sub(1);
        }
        let violation_kinds = stage.scene.violation_kinds()?;
        for violation in stage.scene.violations().iter().take(VIOLATIONS_SHOWN) {
            println!("  {violation:?}");
        }
        stage.scene.check_logs()?;
        let unowned = watch.unowned_max();
        Ok(Self {
            store: options.store,
            seed: options.seed,
            minutes: options.minutes,
            mutations: options.mutations.clone(),
            faults: faults.counts(),
            counts,
            violation_kinds,
            first_violation_s: watch.first_violation().map(|at| at.as_secs_f64()),
            overlaps,
            takeovers,
            unowned_max_s: unowned.time.as_secs_f64(),
            unowned_until_s: unowned.until.as_secs_f64(),
        })
    }

    /// What is not as it must be, a line each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let counts = self.counts.faults().into_iter();
        let mut faults: Vec<String> = counts
            .map(|(name, number)| format!("{name} is {number}"))
            .collect();
        if self.overlaps > 0 {
            faults.push(format!("overlaps are {}", self.overlaps));
        }
        faults
    }

    /// The table.
    pub(crate) fn print(&self) {
        println!("\n  {:<22} {:>6}", "fault", "times");
        for (kind, times) in &self.faults {
            println!("  {kind:<22} {times:>6}");
        }
        println!();
        let more = [("overlaps", self.overlaps), ("takeovers", self.takeovers)];
        for (name, number) in self.counts.shown().into_iter().chain(more) {
            println!("  {name:<22} {number:>6}");
        }
        let (time, until) = (self.unowned_max_s, self.unowned_until_s);
        println!(
            "  {:<22} {time:>6.1}s, until {until:.1}s",
            "unowned at most"
        );
        if !self.violation_kinds.is_empty() {
            println!("  violations by kind: {:?}", self.violation_kinds);
        }
        println!();
    }
}
