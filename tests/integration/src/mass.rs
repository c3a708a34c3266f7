//! Many accounts at once: dropped by the server, and back within the budget of
//! connects that all workers share.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use harness::logins::{self, now_ms};
use harness::scene::{Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use wa_sim::fault::Disconnect;

use crate::cluster::{Cluster, StoreKind, until_met};

/// Accounts that link at the same time.
const LINKING_MAX: usize = 20;

/// What is played.
struct Drop {
    accounts: usize,
    capacity: &'static str,
    /// Connects a second, and at once.
    rate: u32,
    burst: u32,
    limit: Duration,
}

/// The budget is about starts; what is seen are logins, some of which take
/// longer than others.
const LOGIN_SPREAD_MS: u64 = 1_000;

async fn connected(workers: &[Worker]) -> Result<u64> {
    let healths = try_join_all(workers.iter().map(|worker| worker.api().health())).await?;
    let counts = healths
        .iter()
        .map(|health| health["accounts"]["connected"].as_u64().unwrap_or(0));
    Ok(counts.sum())
}

async fn until_connected(workers: &[Worker], count: usize, limit: Duration) -> Result<()> {
    wait::until("all are connected", limit, async || {
        let now = connected(workers).await?;
        Ok(Look::some((now == count as u64).then_some(()), now))
    })
    .await
}

/// The first login of each account since a moment, in milliseconds after it.
fn logins_since(scene: &Scene, accounts: &[Linked], since_ms: u64) -> Result<Vec<u64>> {
    let mut times = BTreeMap::new();
    let report = scene.sim().oracle();
    for connection in &report.connections {
        let (Some(device), Some(at)) = (&connection.device, connection.logged_in_ms) else {
            continue;
        };
        if at >= since_ms {
            let first = times.entry(device.account.to_string()).or_insert(at);
            *first = at.min(*first);
        }
    }
    let mut logins = Vec::new();
    for account in accounts {
        let at = times
            .get(account.number())
            .context("every account is back")?;
        logins.push(at - since_ms);
    }
    logins.sort_unstable();
    Ok(logins)
}

/// Logins a second, and their sum, as a picture.
fn curve(title: &str, logins: &[u64]) -> String {
    let mut picture = format!("{title}\n   s  +   all\n");
    let last = logins.last().copied().unwrap_or(0) / 1_000;
    let mut all = 0;
    for second in 0..=last {
        let count = logins.iter().filter(|at| **at / 1_000 == second).count();
        all += count;
        let bar = "#".repeat(count);
        picture.push_str(&format!("{second:>4} {count:>3} {all:>5} {bar}\n"));
    }
    picture
}

/// At no moment were there more logins since the drop than the budget had allowed
/// by then. Of a part of the time this cannot be said: a worker that was held up
/// does at once what was due meanwhile.
fn check_budget(drop: &Drop, logins: &[u64]) -> Result<()> {
    for (before, at_ms) in logins.iter().enumerate() {
        let window_ms = at_ms + LOGIN_SPREAD_MS;
        let allowed = u64::from(drop.burst) + u64::from(drop.rate) * window_ms / 1_000;
        ensure!(
            (before as u64) < allowed,
            "{} logins after {at_ms} ms, and {allowed} are allowed",
            before + 1
        );
    }
    Ok(())
}

async fn dropped_at_once(drop: Drop) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let setup = cluster.worker("linker")?;
        let linker = setup
            .with(&["--capacity", "1000", "--connect-rate", "0"])
            .start()
            .await?;
        let api = linker.api();
        let links = (0..drop.accounts)
            .map(async |number| scene.link(api, &format!("account {number}")).await);
        let accounts: Vec<Linked> = futures::stream::iter(links)
            .buffer_unordered(LINKING_MAX)
            .try_collect()
            .await?;
        linker.terminate().await?;
        scene.mark_restart();

        let (rate, burst) = (drop.rate.to_string(), drop.burst.to_string());
        let mut workers = Vec::new();
        for name in ["alice", "bob", "carol"] {
            let setup = cluster.worker(name)?.with(&["--capacity", drop.capacity]);
            let setup = setup.with(&["--connect-rate", &rate, "--connect-burst", &burst]);
            workers.push(setup.start().await?);
        }
        until_met(&workers.iter().collect::<Vec<_>>()).await?;
        until_connected(&workers, accounts.len(), drop.limit).await?;
        // The bucket is full again.
        let refill = Duration::from_secs(u64::from(drop.burst / drop.rate.max(1)) + 1);
        crate::cluster::for_the_time_of(refill).await;

        let dropped_ms = now_ms();
        for account in &accounts {
            let count = scene
                .sim()
                .disconnect(account.number(), None, Disconnect::Drop);
            ensure!(count == 1);
        }
        scene
            .sim()
            .wait("every account has logged in again", drop.limit, || {
                logins_since(scene, &accounts, dropped_ms).is_ok()
            })
            .await?;
        until_connected(&workers, accounts.len(), drop.limit).await?;
        let logins = logins_since(scene, &accounts, dropped_ms)?;
        let title = format!(
            "{} accounts over {} workers, {} connects at once and {} a second",
            accounts.len(),
            workers.len(),
            drop.burst,
            drop.rate
        );
        println!("{}", curve(&title, &logins));
        check_budget(&drop, &logins)?;
        let counts = scene.sim().oracle().counts;
        ensure!(counts.qr_scans == accounts.len() as u64, "no new codes");
        for account in &accounts {
            let times = logins::all(scene.sim(), account.number());
            let again = times
                .iter()
                .filter(|login| login.at_ms >= dropped_ms)
                .count();
            ensure!(again == 1, "{again} logins of one account");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_dropped_at_once_come_back_within_the_budget_of_all_workers() -> Result<()> {
    dropped_at_once(Drop {
        accounts: 30,
        capacity: "18",
        rate: 4,
        burst: 10,
        limit: Duration::from_secs(60),
    })
    .await
}

/// Minutes long: `cargo nextest run --workspace --features worker/simulation
/// --run-ignored only -E 'test(/three_hundred/)' --no-capture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn three_hundred_accounts_dropped_at_once_come_back_within_the_budget() -> Result<()> {
    dropped_at_once(Drop {
        accounts: 300,
        capacity: "120",
        rate: 5,
        burst: 60,
        limit: Duration::from_secs(180),
    })
    .await
}
