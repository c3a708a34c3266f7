//! The router against a store in memory and a worker that is told what to say.

#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn servers of their own"
)]

mod accounts;
mod archives;
mod auth;
mod bad_input;
mod events;
mod health;
mod media;
mod messages;
mod sessions;
mod sign_in;
mod status;
mod waha;
mod webhooks;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use coordinator_lib::clock::{ManualClock, SharedClock};
use coordinator_lib::coordinator::Standing;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::rng::{SeededRng, SharedRng};
use coordinator_lib::store::{
    CommitOutcome, Fields, MemoryStore, Path, Precondition, Store, Value as StoreValue, Write,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use session::{DataKey, HeadDoc, KeyRing};
use tower::ServiceExt;

use super::{Api, ApiParts, WorkerView, router};
use crate::app::{Lifecycle, Phase, WorkerInfo};
use crate::config::{HttpConfig, TelemetryConfig};
use crate::health::WorkerSnapshot;
use crate::health::monitor::StoreMonitor;
use crate::media::MediaStore;
use crate::model::collections;

/// Says what a test puts into it, and counts how often it was woken.
struct StubWorker {
    snapshot: Mutex<WorkerSnapshot>,
    standing: Mutex<Standing>,
}

impl Default for StubWorker {
    fn default() -> Self {
        Self {
            snapshot: Mutex::default(),
            standing: Mutex::new(Standing::Active),
        }
    }
}

impl WorkerView for StubWorker {
    fn snapshot(&self) -> WorkerSnapshot {
        self.snapshot.lock().clone()
    }

    fn session_id(&self) -> String {
        "5d1b6c62-0000-4000-8000-000000000000".to_owned()
    }

    fn standing(&self) -> Standing {
        *self.standing.lock()
    }

    fn rested(&self, _account: &str) {}
}

/// An API on a memory store.
struct Fixture {
    router: Router,
    store: Store,
    memory: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    rng: SharedRng,
    keys: Arc<KeyRing>,
    worker: Arc<StubWorker>,
    lifecycle: Lifecycle,
    monitor: StoreMonitor,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("a JSON answer")
    }

    /// Checks that it is a problem with this status and code, and yields its detail.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{body}"
        );
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        let detail = body["detail"].as_str().unwrap_or_default().to_owned();
        assert!(!detail.is_empty(), "{body}");
        detail
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with_config(&HttpConfig::default())
    }

    fn with_config(config: &HttpConfig) -> Self {
        Self::with(config, MediaStore::default())
    }

    fn with(config: &HttpConfig, media: MediaStore) -> Self {
        Self::of(config, media, &TelemetryConfig::default())
    }

    fn of(config: &HttpConfig, media: MediaStore, telemetry: &TelemetryConfig) -> Self {
        let clock = Arc::new(ManualClock::new());
        let shared_clock: SharedClock = clock.clone();
        let memory = Arc::new(MemoryStore::new(shared_clock.clone()));
        let store: Store = memory.clone();
        let rng = SeededRng::shared(7);
        let keys = Arc::new(KeyRing::generate(rng.as_ref()));
        let worker = Arc::new(StubWorker::default());
        let lifecycle = Lifecycle::default();
        lifecycle.set(Phase::Active);
        let monitor = StoreMonitor::new(store.clone(), shared_clock.clone());
        let info = Arc::new(worker_info(&shared_clock));
        let api = Api::new(ApiParts {
            store: store.clone(),
            clock: shared_clock.clone(),
            rng: rng.clone(),
            keys: keys.clone(),
            worker: worker.clone(),
            book: crate::auth::KeyBook::new(crate::auth::KeyBookParts {
                store: store.clone(),
                clock: shared_clock.clone(),
                rate: config.api_rate,
                burst: config.api_burst,
            }),
            info,
            lifecycle: lifecycle.clone(),
            monitor: monitor.clone(),
            media,
            fetcher: whatsapp::media::MediaFetcher::new(
                None,
                coordinator_lib::clock::SystemClock::shared(),
            ),
            streams: streams(&store, &shared_clock, &rng),
            post: Arc::new(crate::webhooks::Post::new(
                crate::webhooks::WebhookConfig::default(),
                shared_clock.clone(),
                rng.clone(),
            )),
            operator: crate::operator::OperatorParts {
                heartbeat: {
                    let store = store.clone();
                    Arc::new(move || {
                        let store = store.clone();
                        Box::pin(async move { Ok(store) })
                    })
                },
                store: store.clone(),
                presence: None,
                keys: keys.clone(),
                clock: shared_clock.clone(),
                rng: rng.clone(),
                lease: coordinator_lib::lease::LeaseConfig::default(),
            },
        });
        let router = router(api, config, telemetry);
        Self {
            router,
            store,
            memory,
            clock,
            rng,
            keys,
            worker,
            lifecycle,
            monitor,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("handlers do not fail");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 10_000_000)
            .await
            .expect("a whole answer")
            .to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            bytes,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request"))
            .await
    }

    async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let request = Request::get(path).header(header::ACCEPT, accept);
        self.send(request.body(Body::empty()).expect("a request"))
            .await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_raw(path, body.to_string()).await
    }

    async fn post_raw(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).expect("a request"))
            .await
    }

    async fn post_empty(&self, path: &str) -> Answer {
        self.send(Request::post(path).body(Body::empty()).expect("a request"))
            .await
    }

    /// Creates an account over the API and yields its id.
    async fn account(&self, name: &str) -> String {
        let created = self.post("/v1/accounts", json!({ "name": name })).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.json());
        created.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The same with a key.
    async fn account_with(&self, name: &str, key: &str) -> String {
        let request = Request::post("/v1/accounts")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-api-key", key);
        let body = json!({ "name": name }).to_string();
        let created = self
            .send(request.body(body.into()).expect("a request"))
            .await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.json());
        created.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Changes fields of a document, as its owner would.
    async fn update(&self, path: Path, fields: Fields) {
        let write = Write::Update {
            path,
            fields,
            precondition: Precondition::Exists,
        };
        let outcome = self
            .store
            .commit(vec![write])
            .await
            .expect("the store works");
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
    }

    /// Makes a document.
    async fn put(&self, path: &str, fields: Fields) {
        let write = Write::Set {
            path: Path::new(path).expect("a path"),
            fields,
            precondition: Precondition::None,
        };
        let outcome = self.store.commit(vec![write]).await;
        assert!(matches!(outcome, Ok(CommitOutcome::Committed(_))));
    }

    /// Sets an account's status, as its owner would.
    async fn set_status(&self, id: &str, status: &str) {
        let fields = [("status".to_owned(), StoreValue::Text(status.to_owned()))].into();
        self.update(collections::account(id).expect("an id"), fields)
            .await;
    }

    /// The account's data key, as its owner opens it.
    async fn data_key(&self, id: &str) -> DataKey {
        let path = collections::head(id).expect("an id");
        let snapshot = self.store.get(&[path]).await.expect("the store works");
        let head: HeadDoc = snapshot.documents[0]
            .as_ref()
            .expect("a head")
            .decode()
            .expect("a readable head");
        self.keys
            .unwrap(&head.wrapped_keys, id)
            .expect("the ring opens it")
    }
}

fn streams(store: &Store, clock: &SharedClock, rng: &SharedRng) -> crate::events::Streams {
    crate::events::Streams::new(
        crate::events::feed::FeedParts {
            store: store.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
        },
        crate::events::StreamsConfig {
            per_key_max: 2,
            ..crate::events::StreamsConfig::default()
        },
        tokio_util::sync::CancellationToken::new(),
    )
}

fn worker_info(clock: &SharedClock) -> WorkerInfo {
    WorkerInfo {
        worker_name: "alice".to_owned(),
        deployment_id: "blue".to_owned(),
        capacity: 18,
        idempotency_ttl: std::time::Duration::from_secs(86_400),
        lease: LeaseConfig::default(),
        store_backend: "memory",
        data_dir: "data".into(),
        key_ring: "data/keyring.json".to_owned(),
        started: clock.boottime(),
        started_wall: clock.wall(),
    }
}
