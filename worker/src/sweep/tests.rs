use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator_lib::clock::ManualClock;
use coordinator_lib::rng::SeededRng;
use coordinator_lib::store::{CommitOutcome, MemoryStore, Path, Stamp};

use super::*;
use crate::model::{AuditDoc, EventKind, IdempotencyDoc, collections};

const DAY: Duration = Duration::from_secs(86_400);

struct Scene {
    clock: Arc<ManualClock>,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let store: Store = Arc::new(MemoryStore::new(clock.clone()));
        Self { clock, store }
    }

    fn sweep(&self) -> RecordSweep {
        RecordSweep {
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            rng: SeededRng::shared(1),
            retention: 7 * DAY,
            audit_retention: 30 * DAY,
            archive_retention: 30 * DAY,
        }
    }

    async fn put<T: Stored>(&self, path: Path, document: &T) {
        let write = Write::Set {
            path,
            fields: document.to_document().unwrap(),
            precondition: Precondition::Absent,
        };
        let outcome = self.store.commit(vec![write]).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
    }

    async fn event(&self, account: &str, seq: i64) {
        let event = EventDoc {
            account_id: account.to_owned(),
            seq,
            kind: EventKind::Presence,
            at: StoreTime::from_micros(0),
            stored_at: Stamp::Commit,
            epoch: 1,
            trace: None,
            data: BTreeMap::new(),
        };
        self.put(collections::event(account, seq).unwrap(), &event)
            .await;
    }

    async fn left(&self, account: &str) -> Vec<i64> {
        let query = queries::events_after(account, 0).unwrap();
        let page = self.store.query(&query).await.unwrap();
        let events = page.documents.iter().filter_map(EventDoc::read_or_skip);
        events.map(|record| record.value.seq).collect()
    }
}

#[tokio::test]
async fn old_events_go_and_the_newest_of_each_account_stays() {
    let scene = Scene::new();
    for seq in 1..=3 {
        scene.event("quiet", seq).await;
        scene.event("busy", seq).await;
    }
    scene.clock.advance(8 * DAY);
    scene.event("busy", 4).await;
    let swept = scene.sweep().pass().await.unwrap();
    assert_eq!(swept.events, 5);
    assert_eq!(scene.left("quiet").await, [3]);
    assert_eq!(scene.left("busy").await, [4]);
    // Somebody has just made a pass.
    let again = scene.sweep().pass().await.unwrap();
    assert_eq!(again, SweptRecords::default());
}

#[tokio::test]
async fn events_that_are_kept_stay() {
    let scene = Scene::new();
    scene.event("a", 1).await;
    scene.event("a", 2).await;
    scene.clock.advance(7 * DAY);
    assert_eq!(scene.sweep().pass().await.unwrap(), SweptRecords::default());
    assert_eq!(scene.left("a").await, [1, 2]);
}

#[tokio::test]
async fn idempotency_keys_and_the_audit_log_have_times_of_their_own() {
    let scene = Scene::new();
    let now = scene.store.ping().await.unwrap();
    let key = IdempotencyDoc {
        account_id: "a".to_owned(),
        message_id: "msg_1".to_owned(),
        body_hash: String::new(),
        expires_at: now.saturating_add(DAY),
    };
    scene
        .put(collections::idempotency_key("idk_1").unwrap(), &key)
        .await;
    let entry = AuditDoc {
        at: now,
        key_id: "k".to_owned(),
        key_name: String::new(),
        method: "POST".to_owned(),
        route: "/".to_owned(),
        subject: None,
        status: 200,
        worker: "alice".to_owned(),
    };
    scene
        .put(collections::audit("aud_1").unwrap(), &entry)
        .await;
    scene.clock.advance(2 * DAY);
    let swept = scene.sweep().pass().await.unwrap();
    assert_eq!((swept.keys, swept.audit), (1, 0));
    scene.clock.advance(30 * DAY);
    let swept = scene.sweep().pass().await.unwrap();
    assert_eq!((swept.keys, swept.audit), (0, 1));
}

#[tokio::test]
async fn an_archived_session_goes_with_its_files_and_a_later_one_stays() {
    let scene = Scene::new();
    for (epoch, days) in [(1, 20), (11, 20)] {
        let archive = SessionArchiveDoc {
            account_id: "a".to_owned(),
            epoch,
            archived_at: Stamp::Commit,
            phone: None,
            files: ["device", "peers.0"]
                .map(|name| format!("{epoch}-{name}"))
                .into(),
        };
        for name in &archive.files {
            let file = collections::archived_files("a").unwrap().doc(name).unwrap();
            scene.put(file, &RecordSweepDoc::default()).await;
        }
        let path = collections::session_archive("a", epoch).unwrap();
        scene.put(path, &archive).await;
        scene.clock.advance(days * DAY);
    }
    let swept = scene.sweep().pass().await.unwrap();
    assert_eq!(swept.archives, 1);
    let files = Query::new(collections::archived_files("a").unwrap());
    let page = scene.store.query(&files).await.unwrap();
    let left: Vec<&str> = page.documents.iter().map(|file| file.path.id()).collect();
    assert_eq!(left, ["11-device", "11-peers.0"]);
    scene.clock.advance(30 * DAY);
    assert_eq!(scene.sweep().pass().await.unwrap().archives, 1);
    assert_eq!(scene.store.count(&files).await.unwrap(), 0);
}
