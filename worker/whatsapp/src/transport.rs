//! The engine's socket: WebSocket over rustls over TCP, behind the wire gate.
//!
//! The engine hands over whole frames, encrypted by Noise, and gets whole
//! frames back. The wire gate stands at three places:
//! - before each dial: a closed gate refuses, a suspended one waits;
//! - before each frame, in [`Transport::send`]: the call waits or fails;
//! - below TLS, at each write to TCP ([`gated`]): whatever the layers above
//!   have in their buffers, pongs and close frames included, no byte leaves
//!   while the gate is not open.
//!
//! When the gate closes, the link's task drops the TCP stream; nothing more is
//! sent, not even a close frame, and the server sees the end of the stream.
//!
//! One [`TransportFactory`] serves one engine instance. It holds the link that
//! is open, so that the instance can close it, and reports stages and clues.

mod dial;
mod gated;
mod link;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::{Gate, GateState};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory};

use crate::barrier::IdentityBarrier;
use crate::clues::{DialFailure, LinkEnd};
use crate::config::Endpoint;
use crate::monitor::Monitor;
use crate::proxy::Proxy;
use crate::runtime::TaskRuntime;

pub(crate) use dial::{DialError, Target, open};

/// What a dial needs to know.
#[derive(Clone)]
pub(crate) struct DialConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) origin: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) proxy: Option<Proxy>,
}

/// Makes the connections of one engine instance.
pub(crate) struct GatedTransports {
    config: DialConfig,
    wire: Gate,
    clock: SharedClock,
    runtime: TaskRuntime,
    monitor: Arc<Monitor>,
    barrier: Arc<IdentityBarrier>,
    /// Closes the link that is open.
    open_link: Mutex<CancellationToken>,
    /// Closes all links, and dials no more.
    closed: CancellationToken,
}

impl GatedTransports {
    pub(crate) fn new(
        config: DialConfig,
        wire: Gate,
        clock: SharedClock,
        runtime: TaskRuntime,
        monitor: Arc<Monitor>,
        barrier: Arc<IdentityBarrier>,
    ) -> Self {
        let closed = CancellationToken::new();
        let open_link = Mutex::new(closed.child_token());
        Self {
            config,
            wire,
            clock,
            runtime,
            monitor,
            barrier,
            open_link,
            closed,
        }
    }

    /// Closes the link that is open, if one is, with a close frame if the gate
    /// lets it through.
    pub(crate) fn close_link(&self) {
        self.open_link.lock().cancel();
    }

    /// Closes the link that is open, gives up a dial that is under way, and
    /// refuses the next. The engine does not interrupt either when it goes down.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// True once the wire gate is closed.
    pub(crate) fn is_gate_closed(&self) -> bool {
        matches!(self.wire.state(), GateState::Closed(_))
    }

    async fn dial(&self) -> Result<link::WebSocket, DialError> {
        let _pass = self.wire.pass().await.map_err(|_| DialError::Gate)?;
        let report = |stage| self.monitor.stage(stage);
        tokio::select! {
            biased;
            _ = self.wire.closed() => Err(DialError::Gate),
            () = self.closed.cancelled() => Err(DialError::ShuttingDown),
            () = self.clock.sleep(self.config.connect_timeout) => Err(DialError::TimedOut),
            dialled = dial::dial(&self.config, &self.wire, report) => dialled,
        }
    }
}

#[async_trait]
impl TransportFactory for GatedTransports {
    async fn create_transport(
        &self,
    ) -> Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>), anyhow::Error> {
        let socket = match self.dial().await {
            Ok(socket) => socket,
            Err(error) => {
                self.monitor
                    .clue(|clues, _| clues.dial_failed(error.failure()));
                return Err(error.into());
            }
        };
        let close = self.closed.child_token();
        *self.open_link.lock() = close.clone();
        let (frames, events) = link::start(
            socket,
            link::Surroundings {
                wire: self.wire.clone(),
                close: close.clone(),
                clock: self.clock.clone(),
                monitor: self.monitor.clone(),
                runtime: &self.runtime,
            },
        );
        let transport = GatedTransport {
            wire: self.wire.clone(),
            frames,
            close,
            monitor: self.monitor.clone(),
            barrier: self.barrier.clone(),
        };
        Ok((Arc::new(transport), events))
    }
}

/// One open connection.
struct GatedTransport {
    wire: Gate,
    frames: link::FrameSender,
    close: CancellationToken,
    monitor: Arc<Monitor>,
    barrier: Arc<IdentityBarrier>,
}

/// Why a frame did not leave.
#[derive(Debug, thiserror::Error)]
enum FrameError {
    #[error("the wire gate is closed")]
    Gate,
    #[error("the connection is closed")]
    Closed,
    #[error("the device's identity could not be stored before it is confirmed to the server")]
    Identity(#[source] whatsapp_rust::store::error::StoreError),
}

#[async_trait]
impl Transport for GatedTransport {
    /// Returns once the frame has been written to the socket.
    async fn send(&self, frame: bytes::Bytes) -> Result<(), anyhow::Error> {
        self.barrier.pass().await.map_err(FrameError::Identity)?;
        // Held until the frame is written: freezing can see it in flight.
        let _pass = self.wire.pass().await.map_err(|_| FrameError::Gate)?;
        self.frames
            .send(frame)
            .await
            .map_err(|link::LinkClosed| FrameError::Closed)?;
        self.monitor.frame_out();
        Ok(())
    }

    async fn disconnect(&self) {
        self.close.cancel();
    }
}

impl Drop for GatedTransport {
    fn drop(&mut self) {
        self.close.cancel();
    }
}

impl DialError {
    fn failure(&self) -> DialFailure {
        match self {
            Self::Gate | Self::ShuttingDown => DialFailure::ByUs,
            Self::TimedOut => DialFailure::TimedOut,
            Self::Unreachable { step, .. } => DialFailure::At(*step),
        }
    }
}

/// Says why a link ended, to the monitor and to the engine.
fn engine_reason(end: LinkEnd) -> whatsapp_rust::transport::DisconnectReason {
    use whatsapp_rust::transport::DisconnectReason as Engine;
    match end {
        LinkEnd::ByServer => Engine::StreamEnded,
        LinkEnd::Broken => Engine::ReadError("connection broke off".to_owned()),
        LinkEnd::ByUs | LinkEnd::Gate => Engine::Unknown,
    }
}

#[cfg(test)]
mod tests;
