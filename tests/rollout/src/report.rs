//! The counts, and whether they may be so.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use harness::ledger::Counts;
use harness::ownership;
use serde::Serialize;

use crate::acts::Act;
use crate::options::{ActKind, Options, StoreKind};
use crate::stage::{Loss, Stage};
use crate::watch::Watch;

/// For everything to have arrived after the last act.
const SETTLE_LIMIT: Duration = Duration::from_secs(240);

/// Releases that name, or wait for, a successor.
const HANDED_OFF: [&str; 3] = ["drain", "rebalance", "asked"];

/// The last line, with `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Which store.
    store: StoreKind,
    /// Whether each pod had a network of its own.
    namespaces: bool,
    /// What happened.
    acts: Vec<Act>,
    /// What became of the messages.
    #[serde(flatten)]
    counts: Counts,
    /// Owners whose times overlap in the ownership history.
    overlaps: usize,
    /// By account: how often it changed its owner, and how long it had none.
    accounts: BTreeMap<String, Moves>,
    /// How often a worker was started again because it had ended before it served.
    restarts: usize,
    /// Memory of the pods at the end, in MiB.
    resident_mib: Vec<u64>,
}

/// What an account went through.
#[derive(Debug, Serialize)]
struct Moves {
    /// How often its owner changed.
    moves: usize,
    /// The longest from a release to the next claim, in the store's time.
    handed_off_max_s: f64,
    /// The longest that no pod owned it, as pods show it.
    unowned_max_s: f64,
}

impl Report {
    /// Waits until everything has arrived, and counts.
    ///
    /// # Errors
    /// No pod answers.
    pub(crate) async fn of(
        stage: &Stage<'_>,
        options: &Options,
        acts: Vec<Act>,
        watch: &Watch<'_>,
    ) -> Result<Self> {
        let api = stage.api();
        let counts = stage.scene.settled(&api, SETTLE_LIMIT).await?;
        let unowned = watch.by_account();
        let (mut overlaps, mut accounts) = (0, BTreeMap::new());
        for (number, account) in stage.accounts.iter().enumerate() {
            let tenures = ownership::tenures(&api.history(&account.id).await?)?;
            overlaps += ownership::overlaps(&tenures);
            let handed_off = ownership::unowned(&tenures, None, &HANDED_OFF);
            let seconds = |duration: Option<Duration>| duration.unwrap_or_default().as_secs_f64();
            let moves = Moves {
                moves: tenures.len().saturating_sub(1),
                handed_off_max_s: seconds(handed_off.into_iter().max()),
                unowned_max_s: seconds(unowned.get(&account.id).copied()),
            };
            accounts.insert(format!("account {number:02}"), moves);
        }
        stage.scene.check_logs()?;
        let resident = stage.deployment.resident_bytes().await;
        Ok(Self {
            store: options.store,
            namespaces: stage.loss != Loss::Kill,
            acts,
            counts,
            overlaps,
            accounts,
            restarts: stage.deployment.restarts().await,
            resident_mib: resident.iter().map(|bytes| bytes >> 20).collect(),
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
        for act in &self.acts {
            let killed = act.endings.iter().filter(|ending| ending.was_killed);
            let (kind, killed) = (act.kind, killed.count());
            if killed != usize::from(kind == ActKind::Hang) {
                faults.push(format!("{kind:?}: {killed} pods were killed"));
            }
            // The connection of a pod that stands still, or has no network any more, is
            // open at the server until its successor's login ends it, once.
            if act.replaced > act.silent {
                faults.push(format!(
                    "{kind:?}: the server saw {} × 440, and {} connections went silent",
                    act.replaced, act.silent
                ));
            }
            if act.told > 0 {
                faults.push(format!("{kind:?}: {} × 440 reached an owner", act.told));
            }
        }
        faults
    }

    /// The tables.
    pub(crate) fn print(&self) {
        println!(
            "\n  act          seconds  ended  killed  slowest drain  unowned at most  silent  \
             440 sent  reached an owner"
        );
        for act in &self.acts {
            let drains = act.endings.iter().map(|ending| ending.drain_s);
            println!(
                "  {:<12} {:>7.1} {:>6} {:>7} {:>13.2}s {:>15.2}s {:>7} {:>9} {:>17}",
                format!("{:?}", act.kind),
                act.seconds,
                act.endings.len(),
                act.endings
                    .iter()
                    .filter(|ending| ending.was_killed)
                    .count(),
                drains.fold(0.0, f64::max),
                act.unowned_max_s,
                act.silent,
                act.replaced,
                act.told
            );
        }
        println!("\n  account     moves  handed off in at most  unowned at most");
        for (name, account) in &self.accounts {
            println!(
                "  {name:<11} {:>5} {:>21.3}s {:>15.2}s",
                account.moves, account.handed_off_max_s, account.unowned_max_s
            );
        }
        println!();
        let more = [("overlaps", self.overlaps), ("restarts", self.restarts)];
        for (name, number) in self.counts.shown().into_iter().chain(more) {
            println!("  {name:<14} {number:>6}");
        }
        println!("  memory of the pods: {:?} MiB\n", self.resident_mib);
    }
}
