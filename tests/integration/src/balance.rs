//! Accounts are shared out evenly, also with a worker that joins later, and
//! then stay where they are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, play};

use crate::cluster::{
    BALANCE_LIMIT, Cluster, StoreKind, apis, owners, say_once, session_end, stays, until_even,
};
use harness::scene;

/// Nothing moves for this long.
const REST: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_shared_out_evenly_and_then_stay() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        // All accounts begin at one worker.
        let [alice] = cluster.start(["alice"]).await?;
        let lines = cluster.lines(alice.api(), 3).await?;
        for number in 0..6 {
            // Those that nobody has linked yet count, too.
            let name = format!("waiting {number}");
            let account = alice.api().create_account(&name).await?;
            let api = alice.api();
            api.until_status(&account.id, &["qr_ready"], LINK_LIMIT)
                .await?;
        }
        scene.mark_restart();
        let [_bob, carol] = cluster.start(["bob", "carol"]).await?;
        let joined = Instant::now();
        until_even(alice.api(), &["alice", "bob", "carol"], BALANCE_LIMIT).await?;
        eprintln!("three share evenly after {:?}", joined.elapsed());

        let [dave] = cluster.start(["dave"]).await?;
        let joined = Instant::now();
        let all = ["alice", "bob", "carol", "dave"];
        let even = until_even(dave.api(), &all, BALANCE_LIMIT).await?;
        eprintln!("four share evenly after {:?}", joined.elapsed());
        stays("the owners", REST, async || owners(dave.api()).await).await?;
        assert_eq!(owners(alice.api()).await?, even);

        let named: BTreeSet<String> = even.into_values().flatten().map(|o| o.worker).collect();
        assert_eq!(named.len(), 4);
        for line in &lines {
            scene::until_connected(scene, dave.api(), &line.account, session_end()).await?;
        }
        say_once(scene, &lines, &apis(&[&carol]), "after").await?;
        scene.settle(dave.api(), DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}
