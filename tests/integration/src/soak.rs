//! Thousands of messages both ways over many accounts and three workers, two
//! of which are killed meanwhile: exact counts.
//!
//! Long, so it runs when it is asked for:
//! `cargo nextest run --workspace --features worker/simulation --run-ignored only -E 'test(soak)'`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use harness::scene::{Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;

use crate::cluster::{
    BALANCE_LIMIT, Cluster, Line, StoreKind, apis, say_once, until_even, until_met,
};

/// Messages each way, unless `LEASEHOLD_SOAK_MESSAGES` says otherwise.
const MESSAGES: usize = 10_000;
const ACCOUNTS: usize = 20;

/// For everything to arrive after the last was sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(600);
/// For the next part of the traffic.
const PART_LIMIT: Duration = Duration::from_secs(1_200);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; see the module"]
async fn soak_of_ten_thousand_each_way_with_two_kills_has_exact_counts() -> Result<()> {
    let messages = std::env::var("LEASEHOLD_SOAK_MESSAGES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(MESSAGES);
    let rounds = messages / ACCOUNTS;
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let fast = ["--send-rate", "0", "--send-chat-rate", "0"];
        let mut workers = Vec::new();
        for name in ["alice", "bob", "carol"] {
            workers.push(cluster.worker(name)?.with(&fast).start().await?);
        }
        until_met(&workers.iter().collect::<Vec<_>>()).await?;
        let lines = cluster.lines(workers[0].api(), ACCOUNTS).await?;
        until_even(workers[0].api(), &["alice", "bob", "carol"], BALANCE_LIMIT).await?;
        scene.mark_restart();

        let apis = apis(&workers.iter().collect::<Vec<_>>());
        let done = AtomicUsize::new(0);
        let started = Instant::now();
        let talk = try_join_all(lines.iter().map(async |line: &Line| {
            for round in 0..rounds {
                let label = format!("round {round}");
                say_once(scene, std::slice::from_ref(line), &apis, &label).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
        let all = rounds * ACCOUNTS;
        let kills = async {
            let mut workers = workers.into_iter();
            let (Some(alice), Some(bob), Some(carol)) =
                (workers.next(), workers.next(), workers.next())
            else {
                bail!("three workers");
            };
            let alice = kill_at(&done, all / 3, alice).await?;
            let bob = kill_at(&done, 2 * all / 3, bob).await?;
            anyhow::Ok([alice, bob, carol])
        };
        let (talked, workers) = tokio::join!(talk, kills);
        talked?;
        let workers = workers?;
        let sent_in = started.elapsed();
        let counts = settle(scene, &workers[2]).await?;
        println!(
            "{all} in and {all} out, {ACCOUNTS} accounts, 3 workers, 2 kills: {counts:?}; sent in \
             {sent_in:?}, settled after {:?}",
            started.elapsed()
        );
        assert_eq!((counts.sent, counts.delivered), (all, all));
        assert_eq!((counts.received, counts.stored), (all, all));
        Ok(())
    })
    .await
}

async fn settle(scene: &Scene, worker: &Worker) -> Result<harness::ledger::Counts> {
    scene.settle(worker.api(), SETTLE_LIMIT).await
}

/// Kills a worker once so much is done, and starts it again at its address.
async fn kill_at(done: &AtomicUsize, at: usize, worker: Worker) -> Result<Worker> {
    wait::until("a part of the traffic", PART_LIMIT, async || {
        let now = done.load(Ordering::Relaxed);
        Ok(Look::some((now >= at).then_some(()), now))
    })
    .await?;
    worker.kill().await?.start().await
}
