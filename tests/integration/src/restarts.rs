//! Restarts: the account is back, without a QR code, with nothing lost or doubled.

use anyhow::Result;
use futures::future::try_join_all;
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, play};
use harness::wait::{self, Look};

#[derive(Debug, Clone, Copy)]
enum End {
    Terminate,
    Kill,
}

/// An account's document may show the status of before; the worker's count does
/// not.
async fn until_counted(api: &Api, connected: u64, needs_qr: u64) -> Result<()> {
    wait::until("accounts by status", LINK_LIMIT, async || {
        let accounts = api.health().await?["accounts"].take();
        let is_so = accounts["total"] == connected + needs_qr
            && accounts["connected"] == connected
            && accounts["needs_qr"] == needs_qr;
        Ok(Look::some(is_so.then_some(()), accounts))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_restarts_in_a_row_lose_and_double_nothing() -> Result<()> {
    play(async |scene| {
        let mut worker = scene.worker("alice")?.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(worker.api(), "sales").await?;
        let identity = worker.api().account(&account.id).await?.jid;
        scene.mark_restart();

        for (round, end) in [End::Terminate, End::Terminate, End::Kill]
            .into_iter()
            .enumerate()
        {
            // Some are on their way when the worker ends.
            for number in 0..4 {
                let label = format!("round {round} number {number}");
                scene.send(worker.api(), &account, &peer, &label).await?;
                scene.write(&peer, &account, &label)?;
            }
            let setup = match end {
                End::Terminate => worker.terminate().await?,
                End::Kill => worker.kill().await?,
            };
            scene.write(&peer, &account, &format!("round {round} meanwhile"))?;
            worker = setup.start().await?;
            let view = scene::until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
            assert_eq!(view.jid, identity, "after {end:?}");
            scene
                .send(
                    worker.api(),
                    &account,
                    &peer,
                    &format!("round {round} after"),
                )
                .await?;
            scene.settle(worker.api(), 2 * DELIVERY_LIMIT).await?;
        }

        let counts = scene.settle(worker.api(), DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.received), (15, 15));
        assert_eq!(scene.sim().oracle().counts.qr_scans, 1);
        assert_eq!(counts.qr_after_restart, 0);
        let epoch = worker
            .api()
            .account(&account.id)
            .await?
            .owner
            .unwrap()
            .epoch;
        assert!(
            epoch >= 4,
            "each start is an epoch of its own, and this is {epoch}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_wait_for_a_code_wait_again_after_a_restart() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let linked = scene.link(worker.api(), "linked").await?;
        let mut waiting = Vec::new();
        for number in 0..3 {
            waiting.push(
                worker
                    .api()
                    .create_account(&format!("waiting {number}"))
                    .await?
                    .id,
            );
        }
        for id in &waiting {
            worker
                .api()
                .until_status(id, &["qr_ready"], LINK_LIMIT)
                .await?;
        }
        let worker = worker.terminate().await?.start().await?;
        scene::until_connected(scene, worker.api(), &linked, LINK_LIMIT).await?;
        for id in &waiting {
            worker
                .api()
                .until_status(id, &["qr_ready"], LINK_LIMIT)
                .await?;
        }
        until_counted(worker.api(), 1, 3).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn released_account_is_free_after_sigterm() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let account = scene.link(worker.api(), "sales").await?;
        let before = worker.api().account(&account.id).await?.owner.unwrap();
        let mut setup = worker.terminate().await?;

        // Another name: it could not have the account if the first still owned it.
        setup.name = "bob".to_owned();
        scene.watch(&setup);
        let worker = setup.start().await?;
        let view = scene::until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        let owner = view.owner.unwrap();
        assert_eq!(owner.worker, "bob");
        assert!(owner.epoch > before.epoch);
        Ok(())
    })
    .await
}

/// The predecessor's own test: one account is connected, seven wait for a code,
/// and so it stays over three restarts.
async fn one_and_seven_stay_so(names: [&str; 4]) -> Result<()> {
    play(async |scene| {
        let setup = |name: &str| scene.worker(name);
        let mut worker = setup(names[0])?.start().await?;
        let linked = scene.link(worker.api(), "linked").await?;
        let waiting = (0..7).map(async |number| {
            let name = format!("waiting {number}");
            anyhow::Ok(worker.api().create_account(&name).await?.id)
        });
        let waiting = try_join_all(waiting).await?;
        let identity = worker.api().account(&linked.id).await?.jid;
        scene.mark_restart();
        for name in &names[1..] {
            worker.terminate().await?;
            worker = setup(name)?.start().await?;
            scene::until_connected(scene, worker.api(), &linked, LINK_LIMIT).await?;
            // The status alone may be that of before.
            let view = worker.api().account(&linked.id).await?;
            assert_eq!(view.jid, identity);
            assert_eq!(view.owner.unwrap().worker, *name);
            for id in &waiting {
                worker
                    .api()
                    .until_status(id, &["qr_ready", "needs_qr"], LINK_LIMIT)
                    .await?;
            }
            until_counted(worker.api(), 1, 7).await?;
        }
        let counts = scene.ledgers(worker.api()).await?.count();
        assert_eq!(counts.qr_after_restart, 0);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connected_and_seven_waiting_stay_so_over_three_restarts() -> Result<()> {
    one_and_seven_stay_so(["alice"; 4]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connected_and_seven_waiting_stay_so_on_another_worker_each_time() -> Result<()> {
    one_and_seven_stay_so(["alice", "bob", "carol", "dave"]).await
}
