//! Accepts connections and serves the router on them, within limits: number of
//! connections, size and number of headers, time until a header is complete.
//!
//! Stopping lets running requests finish, for a short while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; further ones wait in the listener's queue. Far above
/// what a worker's clients need, far below a usual limit on open files.
const CONNECTIONS_MAX: usize = 512;
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's line and headers together.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// A header must be complete by then, and an idle connection is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Running requests may finish for so long once the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A bound port, not yet served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the port.
    ///
    /// # Errors
    /// The operating system's, such as `AddrInUse`.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address in force: port 0 has become a real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets running requests finish.
    pub async fn run(self, router: Router, stop: CancellationToken) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let tasks = TaskTracker::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept(&connections) => {
                    if let Some((stream, permit)) = accepted {
                        serve(stream, permit, router.clone(), stop.clone(), &tasks);
                    }
                }
            }
        }
        drop(self.listener);
        tasks.close();
        if tokio::time::timeout(STOP_LIMIT, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = tasks.len(),
                "requests still running are given up"
            );
        }
    }

    async fn accept(
        &self,
        connections: &Arc<Semaphore>,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = Arc::clone(connections).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, permit)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    router: Router,
    stop: CancellationToken,
    tasks: &TaskTracker,
) {
    // Answers are small; waiting to fill a packet only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection closed at once");
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tasks.spawn(async move {
        let _permit = permit;
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => {
                // Ends after the answer that is under way, or at once.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            ended = connection.as_mut() => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    });
}
