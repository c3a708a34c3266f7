//! What happens to a running engine when it loses its account.

use std::time::Duration;

use coordinator_lib::gate::CloseReason;
use whatsapp::{DisconnectReason, EngineEvent, SendError};

use crate::account::{LIMIT, OWN, World, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_engine_sends_and_stores_nothing_more() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    run.engine.send(&world.text("before")).await.unwrap();
    run.gates.freeze(CloseReason::Fenced);
    let frames = run.engine.stats().frames_out;
    let commits = world.store.commits();

    assert_eq!(
        run.engine.send(&world.text("after")).await,
        Err(SendError::Gate)
    );
    assert_eq!(run.lost().await, DisconnectReason::Intentional);
    // The server sees the end of the stream, at once.
    let gone = || !world.sim.state().accounts[OWN].devices[0].online;
    world
        .sim
        .wait("the socket is gone", LIMIT, gone)
        .await
        .unwrap();
    world
        .peer
        .send_text(OWN, "too late for this owner")
        .unwrap();
    let engine_stats = run.engine.stats();
    let (_, events) = run.stop().await;
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, EngineEvent::Connected))
    );
    assert_eq!(engine_stats.frames_out, frames, "not a frame");
    assert_eq!(world.store.commits(), commits, "not a commit");
    assert_eq!(world.peer.ledger().received.len(), 1);

    // The next owner goes on with the session.
    let mut run = world.start().await;
    run.until(|event| matches!(event, EngineEvent::Connected))
        .await;
    world.shelf.holds(1).await;
    let message = world.text("from the next owner");
    run.engine.send(&message).await.unwrap();
    world.peer_has(&message.message_id).await;
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_engine_shuts_down_within_its_limit() {
    let mut world = World::new().await;
    let run = world.pair().await;
    world.store.pause_commits();
    for n in 0..5 {
        // Some wait for the store, which hangs.
        let message = world.text(&n.to_string());
        let _ = tokio::time::timeout(Duration::from_millis(50), run.engine.send(&message)).await;
    }
    let shutdown = run.engine.shutdown(Duration::from_millis(300));
    let report = tokio::time::timeout(Duration::from_secs(5), shutdown).await;
    let report = report.expect("a hung store delays no shutdown for long");
    assert!(!report.clean);
    assert_eq!(run.engine.stats().tasks, 0, "nothing runs on");
    world.store.resume_commits();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_account_waits_and_goes_on() {
    let mut world = World::new().await;
    let run = world.pair().await;
    run.gates.suspend();
    let message = world.text("patience");
    let mut send = Box::pin(run.engine.send(&message));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut send)
            .await
            .is_err()
    );
    world.peer.send_text(OWN, "not acknowledged yet").unwrap();
    assert!(world.peer.ledger().received.is_empty());
    run.gates.wire.open().unwrap();
    run.gates.store.open().unwrap();
    soon("the send goes on", send).await.unwrap();
    world.peer_has(&message.message_id).await;
    world.shelf.holds(1).await;
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_engine_leaves_no_connection() {
    let mut world = World::new().await;
    let run = world.pair().await;
    drop(run);
    let gone = || !world.sim.state().accounts[OWN].devices[0].online;
    world
        .sim
        .wait("the socket is gone", LIMIT, gone)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_engine_stores_what_it_knows_after_its_wire_gate_closed() {
    let mut world = World::new().await;
    let run = world.pair().await;
    world.peer.send_text(OWN, "just before").unwrap();
    world.shelf.holds(1).await;
    run.gates.wire.close(CloseReason::Released);
    let (report, events) = run.stop().await;
    assert!(report.clean, "{report:?}");
    assert_eq!(events.last(), Some(&EngineEvent::Stopped));

    // The next owner reads the ratchet that the last message advanced.
    let mut run = world.start().await;
    run.until(|event| matches!(event, EngineEvent::Connected))
        .await;
    let id = world.peer.send_text(OWN, "just after").unwrap();
    let known = |message: &whatsapp::Inbound| message.id == id;
    soon("the next message is stored", async {
        while !world.shelf.messages().iter().any(known) {
            world.shelf.holds(world.shelf.messages().len() + 1).await;
        }
    })
    .await;
    assert!(run.engine.stats().events["undecryptable"] == 0);
    run.stop().await;
    world.assert_clean();
}
