//! A worker's link to the store or to WhatsApp: a TCP relay on the loopback
//! interface that can hold up what it relays, in one direction or both.
//!
//! It does what a network does to TCP: bytes come late, or not at all until the
//! link is mended, when they are sent again. None is lost, none overtakes
//! another: TCP would not let that be seen. What a worker has sent before it is
//! killed can arrive after others have taken its work over.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What TCP waits at least before it sends something again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Bytes that are relayed at once.
const CHUNK: usize = 16 * 1024;

/// Packets of one direction that are held; what comes after them stays with the
/// sender, as in TCP.
const PACKETS_HELD: usize = 64;

/// Told of a link that was held up: from which address of this machine packets
/// come, and how long ago the one that comes now was sent.
pub(crate) type Postmark = Arc<dyn Fn(SocketAddr, Duration) + Send + Sync>;

/// How bytes pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// At once.
    Free,
    /// So much later.
    Late(Duration),
    /// Of a thousand packets so many have to be sent again.
    Lossy(u32),
    /// Not at all.
    Cut,
}

/// A link.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    up: watch::Sender<Flow>,
    down: watch::Sender<Flow>,
    _relay: JoinSet<()>,
}

impl Proxy {
    /// A free link to `upstream`, which is on this machine.
    ///
    /// # Errors
    /// No port.
    pub(crate) async fn to(upstream: String) -> Result<Self> {
        Self::telling(upstream, Arc::new(|_, _| {})).await
    }

    /// The same, and whoever is there can know when something was sent.
    ///
    /// # Errors
    /// No port.
    pub(crate) async fn telling(upstream: String, postmark: Postmark) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (up, down) = (
            watch::Sender::new(Flow::Free),
            watch::Sender::new(Flow::Free),
        );
        let flows = (up.subscribe(), down.subscribe());
        let mut relay = JoinSet::new();
        relay.spawn(async move {
            let upstream: Arc<str> = upstream.into();
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((client, _)) = accepted {
                            let (up, down) = flows.clone();
                            let postmark = Arc::clone(&postmark);
                            let upstream = Arc::clone(&upstream);
                            connections.spawn(connect(client, upstream, postmark, up, down));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            address,
            up,
            down,
            _relay: relay,
        })
    }

    /// Where the worker finds it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How bytes pass from the worker, and to it, from now on.
    pub(crate) fn set(&self, up: Flow, down: Flow) {
        self.up.send_replace(up);
        self.down.send_replace(down);
    }
}

/// One connection, until either side ends it.
async fn connect(
    client: TcpStream,
    upstream: Arc<str>,
    postmark: Postmark,
    mut up: watch::Receiver<Flow>,
    mut down: watch::Receiver<Flow>,
) {
    // A handshake needs both directions.
    if pass(&mut up).await.is_none() || pass(&mut down).await.is_none() {
        return;
    }
    let connected = async {
        let server = TcpStream::connect(&*upstream).await?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        anyhow::Ok((client.into_split(), server.into_split()))
    };
    let Ok(((from_client, to_client), (from_server, to_server))) = connected
        .await
        .context("whoever is there refuses, and so does this")
    else {
        return;
    };
    tokio::join!(
        relay(from_client, to_server, up, postmark),
        relay(from_server, to_client, down, Arc::new(|_, _| {}))
    );
}

/// One direction; its end is passed on as well.
async fn relay(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    flow: watch::Receiver<Flow>,
    postmark: Postmark,
) {
    let (sender, packets) = mpsc::channel(PACKETS_HELD);
    let taken = async {
        take(from, sender).await;
        // What was taken is still to be delivered.
        pending::<()>().await;
    };
    tokio::select! {
        () = deliver(packets, to, flow, postmark) => {}
        () = taken => {}
    }
}

/// Packets with the time of their sending; an empty one is the end.
async fn take(mut from: OwnedReadHalf, packets: mpsc::Sender<(Instant, Vec<u8>)>) {
    loop {
        let mut bytes = vec![0; CHUNK];
        let read = from.read(&mut bytes).await.unwrap_or(0);
        bytes.truncate(read);
        if packets.send((Instant::now(), bytes)).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn deliver(
    mut packets: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
    postmark: Postmark,
) {
    let mut was_held = false;
    while let Some((sent_at, bytes)) = packets.recv().await {
        was_held |= *flow.borrow() != Flow::Free;
        if pass(&mut flow).await.is_none() {
            return;
        }
        if was_held && let Ok(address) = to.local_addr() {
            postmark(address, sent_at.elapsed());
        }
        if bytes.is_empty() {
            // The other side may be gone already.
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Waits until a packet passes; `None` if the link is gone.
async fn pass(flow: &mut watch::Receiver<Flow>) -> Option<()> {
    loop {
        let now = *flow.borrow_and_update();
        match now {
            Flow::Free => return Some(()),
            Flow::Late(wait) => {
                tokio::time::sleep(wait).await;
                return Some(());
            }
            Flow::Lossy(permille) => {
                // Every further loss of the same packet doubles the wait.
                let mut wait = RETRANSMISSION;
                while rand::rng().random_range(0..1_000) < permille {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                return Some(());
            }
            Flow::Cut => flow.changed().await.ok()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that gives back what it gets.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        stream.write_all(text).await.unwrap();
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_cut_holds_everything_back_and_loses_nothing() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(says(&mut stream, b"one").await, b"one");

        for (up, down) in [(Flow::Cut, Flow::Free), (Flow::Free, Flow::Cut)] {
            proxy.set(up, down);
            stream.write_all(b"two").await.unwrap();
            let mut answer = [0; 3];
            let early =
                tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut answer));
            assert!(early.await.is_err());
            proxy.set(Flow::Free, Flow::Free);
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"two");
        }
        proxy.set(Flow::Lossy(500), Flow::Late(Duration::from_millis(5)));
        assert_eq!(says(&mut stream, b"three").await, b"three");
    }

    #[tokio::test]
    async fn what_was_held_up_tells_when_it_was_sent() {
        let marks: Arc<std::sync::Mutex<Vec<Duration>>> = Arc::default();
        let kept = Arc::clone(&marks);
        let postmark: Postmark = Arc::new(move |_, ago| kept.lock().unwrap().push(ago));
        let proxy = Proxy::telling(echo().await, postmark).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        says(&mut stream, b"at once").await;
        assert_eq!(*marks.lock().unwrap(), []);

        let held = Duration::from_millis(50);
        proxy.set(Flow::Cut, Flow::Free);
        stream.write_all(b"one").await.unwrap();
        tokio::time::sleep(held).await;
        proxy.set(Flow::Free, Flow::Free);
        stream.read_exact(&mut [0; 3]).await.unwrap();
        says(&mut stream, b"two").await;
        let marks = marks.lock().unwrap();
        assert!(marks[0] >= held && marks[1] < held, "{marks:?}");
    }

    #[tokio::test]
    async fn the_end_of_one_side_is_the_end_of_the_other() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
    }
}
