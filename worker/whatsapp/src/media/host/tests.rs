use std::net::SocketAddr;

use coordinator_lib::clock::SystemClock;
use coordinator_lib::gate::CloseReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The largest file of a test.
const FILE_BYTES: usize = 3 * 1024 * 1024 + 7;

const URL: &str = "https://mmg.whatsapp.net/v/a?b";

#[test]
fn only_whatsapps_hosts_are_asked() {
    let host = MediaHost::new(None, None);
    assert!(host.address(URL).is_ok());
    for url in [
        "http://mmg.whatsapp.net/v/a",
        "https://example.com/v/a",
        "https://mmg.whatsapp.net.example.com/",
        "https://169.254.169.254/latest",
        "https://user@example.com/.whatsapp.net",
    ] {
        assert!(host.address(url).is_err(), "{url}");
    }
}

#[test]
fn a_simulation_has_its_own_host() {
    let host = MediaHost::new(Some("http://127.0.0.1:9".to_owned()), None);
    assert_eq!(host.address(URL).unwrap(), "http://127.0.0.1:9/v/a?b");
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn host(address: SocketAddr, proxy: Option<Proxy>) -> MediaHost {
    MediaHost::new(Some(format!("http://{address}")), proxy)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.unwrap()));
    }
    head
}

/// As the engine does it: on a thread that may be kept waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn whole(host: &MediaHost) -> io::Result<Vec<u8>> {
    let mut answer = host.execute_streaming(HttpRequest::get(URL)).unwrap();
    assert_eq!(answer.status_code, 200);
    let mut file = Vec::new();
    answer.body.read_to_end(&mut file)?;
    Ok(file)
}

async fn send_file(stream: &mut TcpStream) {
    let start = format!("HTTP/1.1 200 OK\r\nContent-Length: {FILE_BYTES}\r\n\r\n");
    stream.write_all(start.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; FILE_BYTES]).await.unwrap();
}

#[tokio::test]
async fn a_file_goes_with_its_length_and_not_in_chunks() {
    let (listener, address) = listener().await;
    let sent = blocking(move || {
        let file = Box::new(io::repeat(7).take(2 * FILE_BYTES as u64));
        host(address, None).execute_upload(HttpRequest::post(URL), file, FILE_BYTES as u64)
    });
    let taken = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("post /v/a?b http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {FILE_BYTES}\r\n")));
        assert!(!head.contains("chunked"), "{head}");
        let mut file = vec![0; FILE_BYTES];
        stream.read_exact(&mut file).await.unwrap();
        assert!(file.iter().all(|byte| *byte == 7));
        let answer = b"HTTP/1.1 507 Full\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(sent, taken);
    let answer = answer.unwrap();
    assert_eq!((answer.status_code, &answer.body[..]), (507, &b"{}"[..]));
}

#[tokio::test]
async fn a_file_that_is_shorter_than_said_does_not_arrive() {
    let (listener, address) = listener().await;
    let sent = blocking(move || {
        let file = Box::new(io::repeat(7).take(10));
        host(address, None).execute_upload(HttpRequest::post(URL), file, 11)
    });
    let taken = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let _ = stream.read_to_end(&mut request).await;
        assert!(!request.ends_with(&[7; 11]));
    };
    let (answer, ()) = tokio::join!(sent, taken);
    assert!(answer.is_err());
}

#[tokio::test]
async fn a_file_comes_through_the_accounts_proxy() {
    let (listener, address) = listener().await;
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let proxy = format!("http://name:word@{address}").parse().unwrap();
    let got = blocking(move || whole(&host(nobody, Some(proxy))));
    let given = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let tunnel = head(&mut stream).await;
        assert!(tunnel.starts_with("CONNECT 127.0.0.1:1 "), "{tunnel}");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let request = head(&mut stream).await;
        assert!(request.starts_with("GET /v/a?b "), "{request}");
        send_file(&mut stream).await;
    };
    let (file, ()) = tokio::join!(got, given);
    assert_eq!(file.unwrap(), vec![7; FILE_BYTES]);
}

#[tokio::test]
async fn no_request_leaves_without_the_wire_gate() {
    let (listener, address) = listener().await;
    let wire = Gate::new(SystemClock::shared());
    let behind = host(address, None).behind(wire.clone());
    wire.suspend().unwrap();
    let got = blocking(move || whole(&behind));
    let given = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
        assert!(early.is_err(), "a byte left through a suspended gate");
        wire.open().unwrap();
        head(&mut stream).await;
        send_file(&mut stream).await;
    };
    let (file, ()) = tokio::join!(got, given);
    assert_eq!(file.unwrap().len(), FILE_BYTES);

    wire.close(CloseReason::Released);
    let behind = host(address, None).behind(wire);
    let refused = blocking(move || behind.execute_streaming(HttpRequest::get(URL)).is_err());
    assert!(refused.await);
}

#[tokio::test]
async fn a_transfer_ends_when_the_wire_gate_closes() {
    let (listener, address) = listener().await;
    let wire = Gate::new(SystemClock::shared());
    let behind = host(address, None).behind(wire.clone());
    let got = blocking(move || whole(&behind));
    let given = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        let start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
        stream.write_all(start).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        wire.close(CloseReason::Released);
        stream
    };
    let (file, _stream) = tokio::join!(got, given);
    assert!(file.is_err());
}
