use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::gate::CloseReason;
use futures::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use whatsapp_rust::store::persistence_manager::PersistenceManager;

use super::*;
use crate::disconnect::{DisconnectReason, UnreachableReason};
use crate::events::EngineEvent;
use crate::testing::{Bench, Claim};

const LIMIT: Duration = Duration::from_secs(10);

/// A transport factory, and a server that it connects to.
struct Setup {
    transports: GatedTransports,
    claim: Claim,
    monitor: Arc<Monitor>,
    listener: TcpListener,
    runtime: TaskRuntime,
}

async fn setup() -> Setup {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("ws://{}/ws", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let bench = Bench::new();
    let claim = bench.claim(1).await;
    let clock = bench.clock.clone();
    let runtime = TaskRuntime::new(clock.clone());
    let monitor = Arc::new(Monitor::new(clock.clone()));
    let manager = PersistenceManager::new(Arc::new(claim.backend.clone()))
        .await
        .unwrap();
    let barrier = Arc::new(IdentityBarrier::new(
        Arc::new(manager),
        claim.backend.clone(),
    ));
    let config = DialConfig {
        proxy: None,
        endpoint,
        origin: "https://web.whatsapp.com".to_owned(),
        connect_timeout: Duration::from_secs(5),
    };
    let transports = GatedTransports::new(
        config,
        claim.gates.wire.clone(),
        clock,
        runtime.clone(),
        monitor.clone(),
        barrier,
    );
    Setup {
        transports,
        claim,
        monitor,
        listener,
        runtime,
    }
}

type Opened = (Arc<dyn Transport>, async_channel::Receiver<TransportEvent>);

impl Setup {
    async fn open(&self) -> (Opened, WebSocketStream<TcpStream>) {
        let accept = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        let (opened, server) = tokio::join!(self.transports.create_transport(), accept);
        (opened.unwrap(), server)
    }

    fn reason(&self) -> DisconnectReason {
        self.monitor.clue(|clues, now| {
            clues.handshake_done();
            clues.reason(now, false)
        })
    }

    async fn stages(&self) -> Vec<&'static str> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        self.monitor.end();
        self.monitor.deliver(sender).await;
        let mut stages = Vec::new();
        while let Some(event) = receiver.recv().await {
            if let EngineEvent::Stage(stage) = event {
                stages.push(stage.name());
            }
        }
        stages
    }
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work)
        .await
        .expect("it happens in time")
}

#[tokio::test]
async fn frames_pass_both_ways_and_are_counted() {
    let setup = setup().await;
    let ((transport, events), mut server) = setup.open().await;
    transport.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(
        soon(server.next()).await.unwrap().unwrap().into_data(),
        "hello"
    );
    server.send(Message::Binary("answer".into())).await.unwrap();
    assert!(matches!(
        soon(events.recv()).await,
        Ok(TransportEvent::Connected)
    ));
    let Ok(TransportEvent::DataReceived(data)) = soon(events.recv()).await else {
        panic!()
    };
    assert_eq!(data, "answer");
    let stats = setup.monitor.stats(0);
    assert_eq!((stats.frames_out, stats.frames_in), (1, 1));
    assert!(stats.last_frame_in.is_some());
    assert_eq!(setup.stages().await, ["dns", "tcp", "handshake"]);
}

#[tokio::test]
async fn no_byte_leaves_once_the_wire_gate_is_closed() {
    let setup = setup().await;
    let ((transport, events), server) = setup.open().await;
    let mut tcp = server.into_inner();
    setup.claim.gates.wire.close(CloseReason::Fenced);
    assert!(transport.send(Bytes::from_static(b"late")).await.is_err());
    // Not a frame, not a goodbye: the server sees the end of the stream.
    let mut received = Vec::new();
    soon(tcp.read_to_end(&mut received)).await.unwrap();
    assert!(received.is_empty(), "{received:?}");
    while !matches!(
        soon(events.recv()).await,
        Ok(TransportEvent::Disconnected(_))
    ) {}
    soon(setup.runtime.ended()).await;
    assert_eq!(setup.reason(), DisconnectReason::Intentional);
}

#[tokio::test]
async fn nothing_is_dialled_through_a_closed_wire_gate() {
    let setup = setup().await;
    setup.claim.gates.wire.close(CloseReason::Released);
    assert!(setup.transports.create_transport().await.is_err());
    assert!(futures::poll!(Box::pin(setup.listener.accept())).is_pending());
    assert!(setup.stages().await.is_empty());
}

#[tokio::test]
async fn frames_wait_at_a_suspended_wire_gate() {
    let setup = setup().await;
    let ((transport, _events), mut server) = setup.open().await;
    setup.claim.gates.wire.suspend().unwrap();
    let mut send = Box::pin(transport.send(Bytes::from_static(b"waits")));
    assert!(futures::poll!(&mut send).is_pending());
    // Not even the pong that the socket would answer with by itself.
    server
        .send(Message::Ping("are you there?".into()))
        .await
        .unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(100), server.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    setup.claim.gates.wire.open().unwrap();
    soon(send).await.unwrap();
    let mut received = vec![soon(server.next()).await.unwrap().unwrap()];
    received.push(soon(server.next()).await.unwrap().unwrap());
    assert!(received.iter().any(Message::is_pong), "{received:?}");
    assert!(
        received.contains(&Message::Binary("waits".into())),
        "{received:?}"
    );
}

#[tokio::test]
async fn a_frame_that_waits_fails_when_the_gate_closes() {
    let setup = setup().await;
    let ((transport, _events), _server) = setup.open().await;
    setup.claim.gates.wire.suspend().unwrap();
    let mut send = Box::pin(transport.send(Bytes::from_static(b"never")));
    assert!(futures::poll!(&mut send).is_pending());
    setup.claim.gates.wire.close(CloseReason::LeaseLost);
    assert!(soon(send).await.is_err());
}

#[tokio::test]
async fn every_end_of_the_socket_is_told_and_explained() {
    let setup_ = setup().await;
    let ((_transport, events), mut server) = setup_.open().await;
    server.close(None).await.unwrap();
    while !matches!(
        soon(events.recv()).await,
        Ok(TransportEvent::Disconnected(_))
    ) {}
    assert_eq!(setup_.reason(), DisconnectReason::ConnectionClosed);

    let setup_ = setup().await;
    let ((_transport, events), server) = setup_.open().await;
    let tcp = server.into_inner();
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    while !matches!(
        soon(events.recv()).await,
        Ok(TransportEvent::Disconnected(_))
    ) {}
    assert_eq!(setup_.reason(), DisconnectReason::ConnectionLost);
}

#[tokio::test]
async fn closing_says_goodbye_and_ends_the_link() {
    let setup = setup().await;
    let ((transport, _events), mut server) = setup.open().await;
    transport.disconnect().await;
    assert!(soon(server.next()).await.unwrap().unwrap().is_close());
    assert!(
        soon(async { transport.send(Bytes::from_static(b"x")).await })
            .await
            .is_err()
    );
    drop((transport, _events));
    soon(setup.runtime.ended()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_by_step() {
    let Setup {
        transports,
        listener,
        monitor,
        ..
    } = setup().await;
    drop(listener);
    assert!(transports.create_transport().await.is_err());
    let reason = monitor.clue(|clues, now| clues.reason(now, false));
    assert_eq!(
        reason,
        DisconnectReason::Unreachable(UnreachableReason::Tcp)
    );
}

#[tokio::test]
async fn an_upgrade_that_stalls_ends_at_the_time_limit() {
    let mut setup = setup().await;
    setup.transports.config.connect_timeout = Duration::from_millis(50);
    let accepted = async {
        let (stream, _) = setup.listener.accept().await.unwrap();
        stream
    };
    let (opened, _stalled) = tokio::join!(setup.transports.create_transport(), accepted);
    assert!(opened.is_err());
    assert_eq!(setup.stages().await.last(), Some(&"handshake"));
    let reason = setup.monitor.clue(|clues, now| clues.reason(now, false));
    assert_eq!(reason, DisconnectReason::TimedOut);
}
