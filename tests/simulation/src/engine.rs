//! What stands in for the WhatsApp engine where the worker's own supervisor and
//! account tasks run: [`Links`] over virtual time.
//!
//! It keeps the engine's promises: counters are reserved in the session files
//! and durable before the first message under them; nothing leaves but through
//! the wire gate; a message is acknowledged after the inbox has it; every loss
//! of the connection is told once, with its reason, and `Stopped` is the last
//! event.
//!
//! | Module | Holds |
//! |---|---|
//! | [`connection`] | one connection, from the dial to its end |
//! | [`ratchets`] | what it keeps in the session files |
//! | [`wire`] | frames: through the gate, and on their way |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::Coordinator;
use coordinator_lib::gate::{GateState, Gates};
use coordinator_lib::rng::SharedRng;
use parking_lot::Mutex;
use session::SessionFiles;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use whatsapp::{
    EngineError, EngineEvent, EngineStats, Inbox, OutboundMessage, OwnIdentity, SendError,
    ShutdownReport,
};
use worker::account::link::{Link, LinkParts, Links};

use self::ratchets::Ratchet;
use self::wire::Underway;
use crate::post::{Cargo, Ear, Post};
use crate::process::{Domain, Process, Running, while_running};
use crate::sea::Sea;
use crate::server::{Sender, Server};

mod connection;
mod ratchets;
mod wire;

/// A send that takes longer is over.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// What the engines of a worker work with.
pub(crate) struct Engines {
    pub(crate) sea: Arc<Sea>,
    pub(crate) server: Arc<Server>,
    pub(crate) post: Arc<Post>,
    pub(crate) process: Arc<Process>,
    pub(crate) clock: SharedClock,
    pub(crate) rng: SharedRng,
    pub(crate) tracker: TaskTracker,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) coordinator: Coordinator,
    pub(crate) has_long_frames: bool,
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    Ended,
}

/// One instance.
struct Instance {
    engines: Arc<Engines>,
    sender: Sender,
    files: SessionFiles,
    gates: Gates,
    inbox: Arc<dyn Inbox>,
    events: mpsc::Sender<EngineEvent>,
    ear: Arc<Ear>,
    phase: watch::Sender<Phase>,
    stopping: CancellationToken,
    ratchets: tokio::sync::Mutex<BTreeMap<u32, Ratchet>>,
    underway: Underway,
    stats: Mutex<EngineStats>,
}

/// The handle of an instance.
struct Engine(Arc<Instance>);

#[async_trait]
impl Links for EngineMaker {
    async fn start(&self, parts: LinkParts) -> Result<Arc<dyn Link>, EngineError> {
        let engines = &self.0;
        let account = parts.files.account().clone();
        if engines.post.breaks_engine() {
            engines.server.loses(account.as_str());
            return Err(EngineError::Build("broken on purpose".into()));
        }
        let epoch = parts.files.epoch();
        let view = engines.coordinator.view();
        let lease = view
            .leases
            .iter()
            .find(|lease| lease.lease.account_id == account && lease.lease.epoch == epoch);
        let session = lease.map_or(&view.me.session_id, |lease| &lease.lease.worker_session);
        let instance = Arc::new(Instance {
            sender: Sender {
                account: account.as_str().to_owned(),
                epoch,
                session: session.as_str().to_owned(),
                connection: engines.connections.fetch_add(1, Ordering::Relaxed),
            },
            files: parts.files,
            gates: parts.gates,
            inbox: parts.inbox,
            events: parts.events,
            ear: Ear::new(Arc::clone(&engines.process)),
            phase: watch::Sender::new(Phase::Connecting),
            stopping: CancellationToken::new(),
            ratchets: tokio::sync::Mutex::default(),
            underway: Underway::default(),
            stats: Mutex::default(),
            engines: Arc::clone(engines),
        });
        engines.sea.record.reached("engine started");
        let run = Arc::clone(&instance).run();
        engines
            .tracker
            .spawn(Running::new(&engines.process, Domain::Work, run));
        Ok(Arc::new(Engine(instance)))
    }
}

/// Starts instances.
pub(crate) struct EngineMaker(pub(crate) Arc<Engines>);

impl Instance {
    /// `work`, as long as the connection stands and the time is not up.
    async fn limited(
        &self,
        work: impl Future<Output = Result<(), SendError>> + Send,
    ) -> Result<(), SendError> {
        if let GateState::Closed(_) = self.gates.wire.state() {
            return Err(SendError::Gate);
        }
        let mut phase = self.phase.subscribe();
        if *phase.borrow() != Phase::Connected {
            return Err(SendError::NotConnected);
        }
        let limited = async {
            tokio::select! {
                biased;
                _ = self.gates.wire.closed() => Err(SendError::Gate),
                done = work => done,
                _ = phase.wait_for(|phase| *phase != Phase::Connected) => Err(SendError::NotConnected),
                () = self.engines.clock.sleep(SEND_LIMIT) => Err(SendError::TimedOut),
            }
        };
        while_running(&self.engines.process, Domain::Work, limited).await
    }

    async fn emit(&self, event: EngineEvent) {
        // Whoever is gone has no use for it.
        let _ = self.events.send(event).await;
    }
}

#[async_trait]
impl Link for Engine {
    async fn send(&self, message: &OutboundMessage) -> Result<(), SendError> {
        let instance = &self.0;
        let chat = crate::post::chat_of(&message.chat)
            .ok_or(SendError::Rejected("not an address of the simulation"))?;
        let text = crate::post::text_in(&message.payload)
            .ok_or(SendError::Rejected("not a text of the simulation"))?;
        let id = message.message_id.clone();
        let sent = async {
            let counter = instance.counter(chat).await?;
            let cargo = Cargo::Message { chat, id, text };
            instance
                .send_frame(counter, cargo)
                .await
                .map_err(|_| SendError::Gate)
        };
        instance.limited(Box::pin(sent)).await
    }

    async fn mark_read(
        &self,
        _chat: &str,
        _sender: Option<&str>,
        _ids: &[String],
    ) -> Result<(), SendError> {
        let instance = &self.0;
        let sent = async {
            let sent = instance.send_frame(0, Cargo::Ping).await;
            sent.map_err(|_| SendError::Gate)
        };
        instance.limited(Box::pin(sent)).await
    }

    async fn reject_call(&self, _id: &str, _from: &str, _creator: &str) -> Result<(), SendError> {
        // Nobody calls here.
        Err(SendError::NotConnected)
    }

    async fn typing(&self, _chat: &str, _is_typing: bool) -> Result<(), SendError> {
        // Nobody looks.
        Err(SendError::NotConnected)
    }

    async fn log_out(&self) -> Result<(), SendError> {
        // Nobody asks for it here.
        Err(SendError::NotConnected)
    }

    async fn flush_after_inbound(&self) -> Result<(), SendError> {
        let instance = &self.0;
        let flush = async {
            tokio::select! {
                biased;
                _ = instance.gates.store.closed() => Err(SendError::Gate),
                () = instance.engines.clock.sleep(SEND_LIMIT) => Err(SendError::TimedOut),
                flushed = instance.flush() => flushed,
            }
        };
        while_running(&instance.engines.process, Domain::Work, Box::pin(flush)).await
    }

    fn own_jid(&self) -> Option<OwnIdentity> {
        Some(OwnIdentity {
            pn: own_address(),
            lid: None,
        })
    }

    fn stats(&self) -> EngineStats {
        self.0.stats.lock().clone()
    }

    async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        let instance = &self.0;
        instance.stopping.cancel();
        let mut phase = instance.phase.subscribe();
        let down = async {
            // An error says that the instance is gone, which this holds.
            let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
            instance.underway.landed().await;
            instance.files.flush().await.is_ok()
        };
        let down = async {
            tokio::select! {
                biased;
                clean = down => clean,
                () = instance.engines.clock.sleep(limit) => false,
            }
        };
        let clean = while_running(&instance.engines.process, Domain::Work, Box::pin(down)).await;
        ShutdownReport {
            clean,
            leftovers: 0,
        }
    }
}

/// The account's own address: what its document says, too.
pub(crate) fn own_address() -> String {
    "491709999999:3@s.whatsapp.net".to_owned()
}
