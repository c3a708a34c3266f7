//! Unmodified Baileys 7 as the peer of a worker's account: proof that the
//! simulator does not merely agree with the engine that the worker is built on.

use std::path::Path;

use anyhow::Result;
use baileys::{Peer, Status, Version};
use harness::api::Api;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Scene, play};
use wa_sim::phone::Phone;

/// The address by which Baileys knows a number.
fn jid(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

/// A Baileys client that is linked to a phone of its own.
async fn baileys(scene: &Scene, folder: &Path) -> Result<(Peer, Phone)> {
    let phone = scene.account_phone("Peer")?;
    let mut peer = Peer::spawn(Version::Seven, folder).await?;
    let scanning = phone.clone();
    peer.pair(&scene.sim().url(), async |code: String| {
        scanning
            .scan(&code)
            .await
            .expect("Baileys' own code is scanned");
    })
    .await?;
    Ok((peer, phone))
}

/// Sends a text and returns the 202's id with the text.
async fn send(
    scene: &Scene,
    api: &Api,
    account: &str,
    to: &Phone,
    label: &str,
) -> Result<(String, String)> {
    let text = scene.text(label);
    Ok((api.send_text(account, to.number(), &text).await?, text))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_receipts_go_both_ways() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let (mut peer, phone) = baileys(scene, folder.path()).await?;
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let account = scene.link(api, "sales").await?;

        // From the worker to Baileys.
        let mark = peer.mark();
        let (message_id, text) = send(scene, api, &account.id, &phone, "to Baileys").await?;
        let id = peer.received(mark, &text).await?;
        let delivered = api
            .until_state(&message_id, &["delivered"], DELIVERY_LIMIT)
            .await?;
        assert_eq!(delivered.wa_message_id, id);
        peer.read(&jid(account.number()), &[&id]).await?;
        api.until_state(&message_id, &["read"], DELIVERY_LIMIT)
            .await?;

        // From Baileys to the worker.
        let text = scene.text("from Baileys");
        let id = peer.send(&jid(account.number()), &text).await?;
        let stored = scene::until_stored(api, &account, &text, DELIVERY_LIMIT).await?;
        assert_eq!(stored.wa_message_id, id);
        peer.reached(&id, Status::Delivered).await?;
        let threads = api.threads(&account.id).await?;
        assert_eq!(threads.len(), 1, "one person, one thread: {threads:?}");
        api.mark_read(&threads[0].id).await?;
        peer.reached(&id, Status::Read).await?;
        peer.quit().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_while_either_side_was_offline_is_replayed() -> Result<()> {
    play(async |scene| {
        let folder = tempfile::tempdir()?;
        let (mut peer, phone) = baileys(scene, folder.path()).await?;
        let worker = scene.worker("alice")?.start().await?;
        let account = scene.link(worker.api(), "sales").await?;

        // A first exchange, so that both have a session.
        let mark = peer.mark();
        let (_, text) = send(scene, worker.api(), &account.id, &phone, "hello").await?;
        peer.received(mark, &text).await?;

        // Baileys is away.
        peer.disconnect().await?;
        let mut missed = Vec::new();
        for number in 0..3 {
            let label = format!("missed {number}");
            missed.push(send(scene, worker.api(), &account.id, &phone, &label).await?);
        }
        for (message_id, _) in &missed {
            let states = ["sent", "delivered"];
            worker
                .api()
                .until_state(message_id, &states, DELIVERY_LIMIT)
                .await?;
        }
        let mark = peer.mark();
        peer.reconnect().await?;
        for (_, text) in &missed {
            peer.received(mark, text).await?;
        }

        // The worker is away.
        let setup = worker.terminate().await?;
        let mut texts = Vec::new();
        for number in 0..3 {
            let text = scene.text(&format!("waits {number}"));
            let id = peer.send(&jid(account.number()), &text).await?;
            texts.push((id, text));
        }
        let worker = setup.start().await?;
        scene::until_connected(scene, worker.api(), &account, LINK_LIMIT).await?;
        for (id, text) in &texts {
            let stored = scene::until_stored(worker.api(), &account, text, DELIVERY_LIMIT).await?;
            assert!(stored.offline);
            peer.reached(id, Status::Delivered).await?;
        }
        let all = worker.api().all_messages(&account.id).await?;
        assert_eq!(all.len(), 1 + 3 + 3, "nothing twice");
        peer.quit().await?;
        Ok(())
    })
    .await
}
