//! From the claim of an account until it is connected, by how many people it
//! knows; beside it a connection that only broke.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::scene::Linked;
use harness::wait::{self, Look};
use harness::{logins, ownership};
use serde_json::json;
use wa_sim::Disconnect;

use crate::metrics::Calls;
use crate::options::Options;
use crate::report::Report;
use crate::stage::{CONNECTED_LIMIT, Setting, Stage, idle_calls};
use crate::stats::median;

const WORKERS: [&str; 2] = ["alice", "bob"];

/// WhatsApp asks a client to connect again, at once.
const RESTART: Disconnect = Disconnect::StreamError { code: 515 };

/// Between two of them: what follows a connect is done.
const PAUSE: Duration = Duration::from_secs(3);

const COLUMNS: &[&str] = &[
    "contacts",
    "claim to connected ms",
    "warm reconnect ms",
    "store reads",
];

/// See the module.
///
/// # Errors
/// The account is not connected again.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options.scenario, options.store()?, COLUMNS);
    let sizes: [usize; 2] = options.size([10, 1_000], [2, 20]);
    let mut last = (0.0, 0.0, 0.0);
    for contacts in sizes {
        let stage = Stage::set(&Setting {
            store: options.store()?,
            workers: &WORKERS,
            capacity: 1,
            accounts: 1,
            contacts,
            options: &[],
        })
        .await?;
        // A session with each of them.
        stage.phones_write(1).await?;
        let (mut cold, mut warm, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds() {
            warm.push(reconnect(&stage).await?);
            let (time, read) = take_over(&stage).await?;
            cold.push(time);
            reads.push(read);
        }
        // Nothing is forgotten.
        stage.phones_write(1).await?;
        report.count(&stage.counts().await?);
        let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
        last = (middle(&cold), middle(&warm), middle(&reads));
        report.row([json!(contacts), json!(last.0), json!(last.1), json!(last.2)]);
    }
    let (cold, warm, reads) = last;
    report.ratio("store_reads", reads, 1.0)?;
    report.ratio("takeover_by_warm_reconnect", cold, warm)?;
    Ok(report)
}

/// How long the account was away when WhatsApp had it connect again, in
/// milliseconds.
async fn reconnect(stage: &Stage) -> Result<f64> {
    let account = account(stage)?;
    tokio::time::sleep(PAUSE).await;
    let since = logins::now_ms();
    stage
        .scene
        .sim()
        .disconnect(account.number(), None, RESTART);
    let login = login(stage, account, since).await?;
    Ok((login - since) as f64)
}

/// Its owner hands it over. The time from the claim to the login in
/// milliseconds, and what the other worker reads beyond what it reads anyhow.
async fn take_over(stage: &Stage) -> Result<(f64, f64)> {
    let account = account(stage)?;
    let is_owner = !stage.owned_by(WORKERS[0]).await?.is_empty();
    let (from, to) = match is_owner {
        true => (WORKERS[0], WORKERS[1]),
        false => (WORKERS[1], WORKERS[0]),
    };
    let api = stage.cluster.api_of(to)?;
    let (_, idle_reads) = idle_calls(&api).await?;
    let (before, began, since) = (Calls::of(&api).await?, Instant::now(), logins::now_ms());
    stage.cluster.terminate(from).await?;
    let login = login(stage, account, since).await?;
    tokio::time::sleep(PAUSE).await;
    let reads = Calls::of(&api).await?.since(before).reads as f64;
    let idle = idle_reads * began.elapsed().as_secs_f64();
    let tenures = ownership::tenures(&api.history(&account.id).await?)?;
    let claimed = tenures.last().context("somebody owns it")?.claimed_us / 1_000;
    stage.cluster.start(from).await?;
    Ok((login as f64 - claimed as f64, (reads - idle).max(0.0)))
}

fn account(stage: &Stage) -> Result<&Linked> {
    stage.accounts.first().context("an account")
}

async fn login(stage: &Stage, account: &Linked, since: u64) -> Result<u64> {
    let sim = stage.scene.sim();
    wait::until("it is connected again", CONNECTED_LIMIT, async || {
        let login = logins::first_since(sim, account.number(), since);
        Ok(Look::some(login, "not yet"))
    })
    .await
}
