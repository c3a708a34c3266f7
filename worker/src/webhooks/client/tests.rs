#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn receivers of their own"
)]

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// A receiver that answers each connection so, and says what it was sent.
async fn receiver(
    answer: &'static [u8],
    then_keeps_open: bool,
) -> (Endpoint, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}/hook?token=1")
        .parse()
        .unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).await.unwrap();
        heard.truncate(count);
        let _ = stream.write_all(answer).await;
        if then_keeps_open {
            // Until the other side has had enough.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        heard
    });
    (endpoint, serving)
}

fn client(timeout: Duration) -> Client {
    Client::new(WebhookConfig {
        timeout,
        allow_private: true,
        ..WebhookConfig::default()
    })
}

async fn post(client: Client, endpoint: &Endpoint) -> Outcome {
    let header = (
        HeaderName::from_static("x-leasehold-attempt"),
        HeaderValue::from_static("1"),
    );
    client
        .post(endpoint, vec![header], Bytes::from_static(b"{\"id\":1}"))
        .await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_request_says_what_it_should_and_its_answer_counts() {
    let (endpoint, serving) = receiver(b"HTTP/1.1 204 No Content\r\n\r\n", false).await;
    assert!(post(client(LONG), &endpoint).await.is_delivered());
    let heard = String::from_utf8(serving.await.unwrap()).unwrap();
    assert!(
        heard.starts_with("POST /hook?token=1 HTTP/1.1\r\n"),
        "{heard}"
    );
    assert!(heard.contains("host: 127.0.0.1:"), "{heard}");
    assert!(heard.contains("x-leasehold-attempt: 1"), "{heard}");
    assert!(heard.contains("content-length: 8"), "{heard}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n";
    let (endpoint, _serving) = receiver(answer, false).await;
    let outcome = post(client(LONG), &endpoint).await;
    assert_eq!(outcome.status(), Some(302));
    assert!(
        outcome.error().unwrap().contains("redirects"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_receiver_that_says_when_to_come_again_is_heard() {
    let answer = b"HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    let (endpoint, _serving) = receiver(answer, false).await;
    let expected = Outcome::Answered {
        status: 503,
        retry_after: Some(Duration::from_secs(120)),
    };
    assert_eq!(post(client(LONG), &endpoint).await, expected);
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    // Its length would fill the memory of ten machines.
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\nAAAAAAAA";
    let (endpoint, serving) = receiver(answer, true).await;
    assert!(post(client(LONG), &endpoint).await.is_delivered());
    serving.await.unwrap();
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut written = 0_usize;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaa\r\n")
            .await
            .is_ok()
        {
            written += 1;
        }
        written
    });
    let endpoint = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let outcome = post(client(LONG), &endpoint).await;
    assert!(
        !outcome.is_delivered() && outcome.status().is_none(),
        "{outcome:?}"
    );
    serving.await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_is_silent_or_drips_is_given_up_in_time() {
    for answer in [&b""[..], b"HTTP/1.1 2"] {
        let (endpoint, serving) = receiver(answer, true).await;
        let outcome = post(client(Duration::from_millis(300)), &endpoint).await;
        assert_eq!(outcome.error().as_deref(), Some("no answer in time"));
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_http_and_what_is_closed_are_failures() {
    let (endpoint, _serving) = receiver(b"SSH-2.0-x\r\n", false).await;
    assert!(post(client(LONG), &endpoint).await.error().is_some());
    // Has its port, and does not listen.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = nobody.local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let outcome = post(client(LONG), &endpoint).await;
    assert_eq!(outcome.error().as_deref(), Some("not reached"));
    // Plain text where TLS is spoken.
    let (endpoint, _serving) = receiver(b"HTTP/1.1 200 OK\r\n\r\n", false).await;
    let encrypted = format!("https://127.0.0.1:{}/", endpoint.port());
    let outcome = post(client(LONG), &encrypted.parse().unwrap()).await;
    assert!(outcome.error().unwrap().contains("TLS"), "{outcome:?}");
}

/// A name that is looked up leads to this machine: what counts is the address,
/// not how it is written.
#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_asked() {
    let (endpoint, serving) = receiver(b"HTTP/1.1 200 OK\r\n\r\n", false).await;
    let strict = Client::new(WebhookConfig::default());
    for host in ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let named: Endpoint = format!("http://{host}:{}/", endpoint.port())
            .parse()
            .unwrap();
        let outcome = post(strict.clone(), &named).await;
        let error = outcome.error().unwrap();
        assert!(error.contains("not public"), "{host}: {error}");
    }
    assert!(!serving.is_finished(), "nobody connected");
    serving.abort();
}

/// A network whose names lead elsewhere each time: it notes which addresses are
/// connected to, and leads all of them to one receiver.
struct Rebinding {
    answers: Mutex<VecDeque<SocketAddr>>,
    connected: Mutex<Vec<SocketAddr>>,
    receiver: SocketAddr,
}

#[async_trait]
impl Network for Rebinding {
    async fn look_up(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let answer = self.answers.lock().pop_front();
        Ok(vec![answer.expect("one look-up a request")])
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().push(address);
        TcpStream::connect(self.receiver).await
    }
}

#[tokio::test]
async fn a_name_that_is_rebound_from_a_public_to_a_private_address_is_refused_when_connecting() {
    let public = SocketAddr::from(([93, 184, 216, 34], 80));
    for inside in [
        "127.0.0.1",
        "10.0.0.7",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
    ] {
        let (local, _serving) = receiver(b"HTTP/1.1 200 OK\r\n\r\n", false).await;
        let inside = SocketAddr::new(inside.parse().unwrap(), 80);
        let network = Arc::new(Rebinding {
            answers: Mutex::new([public, inside].into()),
            connected: Mutex::default(),
            receiver: SocketAddr::from(([127, 0, 0, 1], local.port())),
        });
        let client = Client {
            config: WebhookConfig::default(),
            network: Arc::clone(&network) as Arc<dyn Network>,
        };
        let endpoint: Endpoint = "http://rebound.example/".parse().unwrap();

        // What was found good is what is connected to: the name is not asked a
        // second time in between.
        assert!(post(client.clone(), &endpoint).await.is_delivered());
        assert_eq!(*network.connected.lock(), [public]);
        assert_eq!(network.answers.lock().len(), 1);

        // The next delivery finds the other address, and does not connect.
        let error = post(client, &endpoint).await.error().unwrap();
        assert!(error.contains("not public"), "{inside}: {error}");
        assert_eq!(*network.connected.lock(), [public], "{inside}");
    }
}
