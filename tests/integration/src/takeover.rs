//! A worker that is killed: others find that out and go on with its accounts.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::scene::{DELIVERY_LIMIT, play};

use crate::cluster::{
    Cluster, StoreKind, apis, for_the_time_of, history_of, owned_by, session_end, talk_while,
    until_taken_over,
};

async fn accounts_of_a_killed_worker_go_on_elsewhere(kind: StoreKind) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, kind).await?;
        let [bob] = cluster.start(["bob"]).await?;
        let lines = cluster.lines(bob.api(), 4).await?;
        let [alice, carol] = cluster.start(["alice", "carol"]).await?;
        scene.mark_restart();
        let lost = owned_by(alice.api(), &lines, "bob").await?;
        assert_eq!(lost.len(), 4, "{lost:?}");

        // Twice: whoever was held up itself looks on for that long anew.
        let limit = 2 * session_end() + DELIVERY_LIMIT;
        let kill = async {
            // With messages on their way.
            for_the_time_of(Duration::from_secs(1)).await;
            bob.kill().await?;
            let killed = Instant::now();
            for (line, before) in &lost {
                let api = alice.api();
                let left = limit.saturating_sub(killed.elapsed());
                let after = until_taken_over(scene, api, &line.account, before, left).await?;
                eprintln!("connected elsewhere after {:?}", killed.elapsed());
                assert_eq!(after.epoch, before.epoch + 1);
            }
            anyhow::Ok(())
        };
        talk_while(scene, &lines, &apis(&[&alice, &carol]), kill).await?;

        let counts = scene.settle(carol.api(), 4 * DELIVERY_LIMIT).await?;
        eprintln!("{counts:?}");
        assert!(counts.sent > 0 && counts.received > 0);
        let store = cluster.store().await?;
        for (line, before) in &lost {
            let history = history_of(&store, &line.account.id).await?;
            let claim = history.iter().find(|entry| entry.epoch == before.epoch + 1);
            assert_eq!(claim.unwrap().reason, "owner_sealed", "{history:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_killed_worker_go_on_elsewhere_on_sqlite() -> Result<()> {
    accounts_of_a_killed_worker_go_on_elsewhere(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_killed_worker_go_on_elsewhere_on_firestore() -> Result<()> {
    accounts_of_a_killed_worker_go_on_elsewhere(StoreKind::Firestore).await
}
