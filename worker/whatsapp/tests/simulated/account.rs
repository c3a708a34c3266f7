//! One account of a simulated WhatsApp, claimed again and again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_lib::clock::{SharedClock, SystemClock};
use coordinator_lib::fence::{Fence, FenceLimits, FencedWriter, FencedWriterParts};
use coordinator_lib::gate::Gates;
use coordinator_lib::identity::{AccountId, WorkerSessionId};
use coordinator_lib::rng::{SharedRng, SystemRng};
use coordinator_lib::store::{
    CommitOutcome, DocumentStore, Fields, MemoryStore, Precondition, Store, Value, Write,
};
use parking_lot::Mutex;
use session::{DataKey, FLUSH_DELAY, Flusher, Kind, SessionFiles, SessionParts};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use wa_sim::{Phone, Sim, SimConfig};
use whatsapp::{
    DisconnectReason, Engine, EngineConfig, EngineEvent, Inbound, Inbox, InboxError, MessageKey,
    OutboundMessage, ShutdownReport, encode_text, generate_message_id, generate_message_secret,
};

/// Longer than anything takes; a test that waits as long has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The account's phone number, and that of its peer.
pub(crate) const OWN: &str = "491700000001";
pub(crate) const PEER: &str = "491700000002";

/// An inbox in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    messages: Mutex<Vec<Inbound>>,
    pub(crate) refuses: std::sync::atomic::AtomicBool,
    stored: tokio::sync::Notify,
    refused: tokio::sync::Notify,
}

#[async_trait]
impl Inbox for Shelf {
    async fn commit(&self, batch: Vec<Inbound>) -> Result<(), InboxError> {
        if self.refuses.load(std::sync::atomic::Ordering::SeqCst) {
            self.refused.notify_one();
            return Err(InboxError::NotOwner);
        }
        self.messages.lock().extend(batch);
        self.stored.notify_waiters();
        Ok(())
    }

    async fn holds(&self, key: MessageKey<'_>) -> Result<bool, InboxError> {
        Ok(self.messages.lock().iter().any(|known| known.id == key.id))
    }
}

impl Shelf {
    /// Waits until a message has been refused, which was decrypted then.
    pub(crate) async fn has_refused(&self) {
        soon("a message is refused", self.refused.notified()).await;
    }

    pub(crate) fn messages(&self) -> Vec<Inbound> {
        self.messages.lock().clone()
    }

    /// Waits until so many messages have been stored, repeats included.
    pub(crate) async fn holds(&self, count: usize) -> Vec<Inbound> {
        soon("messages are stored", async {
            loop {
                let stored = self.stored.notified();
                if self.messages.lock().len() >= count {
                    return self.messages();
                }
                stored.await;
            }
        })
        .await
    }
}

/// The text of a message that has one.
pub(crate) fn text_of(message: &Inbound) -> &str {
    message.content.text().unwrap_or(message.content.name())
}

/// The simulation, the account and its store.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) own: Phone,
    pub(crate) peer: Phone,
    pub(crate) store: MemoryStore,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) clock: SharedClock,
    rng: SharedRng,
    data_key: DataKey,
    tracker: TaskTracker,
    epoch: i64,
    /// Whatever was decrypted and not stored is gone at the next start.
    pub(crate) forgets_pending: bool,
}

/// The account under one claim, with its engine running.
pub(crate) struct Run {
    pub(crate) engine: Engine,
    pub(crate) gates: Gates,
    events: mpsc::Receiver<EngineEvent>,
    flusher: Flusher,
}

impl World {
    pub(crate) async fn new() -> Self {
        let sim = Sim::start(SimConfig::default()).await.unwrap();
        let clock = SystemClock::shared();
        let rng = SystemRng::shared();
        Self {
            own: sim.add_phone(OWN, "Own").unwrap(),
            peer: sim.add_phone(PEER, "Peer").unwrap(),
            sim,
            store: MemoryStore::new(clock.clone()),
            shelf: Arc::default(),
            data_key: DataKey::generate(&*rng),
            clock,
            rng,
            tracker: TaskTracker::new(),
            epoch: 0,
            forgets_pending: false,
        }
    }

    /// Claims the account and starts an engine on what is stored.
    pub(crate) async fn start(&mut self) -> Run {
        let config = EngineConfig {
            endpoint: self.sim.url().parse().unwrap(),
            prekeys_wanted: 30,
            connect_timeout: Duration::from_secs(5),
            send_timeout: Duration::from_secs(10),
            ..EngineConfig::default()
        };
        self.start_with(config).await
    }

    pub(crate) async fn start_with(&mut self, config: EngineConfig) -> Run {
        self.epoch += 1;
        let account = AccountId::new("a1").unwrap();
        let worker_session = WorkerSessionId::generate(&*self.rng);
        let fields = Fields::from([
            ("epoch".to_owned(), Value::Int(self.epoch)),
            (
                "workerSession".to_owned(),
                Value::Text(worker_session.as_str().to_owned()),
            ),
        ]);
        let head = account.head_path();
        let claim = Write::Set {
            path: head.clone(),
            fields,
            precondition: Precondition::None,
        };
        let CommitOutcome::Committed(commit) = self.store.commit(vec![claim]).await.unwrap() else {
            panic!("nobody else is here");
        };
        let version = commit.update_times[0];
        let gates = Gates::new(self.clock.clone());
        let store: Store = Arc::new(self.store.clone());
        let writer = FencedWriter::spawn(
            FencedWriterParts {
                store: store.clone(),
                fence: Fence {
                    head,
                    version,
                    epoch: self.epoch,
                    worker_session,
                },
                gates: gates.clone(),
                clock: self.clock.clone(),
                rng: self.rng.clone(),
                limits: FenceLimits::default(),
            },
            &self.tracker,
        );
        let files = SessionFiles::load(SessionParts {
            account,
            store,
            writer,
            data_key: self.data_key.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
        })
        .await
        .unwrap();
        if self.forgets_pending {
            files.retain(Kind::Pending, |_, _| false);
        }
        let flusher = files.spawn_flusher(&self.tracker, FLUSH_DELAY);
        let (sender, events) = mpsc::channel(16);
        let engine = Engine::start(
            config,
            files.clone(),
            gates.clone(),
            self.shelf.clone(),
            self.clock.clone(),
            self.rng.clone(),
            sender,
        )
        .await
        .unwrap();
        Run {
            engine,
            gates,
            events,
            flusher,
        }
    }

    /// Starts an engine and links it to the account's phone.
    pub(crate) async fn pair(&mut self) -> Run {
        let mut run = self.start().await;
        let code = run.qr().await;
        self.own.scan(&code).await.unwrap();
        run.until(|event| matches!(event, EngineEvent::Connected))
            .await;
        run
    }

    /// A text to the peer, as it would be accepted.
    pub(crate) fn text(&self, body: &str) -> OutboundMessage {
        OutboundMessage {
            chat: format!("{PEER}@s.whatsapp.net"),
            message_id: generate_message_id(&*self.rng),
            payload: encode_text(body, &generate_message_secret(&*self.rng)),
            attachment: None,
        }
    }

    /// Waits until the peer's phone has a message, and gives how often it came.
    pub(crate) async fn peer_has(&self, id: &str) -> u32 {
        let has = |ledger: &wa_sim::phone::Ledger| ledger.received.iter().any(|m| m.id == id);
        self.sim
            .wait_ledger(&self.peer, "the peer has the message", LIMIT, has)
            .await
            .unwrap();
        self.peer.with_ledger(|ledger| {
            let message = ledger.received.iter().find(|message| message.id == id);
            message.map_or(0, |message| message.repeats + 1)
        })
    }

    /// The oracle has seen nothing that no client may do.
    pub(crate) fn assert_clean(&self) {
        let report = self.sim.oracle();
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
    }
}

impl Run {
    /// The next event.
    pub(crate) async fn event(&mut self) -> EngineEvent {
        soon("an event comes", self.events.recv())
            .await
            .expect("the engine runs")
    }

    /// Takes events until one is as wanted; gives all.
    pub(crate) async fn until(
        &mut self,
        wanted: impl Fn(&EngineEvent) -> bool,
    ) -> Vec<EngineEvent> {
        let mut events = Vec::new();
        loop {
            let event = self.event().await;
            let found = wanted(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    pub(crate) async fn qr(&mut self) -> String {
        loop {
            if let EngineEvent::Qr { code, .. } = self.event().await {
                return code.expose().to_owned();
            }
        }
    }

    /// Waits for the loss of the connection and the end that follows it.
    pub(crate) async fn lost(&mut self) -> DisconnectReason {
        let events = self.until(|event| *event == EngineEvent::Stopped).await;
        let shown = format!("{events:?}");
        let mut reasons = events.into_iter().filter_map(|event| match event {
            EngineEvent::Disconnected(reason) => Some(reason),
            _ => None,
        });
        let reason = reasons.next().expect("every loss is told");
        assert_eq!(reasons.next(), None, "and once: {shown}");
        reason
    }

    /// Shuts down, and gives what was left in the queue of events.
    pub(crate) async fn stop(mut self) -> (ShutdownReport, Vec<EngineEvent>) {
        let report = soon(
            "the shutdown",
            self.engine.shutdown(Duration::from_secs(10)),
        )
        .await;
        assert_eq!(self.engine.stats().tasks, 0, "nothing runs on");
        let mut events = Vec::new();
        while let Some(event) = soon("the events end", self.events.recv()).await {
            events.push(event);
        }
        // A gate that closed before may refuse the last flush.
        let _ = self.flusher.stop().await;
        (report, events)
    }
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("not in time: {what}"),
    }
}
