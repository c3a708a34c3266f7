//! The store does not answer for a while: nobody acts without proof, nobody
//! takes anything from anybody, and all goes on when it is back.

use std::time::Duration;

use anyhow::Result;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;

use crate::cluster::{
    Cluster, Line, apis, for_the_time_of, lock_of, owners, say_once, session_end, stays, talk_while,
};

/// What left accounts and what the server took over, so far.
fn sent_so_far(scene: &Scene, lines: &[Line]) -> Vec<(u64, usize)> {
    let oracle = scene.sim().oracle();
    lines
        .iter()
        .map(|line| {
            let accepted = oracle.accounts[line.account.number()].messages_accepted;
            (accepted, line.contact.ledger().received.len())
        })
        .collect()
}

/// Waits until both workers have found that nothing they do is proven.
async fn until_suspended(workers: &[&Worker]) -> Result<()> {
    for worker in workers {
        let what = format!("{} is suspended", worker.setup().name);
        wait::until(&what, session_end(), async || {
            let (_, state) = lock_of(worker.api()).await?;
            Ok(Look::some((state == "suspended").then_some(()), state))
        })
        .await?;
    }
    Ok(())
}

async fn nothing_moves_in_an_outage(outage: Duration, options: &[&str]) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::on_own_emulator(scene).await?;
        let (alice, bob, lines) = cluster.two_and_two(options).await?;
        let before = owners(alice.api()).await?;
        scene.mark_restart();

        let apis = apis(&[&alice, &bob]);
        say_once(scene, &lines, &apis, "before").await?;
        cluster.emulator()?.pause()?;
        let away = async {
            let suspension = tokio::time::Instant::now();
            until_suspended(&[&alice, &bob]).await?;
            let rest = outage.saturating_sub(suspension.elapsed());
            stays("what was sent", rest, async || {
                Ok(sent_so_far(scene, &lines))
            })
            .await?;
            cluster.emulator()?.resume()
        };
        talk_while(scene, &lines, &apis, away).await?;

        for worker in [&alice, &bob] {
            wait::until("it is active again", LINK_LIMIT, async || {
                let (_, state) = lock_of(worker.api()).await?;
                Ok(Look::some((state == "active").then_some(()), state))
            })
            .await?;
        }
        for line in &lines {
            scene::until_connected(scene, alice.api(), &line.account, LINK_LIMIT).await?;
        }
        scene.settle(alice.api(), 2 * DELIVERY_LIMIT).await?;
        // Whoever wanted to take something would have by now.
        for_the_time_of(session_end()).await;
        assert_eq!(owners(alice.api()).await?, before);
        let logins: Vec<u64> = lines
            .iter()
            .map(|line| scene.sim().oracle().accounts[line.account.number()].logins)
            .collect();
        eprintln!("logins of each account: {logins:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_account_moves_in_an_outage_of_the_store() -> Result<()> {
    nothing_moves_in_an_outage(Duration::from_secs(30), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_account_moves_in_an_outage_longer_than_its_lease() -> Result<()> {
    let options = [
        ["--lease-duration", "40s"],
        ["--lease-refresh", "15s"],
        ["--session-ttl", "10s"],
    ];
    nothing_moves_in_an_outage(Duration::from_secs(60), options.as_flattened()).await
}
