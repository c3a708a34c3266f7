//! Texts, receipts and acknowledgements, both ways.

use std::sync::atomic::Ordering;

use wa_sim::fault::{Fault, FaultKind, MessagePoint};
use whatsapp::{EngineEvent, ReceiptKind, SendError};

use crate::account::{LIMIT, OWN, PEER, World, text_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_and_receipts_pass_both_ways() {
    let mut world = World::new().await;
    let mut run = world.pair().await;

    let message = world.text("hello from the worker");
    run.engine.send(&message).await.unwrap();
    assert_eq!(world.peer_has(&message.message_id).await, 1);
    let received = world.peer.ledger().received[0].clone();
    assert_eq!(received.text, "hello from the worker");
    let acked = EngineEvent::ServerAck {
        id: message.message_id.clone(),
        error: None,
    };
    let is_receipt = |event: &EngineEvent, wanted: ReceiptKind| match event {
        EngineEvent::Receipt { ids, kind, .. } => {
            *ids == [message.message_id.clone()] && *kind == wanted
        }
        _ => false,
    };
    let mut events = run
        .until(|event| is_receipt(event, ReceiptKind::Delivered))
        .await;
    if !events.contains(&acked) {
        events = run.until(|event| *event == acked).await;
    }
    assert!(events.contains(&acked));
    world
        .peer
        .read(std::slice::from_ref(&message.message_id))
        .unwrap();
    run.until(|event| is_receipt(event, ReceiptKind::Read))
        .await;

    let id = world.peer.send_text(OWN, "hello to the worker").unwrap();
    let stored = world.shelf.holds(1).await;
    let inbound = &stored[0];
    assert_eq!(
        (inbound.id.as_str(), text_of(inbound)),
        (id.as_str(), "hello to the worker")
    );
    assert_eq!(inbound.chat, format!("{PEER}@s.whatsapp.net"));
    assert_eq!(inbound.sender, inbound.chat);
    assert!(!inbound.from_me && !inbound.offline && !inbound.is_group);
    assert_eq!(inbound.push_name, "Peer");
    let receipt = |kind: &'static str| {
        let id = id.clone();
        move |ledger: &wa_sim::phone::Ledger| {
            ledger.sent(&id).is_some_and(|sent| {
                sent.receipts
                    .iter()
                    .any(|receipt| receipt.from.device != 0 && receipt.kind == kind)
            })
        }
    };
    world
        .sim
        .wait_ledger(&world.peer, "inactive receipt", LIMIT, receipt("inactive"))
        .await
        .unwrap();
    run.engine.flush_after_inbound().await.unwrap();
    run.engine
        .mark_read(&inbound.wire_chat, None, std::slice::from_ref(&id))
        .await
        .unwrap();
    world
        .sim
        .wait_ledger(&world.peer, "read receipt", LIMIT, receipt("read"))
        .await
        .unwrap();

    let stats = run.engine.stats();
    assert_eq!(stats.inbound_messages, 1);
    assert!(stats.events["receipt"] >= 2 && stats.events["connected"] == 1);
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_sent_again_under_its_id_is_received_once() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    let message = world.text("once");
    run.engine.send(&message).await.unwrap();
    world.peer_has(&message.message_id).await;
    run.stop().await;

    // Another owner does not know whether it left.
    run = world.start().await;
    run.until(|event| matches!(event, EngineEvent::Connected))
        .await;
    run.engine.send(&message).await.unwrap();
    let repeated = |ledger: &wa_sim::phone::Ledger| ledger.received.iter().any(|m| m.repeats == 1);
    world
        .sim
        .wait_ledger(&world.peer, "the repeat", LIMIT, repeated)
        .await
        .unwrap();
    assert_eq!(world.peer.ledger().received.len(), 1);
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_not_stored_comes_again() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    world.shelf.refuses.store(true, Ordering::SeqCst);
    let id = world.peer.send_text(OWN, "not lost").unwrap();
    // Refused: decrypted, not acknowledged.
    world.shelf.has_refused().await;
    run.stop().await;
    assert!(world.shelf.messages().is_empty());

    world.shelf.refuses.store(false, Ordering::SeqCst);
    run = world.start().await;
    run.until(|event| matches!(event, EngineEvent::Connected))
        .await;
    let stored = world.shelf.holds(1).await;
    assert_eq!(
        (stored[0].id.as_str(), text_of(&stored[0])),
        (id.as_str(), "not lost")
    );
    run.stop().await;
    assert_eq!(world.shelf.messages().len(), 1);
    world.assert_clean();
}

/// A crash after a flush of the ratchet and before the message was handed over
/// leaves this: decrypted before, and nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_decrypted_and_lost_is_asked_for_again() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    world.peer.send_text(OWN, "before").unwrap();
    world.shelf.holds(1).await;
    world.shelf.refuses.store(true, Ordering::SeqCst);
    let id = world.peer.send_text(OWN, "not lost").unwrap();
    world.shelf.has_refused().await;
    run.stop().await;
    assert_eq!(world.shelf.messages().len(), 1);

    world.shelf.refuses.store(false, Ordering::SeqCst);
    world.forgets_pending = true;
    run = world.start().await;
    run.until(|event| matches!(event, EngineEvent::Connected))
        .await;
    let stored = world.shelf.holds(2).await;
    assert_eq!(
        (stored[1].id.as_str(), text_of(&stored[1])),
        (id.as_str(), "not lost")
    );
    let nothing_waits = || world.sim.state().accounts[OWN].devices[0].waiting == 0;
    world
        .sim
        .wait("all is acknowledged", LIMIT, nothing_waits)
        .await
        .unwrap();
    run.stop().await;
    assert_eq!(world.shelf.messages().len(), 2);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_monologue_and_restarts_reuse_no_counter() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    for round in 0..3 {
        for n in 0..70 {
            let message = world.text(&format!("{round}/{n}"));
            run.engine.send(&message).await.unwrap();
        }
        // As after a SIGKILL: what was not flushed is gone, and so may be frames
        // that the server has not taken yet.
        drop(run);
        run = world.start().await;
        run.until(|event| matches!(event, EngineEvent::Connected))
            .await;
    }
    let last = world.text("the end");
    run.engine.send(&last).await.unwrap();
    world.peer_has(&last.message_id).await;
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_while_sending_is_told_and_does_not_hang() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    let kind = FaultKind::DropOnMessage {
        point: MessagePoint::BeforeAccept,
    };
    world
        .sim
        .inject(Fault::new(kind).for_account(OWN).times(1))
        .unwrap();
    let message = world.text("lost on the way");
    // The frame leaves, or the connection goes first: both may be.
    let _ = run.engine.send(&message).await;
    run.lost().await;
    assert_eq!(
        run.engine.send(&message).await,
        Err(SendError::NotConnected)
    );
    run.stop().await;

    run = world.start().await;
    run.until(|event| matches!(event, EngineEvent::Connected))
        .await;
    run.engine.send(&message).await.unwrap();
    assert_eq!(world.peer_has(&message.message_id).await, 1);
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_refused_at_once() {
    let mut world = World::new().await;
    let run = world.pair().await;
    let mut message = world.text("x");
    message.chat = "nobody".to_owned();
    assert!(matches!(
        run.engine.send(&message).await,
        Err(SendError::Rejected(_))
    ));
    let mut message = world.text("x");
    message.payload = vec![0xff; 8].into();
    assert!(matches!(
        run.engine.send(&message).await,
        Err(SendError::Rejected(_))
    ));
    run.stop().await;
    world.assert_clean();
}
