//! One client's connection, from TCP to its end: one task.
//!
//! It carries bytes; what they mean is the [`World`]'s. A client that does not
//! read is not read from either: nothing is buffered here but what a fault
//! delays.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use proto::whatsapp::ClientPayload;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use super::{
    login::Welcome,
    session::{COMMANDS_MAX, Command, Reply, SessionId},
    stanza,
    world::World,
};
use crate::{
    fault::{Disconnect, Interruption, Stage},
    noise::{self, HandshakeError, ServerIdentity, Transport, TransportError},
    wire::{self, DecodeError, FrameError, FrameReader, Node},
};

/// A client that has not got through the handshake by then is let go.
const HANDSHAKE_MAX: Duration = Duration::from_secs(60);

/// Some clients lose what comes right after the handshake; see
/// [`needs_quiet_start`].
const QUIET_START: Duration = Duration::from_millis(200);

/// How long a replaced connection is listened to, to see what it still sends.
const REPLACED_LINGER: Duration = Duration::from_secs(2);

/// How long the end of a connection may take: a client may be slow to read.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// The longest WebSocket message. Clients put a frame in each, and upload
/// prekeys in frames of some 40 kB.
const WS_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) identity: ServerIdentity,
    pub(crate) cancel: CancellationToken,
}

/// Why a connection is over. None of it is an error of the server's.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the client left")]
    Left,
    #[error("the server ended it: {0:?}")]
    Ended(Disconnect),
    #[error("the simulator stops")]
    Stopped,
    #[error("the client took too long")]
    TooSlow,
    #[error("the WebSocket failed")]
    WebSocket(#[from] tungstenite::Error),
    #[error("the handshake failed")]
    Handshake(#[from] HandshakeError),
    #[error("the client's bytes are no frames")]
    Frame(#[from] FrameError),
    #[error("the client's frame does not decrypt")]
    Transport(#[from] TransportError),
    #[error("the client's node is malformed")]
    Node(#[from] DecodeError),
}

/// Tells the world of the connection's end, however it comes.
struct Registered<'a> {
    world: &'a Mutex<World>,
    id: SessionId,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.world.lock().close(self.id);
    }
}

/// Serves one connection to its end.
pub(crate) async fn run(hub: Arc<Hub>, mut tcp: TcpStream) {
    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let mail = Arc::new(Notify::new());
    let peer = tcp.peer_addr().ok();
    let id = hub.world.lock().open(peer, commands_in, Arc::clone(&mail));
    let _registered = Registered {
        world: &hub.world,
        id,
    };
    // Small stanzas, each waited for.
    let _ = tcp.set_nodelay(true);

    let at_accept = hub.world.lock().faults.at_stage(None, Stage::Accept);
    match at_accept {
        Some(Interruption::Drop) => return reset(&tcp),
        Some(Interruption::Stall) => {
            tokio::select! {
                () = hub.cancel.cancelled() => {}
                () = drain(&mut tcp) => {}
            }
            return;
        }
        None => {}
    }

    let config = WebSocketConfig::default().max_message_size(Some(WS_MESSAGE_BYTES_MAX));
    let opening = timeout(HANDSHAKE_MAX, accept_async_with_config(tcp, Some(config)));
    let ws = tokio::select! {
        () = hub.cancel.cancelled() => return,
        ws = opening => match ws {
            Ok(Ok(ws)) => ws,
            Ok(Err(error)) => {
                tracing::debug!(session = id.0, %error, "no websocket");
                return;
            }
            Err(_) => return,
        },
    };
    let mut connection = Connection {
        hub: &hub,
        id,
        ws,
        frames: FrameReader::new(),
        commands,
        mail,
        late: VecDeque::new(),
        leave_at: None,
    };
    let over = connection.live().await;
    tracing::debug!(session = id.0, reason = %over, "connection over");
}

struct Connection<'a> {
    hub: &'a Hub,
    id: SessionId,
    ws: WebSocketStream<TcpStream>,
    frames: FrameReader,
    commands: mpsc::Receiver<Command>,
    mail: Arc<Notify>,
    /// Stanzas held back by a fault, by when they are due.
    late: VecDeque<(Instant, Node)>,
    /// When a replaced connection is left.
    leave_at: Option<Instant>,
}

impl Connection<'_> {
    async fn live(&mut self) -> Over {
        let at_handshake = self
            .hub
            .world
            .lock()
            .faults
            .at_stage(None, Stage::Handshake);
        if let Some(interruption) = at_handshake {
            return self.interrupt(interruption).await;
        }
        match self.greet().await {
            Ok(transport) => match self.serve(transport).await {
                Ok(never) => match never {},
                Err(over) => over,
            },
            Err(over) => over,
        }
    }

    /// The handshake, and what the client is told first.
    async fn greet(&mut self) -> Result<Transport, Over> {
        let handshake = noise::accept(&mut self.ws, &mut self.frames, &self.hub.identity);
        let (mut transport, payload) = tokio::select! {
            () = self.hub.cancel.cancelled() => return Err(Over::Stopped),
            done = timeout(HANDSHAKE_MAX, handshake) => done.map_err(|_| Over::TooSlow)??,
        };
        if needs_quiet_start(&payload) {
            tokio::select! {
                () = self.hub.cancel.cancelled() => return Err(Over::Stopped),
                () = sleep(QUIET_START) => {}
            }
        }
        let welcome = self
            .hub
            .world
            .lock()
            .welcome(self.id, &payload, transport.client_static());
        match welcome {
            Welcome::Pair(node) => self.send(&mut transport, node).await?,
            Welcome::LoggedIn(replies) => self.say(&mut transport, replies).await?,
            Welcome::Refused(node) => {
                self.send(&mut transport, node).await?;
                self.goodbye().await;
                return Err(Over::Ended(Disconnect::Close));
            }
            Welcome::Interrupted(interruption) => {
                return Err(self.interrupt(interruption).await);
            }
        }
        self.ws.flush().await?;
        Ok(transport)
    }

    async fn serve(&mut self, mut transport: Transport) -> Result<std::convert::Infallible, Over> {
        // Frames may have come along with the handshake.
        self.take_frames(&mut transport).await?;
        loop {
            tokio::select! {
                () = self.hub.cancel.cancelled() => return Err(Over::Stopped),
                command = self.commands.recv() => match command {
                    Some(Command::Send(node)) => self.send(&mut transport, node).await?,
                    Some(Command::Disconnect(how)) => {
                        return Err(self.end(&mut transport, how).await);
                    }
                    Some(Command::Supersede) => {
                        self.send(&mut transport, stanza::replaced()).await?;
                        self.leave_at = Some(Instant::now() + REPLACED_LINGER);
                    }
                    None => return Err(Over::Stopped),
                },
                message = self.ws.next() => match message.transpose()? {
                    Some(Message::Binary(bytes)) => {
                        self.frames.feed(&bytes);
                        self.take_frames(&mut transport).await?;
                    }
                    Some(Message::Close(_)) | None => return Err(Over::Left),
                    Some(
                        Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
                    ) => {}
                },
                () = self.mail.notified() => self.deliver(&mut transport).await?,
                () = due(self.late.front().map(|(at, _)| *at)) => {
                    if let Some((_, node)) = self.late.pop_front() {
                        self.write(&mut transport, &node).await?;
                    }
                }
                () = due(self.leave_at) => {
                    return Err(self.end(&mut transport, Disconnect::Close).await);
                }
            }
            self.ws.flush().await?;
        }
    }

    /// Hands the world every stanza that has come.
    async fn take_frames(&mut self, transport: &mut Transport) -> Result<(), Over> {
        while let Some(frame) = self.frames.next_frame()? {
            let plain = transport.open(&frame)?;
            let node = wire::decode(&wire::unpack(&plain)?)?;
            tracing::trace!(session = self.id.0, ?node, "received");
            let replies = self.hub.world.lock().receive(self.id, node);
            self.say(transport, replies).await?;
        }
        Ok(())
    }

    /// Writes what waits in the mailbox.
    async fn deliver(&mut self, transport: &mut Transport) -> Result<(), Over> {
        let nodes = self.hub.world.lock().fetch(self.id);
        if !nodes.is_empty() {
            // There may be more than one batch.
            self.mail.notify_one();
        }
        for node in nodes {
            self.send(transport, node).await?;
        }
        Ok(())
    }

    async fn say(&mut self, transport: &mut Transport, replies: Vec<Reply>) -> Result<(), Over> {
        for reply in replies {
            match reply {
                Reply::Send(node) => self.send(transport, node).await?,
                Reply::End(how) => return Err(self.end(transport, how).await),
            }
        }
        Ok(())
    }

    /// Writes a stanza, later if a fault says so or others wait already.
    async fn send(&mut self, transport: &mut Transport, node: Node) -> Result<(), Over> {
        let delay = self.hub.world.lock().delay_ms(self.id);
        if delay.is_none() && self.late.is_empty() {
            return self.write(transport, &node).await;
        }
        let due = Instant::now() + Duration::from_millis(delay.unwrap_or_default());
        let due = self.late.back().map_or(due, |(last, _)| due.max(*last));
        self.late.push_back((due, node));
        Ok(())
    }

    async fn write(&mut self, transport: &mut Transport, node: &Node) -> Result<(), Over> {
        /// The node is not compressed.
        const FLAGS: u8 = 0;
        tracing::trace!(session = self.id.0, ?node, "sent");
        let mut plain = vec![FLAGS];
        plain.extend(wire::encode(node));
        let message = Message::binary(transport.seal(&plain));
        // A client that never reads holds this up: it must not outlive the rest.
        tokio::select! {
            () = self.hub.cancel.cancelled() => Err(Over::Stopped),
            fed = self.ws.feed(message) => Ok(fed?),
        }
    }

    /// Ends the connection as told.
    async fn end(&mut self, transport: &mut Transport, how: Disconnect) -> Over {
        let last_word = match how {
            Disconnect::StreamError { code } => Some(stanza::stream_error(code)),
            Disconnect::Replaced => Some(stanza::replaced()),
            Disconnect::DeviceRemoved => Some(stanza::stream_error(401)),
            Disconnect::XmlStreamEnd => Some(Node::new("xmlstreamend")),
            Disconnect::Close => None,
            Disconnect::Drop => {
                reset(self.ws.get_ref());
                return Over::Ended(how);
            }
        };
        if let Some(node) = last_word
            && let Err(over) = self.write(transport, &node).await
        {
            return over;
        }
        self.goodbye().await;
        Over::Ended(how)
    }

    /// Closes the WebSocket, and lets the client read what was said.
    async fn goodbye(&mut self) {
        let closing = async {
            if self.ws.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.ws.next().await {}
            }
        };
        tokio::select! {
            () = self.hub.cancel.cancelled() => {}
            // Whoever does not close in time is cut off.
            _ = timeout(GOODBYE_MAX, closing) => {}
        }
    }

    async fn interrupt(&mut self, interruption: Interruption) -> Over {
        match interruption {
            Interruption::Drop => {
                reset(self.ws.get_ref());
                Over::Ended(Disconnect::Drop)
            }
            Interruption::Stall => tokio::select! {
                () = self.hub.cancel.cancelled() => Over::Stopped,
                () = async { while let Some(Ok(_)) = self.ws.next().await {} } => Over::Left,
            },
        }
    }
}

/// Whether what follows the handshake at once would get lost: with Baileys 6.
/// It is told by a field that newer clients fill in when they log in; of those
/// that pair none does, and none is in a hurry.
fn needs_quiet_start(payload: &ClientPayload) -> bool {
    payload.lid_db_migrated.is_none()
}

/// Waits for a moment; for ever when there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Reads until the client leaves.
async fn drain(tcp: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = tcp.read(&mut buffer).await {}
}

/// Makes the coming close a TCP reset.
fn reset(tcp: &TcpStream) {
    // Without it the connection ends all the same, only more politely.
    let _ = tcp.set_zero_linger();
}
