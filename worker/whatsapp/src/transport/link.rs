//! The task that owns an open WebSocket.
//!
//! It alone reads and writes; frames to send come through a channel, frames
//! received go into another. Writing goes on while nobody takes what was read:
//! the engine sends while it handles a frame. It ends, and drops
//! the socket, when the server closes, when something breaks, when it is told
//! to close, when the engine lets go of it, or when the wire gate closes; and
//! says which.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gate;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::transport::TransportEvent;

use super::dial::Stream;
use super::engine_reason;
use crate::clues::LinkEnd;
use crate::monitor::Monitor;
use crate::runtime::TaskRuntime;

pub(crate) type WebSocket = WebSocketStream<Box<dyn Stream>>;

/// Frames waiting to be written. The engine sends from one task, so more than
/// one waits only at a handshake.
const FRAMES_QUEUED: usize = 4;

/// Frames read that the engine has not taken. Beyond it reading pauses and TCP
/// slows the server down.
const EVENTS_QUEUED: usize = 64;

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The link has ended.
#[derive(Debug)]
pub(super) struct LinkClosed;

struct Outgoing {
    frame: Bytes,
    written: oneshot::Sender<()>,
}

/// Gives frames to the link.
pub(super) struct FrameSender(mpsc::Sender<Outgoing>);

impl FrameSender {
    /// Returns once the frame is written.
    pub(super) async fn send(&self, frame: Bytes) -> Result<(), LinkClosed> {
        let (written, done) = oneshot::channel();
        self.0
            .send(Outgoing { frame, written })
            .await
            .map_err(|_| LinkClosed)?;
        done.await.map_err(|_| LinkClosed)
    }
}

/// What the task works with.
pub(super) struct Surroundings<'a> {
    pub(super) wire: Gate,
    pub(super) close: CancellationToken,
    pub(super) clock: SharedClock,
    pub(super) monitor: Arc<Monitor>,
    pub(super) runtime: &'a TaskRuntime,
}

/// Starts the task.
pub(super) fn start(
    socket: WebSocket,
    surroundings: Surroundings<'_>,
) -> (FrameSender, async_channel::Receiver<TransportEvent>) {
    let (frames, to_write) = mpsc::channel(FRAMES_QUEUED);
    let (events, received) = async_channel::bounded(EVENTS_QUEUED);
    let Surroundings {
        wire,
        close,
        clock,
        monitor,
        runtime,
    } = surroundings;
    let link = Link {
        socket,
        to_write,
        events,
        wire,
        close,
        clock,
        monitor,
    };
    runtime.spawn_task(link.run());
    (FrameSender(frames), received)
}

struct Link {
    socket: WebSocket,
    to_write: mpsc::Receiver<Outgoing>,
    events: async_channel::Sender<TransportEvent>,
    wire: Gate,
    close: CancellationToken,
    clock: SharedClock,
    monitor: Arc<Monitor>,
}

impl Link {
    async fn run(self) {
        let Self {
            socket,
            to_write,
            events,
            wire,
            close,
            clock,
            monitor,
        } = self;
        let (mut sink, mut stream) = socket.split();
        let end = tokio::select! {
            biased;
            _ = wire.closed() => LinkEnd::Gate,
            () = close.cancelled() => LinkEnd::ByUs,
            end = write_frames(&mut sink, to_write) => end,
            end = read_frames(&mut stream, &events, &monitor, &clock) => end,
        };
        monitor.clue(|clues, _| clues.link_ended(end));
        if end == LinkEnd::ByUs {
            // Only a courtesy; the socket is dropped in any case.
            tokio::select! {
                biased;
                _ = wire.closed() => {}
                () = clock.sleep(CLOSE_TIMEOUT) => {}
                _ = sink.close() => {}
            }
        }
        // The stream goes before anybody hears of it.
        drop((sink, stream));
        let _ = events
            .send(TransportEvent::Disconnected(engine_reason(end)))
            .await;
    }
}

/// Writes until there is nothing more to write to, or nobody who writes.
async fn write_frames(
    sink: &mut SplitSink<WebSocket, Message>,
    mut to_write: mpsc::Receiver<Outgoing>,
) -> LinkEnd {
    while let Some(Outgoing { frame, written }) = to_write.recv().await {
        match sink.send(Message::Binary(frame)).await {
            // Nobody may be waiting for it any more.
            Ok(()) => drop(written.send(())),
            Err(error) => return end_of(&error),
        }
    }
    LinkEnd::ByUs
}

/// Reads until the stream ends, or nobody takes what is read.
async fn read_frames(
    stream: &mut SplitStream<WebSocket>,
    events: &async_channel::Sender<TransportEvent>,
    monitor: &Monitor,
    clock: &SharedClock,
) -> LinkEnd {
    if events.send(TransportEvent::Connected).await.is_err() {
        return LinkEnd::ByUs;
    }
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(frame))) => {
                monitor.frame_in(clock.boottime());
                if events
                    .send(TransportEvent::DataReceived(frame))
                    .await
                    .is_err()
                {
                    return LinkEnd::ByUs;
                }
            }
            Some(Ok(Message::Close(_))) | None => return LinkEnd::ByServer,
            // The socket answers pings by itself; WhatsApp sends no text.
            Some(Ok(
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
            )) => {}
            Some(Err(error)) => return end_of(&error),
        }
    }
}

fn end_of(error: &Error) -> LinkEnd {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => LinkEnd::ByServer,
        // The server hung up without a close frame.
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => LinkEnd::ByServer,
        Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => LinkEnd::ByServer,
        Error::Io(_)
        | Error::Tls(_)
        | Error::Capacity(_)
        | Error::Protocol(_)
        | Error::WriteBufferFull(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => LinkEnd::Broken,
    }
}
