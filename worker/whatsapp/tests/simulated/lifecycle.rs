//! Pairing, restarts, shutdown.

use whatsapp::{DisconnectReason, EngineEvent, Stage};

use crate::account::{OWN, World, text_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_pairs_by_qr_and_connects_after_the_restart() {
    let mut world = World::new().await;
    let mut run = world.start().await;
    let code = run.qr().await;
    assert!(run.engine.own_jid().is_none());
    world.own.scan(&code).await.unwrap();
    let events = run
        .until(|event| matches!(event, EngineEvent::Connected))
        .await;
    let names: Vec<_> = events
        .iter()
        .filter(|event| !matches!(event, EngineEvent::Stage(_) | EngineEvent::Qr { .. }))
        .map(EngineEvent::name)
        .collect();
    assert_eq!(names, ["paired", "disconnected", "connected"], "{events:?}");
    assert!(events.contains(&EngineEvent::Disconnected(
        DisconnectReason::RestartRequired
    )));
    let after_restart: Vec<_> = events
        .iter()
        .skip_while(|event| !matches!(event, EngineEvent::Disconnected(_)))
        .filter_map(|event| match event {
            EngineEvent::Stage(stage) => Some(*stage),
            _ => None,
        })
        .collect();
    assert_eq!(
        after_restart,
        [
            Stage::Dns,
            Stage::Tcp,
            Stage::Handshake,
            Stage::Login,
            Stage::Sync
        ]
    );
    assert!(run.engine.is_connected());
    let own = run.engine.own_jid().unwrap();
    assert!(own.pn.starts_with(OWN) && own.lid.is_some());

    let (report, events) = run.stop().await;
    assert!(report.clean, "{report:?}");
    assert_eq!(
        events[events.len() - 2..],
        [
            EngineEvent::Disconnected(DisconnectReason::Intentional),
            EngineEvent::Stopped
        ]
    );
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_comes_back_without_a_scan_and_gets_what_it_missed() {
    let mut world = World::new().await;
    let run = world.pair().await;
    run.stop().await;
    let missed: Vec<_> = (0..3)
        .map(|n| world.peer.send_text(OWN, &format!("missed {n}")).unwrap())
        .collect();

    for _ in 0..3 {
        let mut run = world.start().await;
        let events = run
            .until(|event| matches!(event, EngineEvent::Connected))
            .await;
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, EngineEvent::Qr { .. }))
        );
        world.shelf.holds(3).await;
        run.stop().await;
    }
    let messages = world.shelf.messages();
    let ids: Vec<_> = messages.iter().map(|message| message.id.clone()).collect();
    assert_eq!(ids, missed, "in order, none twice");
    assert!(messages.iter().all(|message| message.offline));
    assert_eq!(
        messages.iter().map(text_of).collect::<Vec<_>>(),
        ["missed 0", "missed 1", "missed 2"]
    );
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_pairing_loses_no_linked_device() {
    let mut world = World::new().await;
    let mut run = world.start().await;
    let code = run.qr().await;
    world.own.scan(&code).await.unwrap();
    // The phone has its signature; nothing of this process's memory is saved.
    drop(run);
    let mut run = world.start().await;
    let events = run
        .until(|event| matches!(event, EngineEvent::Connected))
        .await;
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, EngineEvent::Qr { .. })),
        "{events:?}"
    );
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_while_waiting_for_the_scan_leaves_nothing() {
    let mut world = World::new().await;
    let mut run = world.start().await;
    run.qr().await;
    let (report, events) = run.stop().await;
    assert!(report.clean, "{report:?}");
    assert_eq!(events.last(), Some(&EngineEvent::Stopped));
}
