//! An account that does not get on is `disconnected` in time, and says where
//! it hung.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Scene, play};
use harness::wait::{self, Look};
use harness::worker::WorkerSetup;
use tokio::net::UdpSocket;
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
        let stalled = wait::until("the stall is reported", LINK_LIMIT, async || {
            let account = api.account(&account.id).await?;
            let is_there = account.status == "disconnected"
                && account.last_error.as_ref().is_some_and(|error| {
                    // Held up elsewhere, it may stall elsewhere first.
                    error.message == STALLED && error.stage.as_deref() == Some(stage)
                });
            let instead = format!("{} {:?}", account.status, account.last_error);
            Ok(Look::some(is_there.then_some(account), instead))
        })
        .await?;
        let error = stalled.last_error.unwrap();
        assert!(
            error.at.ends_with('Z') && error.at.contains('T'),
            "{}",
            error.at
        );
        assert!(stalled.retry_at.is_some() || error.retry_at.is_some());

        // /health carries it, under the same words.
        wait::until("`/health` carries it", LINK_LIMIT, async || {
            let errors = api.health().await?["errorsByStatus"].take();
            let reported = &errors["disconnected"][0];
            let is_so = reported["accountId"] == account.id
                && reported["lastError"] == STALLED
                && reported["stage"] == stage;
            Ok(Look::some(is_so.then_some(()), errors))
        })
        .await?;

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
    nobody_answers(stage, |_, setup| {
        url.clone_into(&mut setup.whatsapp_url);
        Ok(())
    })
    .await
}

/// An account of a worker in whose surroundings nobody answers.
async fn nobody_answers(
    stage: &str,
    surroundings: impl FnOnce(&Scene, &mut WorkerSetup) -> Result<()>,
) -> Result<()> {
    play(async |scene| {
        let mut setup = scene.worker("alice")?.with(&["--connecting-timeout", "3s"]);
        surroundings(scene, &mut setup)?;
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
                (stalls >= Some(1)).then_some(()),
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

/// A name server's address on this machine.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 153);

/// Starts a program where names are looked up as two files say; only it and
/// its children see these.
const WITH_OTHER_NAMES: &str =
    r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@""#;

/// The worker knows no name by itself and asks a name server that is silent.
fn ask_silent_name_server(scene: &Scene, setup: &mut WorkerSetup) -> Result<()> {
    let (hosts, resolver) = (
        scene.folder().join("hosts"),
        scene.folder().join("resolv.conf"),
    );
    std::fs::write(&hosts, "127.0.0.1 somebody\n")?;
    // It asks for longer than the attempt may take.
    let options = "options timeout:20 attempts:2";
    std::fs::write(&resolver, format!("nameserver {NAME_SERVER}\n{options}\n"))?;
    let as_root: &[&str] = match rustix::process::geteuid().is_root() {
        true => &[],
        false => &["--user", "--map-root-user"],
    };
    let (hosts, resolver) = (hosts.to_string_lossy(), resolver.to_string_lossy());
    let shell = ["--mount", "sh", "-c", WITH_OTHER_NAMES, "sh"];
    let files = [&*hosts, &*resolver];
    let words = ["unshare"]
        .iter()
        .chain(as_root)
        .chain(&shell)
        .chain(&files);
    setup.launcher = words.map(|&word| word.to_owned()).collect();
    "ws://localhost:9/ws/chat".clone_into(&mut setup.whatsapp_url);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_dns_is_disconnected_with_its_stage() -> Result<()> {
    let server = UdpSocket::bind((NAME_SERVER, 53)).await.context(
        "a name server needs port 53 of the loopback interface: be root, or \
         `sysctl net.ipv4.ip_unprivileged_port_start=53`",
    )?;
    nobody_answers("dns", ask_silent_name_server).await?;
    let mut question = [0; 512];
    let (length, _) = server.try_recv_from(&mut question)?;
    let name = b"\x09localhost\0";
    let asked = question[..length].windows(name.len());
    assert!(asked.into_iter().any(|part| part == name), "it was asked");
    Ok(())
}
