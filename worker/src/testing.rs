//! What the tests of this crate share: a store in memory with an account in it,
//! and an engine that does what the test says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use coordinator_lib::clock::{SharedClock, SystemClock};
use coordinator_lib::coordinator::single::SingleSession;
use coordinator_lib::coordinator::{
    Coordinator, CoordinatorConfig, CoordinatorParts, HeartbeatRun, Ownership,
};
use coordinator_lib::fence::FenceLimits;
use coordinator_lib::gate::Gates;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease;
use coordinator_lib::rng::{SharedRng, SystemRng};
use coordinator_lib::store::{
    Collection, CommitOutcome, Document, MemoryStore, Path, Precondition, Query, Stamp, Store,
    StoreTime, Value, Write, query_all,
};
use coordinator_lib::worker_session;
use parking_lot::Mutex;
use session::{DataKey, HeadDoc, KeyRing, SessionFiles};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use whatsapp::media::MediaFetcher;
use whatsapp::{
    Content, EngineError, EngineEvent, EngineStats, Extras, Inbound, Inbox, OutboundMessage,
    OwnIdentity, SendError, ShutdownReport,
};

use crate::account::link::{Link, LinkParts, Links};
use crate::account::term::{Term, TermParts};
use crate::messages::inbox::{AccountInbox, InboxConfig, InboxParts};
use crate::model::{AccountDoc, EventDoc, EventKind, Read, Stored, collections};
use crate::outbox::{AcceptOutcome, AcceptParts, AcceptRequest, NewMessage, accept};
use crate::supervisor::budget::Budget;
use crate::supervisor::connects::{Connects, ConnectsParts};
use crate::supervisor::versions::{VersionParts, Versions};
use crate::supervisor::wanted;
use crate::webhooks::{HookBook, Post, WebhookConfig};

pub(crate) use self::bent::BentWatches;

mod bent;

/// A condition that does not come true by then fails its test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A phone number's address, of somebody who chats.
pub(crate) const ANNA: &str = "491700000001@s.whatsapp.net";
/// The same person's LID.
pub(crate) const ANNA_LID: &str = "88770000001@lid";
/// Somebody else.
pub(crate) const BEN: &str = "491700000002@s.whatsapp.net";

/// A store with what an account needs to be claimed.
pub(crate) struct Bench {
    pub(crate) memory: MemoryStore,
    pub(crate) store: Store,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) clock: SharedClock,
    pub(crate) rng: SharedRng,
    pub(crate) tracker: TaskTracker,
    /// Kept alive: a session whose end is dropped beats no more.
    sessions: Mutex<Vec<SingleSession>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let clock = SystemClock::shared();
        let rng = SystemRng::shared();
        let memory = MemoryStore::new(Arc::clone(&clock));
        Self {
            store: Arc::new(memory.clone()),
            memory,
            keys: Arc::new(KeyRing::generate(rng.as_ref())),
            clock,
            rng,
            tracker: TaskTracker::new(),
            sessions: Mutex::default(),
        }
    }

    pub(crate) async fn account(&self, id: &str) -> AccountId {
        let account = AccountId::new(id).unwrap();
        let key = DataKey::generate(self.rng.as_ref());
        let head = HeadDoc {
            wrapped_keys: self.keys.wrap(self.rng.as_ref(), &key, id),
        };
        let doc = AccountDoc {
            name: id.to_owned(),
            ..AccountDoc::default()
        };
        let writes = lease::create_account(
            &account,
            doc.to_document().unwrap(),
            head.to_document().unwrap(),
        );
        let outcome = self.store.commit(writes.into()).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
        account
    }

    fn coordinator_parts(&self, worker: &str) -> CoordinatorParts {
        let (store, tracker) = (Arc::clone(&self.store), self.tracker.clone());
        CoordinatorParts {
            store: Arc::clone(&self.store),
            heartbeat: HeartbeatRun {
                store: Arc::new(move || {
                    let store = Arc::clone(&store);
                    Box::pin(async move { Ok(store) })
                }),
                spawn: Arc::new(move |beats| drop(tracker.spawn(beats))),
            },
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
            config: CoordinatorConfig::default(),
            name: worker.to_owned(),
            capacity: 18,
            version: "test".to_owned(),
            address: None,
            wanted: wanted::is_wanted_document,
            presence: None,
            tracker: self.tracker.clone(),
        }
    }

    /// A worker that claims what it finds.
    pub(crate) async fn coordinator(&self, worker: &str) -> Coordinator {
        Coordinator::start(self.coordinator_parts(worker))
            .await
            .unwrap()
    }

    /// The account in the hands of a worker session of its own. Whoever had it
    /// before is found dead first.
    pub(crate) async fn claim(&self, worker: &str, account: &AccountId) -> Ownership {
        let living = query_all(self.store.as_ref(), &worker_session::living(), 100)
            .await
            .unwrap();
        for session in living {
            let sealed = Write::Update {
                path: session.path,
                fields: [("state".to_owned(), "SEALED".into())].into(),
                precondition: Precondition::None,
            };
            assert!(self.store.commit(vec![sealed]).await.is_ok());
        }
        let parts = CoordinatorParts {
            wanted: |_| true,
            ..self.coordinator_parts(worker)
        };
        let session = SingleSession::begin(parts).await.unwrap();
        let ownership = session.claim(account).await.unwrap().unwrap();
        self.sessions.lock().push(session);
        ownership
    }

    pub(crate) fn term_parts(&self) -> TermParts {
        TermParts {
            store: Arc::clone(&self.store),
            keys: Arc::clone(&self.keys),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
            limits: FenceLimits::default(),
            tracker: self.tracker.clone(),
        }
    }

    /// No webhooks, until somebody runs it.
    pub(crate) fn hooks(&self) -> HookBook {
        HookBook::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            Arc::clone(&self.rng),
            Arc::clone(&self.keys),
        )
    }

    /// Fetches nothing: nobody is there.
    pub(crate) fn fetcher(&self) -> MediaFetcher {
        let nowhere = "http://127.0.0.1:1".to_owned();
        MediaFetcher::new(Some(nowhere), Arc::clone(&self.clock))
    }

    pub(crate) fn post(&self) -> Arc<Post> {
        Arc::new(Post::new(
            WebhookConfig::default(),
            Arc::clone(&self.clock),
            Arc::clone(&self.rng),
        ))
    }

    /// Connects without a pace.
    pub(crate) fn connects(&self) -> Connects {
        let (connects, dispenser) = Connects::new(ConnectsParts {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
            budget: Budget {
                rate: 0.0,
                burst: 1,
            },
            egress: "default".to_owned(),
        });
        self.tracker.spawn(dispenser);
        connects
    }

    /// Versions that stay as they are.
    pub(crate) fn versions(&self) -> Versions {
        let (versions, keeper) = Versions::new(VersionParts {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            configured: (2, 3000, 1),
            url: "http://127.0.0.1:1/".to_owned(),
        });
        self.tracker.spawn(keeper);
        versions
    }

    /// A claim of an account by alice.
    pub(crate) async fn term(&self, account: &AccountId) -> Term {
        self.term_of("alice", account).await
    }

    /// A claim of an account by this worker.
    pub(crate) async fn term_of(&self, worker: &str, account: &AccountId) -> Term {
        let ownership = self.claim(worker, account).await;
        Term::begin(self.term_parts(), ownership).await.unwrap()
    }

    pub(crate) async fn accept(&self, account: &AccountId, to: &str, text: &str) -> AcceptOutcome {
        accept(self.accept_parts(), &request(account, to, text))
            .await
            .unwrap()
    }

    pub(crate) fn accept_parts(&self) -> AcceptParts<'_> {
        AcceptParts {
            store: self.store.as_ref(),
            keys: &self.keys,
            clock: self.clock.as_ref(),
            rng: self.rng.as_ref(),
            idempotency_ttl: Duration::from_secs(60),
            media_retention: Duration::from_secs(3600),
        }
    }

    pub(crate) async fn document(&self, path: Path) -> Option<Document> {
        self.store.get(&[path]).await.unwrap().documents.remove(0)
    }

    /// A document as a newer version of the worker would leave it.
    pub(crate) async fn make_newer(&self, path: Path) {
        let write = Write::Set {
            path,
            fields: [("schemaVersion".to_owned(), Value::Int(99))].into(),
            precondition: Precondition::Absent,
        };
        let outcome = self.store.commit(vec![write]).await.unwrap();
        assert_ne!(outcome, CommitOutcome::Rejected);
    }

    pub(crate) async fn read<T: Stored>(&self, path: Path) -> Option<T> {
        let document = self.document(path).await?;
        match T::read(&document).unwrap() {
            Read::Known(record) => Some(record.value),
            Read::Newer(version) => panic!("version {version}"),
        }
    }

    pub(crate) async fn read_account(&self, account: &AccountId) -> AccountDoc {
        self.read(account.account_path()).await.unwrap()
    }

    /// All documents of a collection.
    pub(crate) async fn list<T: Stored>(&self, collection: &str) -> Vec<T> {
        let query = Query::new(Collection::new(collection).unwrap());
        let documents = query_all(self.store.as_ref(), &query, 10_000)
            .await
            .unwrap();
        documents
            .iter()
            .map(|document| T::read(document).unwrap().known().unwrap().value)
            .collect()
    }

    /// The account's events, in order; their numbers have no gap.
    pub(crate) async fn events(&self, account: &AccountId) -> Vec<EventDoc> {
        let mut events: Vec<EventDoc> = self.list(collections::EVENTS).await;
        events.retain(|event| event.account_id == account.as_str());
        events.sort_by_key(|event| event.seq);
        let numbers: Vec<i64> = events.iter().map(|event| event.seq).collect();
        let expected: Vec<i64> = (1..=numbers.len() as i64).collect();
        assert_eq!(numbers, expected, "events have a gap");
        events
    }
}

/// Waits until the condition gives something.
pub(crate) async fn until<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let wait = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}

pub(crate) fn request(account: &AccountId, to: &str, text: &str) -> AcceptRequest {
    AcceptRequest {
        account_id: account.to_string(),
        to: to.to_owned(),
        message: text_message(text),
        fingerprint: text.to_owned(),
        idempotency_key: None,
        traceparent: None,
    }
}

pub(crate) fn text_message(text: &str) -> NewMessage {
    NewMessage::Text {
        text: text.to_owned(),
        mentions: Vec::new(),
        preview: None,
        quote: None,
    }
}

/// An event of an account, as it is written.
pub(crate) fn event(account: &str, seq: i64) -> Write {
    let event = EventDoc {
        account_id: account.to_owned(),
        seq,
        kind: EventKind::Presence,
        at: StoreTime::from_micros(1),
        stored_at: Stamp::Commit,
        epoch: 1,
        trace: None,
        data: BTreeMap::new(),
    };
    Write::Set {
        path: collections::event(account, seq).unwrap(),
        fields: event.to_document().unwrap(),
        precondition: Precondition::Absent,
    }
}

/// A text from a peer.
pub(crate) fn inbound(id: &str, chat: &str, body: &str) -> Inbound {
    Inbound {
        id: id.to_owned(),
        chat: chat.to_owned(),
        sender: chat.to_owned(),
        sender_alt: None,
        wire_chat: chat.to_owned(),
        wire_sender: chat.to_owned(),
        is_group: false,
        from_me: false,
        push_name: "Somebody".to_owned(),
        timestamp: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        content: Content::Text(body.to_owned()),
        extras: Extras::default(),
        media: None,
        secret: None,
        offline: false,
    }
}

/// Starts fake engines and hands each to the test.
pub(crate) struct FakeLinks {
    started: mpsc::UnboundedSender<Arc<FakeLink>>,
    /// The next start panics.
    pub(crate) panic_next: AtomicBool,
}

/// An engine that does what the test says.
pub(crate) struct FakeLink {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) events: mpsc::Sender<EngineEvent>,
    pub(crate) gates: Gates,
    pub(crate) files: SessionFiles,
    pub(crate) sent: Mutex<Vec<OutboundMessage>>,
    pub(crate) read: Mutex<Vec<Vec<String>>>,
    pub(crate) rejected: Mutex<Vec<String>>,
    pub(crate) typing: Mutex<Vec<(String, bool)>>,
    /// What the next sends give, before they succeed again.
    pub(crate) failures: Mutex<Vec<SendError>>,
    /// Whether it acknowledges what it sends.
    pub(crate) acks: AtomicBool,
    /// No frame comes any more.
    pub(crate) is_silent: AtomicBool,
    pub(crate) flushes: Mutex<usize>,
    pub(crate) logged_out: AtomicBool,
    pub(crate) ended: AtomicBool,
}

impl FakeLinks {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Arc<FakeLink>>) {
        let (started, links) = mpsc::unbounded_channel();
        (
            Arc::new(Self {
                started,
                panic_next: AtomicBool::new(false),
            }),
            links,
        )
    }
}

#[async_trait]
impl Links for FakeLinks {
    async fn start(&self, parts: LinkParts) -> Result<Arc<dyn Link>, EngineError> {
        assert!(
            !self.panic_next.swap(false, Ordering::SeqCst),
            "a planted panic"
        );
        let link = Arc::new(FakeLink {
            inbox: parts.inbox,
            events: parts.events,
            gates: parts.gates,
            files: parts.files,
            sent: Mutex::default(),
            read: Mutex::default(),
            rejected: Mutex::default(),
            typing: Mutex::default(),
            failures: Mutex::default(),
            acks: AtomicBool::new(true),
            is_silent: AtomicBool::new(false),
            flushes: Mutex::default(),
            logged_out: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let _ = self.started.send(Arc::clone(&link));
        Ok(link)
    }
}

impl FakeLink {
    pub(crate) async fn emit(&self, event: EngineEvent) {
        assert!(self.tell(event).await, "nobody listens any more");
    }

    /// As `emit`; false if the account's task has left this one meanwhile.
    pub(crate) async fn tell(&self, event: EngineEvent) -> bool {
        self.events.send(event).await.is_ok()
    }

    pub(crate) fn sent_ids(&self) -> Vec<String> {
        self.sent
            .lock()
            .iter()
            .map(|message| message.message_id.clone())
            .collect()
    }
}

#[async_trait]
impl Link for FakeLink {
    async fn send(&self, message: &OutboundMessage) -> Result<(), SendError> {
        if self.gates.wire.try_pass().is_err() {
            return Err(SendError::Gate);
        }
        let failure = {
            let mut failures = self.failures.lock();
            if failures.is_empty() {
                None
            } else {
                Some(failures.remove(0))
            }
        };
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.sent.lock().push(message.clone());
        if self.acks.load(Ordering::SeqCst) {
            let _ = self
                .events
                .send(EngineEvent::ServerAck {
                    id: message.message_id.clone(),
                    error: None,
                })
                .await;
        }
        Ok(())
    }

    async fn mark_read(
        &self,
        _chat: &str,
        _sender: Option<&str>,
        ids: &[String],
    ) -> Result<(), SendError> {
        self.read.lock().push(ids.to_vec());
        Ok(())
    }

    async fn reject_call(&self, id: &str, _from: &str, _creator: &str) -> Result<(), SendError> {
        self.rejected.lock().push(id.to_owned());
        Ok(())
    }

    async fn typing(&self, chat: &str, is_typing: bool) -> Result<(), SendError> {
        self.typing.lock().push((chat.to_owned(), is_typing));
        Ok(())
    }

    async fn log_out(&self) -> Result<(), SendError> {
        self.logged_out.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn flush_after_inbound(&self) -> Result<(), SendError> {
        *self.flushes.lock() += 1;
        Ok(())
    }

    fn own_jid(&self) -> Option<OwnIdentity> {
        Some(OwnIdentity {
            pn: "491709999999:3@s.whatsapp.net".to_owned(),
            lid: None,
        })
    }

    fn stats(&self) -> EngineStats {
        let is_silent = self.is_silent.load(Ordering::SeqCst);
        EngineStats {
            last_frame_in: (!is_silent).then(|| SystemClock::shared().boottime()),
            ..EngineStats::default()
        }
    }

    async fn shutdown(&self, _limit: Duration) -> ShutdownReport {
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.events.try_send(EngineEvent::Stopped);
        ShutdownReport {
            clean: true,
            leftovers: 0,
        }
    }
}

/// A moment of store time.
pub(crate) fn at(seconds: i64) -> StoreTime {
    StoreTime::from_micros(seconds * 1_000_000)
}

/// The inbox of an account's term.
pub(crate) fn account_inbox(term: &Term, config: InboxConfig) -> AccountInbox {
    AccountInbox::new(InboxParts {
        account_id: term.account.to_string(),
        store: Arc::clone(term.store()),
        journal: term.journal.clone(),
        threads: Arc::clone(&term.threads),
        contacts: Arc::clone(&term.contacts),
        history: intake(term),
        marks: Arc::clone(&term.marks),
        expiries: Arc::clone(&term.expiries),
        files: Arc::clone(&term.files_came),
        counters: Arc::default(),
        data_key: Arc::clone(&term.data_key),
        rng: SystemRng::shared(),
        config,
        connected_at: at(0),
    })
}

/// Takes history in for a claim.
pub(crate) fn intake(term: &Term) -> crate::messages::history::intake::Intake {
    crate::messages::history::intake::Intake {
        account_id: term.account.to_string(),
        epoch: term.epoch(),
        journal: term.journal.clone(),
        data_key: Arc::clone(&term.data_key),
        rng: SystemRng::shared(),
        news: Arc::default(),
    }
}
