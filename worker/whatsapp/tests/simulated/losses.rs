//! Every way to lose a connection, and what is said about it.

use std::time::Duration;

use wa_sim::Disconnect;
use wa_sim::fault::{Fault, FaultKind, Stage as SimStage};
use whatsapp::{DisconnectReason, EngineConfig, EngineEvent, SendError, UnreachableReason};

use crate::account::{OWN, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_is_told_once_with_its_reason() {
    let mut world = World::new().await;
    world.pair().await.stop().await;
    for (how, reason) in [
        (
            Disconnect::StreamError { code: 503 },
            DisconnectReason::ServiceUnavailable,
        ),
        (
            Disconnect::StreamError { code: 429 },
            DisconnectReason::RateLimited,
        ),
        (
            Disconnect::StreamError { code: 500 },
            DisconnectReason::ServerError,
        ),
        (
            Disconnect::StreamError { code: 401 },
            DisconnectReason::LoggedOut,
        ),
        (
            Disconnect::StreamError { code: 516 },
            DisconnectReason::LoggedOut,
        ),
        (Disconnect::DeviceRemoved, DisconnectReason::LoggedOut),
        (Disconnect::Replaced, DisconnectReason::ConnectionReplaced),
        (Disconnect::XmlStreamEnd, DisconnectReason::ConnectionClosed),
        (Disconnect::Close, DisconnectReason::ConnectionClosed),
        (Disconnect::Drop, DisconnectReason::ConnectionLost),
    ] {
        let mut run = world.start().await;
        run.until(|event| matches!(event, EngineEvent::Connected))
            .await;
        assert_eq!(world.sim.disconnect(OWN, None, how), 1);
        assert_eq!(run.lost().await, reason, "{how:?}");
        assert!(!run.engine.is_connected());
        // The engine's own send would hang after some of these.
        let late = run.engine.send(&world.text("late")).await;
        assert_eq!(late, Err(SendError::NotConnected), "{how:?}");
        let (report, _) = run.stop().await;
        assert!(report.clean, "{how:?}: {report:?}");
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_the_server_asks_for_keeps_the_instance() {
    let mut world = World::new().await;
    let mut run = world.pair().await;
    world
        .sim
        .disconnect(OWN, None, Disconnect::StreamError { code: 515 });
    let events = run
        .until(|event| matches!(event, EngineEvent::Connected))
        .await;
    assert!(events.contains(&EngineEvent::Disconnected(
        DisconnectReason::RestartRequired
    )));
    let message = world.text("still here");
    run.engine.send(&message).await.unwrap();
    world.peer_has(&message.message_id).await;
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_keeps_its_code() {
    let mut world = World::new().await;
    world.pair().await.stop().await;
    for (code, reason) in [
        (401, DisconnectReason::LoggedOut),
        (403, DisconnectReason::AccountLocked),
        (405, DisconnectReason::ClientOutdated),
        (406, DisconnectReason::UnknownLogout),
        (409, DisconnectReason::Refused(409)),
        (500, DisconnectReason::ServerError),
        (503, DisconnectReason::ServiceUnavailable),
    ] {
        let kind = FaultKind::Failure {
            reason: code,
            code: None,
            expire: None,
        };
        world
            .sim
            .inject(Fault::new(kind).for_account(OWN).times(1))
            .unwrap();
        let mut run = world.start().await;
        assert_eq!(run.lost().await, reason);
        run.stop().await;
    }
    let kind = FaultKind::Failure {
        reason: 402,
        code: Some(101),
        expire: Some(3600),
    };
    world
        .sim
        .inject(Fault::new(kind).for_account(OWN).times(1))
        .unwrap();
    let mut run = world.start().await;
    let expires_in = Some(Duration::from_secs(3600));
    assert_eq!(
        run.lost().await,
        DisconnectReason::TemporaryBan { expires_in }
    );
    run.stop().await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_reached_ends_the_instance() {
    let mut world = World::new().await;
    world
        .sim
        .inject(Fault::new(FaultKind::Drop {
            stage: SimStage::Accept,
        }))
        .unwrap();
    let mut run = world.start().await;
    // The reset may come before the WebSocket's first byte is written.
    let reason = run.lost().await;
    assert!(
        matches!(
            reason,
            DisconnectReason::Unreachable(UnreachableReason::WebSocket | UnreachableReason::Tcp)
        ),
        "{reason:?}"
    );
    run.stop().await;

    world.sim.clear_faults();
    world
        .sim
        .inject(Fault::new(FaultKind::Stall {
            stage: SimStage::Accept,
        }))
        .unwrap();
    let config = EngineConfig {
        endpoint: world.sim.url().parse().unwrap(),
        connect_timeout: Duration::from_millis(200),
        ..EngineConfig::default()
    };
    let mut run = world.start_with(config).await;
    assert_eq!(run.lost().await, DisconnectReason::TimedOut);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_login_can_be_shut_down() {
    let mut world = World::new().await;
    world.pair().await.stop().await;
    for stage in [
        SimStage::Accept,
        SimStage::Handshake,
        SimStage::Login,
        SimStage::Sync,
    ] {
        let id = world
            .sim
            .inject(Fault::new(FaultKind::Stall { stage }))
            .unwrap();
        let mut run = world.start().await;
        let reached = match stage {
            SimStage::Accept | SimStage::Handshake => whatsapp::Stage::Handshake,
            SimStage::Login => whatsapp::Stage::Login,
            SimStage::Sync => whatsapp::Stage::Sync,
        };
        run.until(|event| *event == EngineEvent::Stage(reached))
            .await;
        let (report, events) = run.stop().await;
        assert!(report.clean, "{stage:?}: {report:?}");
        assert!(!events.contains(&EngineEvent::Connected));
        assert_eq!(events.last(), Some(&EngineEvent::Stopped), "{stage:?}");
        world.sim.clear_fault(id);
    }
    world.assert_clean();
}
