//! From the end of a worker until its accounts are connected elsewhere.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::scene::Linked;
use harness::wait::{self, Look};
use harness::{logins, ownership};
use serde_json::json;

use crate::options::Options;
use crate::report::Report;
use crate::stage::{CONNECTED_LIMIT, Setting, Stage};
use crate::stats::{percentile, seconds};

const WORKERS: [&str; 3] = ["alice", "bob", "carol"];

/// A dead worker's session may be sealed after so long: `ttl` and the guard.
const SEALED_AFTER: f64 = 12.0;

const COLUMNS: &[&str] = &["end", "what", "accounts", "p50 s", "p99 s", "max s"];

/// See the module.
///
/// # Errors
/// Accounts are not connected again.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    let each = options.size(18, 2);
    let stage = Stage::set(&Setting {
        store: options.store()?,
        workers: &WORKERS,
        // Two of them have room for all.
        capacity: each * 3 / 2 + 1,
        accounts: each * WORKERS.len(),
        contacts: 1,
        options: &[],
    })
    .await?;
    stage.until_even().await?;
    let (mut killed, mut terminated) = (Vec::new(), Vec::new());
    for round in 0..options.rounds() as usize {
        let name = WORKERS[round % WORKERS.len()];
        println!("SIGKILL to {name} ...");
        let victims = stage.owned_by(name).await?;
        ensure!(!victims.is_empty(), "{name} owns nothing");
        let since = logins::now_ms();
        stage.cluster.kill(name).await?;
        let numbers: Vec<&str> = victims.iter().map(|account| account.number()).collect();
        let sim = stage.scene.sim();
        killed.extend(logins::until_all_since(sim, &numbers, since, CONNECTED_LIMIT).await?);
        stage.cluster.start(name).await?;
        stage.until_even().await?;

        let name = WORKERS[(round + 1) % WORKERS.len()];
        println!("SIGTERM to {name} ...");
        let victims = stage.owned_by(name).await?;
        let since = logins::now_ms();
        stage.cluster.terminate(name).await?;
        for account in victims {
            terminated.push(gap(&stage, account, since).await?);
        }
        stage.cluster.start(name).await?;
        stage.until_even().await?;
    }
    let mut unowned = Vec::new();
    let api = stage.cluster.api();
    for account in &stage.accounts {
        let tenures = ownership::tenures(&api.history(&account.id).await?)?;
        ensure!(ownership::overlaps(&tenures) == 0, "two owners at a time");
        unowned.extend(ownership::unowned(&tenures, None, &["drain"]));
    }
    // Who is connected has its session.
    stage.phones_write(1).await?;
    report.count(&stage.counts().await?);
    let mut add = |end, what, times: &[Duration]| {
        let times = seconds(times);
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&times, share));
        let row = [
            json!(end),
            json!(what),
            json!(times.len()),
            json!(p50),
            json!(p99),
            json!(max),
        ];
        report.row(row);
        (p50.unwrap_or(f64::NAN), p99.unwrap_or(f64::NAN))
    };
    let (p50, p99) = add("SIGKILL", "until connected", &killed);
    let (_, unowned) = add("SIGTERM", "unowned", &unowned);
    let (_, disconnected) = add("SIGTERM", "disconnected", &terminated);
    report.ratio("sigkill_p50_by_ttl", p50, SEALED_AFTER)?;
    report.ratio("sigkill_p99_by_ttl", p99, SEALED_AFTER)?;
    report.ratio("sigterm_unowned_p99_by_1_s", unowned, 1.0)?;
    report.ratio("sigterm_disconnected_p99_by_2_s", disconnected, 2.0)?;
    Ok(report)
}

/// How long an account was not connected around a hand-off.
async fn gap(stage: &Stage, account: &Linked, since: u64) -> Result<Duration> {
    let sim = stage.scene.sim();
    wait::until("it is connected again", CONNECTED_LIMIT, async || {
        let gap = logins::gap_before_first_since(sim, account.number(), since);
        Ok(Look::some(gap, "not yet"))
    })
    .await
}
