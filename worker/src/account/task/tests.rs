use coordinator_lib::coordinator::Coordinator;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{Fields, Precondition, Value, Write};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use whatsapp::{DisconnectReason, PasskeyStep, ReceiptKind, Stage};

use super::*;
use crate::model::account::PASSKEY_PURPOSE;
use crate::model::{
    EventKind, MessageDoc, MessageState, Stored, ThreadDoc, WaOutboxDoc, collections, ids,
};
use crate::outbox::AcceptOutcome;
use crate::testing::{ANNA, BEN, Bench, FakeLink, FakeLinks, inbound, until};

/// One account's task over a fake engine.
struct Scene {
    bench: Bench,
    account: AccountId,
    links: UnboundedReceiver<Arc<FakeLink>>,
    coordinator: Coordinator,
    observed: Arc<Observed>,
    task: JoinHandle<TaskEnd>,
    /// What the account's task has started.
    work: TaskTracker,
}

fn quick() -> AccountConfig {
    AccountConfig {
        connecting_timeout: Duration::from_millis(300),
        backoff_base: Duration::from_millis(10),
        backoff_max: Duration::from_millis(50),
        shutdown_limit: Duration::from_secs(1),
        ..AccountConfig::default()
    }
}

fn unpaced() -> OutboxConfig {
    OutboxConfig {
        rate: 0.0,
        chat_rate: 0.0,
        retry_base: Duration::from_millis(10),
        retry_max: Duration::from_millis(20),
        ack_timeout: Duration::from_millis(100),
        ..OutboxConfig::default()
    }
}

impl Scene {
    async fn new() -> Self {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        Self::over(bench, account, unpaced()).await
    }

    async fn over(bench: Bench, account: AccountId, outbox: OutboxConfig) -> Self {
        let (links, started) = FakeLinks::new();
        let coordinator = bench.coordinator("alice").await;
        let ownership = tokio::time::timeout(crate::testing::DEADLINE, coordinator.next())
            .await
            .expect("it claims in time")
            .unwrap();
        let observed = Arc::new(Observed::default());
        let work = TaskTracker::new();
        let task = AccountTask {
            parts: Arc::new(AccountParts {
                term: TermParts {
                    tracker: work.clone(),
                    ..bench.term_parts()
                },
                links,
                account: quick(),
                outbox,
                inbox: crate::messages::inbox::InboxConfig::default(),
                history_turn: Arc::new(tokio::sync::Semaphore::new(1)),
                media: crate::media::MediaStore::default(),
                fetcher: bench.fetcher(),
                fetch_turn: Arc::new(tokio::sync::Semaphore::new(1)),
                hooks: bench.hooks(),
                post: bench.post(),
                connects: bench.connects(),
                versions: bench.versions(),
            }),
            ownership,
            observed: Arc::clone(&observed),
        };
        let task = bench.tracker.spawn(task.run());
        Self {
            bench,
            account,
            links: started,
            coordinator,
            observed,
            task,
            work,
        }
    }

    async fn link(&mut self) -> Arc<FakeLink> {
        tokio::time::timeout(crate::testing::DEADLINE, self.links.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn connected(&mut self) -> Arc<FakeLink> {
        let link = self.link().await;
        link.emit(EngineEvent::Connected).await;
        self.status(Status::Connected).await;
        link
    }

    async fn wants(&self, desired: &str) {
        want(&self.bench, &self.account, desired).await;
    }

    async fn doc(&self) -> AccountDoc {
        self.bench.read_account(&self.account).await
    }

    async fn status(&self, status: Status) -> AccountDoc {
        until(status.as_str(), || async {
            let doc = self.doc().await;
            (doc.status == status).then_some(doc)
        })
        .await
    }

    /// Ends it as a worker that drains does; gives what was next.
    async fn drained(self) -> (Bench, AccountId, TaskEnd) {
        let end = tokio::time::timeout(crate::testing::DEADLINE, self.task);
        let (drained, end) = tokio::join!(self.coordinator.drain(crate::testing::DEADLINE), end);
        assert!(drained);
        let end = end.unwrap().unwrap();
        (self.bench, self.account, end)
    }

    async fn send(&self, to: &str, text: &str) -> crate::outbox::accept::Accepted {
        match self.bench.accept(&self.account, to, text).await {
            AcceptOutcome::Accepted(accepted) | AcceptOutcome::Repeated(accepted) => accepted,
        }
    }

    async fn sending(&self, id: &str, state: MessageState) -> WaOutboxDoc {
        until(state.as_str(), || async {
            let doc: WaOutboxDoc = self
                .bench
                .read(collections::wa_outbox(id).unwrap())
                .await
                .unwrap();
            (doc.state == state).then_some(doc)
        })
        .await
    }
}

#[tokio::test]
async fn a_linked_account_connects_and_says_who_it_is() {
    let mut scene = Scene::new().await;
    let link = scene.link().await;
    link.emit(EngineEvent::Paired {
        pn: "491709999999:3@s.whatsapp.net".into(),
        lid: "77@lid".into(),
        name: String::new(),
        platform: "android".into(),
    })
    .await;
    scene.status(Status::Pairing).await;
    link.emit(EngineEvent::Disconnected(DisconnectReason::RestartRequired))
        .await;
    link.emit(EngineEvent::Stage(Stage::Login)).await;
    link.emit(EngineEvent::Connected).await;
    let doc = scene.status(Status::Connected).await;
    assert_eq!(doc.phone.as_deref(), Some("+491709999999"));
    assert_eq!(doc.lid.as_deref(), Some("77@lid"));
    assert!(doc.paired_at.is_some() && doc.last_error.is_none());
    let trail: Vec<(String, String)> = scene
        .bench
        .events(&scene.account)
        .await
        .into_iter()
        .filter(|event| {
            event.kind == EventKind::AccountStatus && event.data["from"] != event.data["to"]
        })
        .map(|event| (event.data["from"].clone(), event.data["to"].clone()))
        .collect();
    let names = ["idle", "connecting", "pairing", "connecting", "connected"];
    let expected: Vec<(String, String)> = names
        .windows(2)
        .map(|pair| (pair[0].into(), pair[1].into()))
        .collect();
    assert_eq!(trail, expected);
}

#[tokio::test]
async fn an_attempt_that_hangs_is_disconnected_with_text_time_and_stage() {
    for stage in [
        Stage::Dns,
        Stage::Tcp,
        Stage::Tls,
        Stage::Handshake,
        Stage::Login,
        Stage::Sync,
    ] {
        let mut scene = Scene::new().await;
        let (link, doc) = loop {
            let link = scene.link().await;
            // On a busy machine the time may be up before the stage is told.
            if !link.tell(EngineEvent::Stage(stage)).await {
                continue;
            }
            let doc = scene.status(Status::Disconnected).await;
            if doc.last_error.as_ref().unwrap().stage.is_some() {
                break (link, doc);
            }
        };
        let error = doc.last_error.unwrap();
        assert_eq!(error.message, "Connection timeout - no progress after 0.3s");
        assert_eq!(error.stage.as_deref(), Some(stage.name()));
        assert!(error.retry_at.is_some() && doc.retry_at.is_some());
        assert!(doc.disconnect_counts["408 timedOut"] >= 1);
        // The engine was ended, and another is begun.
        let second = scene.link().await;
        assert!(link.ended.load(Ordering::SeqCst));
        assert!(!second.ended.load(Ordering::SeqCst));
        let stalls = scene.observed.snapshot().debug["stalls"]["connecting"].clone();
        assert!(stalls.as_u64() >= Some(1), "{stalls}");
    }
}

/// The next owner took the connection: nobody is told that it was lost.
#[tokio::test]
async fn a_connection_replaced_by_the_next_owner_is_left_quietly() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    let before = scene.bench.events(&scene.account).await.len();
    let fields = Fields::from([
        ("leaseEpoch".to_owned(), Value::Int(99)),
        ("leaseSession".to_owned(), Value::Text("bob".into())),
    ]);
    let write = Write::Update {
        path: scene.account.account_path(),
        fields,
        precondition: Precondition::Exists,
    };
    let _ = scene.bench.store.commit(vec![write]).await.unwrap();
    link.emit(EngineEvent::Disconnected(
        DisconnectReason::ConnectionReplaced,
    ))
    .await;
    let end = scene.task.await.unwrap();
    assert!(matches!(end, TaskEnd::Lost(_)), "{end:?}");
    assert!(!link.gates.wire.is_open() && !link.gates.store.is_open());
    let doc = scene.bench.read_account(&scene.account).await;
    assert_eq!(doc.status, Status::Connected, "the next owner's word");
    assert!(doc.disconnect_counts.is_empty() && doc.last_error.is_none());
    assert_eq!(scene.bench.events(&scene.account).await.len(), before);
}

#[tokio::test]
async fn a_lost_connection_is_counted_and_tried_again_with_the_same_session() {
    let mut scene = Scene::new().await;
    let first = scene.connected().await;
    first
        .files
        .put(session::Kind::Device, b"k", bytes::Bytes::from_static(b"v"))
        .unwrap();
    first
        .emit(EngineEvent::Disconnected(
            DisconnectReason::ConnectionClosed,
        ))
        .await;
    first.emit(EngineEvent::Stopped).await;
    let second = scene.connected().await;
    assert!(first.ended.load(Ordering::SeqCst));
    assert!(!first.gates.wire.is_open() && !first.gates.store.is_open());
    assert!(second.files.contains(session::Kind::Device, b"k"));
    let doc = scene.doc().await;
    assert_eq!(doc.disconnect_counts["428 connectionClosed"], 1);
    assert_eq!(doc.lease_epoch, 1, "a reconnect is no new claim");
    let snapshot = scene.observed.snapshot();
    assert_eq!(snapshot.debug["handlers"]["connected"]["attached"], true);
    assert_eq!(snapshot.debug["handlers"]["connected"]["events"], 2);
}

#[tokio::test]
async fn a_replaced_connection_freezes_before_anything_else() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.emit(EngineEvent::Disconnected(
        DisconnectReason::ConnectionReplaced,
    ))
    .await;
    let doc = scene.status(Status::Disconnected).await;
    assert!(!link.gates.wire.is_open() && !link.gates.store.is_open());
    assert!(link.ended.load(Ordering::SeqCst));
    let wait = doc.retry_at.unwrap().since(doc.status_at.unwrap());
    assert!((4..=16).contains(&wait.as_secs()), "{wait:?}");
}

/// What stood in the way is there again for the next owner: the wait, the
/// count of attempts, what people were told.
#[tokio::test]
async fn a_ladder_is_stored_and_the_next_owner_goes_on_with_it() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.emit(EngineEvent::Disconnected(DisconnectReason::AccountLocked))
        .await;
    let before = scene.status(Status::Locked).await;
    assert_eq!((before.ladder.locks, before.attempt), (1, 1));
    let (bench, account, _) = scene.drained().await;
    let mut scene = Scene::over(bench, account, unpaced()).await;
    let after = until("it is taken over", || async {
        let doc = scene.doc().await;
        (doc.lease_epoch == 2
            && doc.start_obeyed == 0
            && scene.observed.snapshot().status == Status::Locked)
            .then_some(doc)
    })
    .await;
    assert_eq!(after.status, Status::Locked);
    assert_eq!(after.status_at, before.status_at, "nothing has changed");
    assert_eq!(after.action_required, before.action_required);
    let moved = after.retry_at.unwrap().since(before.retry_at.unwrap());
    assert!(moved < Duration::from_millis(1), "{moved:?}");
    assert!(
        scene.links.try_recv().is_err(),
        "no attempt before its time"
    );
    // A person begins anew, and it fails again.
    want_start(&scene.bench, &scene.account).await;
    let link = scene.link().await;
    link.emit(EngineEvent::Disconnected(DisconnectReason::AccountLocked))
        .await;
    let locked = scene.status(Status::Locked).await;
    assert_eq!(locked.ladder.locks, 1);
}

#[tokio::test]
async fn a_send_that_brings_no_frame_tells_a_dead_connection() {
    let outbox = OutboxConfig {
        attempts_max: 1_000,
        ..unpaced()
    };
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let mut scene = Scene::over(bench, account, outbox).await;
    let link = scene.connected().await;
    link.is_silent.store(true, Ordering::SeqCst);
    link.acks.store(false, Ordering::SeqCst);
    scene.send(ANNA, "hello?").await;
    let doc = scene.status(Status::Disconnected).await;
    assert_eq!(doc.last_disconnect_reason.unwrap().code, 408);
    let debug = scene.observed.snapshot().debug;
    assert_eq!(debug["stalls"]["sendUnanswered"], 1, "{debug}");
    // The next connection has nothing to do with it.
    let link = scene.connected().await;
    until("it is sent again", || async {
        (!link.sent_ids().is_empty()).then_some(())
    })
    .await;
}

/// What a passkey is asked for is a secret: stored sealed, gone once linked.
#[tokio::test]
async fn a_passkey_step_is_stored_sealed_until_the_account_is_linked() {
    let mut scene = Scene::new().await;
    let link = scene.link().await;
    link.emit(EngineEvent::Passkey(PasskeyStep::Confirmation {
        code: "ABCD-1234".into(),
    }))
    .await;
    let step = until("the step is there", || async { scene.doc().await.passkey }).await;
    let (_, data_key) = scene.observed.running().unwrap();
    let text = data_key
        .open_secret(scene.account.as_str(), PASSKEY_PURPOSE, &step.sealed)
        .unwrap();
    let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (&text["step"], &text["code"]),
        (&"confirmation".into(), &"ABCD-1234".into())
    );
    link.emit(EngineEvent::Connected).await;
    assert_eq!(scene.status(Status::Connected).await.passkey, None);
}

#[tokio::test]
async fn a_logged_out_account_is_released_and_keeps_its_session() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.files
        .put(session::Kind::Device, b"k", bytes::Bytes::from_static(b"v"))
        .unwrap();
    link.acks.store(false, Ordering::SeqCst);
    link.emit(EngineEvent::Disconnected(DisconnectReason::LoggedOut))
        .await;
    let end = scene.task.await.unwrap();
    assert!(matches!(end, TaskEnd::Released), "{end:?}");
    let doc = scene.bench.read_account(&scene.account).await;
    assert_eq!((doc.status, doc.claimed_by), (Status::LoggedOut, None));
    assert_eq!(doc.disconnect_counts["401 loggedOut"], 1);
    let term = scene.bench.term(&scene.account).await;
    assert!(term.files.contains(session::Kind::Device, b"k"));
    // Linked anew it begins with an empty session; the old one is archived.
    archive::keep(&term).await.unwrap();
    assert_eq!(term.files.size().0, 0);
    let archive = coordinator_lib::store::Collection::new("wa_sessions/a1/archive").unwrap();
    let query = coordinator_lib::store::Query::new(archive);
    assert!(scene.bench.store.count(&query).await.unwrap() > 0);
}

#[tokio::test]
async fn a_stop_that_a_client_asks_for_ends_the_engine_and_gives_the_lease_back() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    scene.wants("stopped").await;
    let end = scene.task.await.unwrap();
    assert!(matches!(end, TaskEnd::Released));
    assert!(link.ended.load(Ordering::SeqCst));
    let doc = scene.bench.read_account(&scene.account).await;
    assert_eq!(
        (doc.status, doc.claimed_by, doc.released_epoch),
        (Status::Stopped, None, Some(1))
    );
}

#[tokio::test]
async fn a_logout_tells_the_server_and_ends_the_link() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    scene.wants("logged_out").await;
    let end = scene.task.await.unwrap();
    assert!(matches!(end, TaskEnd::Released));
    assert!(link.logged_out.load(Ordering::SeqCst) && link.ended.load(Ordering::SeqCst));
    let doc = scene.bench.read_account(&scene.account).await;
    assert_eq!(
        (doc.status, doc.claimed_by, doc.paired_at),
        (Status::LoggedOut, None, None)
    );
}

#[tokio::test]
async fn a_logout_that_nobody_owned_is_done_by_whoever_claims_the_account() {
    let mut scene = Scene::new().await;
    scene.connected().await;
    let (bench, account, _) = scene.drained().await;
    let linked = bench.read_account(&account).await;
    assert!(linked.paired_at.is_some());
    want(&bench, &account, "logged_out").await;
    let mut scene = Scene::over(bench, account, unpaced()).await;
    let link = scene.link().await;
    link.emit(EngineEvent::Connected).await;
    let end = scene.task.await.unwrap();
    assert!(matches!(end, TaskEnd::Released));
    assert!(link.logged_out.load(Ordering::SeqCst));
    let doc = scene.bench.read_account(&scene.account).await;
    assert_eq!(doc.status, Status::LoggedOut);
}

/// A client wants the account to begin anew.
async fn want_start(bench: &Bench, account: &AccountId) {
    let write = Write::Update {
        path: account.account_path(),
        fields: Fields::from([("startRequest".to_owned(), 1_i64.into())]),
        precondition: Precondition::Exists,
    };
    assert!(bench.store.commit(vec![write]).await.is_ok());
}

/// A client wants this of an account.
async fn want(bench: &Bench, account: &AccountId, desired: &str) {
    let write = Write::Update {
        path: account.account_path(),
        fields: Fields::from([("desired".to_owned(), desired.into())]),
        precondition: Precondition::Exists,
    };
    assert!(bench.store.commit(vec![write]).await.is_ok());
}

#[tokio::test]
async fn a_drained_account_keeps_its_status_and_comes_back() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    let (bench, account, end) = scene.drained().await;
    assert!(matches!(end, TaskEnd::Asked(ReleaseReason::Drain)));
    assert!(link.ended.load(Ordering::SeqCst));
    let doc = bench.read_account(&account).await;
    assert_eq!((doc.status, doc.claimed_by), (Status::Connected, None));
    let mut scene = Scene::over(bench, account, unpaced()).await;
    scene.connected().await;
    assert_eq!(scene.doc().await.lease_epoch, 2);
}

#[tokio::test]
async fn a_fenced_account_ends_without_a_word() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    let before = scene.bench.events(&scene.account).await.len();
    // Somebody takes it over: the head says another epoch.
    let fields = Fields::from([
        ("epoch".to_owned(), Value::Int(99)),
        ("workerSession".to_owned(), Value::Text("bob".into())),
    ]);
    let write = Write::Update {
        path: scene.account.head_path(),
        fields,
        precondition: Precondition::Exists,
    };
    let _ = scene.bench.store.commit(vec![write]).await.unwrap();
    let refused = link
        .inbox
        .commit(vec![inbound("ID1", ANNA, "too late")])
        .await;
    assert!(refused.is_err());
    let end = scene.task.await.unwrap();
    assert!(matches!(end, TaskEnd::Lost(CloseReason::Fenced)), "{end:?}");
    assert!(link.ended.load(Ordering::SeqCst));
    assert!(!link.gates.wire.is_open());
    assert_eq!(scene.bench.events(&scene.account).await.len(), before);
    // Nothing of it is left, once nobody holds its engine.
    drop((link, scene.links));
    scene.work.close();
    let ended = tokio::time::timeout(crate::testing::DEADLINE, scene.work.wait());
    assert!(ended.await.is_ok(), "{} tasks", scene.work.len());
}

#[tokio::test]
async fn a_queued_message_leaves_on_connect_and_follows_its_receipts() {
    let mut scene = Scene::new().await;
    let accepted = scene.send(ANNA, "hello").await;
    let link = scene.connected().await;
    let sent = scene
        .sending(&accepted.message_id, MessageState::Sent)
        .await;
    assert_eq!(link.sent_ids(), [accepted.wa_message_id.as_str()]);
    assert!(sent.sent_at.is_some() && !sent.open);
    for (kind, state) in [
        (ReceiptKind::Read, MessageState::Read),
        // Late, and no step back.
        (ReceiptKind::Delivered, MessageState::Read),
    ] {
        link.emit(EngineEvent::Receipt {
            chat: ANNA.into(),
            sender: ANNA.into(),
            ids: vec![accepted.wa_message_id.clone()],
            kind,
            at: scene.bench.clock.wall(),
        })
        .await;
        scene.sending(&accepted.message_id, state).await;
    }
    let sent = until("both times", || async {
        let sent: WaOutboxDoc = scene
            .bench
            .read(collections::wa_outbox(&accepted.message_id).unwrap())
            .await
            .unwrap();
        (sent.delivered_at.is_some() && sent.read_at.is_some()).then_some(sent)
    })
    .await;
    assert_eq!(sent.state, MessageState::Read);
    let path = collections::message(&accepted.thread_id, &accepted.stored_message_id).unwrap();
    assert_eq!(
        scene.bench.read::<MessageDoc>(path).await.unwrap().state,
        MessageState::Read
    );
    let states: Vec<String> = scene
        .bench
        .events(&scene.account)
        .await
        .into_iter()
        .filter(|event| event.kind == EventKind::MessageUpdated)
        .map(|event| event.data["state"].clone())
        .collect();
    assert_eq!(states, ["sending", "sent", "read"]);
}

#[tokio::test]
async fn a_conversation_keeps_its_order_through_failures_and_lost_answers() {
    let mut scene = Scene::new().await;
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.push(scene.send(ANNA, &format!("{n}")).await);
    }
    let link = scene.link().await;
    *link.failures.lock() = vec![whatsapp::SendError::TimedOut, whatsapp::SendError::Query];
    link.emit(EngineEvent::Connected).await;
    for accepted in &expected {
        scene
            .sending(&accepted.message_id, MessageState::Sent)
            .await;
    }
    let ids: Vec<String> = expected
        .iter()
        .map(|accepted| accepted.wa_message_id.clone())
        .collect();
    assert_eq!(link.sent_ids(), ids);
    let first: WaOutboxDoc = scene
        .bench
        .read(collections::wa_outbox(&expected[0].message_id).unwrap())
        .await
        .unwrap();
    assert_eq!(first.attempts, 3);
}

#[tokio::test]
async fn what_was_on_the_wire_unanswered_is_sent_again_under_the_same_id() {
    let mut scene = Scene::new().await;
    let accepted = scene.send(ANNA, "hello").await;
    let link = scene.link().await;
    link.acks.store(false, Ordering::SeqCst);
    link.emit(EngineEvent::Connected).await;
    until("it left", || async {
        (link.sent_ids().len() == 1).then_some(())
    })
    .await;
    // The worker ends before the answer; another goes on.
    let (bench, account, _) = scene.drained().await;
    let mut scene = Scene::over(bench, account, unpaced()).await;
    let link = scene.connected().await;
    scene
        .sending(&accepted.message_id, MessageState::Sent)
        .await;
    assert_eq!(link.sent_ids(), [accepted.wa_message_id]);
}

#[tokio::test]
async fn a_message_is_given_up_after_its_attempts_and_holds_nobody_else_up() {
    let outbox = OutboxConfig {
        attempts_max: 2,
        ..unpaced()
    };
    let bench = Bench::new();
    let account = bench.account("a1").await;
    let mut scene = Scene::over(bench, account, outbox).await;
    let lost = scene.send(ANNA, "lost").await;
    let link = scene.link().await;
    *link.failures.lock() = vec![whatsapp::SendError::TimedOut; 2];
    link.emit(EngineEvent::Connected).await;
    let failed = scene.sending(&lost.message_id, MessageState::Failed).await;
    assert_eq!(failed.error.unwrap().code, "timed_out");
    assert!(!failed.open);
    let next = scene.send(ANNA, "next").await;
    scene.sending(&next.message_id, MessageState::Sent).await;
}

#[tokio::test]
async fn a_refusal_of_the_server_fails_the_message_with_its_code() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.acks.store(false, Ordering::SeqCst);
    let refused = scene.send(BEN, "hello").await;
    until("it left", || async {
        (link.sent_ids().len() == 1).then_some(())
    })
    .await;
    link.emit(EngineEvent::ServerAck {
        id: refused.wa_message_id.clone(),
        error: Some(400),
    })
    .await;
    let failed = scene
        .sending(&refused.message_id, MessageState::Failed)
        .await;
    let error = failed.error.unwrap();
    assert_eq!((error.code.as_str(), error.wa_code), ("refused", Some(400)));
}

#[tokio::test]
async fn who_is_not_to_be_contacted_gets_nothing_queued_or_new() {
    let mut scene = Scene::new().await;
    // Queued first, and put on the list after.
    let queued = scene.send(ANNA, "hello").await;
    let path = crate::messages::refusals::path(ANNA).unwrap();
    let entry = crate::model::DoNotContactDoc {
        address: ANNA.to_owned(),
        note: None,
        since: crate::testing::at(1),
    };
    let write = Write::Set {
        path: path.clone(),
        fields: entry.to_document().unwrap(),
        precondition: Precondition::None,
    };
    assert!(scene.bench.store.commit(vec![write]).await.is_ok());
    let request = crate::testing::request(&scene.account, ANNA, "again");
    let refused = crate::outbox::accept(scene.bench.accept_parts(), &request).await;
    assert!(matches!(refused, Err(crate::outbox::AcceptError::Refused)));

    let other = scene.send(BEN, "hello").await;
    let link = scene.connected().await;
    let failed = scene
        .sending(&queued.message_id, MessageState::Failed)
        .await;
    assert_eq!(failed.error.unwrap().code, "do_not_contact");
    scene.sending(&other.message_id, MessageState::Sent).await;
    assert_eq!(link.sent_ids(), [other.wa_message_id]);
}

#[tokio::test]
async fn a_chat_that_may_not_be_begun_now_waits_and_others_go_on() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.acks.store(false, Ordering::SeqCst);
    let capped = scene.send(BEN, "hello").await;
    until("it left", || async {
        (link.sent_ids().len() == 1).then_some(())
    })
    .await;
    // Anna has written here, so she is no new chat.
    let anna = crate::testing::inbound("A1", ANNA, "hi");
    link.inbox.commit(vec![anna]).await.unwrap();
    link.acks.store(true, Ordering::SeqCst);
    link.emit(EngineEvent::ServerAck {
        id: capped.wa_message_id.clone(),
        error: Some(475),
    })
    .await;
    let waits = until("it waits", || async {
        let path = collections::wa_outbox(&capped.message_id).unwrap();
        let document = scene.bench.read::<WaOutboxDoc>(path).await.unwrap();
        document.next_attempt_at.is_some().then_some(document)
    })
    .await;
    assert_eq!(waits.error.unwrap().code, "new_chats_capped");
    let answer = scene.send(ANNA, "hello").await;
    scene.sending(&answer.message_id, MessageState::Sent).await;
    let new = scene.send("491700000003@s.whatsapp.net", "hello").await;
    let later = scene.send(ANNA, "again").await;
    scene.sending(&later.message_id, MessageState::Sent).await;
    assert!(!link.sent_ids().contains(&new.wa_message_id));
}

#[tokio::test]
async fn a_cancel_that_comes_first_wins() {
    let mut scene = Scene::new().await;
    let accepted = scene.send(ANNA, "never").await;
    let path = collections::wa_outbox(&accepted.message_id).unwrap();
    let fields = Fields::from([
        ("state".to_owned(), Value::Text("cancelled".into())),
        ("open".to_owned(), Value::Bool(false)),
    ]);
    let write = Write::Update {
        path,
        fields,
        precondition: Precondition::Exists,
    };
    let _ = scene.bench.store.commit(vec![write]).await.unwrap();
    let link = scene.connected().await;
    let other = scene.send(BEN, "hello").await;
    scene.sending(&other.message_id, MessageState::Sent).await;
    assert_eq!(link.sent_ids(), [other.wa_message_id]);
}

#[tokio::test]
async fn an_answer_waits_for_the_session_of_its_conversation_to_be_durable() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.inbox
        .commit(vec![inbound("ID1", ANNA, "a question")])
        .await
        .unwrap();
    let stranger = scene.send(BEN, "not an answer").await;
    scene
        .sending(&stranger.message_id, MessageState::Sent)
        .await;
    assert_eq!(*link.flushes.lock(), 0);
    let answer = scene.send(ANNA, "an answer").await;
    scene.sending(&answer.message_id, MessageState::Sent).await;
    assert_eq!(*link.flushes.lock(), 1);
    let second = scene.send(ANNA, "and another").await;
    scene.sending(&second.message_id, MessageState::Sent).await;
    assert_eq!(*link.flushes.lock(), 1);
}

#[tokio::test]
async fn a_thread_is_marked_as_read_when_a_client_asks() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.inbox
        .commit(vec![
            inbound("ID1", ANNA, "one"),
            inbound("ID2", ANNA, "two"),
        ])
        .await
        .unwrap();
    let path = collections::thread(&ids::thread("a1", ANNA)).unwrap();
    let fields = Fields::from([
        ("readPending".to_owned(), Value::Bool(true)),
        ("pending".to_owned(), Value::Bool(true)),
    ]);
    let write = Write::Update {
        path: path.clone(),
        fields,
        precondition: Precondition::Exists,
    };
    let _ = scene.bench.store.commit(vec![write]).await.unwrap();
    until("read", || async {
        let thread: ThreadDoc = scene.bench.read(path.clone()).await.unwrap();
        (thread.unread == 0 && !thread.read_pending).then_some(())
    })
    .await;
    let mut read: Vec<String> = link.read.lock().concat();
    read.sort();
    assert_eq!(read, ["ID1", "ID2"]);
}

#[tokio::test]
async fn a_peer_is_shown_that_somebody_is_writing_if_that_is_still_so() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.inbox
        .commit(vec![inbound("ID1", ANNA, "one")])
        .await
        .unwrap();
    let path = collections::thread(&ids::thread("a1", ANNA)).unwrap();
    let now = coordinator_lib::store::StoreTime::from_datetime(scene.bench.clock.wall());
    let long_ago = crate::testing::at(1);
    for (asked_at, expected) in [(now, 1), (long_ago, 1)] {
        let fields = Fields::from([
            ("typingPending".to_owned(), Value::Bool(true)),
            ("typingAt".to_owned(), Value::Time(asked_at)),
            ("pending".to_owned(), Value::Bool(true)),
        ]);
        let write = Write::Update {
            path: path.clone(),
            fields,
            precondition: Precondition::Exists,
        };
        let _ = scene.bench.store.commit(vec![write]).await.unwrap();
        until("obeyed", || async {
            let thread: ThreadDoc = scene.bench.read(path.clone()).await.unwrap();
            (!thread.pending).then_some(())
        })
        .await;
        assert_eq!(link.typing.lock().len(), expected);
    }
}

#[tokio::test]
async fn a_call_is_an_event_and_is_refused_where_that_is_wanted() {
    let mut scene = Scene::new().await;
    let link = scene.connected().await;
    link.emit(EngineEvent::Call {
        from: ANNA.to_owned(),
        creator: ANNA.to_owned(),
        id: "CALL1".to_owned(),
        video: true,
        offline: false,
    })
    .await;
    let call = until("an event", || async {
        let events = scene.bench.events(&scene.account).await;
        events
            .into_iter()
            .find(|event| event.kind == EventKind::CallReceived)
    })
    .await;
    assert_eq!(
        (call.data["video"].as_str(), call.data["rejected"].as_str()),
        ("true", "false")
    );
    assert!(link.rejected.lock().is_empty(), "not asked for");
}

#[test]
fn a_wait_is_no_longer_than_it_was_whatever_the_clock_says() {
    let at = |seconds: i64| StoreTime::from_micros(seconds * 1_000_000);
    let left = |retry, begun, wall| wait_left(Some(at(retry)), Some(at(begun)), at(wall));
    let seconds = Duration::from_secs;
    assert_eq!(left(160, 100, 120), Some(seconds(40)));
    assert_eq!(left(160, 100, 160), None);
    // The last owner's clock is two hours ahead.
    assert_eq!(left(7_360, 7_300, 100), Some(seconds(60)));
    assert_eq!(wait_left(Some(at(50)), None, at(20)), Some(seconds(30)));
}
