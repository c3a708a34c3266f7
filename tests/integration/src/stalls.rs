//! An account that does not get on is `disconnected` in time, and says where
//! it hung.

use anyhow::Result;
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, play};
use harness::wait::{self, Look};
use wa_sim::fault::{Disconnect, Fault, FaultKind, Stage};

/// The predecessor's text, with the time that is configured here.
const STALLED: &str = "Connection timeout - no progress after 3s";

async fn stall_is_reported(fault: Fault, stage: &str) -> Result<()> {
    play(async |scene| {
        let setup = scene.worker("alice")?.with(&["--connecting-timeout", "3s"]);
        let worker = setup.start().await?;
        let api = worker.api();
        let peer = scene.contact("Peer")?;
        let account = scene.link(api, "sales").await?;

        scene.sim().inject(fault)?;
        scene
            .sim()
            .disconnect(account.number(), None, Disconnect::Drop);
        let stalled = harness::wait::until("the stall is reported", LINK_LIMIT, async || {
            let account = api.account(&account.id).await?;
            let is_there = account.status == "disconnected"
                && account
                    .last_error
                    .as_ref()
                    .is_some_and(|error| error.message == STALLED);
            let instead = format!("{} {:?}", account.status, account.last_error);
            Ok(harness::wait::Look::some(
                is_there.then_some(account),
                instead,
            ))
        })
        .await?;
        let error = stalled.last_error.unwrap();
        assert_eq!(error.stage.as_deref(), Some(stage));
        assert!(
            error.at.ends_with('Z') && error.at.contains('T'),
            "{}",
            error.at
        );
        assert!(stalled.retry_at.is_some() || error.retry_at.is_some());

        // /health carries it, under the same words.
        let health = api.health().await?;
        let reported = &health["errorsByStatus"]["disconnected"][0];
        assert_eq!(reported["accountId"], account.id, "{health}");
        assert_eq!(reported["lastError"], STALLED, "{health}");
        assert_eq!(reported["stage"], stage, "{health}");

        // It goes on by itself when the server answers again.
        scene.sim().clear_faults();
        scene::until_connected(scene, api, &account, LINK_LIMIT).await?;
        scene.send(api, &account, &peer, "after the stall").await?;
        scene.settle(api, DELIVERY_LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_handshake_is_disconnected_with_its_stage() -> Result<()> {
    let stage = Stage::Handshake;
    stall_is_reported(Fault::new(FaultKind::Stall { stage }), "handshake").await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_login_is_disconnected_with_its_stage() -> Result<()> {
    let stage = Stage::Login;
    stall_is_reported(Fault::new(FaultKind::Stall { stage }), "login").await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_sync_is_disconnected_with_its_stage() -> Result<()> {
    let stage = Stage::Sync;
    stall_is_reported(Fault::new(FaultKind::Stall { stage }), "sync").await
}

/// An account whose worker is told of this address as WhatsApp's.
async fn nobody_answers_at(url: &str, stage: &str) -> Result<()> {
    play(async |scene| {
        let mut setup = scene.worker("alice")?.with(&["--connecting-timeout", "3s"]);
        url.clone_into(&mut setup.whatsapp_url);
        let worker = setup.start().await?;
        let account = worker.api().create_account("nowhere").await?;
        let stalled = worker
            .api()
            .until_status(&account.id, &["disconnected"], LINK_LIMIT)
            .await?;
        let error = stalled.last_error.unwrap();
        assert_eq!(error.message, STALLED);
        assert_eq!(error.stage.as_deref(), Some(stage));
        let path = format!("/debug/accounts/{}", account.id);
        // The status is told first.
        wait::until("the stall is counted", DELIVERY_LIMIT, async || {
            let debug: serde_json::Value = worker.api().get(&path).await?.expect(200)?.json()?;
            let stalls = debug["runtime"]["stalls"]["connecting"].as_u64();
            Ok(Look::some(
                (stalls == Some(1)).then_some(()),
                format!("{stalls:?}"),
            ))
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_tcp_is_disconnected_with_its_stage() -> Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    // Nobody accepts: once the queue is full, the kernel answers no more.
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    let wait = std::time::Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(wait, tokio::net::TcpStream::connect(address)).await
    {
        queued.push(stream?);
    }
    nobody_answers_at(&format!("ws://{address}/ws/chat"), "tcp").await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_tls_is_disconnected_with_its_stage() -> Result<()> {
    // The kernel accepts, and nobody speaks.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    nobody_answers_at(&format!("wss://{address}/ws/chat"), "tls").await
}
