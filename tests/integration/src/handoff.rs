//! A worker that drains hands its accounts over: nobody misses them.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::scene::{DELIVERY_LIMIT, play};

use crate::cluster::{
    Cluster, StoreKind, apis, for_the_time_of, history_of, owned_by, session_end, talk_while,
    until_met, until_taken_over,
};

/// The longest that an account may have no owner.
const UNOWNED_MAX: Duration = Duration::from_secs(1);

async fn accounts_of_a_drained_worker_are_unowned_for_under_a_second(
    kind: StoreKind,
) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, kind).await?;
        let [bob] = cluster.start(["bob"]).await?;
        let lines = cluster.lines(bob.api(), 4).await?;
        let [alice] = cluster.start(["alice"]).await?;
        until_met(&[&alice, &bob]).await?;
        scene.mark_restart();
        let handed = owned_by(alice.api(), &lines, "bob").await?;
        assert_eq!(handed.len(), 4, "{handed:?}");

        let drain = async {
            for_the_time_of(Duration::from_secs(1)).await;
            // Fails unless it ends with code 0.
            bob.terminate().await?;
            for (line, before) in &handed {
                let limit = session_end();
                until_taken_over(scene, alice.api(), &line.account, before, limit).await?;
            }
            anyhow::Ok(())
        };
        talk_while(scene, &lines, &apis(&[&alice]), drain).await?;

        scene.settle(alice.api(), 2 * DELIVERY_LIMIT).await?;
        let store = cluster.store().await?;
        for (line, before) in &handed {
            let history = history_of(&store, &line.account.id).await?;
            let entry = |kind: &str, epoch: i64| {
                let found = history
                    .iter()
                    .find(|entry| entry.kind == kind && entry.epoch == epoch);
                found.with_context(|| format!("{kind} {epoch} in {history:?}"))
            };
            let released = entry("released", before.epoch)?;
            let claimed = entry("claimed", before.epoch + 1)?;
            assert_eq!(
                (&*released.reason, &*released.worker, &released.session),
                ("drain", "bob", &before.session_id)
            );
            assert_eq!(
                (&*claimed.reason, &*claimed.worker),
                ("handed_off", "alice")
            );
            let unowned = claimed.at.since(released.at);
            eprintln!("unowned for {unowned:?}");
            assert!(unowned < UNOWNED_MAX, "{unowned:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_drained_worker_are_unowned_for_under_a_second_on_sqlite() -> Result<()> {
    accounts_of_a_drained_worker_are_unowned_for_under_a_second(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_drained_worker_are_unowned_for_under_a_second_on_firestore() -> Result<()> {
    accounts_of_a_drained_worker_are_unowned_for_under_a_second(StoreKind::Firestore).await
}
