//! A worker's link to the store or to WhatsApp: a TCP relay on the loopback
//! interface that can hold up what it relays, in one direction or both.
//!
//! It does what a network does to TCP: bytes come late, or not at all until the
//! link is mended, when they are sent again. None is lost, none overtakes
//! another: TCP would not let that be seen. What a worker has sent before it is
//! killed can arrive after others have taken its work over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What TCP waits at least before it sends something again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Bytes that are relayed at once.
const CHUNK: usize = 16 * 1024;

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
                            connections.spawn(connect(client, Arc::clone(&upstream), up, down));
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
        relay(from_client, to_server, up),
        relay(from_server, to_client, down)
    );
}

/// One direction; its end is passed on as well.
async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>) {
    let mut bytes = vec![0; CHUNK];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if pass(&mut flow).await.is_none() {
            return;
        }
        if read == 0 {
            // The other side may be gone already.
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
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
