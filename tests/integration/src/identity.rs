//! A worker that comes back under its old name is another one: a session is
//! one boot, and a name is a label.

use std::time::Instant;

use anyhow::Result;
use harness::scene::{DELIVERY_LIMIT, LINK_LIMIT, play};
use harness::wait::{self, Look};

use crate::cluster::{
    Cluster, StoreKind, apis, history_of, lock_of, owned_by, say_once, session_end, sessions,
    until_taken_over,
};

async fn worker_back_under_its_name_is_another_session(kind: StoreKind) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, kind).await?;
        let (alice, bob, lines) = cluster.two_and_two(&[]).await?;
        scene.mark_restart();
        let lost = owned_by(alice.api(), &lines, "bob").await?;
        let (old, _) = lock_of(bob.api()).await?;
        say_once(scene, &lines, &apis(&[&bob]), "before").await?;

        let killed = Instant::now();
        let bob = bob.kill().await?.start().await?;
        let took = killed.elapsed();
        assert!(took < session_end(), "the old session had ended: {took:?}");
        let (new, _) = lock_of(bob.api()).await?;
        assert_ne!(new, old);
        for (line, before) in &lost {
            assert_eq!(before.session_id, old);
            let limit = session_end() + LINK_LIMIT;
            let after = until_taken_over(scene, alice.api(), &line.account, before, limit).await?;
            assert_eq!(after.epoch, before.epoch + 1, "{after:?}");
        }
        let living = wait::until("only the living are listed", session_end(), async || {
            let listed = sessions(alice.api()).await?;
            let there = listed.iter().all(|(.., state)| state == "active");
            Ok(Look::some(there.then(|| listed.clone()), listed))
        })
        .await?;
        let mut names: Vec<&str> = living.iter().map(|(name, ..)| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["alice", "bob"], "{living:?}");
        assert!(living.iter().any(|(_, id, _)| *id == new), "{living:?}");

        say_once(scene, &lines, &apis(&[&bob]), "after").await?;
        scene.settle(bob.api(), 2 * DELIVERY_LIMIT).await?;
        // In the old session's name nothing happened any more.
        let store = cluster.store().await?;
        for (line, before) in &lost {
            let history = history_of(&store, &line.account.id).await?;
            let late = history
                .iter()
                .find(|entry| entry.epoch > before.epoch && entry.session == old);
            assert!(late.is_none(), "{history:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_back_under_its_name_is_another_session_on_sqlite() -> Result<()> {
    worker_back_under_its_name_is_another_session(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_back_under_its_name_is_another_session_on_firestore() -> Result<()> {
    worker_back_under_its_name_is_another_session(StoreKind::Firestore).await
}
