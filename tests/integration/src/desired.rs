//! What is wanted of an account can be said to any worker; the one that owns
//! the account obeys.

use anyhow::Result;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, play};
use harness::wait::{self, Look};

use crate::cluster::{Cluster, StoreKind, apis, owned_by, owner_of, say_once};

async fn stop_start_and_restart_are_obeyed_from_any_worker(kind: StoreKind) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, kind).await?;
        let (alice, bob, lines) = cluster.two_and_two(&[]).await?;
        scene.mark_restart();
        let (line, before) = owned_by(alice.api(), &lines, "bob").await?.remove(0);
        let account = &line.account;
        let logins = || scene.sim().oracle().accounts[account.number()].logins;

        // Alice is not its owner.
        let logged_in = logins();
        alice.api().act(&account.id, "restart").await?;
        scene
            .sim()
            .wait("it logs in anew", LINK_LIMIT, || logins() > logged_in)
            .await?;
        scene::until_connected(scene, alice.api(), account, LINK_LIMIT).await?;
        let owner = owner_of(alice.api(), &account.id).await?;
        assert_eq!(
            owner.map(|owner| owner.session_id),
            Some(before.session_id),
            "a restart moves nothing"
        );

        alice.api().act(&account.id, "stop").await?;
        alice
            .api()
            .until_status(&account.id, &["stopped"], LINK_LIMIT)
            .await?;
        wait::until("nobody owns it", LINK_LIMIT, async || {
            let owner = owner_of(alice.api(), &account.id).await?;
            Ok(Look::some(owner.is_none().then_some(()), owner))
        })
        .await?;
        scene::until_gone(scene, account, LINK_LIMIT).await?;
        // What is sent to it and from it now waits.
        say_once(scene, &lines, &apis(&[&alice]), "while stopped").await?;

        // By now neither owns it.
        alice.api().act(&account.id, "start").await?;
        scene::until_connected(scene, bob.api(), account, LINK_LIMIT).await?;
        say_once(scene, &lines, &apis(&[&alice]), "after").await?;
        scene.settle(bob.api(), DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_start_and_restart_are_obeyed_from_any_worker_on_sqlite() -> Result<()> {
    stop_start_and_restart_are_obeyed_from_any_worker(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_start_and_restart_are_obeyed_from_any_worker_on_firestore() -> Result<()> {
    stop_start_and_restart_are_obeyed_from_any_worker(StoreKind::Firestore).await
}
