//! The server on a real socket: what limits on connections do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::Server;

const DEADLINE: Duration = Duration::from_secs(20);

async fn serve() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let address = server.address();
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(Fixture::new().router, stop.clone()));
    (address, stop, running)
}

/// Writes as much as the server takes, and reads its whole answer.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let send = async {
        // The server may close before it has read everything.
        let _ = writer.write_all(request).await;
        writer
    };
    let receive = async {
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let both = async { tokio::join!(send, receive).1 };
    tokio::time::timeout(DEADLINE, both)
        .await
        .expect("an answer in time")
}

#[tokio::test]
async fn a_client_that_sends_ten_mebibytes_sees_why_they_are_refused() {
    let (address, stop, running) = serve().await;
    let body = vec![b'x'; 10 * 1024 * 1024];
    let mut request = format!(
        "POST /v1/accounts HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    let answer = exchange(address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_header_that_is_too_large_ends_that_connection_only() {
    let (address, stop, running) = serve().await;
    let large = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let answer = exchange(address, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = exchange(address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once() {
    let (address, stop, running) = serve().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stop.cancel();
    let stopped = tokio::time::timeout(Duration::from_secs(4), running).await;
    stopped
        .expect("sooner than the limit for running requests")
        .unwrap();
}

/// The next message of a WebSocket, as text. Servers do not mask.
async fn message(stream: &mut TcpStream) -> String {
    let first = stream.read_u8().await.unwrap();
    let length = match stream.read_u8().await.unwrap() {
        126 => usize::from(stream.read_u16().await.unwrap()),
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    assert_eq!(first, 0x81, "a whole text: {payload:?}");
    String::from_utf8(payload).unwrap()
}

#[tokio::test]
async fn a_web_socket_shows_events() {
    let server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    let fixture = Fixture::new();
    let running = tokio::spawn(server.run(fixture.router.clone(), stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /v1/events/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let shown = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
        let heartbeat = message(&mut stream).await;
        assert!(heartbeat.contains("\"kind\":\"heartbeat\""), "{heartbeat}");
        super::events::store_event(&fixture, "a", 1, crate::model::EventKind::Presence).await;
        message(&mut stream).await
    };
    let shown = tokio::time::timeout(DEADLINE, shown).await.unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (shown["kind"].as_str(), shown["event"]["seq"].as_i64()),
        (Some("event"), Some(1))
    );
    assert!(
        shown["cursor"]
            .as_str()
            .unwrap()
            .ends_with("a-000000000001")
    );
    // What a client has to say is read and left alone; then it goes.
    drop(stream);
    stop.cancel();
    running.await.unwrap();
}
