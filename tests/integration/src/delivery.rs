//! Messages in both directions, with their receipts, online and offline.

use anyhow::Result;
use harness::scene::{self, DELIVERY_LIMIT, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use wa_sim::server::DeviceId;

/// A worker's device: the first one linked to a phone.
fn linked_device(account: &scene::Linked) -> DeviceId {
    DeviceId {
        account: account.phone.number().clone(),
        device: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outgoing_message_is_sent_then_delivered_then_read() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        let sent = scene.send(api, &account, &peer, "hello").await?;
        let delivered = api
            .until_state(&sent.message_id, &["delivered"], DELIVERY_LIMIT)
            .await?;
        assert!(delivered.sent_at.is_some() && delivered.delivered_at.is_some());
        assert_eq!(delivered.attempts, 1);

        // The phone has it under the id that was reserved with the 202.
        let received = peer.ledger().received;
        assert_eq!(received.len(), 1);
        assert_eq!(
            (&received[0].text, &received[0].id),
            (&sent.text, &delivered.wa_message_id)
        );

        peer.read(&[received[0].id.clone()])?;
        let read = api
            .until_state(&sent.message_id, &["read"], DELIVERY_LIMIT)
            .await?;
        assert!(read.read_at.is_some());

        // The thread shows the same message in the same state.
        let messages = api.all_messages(&account.id).await?;
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].message_id.as_ref(), Some(&sent.message_id));
        assert_eq!(messages[0].state, "read");
        scene.settle(api, DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn incoming_message_is_receipted_as_delivered_and_when_asked_as_read() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        let device = linked_device(&account);

        let written = scene.write(&peer, &account, "hello")?;
        scene::until_stored(api, &account, &written.text, DELIVERY_LIMIT).await?;
        // A client that shows no presence says `inactive`: it has the message.
        let received = |kinds: &'static [&'static str]| {
            let (id, device) = (written.message_id.clone(), device.clone());
            move |ledger: &wa_sim::phone::Ledger| {
                kinds
                    .iter()
                    .any(|kind| ledger.has_receipt(&id, &device, kind))
            }
        };
        let sim = scene.sim();
        sim.wait_ledger(
            &peer,
            "delivery",
            DELIVERY_LIMIT,
            received(&["delivered", "inactive"]),
        )
        .await?;
        assert!(!peer.with_ledger(received(&["read"])), "nobody read it yet");

        let threads = api.threads(&account.id).await?;
        assert_eq!((threads.len(), threads[0].unread), (1, 1));
        api.mark_read(&threads[0].id).await?;
        sim.wait_ledger(&peer, "reading", DELIVERY_LIMIT, received(&["read"]))
            .await?;
        wait::until("nothing is unread", DELIVERY_LIMIT, async || {
            let unread = api.threads(&account.id).await?[0].unread;
            Ok(Look::some((unread == 0).then_some(()), unread))
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_one_thread_in_the_order_of_its_messages() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        let mut texts = Vec::new();
        for round in 0..5 {
            let question = scene.write(&peer, &account, &format!("question {round}"))?;
            scene::until_stored(api, &account, &question.text, DELIVERY_LIMIT).await?;
            let answer = scene
                .send(api, &account, &peer, &format!("answer {round}"))
                .await?;
            api.until_state(&answer.message_id, &["delivered"], DELIVERY_LIMIT)
                .await?;
            texts.extend([question.text, answer.text]);
        }
        let threads = api.threads(&account.id).await?;
        assert_eq!(threads.len(), 1, "{threads:?}");
        let latest_first = api.messages(&threads[0].id).await?;
        let shown: Vec<String> = latest_first
            .into_iter()
            .rev()
            .filter_map(|message| message.text)
            .collect();
        // Question and answer may fall into one second, so only each side's
        // own order is certain.
        for side in ["question", "answer"] {
            let of = |all: &[String]| -> Vec<String> {
                all.iter()
                    .filter(|text| text.starts_with(side))
                    .cloned()
                    .collect()
            };
            assert_eq!(of(&shown), of(&texts));
        }
        let counts = scene.settle(api, DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.received), (5, 5));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn burst_arrives_once_and_in_order() -> Result<()> {
    const MESSAGES: usize = 40;
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        for number in 0..MESSAGES {
            scene
                .send(api, &account, &peer, &format!("out {number}"))
                .await?;
            scene.write(&peer, &account, &format!("in {number}"))?;
        }
        let counts = scene.settle(api, 2 * DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.stored), (MESSAGES, MESSAGES));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_phones_write_while_the_worker_is_down_is_stored_after_it() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let peer = scene.contact("Peer")?;
        let account = scene.link(worker.api(), "sales").await?;
        let setup = worker.terminate().await?;

        for number in 0..10 {
            scene.write(&peer, &account, &format!("meanwhile {number}"))?;
        }
        let worker: Worker = setup.start().await?;
        let counts = scene.settle(worker.api(), 2 * DELIVERY_LIMIT).await?;
        assert_eq!(counts.stored, 10);
        let messages = worker.api().all_messages(&account.id).await?;
        assert!(messages.iter().all(|message| message.offline));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_while_whatsapp_is_away_is_sent_when_it_is_back() -> Result<()> {
    use wa_sim::fault::{Disconnect, Fault, FaultKind};
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        scene.sim().inject(Fault::new(FaultKind::RefuseTcp))?;
        assert_eq!(
            scene
                .sim()
                .disconnect(account.number(), None, Disconnect::Drop),
            1
        );
        api.until_status(&account.id, &["disconnected", "connecting"], DELIVERY_LIMIT)
            .await?;

        let mut accepted = Vec::new();
        for number in 0..5 {
            accepted.push(
                scene
                    .send(api, &account, &peer, &format!("waits {number}"))
                    .await?,
            );
        }
        for sent in &accepted {
            assert_eq!(api.outgoing(&sent.message_id).await?.state, "queued");
        }
        scene.sim().clear_faults();
        let counts = scene.settle(api, 2 * DELIVERY_LIMIT).await?;
        assert_eq!((counts.sent, counts.delivered, counts.resent), (5, 5, 0));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_for_a_peer_that_is_offline_waits_for_it() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let first = scene.link(api, "first").await?;
        let second = scene.link(api, "second").await?;

        // The second account is the peer; its worker's device goes away.
        api.act(&second.id, "stop").await?;
        api.until_status(&second.id, &["stopped"], DELIVERY_LIMIT)
            .await?;
        scene::until_gone(scene, &second, DELIVERY_LIMIT).await?;
        let text = scene.text("for later");
        api.send_text(&first.id, second.number(), &text).await?;
        scene
            .sim()
            .wait_ledger(
                &second.phone,
                "the phone has it",
                DELIVERY_LIMIT,
                |ledger| ledger.received.iter().any(|received| received.text == text),
            )
            .await?;
        assert!(api.all_messages(&second.id).await?.is_empty());

        api.act(&second.id, "start").await?;
        let stored = scene::until_stored(api, &second, &text, DELIVERY_LIMIT).await?;
        assert!(stored.offline);
        assert!(stored.sender.contains(first.number()) || stored.chat.contains("@lid"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn recipient_that_is_not_on_whatsapp_fails_with_that_reason() -> Result<()> {
    play(async |scene| {
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;
        let id = api
            .send_text(&account.id, "15559999999", &scene.text("nobody"))
            .await?;
        let failed = api.until_state(&id, &["failed"], DELIVERY_LIMIT).await?;
        let error = failed.error.unwrap_or_default();
        assert_eq!(error["code"], "not_on_whatsapp", "{error}");
        // Nobody else waits for it.
        scene.send(api, &account, &peer, "hello").await?;
        scene.settle(api, DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}
