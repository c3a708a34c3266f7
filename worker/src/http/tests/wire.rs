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
