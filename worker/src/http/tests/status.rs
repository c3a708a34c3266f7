//! `/health` keeps every key of the predecessor; liveness and readiness.

use std::time::Duration;

use coordinator_lib::clock::Clock;
use coordinator_lib::store::StoreTime;

use super::*;
use crate::health::{LeaseState, ObservedAccount, OwnedAccount, OwnedLease, SessionSight};
use crate::model::{LastError, Status, collections};

/// The paths of all members of the predecessor's document.
const PREDECESSOR_KEYS: [&str; 29] = [
    "/status",
    "/version",
    "/commit",
    "/bootTimestamp",
    "/deploymentId",
    "/mode",
    "/uptime",
    "/timestamp",
    "/accounts",
    "/accounts/total",
    "/accounts/connected",
    "/accounts/connecting",
    "/accounts/disconnected",
    "/accounts/needs_qr",
    "/accounts/max",
    "/firestore",
    "/firestore/status",
    "/firestore/policy",
    "/firestore/policy/collections",
    "/firestore/policy/ownership",
    "/firestore/policy/lease",
    "/lock",
    "/lock/owner",
    "/lock/expiresAt",
    "/lock/note",
    "/errorsByStatus",
    "/errorsByStatus/qr_ready",
    "/errorsByStatus/connected",
    "/errorsByStatus/connecting",
];

pub(super) fn owned(api: &Fixture, id: &str, status: Status) -> OwnedAccount {
    let now = StoreTime::from_datetime(api.clock.wall());
    OwnedAccount {
        account_id: id.to_owned(),
        lease: OwnedLease {
            epoch: 7,
            claimed_at: now,
            lease_until: now.saturating_add(Duration::from_secs(300)),
            deadline: api.clock.boottime() + Duration::from_secs(299),
            state: LeaseState::Held,
            renewal_failed: false,
        },
        seen: ObservedAccount {
            status,
            status_at: Some(now),
            last_flush_seq: 412,
            debug: json!({ "handlers": {} }),
            ..ObservedAccount::default()
        },
    }
}

impl Fixture {
    /// A worker session that has just beaten.
    pub(super) fn session(&self) -> SessionSight {
        let now = self.clock.boottime();
        SessionSight {
            id: self.worker.session_id(),
            beat_at: now,
            deadline: now + Duration::from_secs(9),
            ..SessionSight::default()
        }
    }
}

#[tokio::test]
async fn health_has_every_key_of_the_predecessor() {
    let api = Fixture::new();
    api.monitor.look(true).await;
    let answer = api.get("/health").await;
    assert_eq!(answer.status, StatusCode::OK);
    let health = answer.json();
    for key in PREDECESSOR_KEYS {
        assert!(
            health.pointer(key).is_some(),
            "{key} is missing in {health:#}"
        );
    }
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["accounts"]["max"], 18);
    assert_eq!(health["deploymentId"], "blue");
    assert_eq!(health["simulation"], whatsapp::SIMULATION);
    assert_eq!(health["firestore"]["status"], "connected");
    assert_eq!(
        health["firestore"]["policy"]["collections"]
            .as_array()
            .unwrap()
            .len(),
        6
    );
}

#[tokio::test]
async fn health_shows_what_the_predecessor_left_open() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    api.account("us").await;
    api.monitor.look(true).await;
    let mut failed = owned(&api, &id, Status::Disconnected);
    failed.seen.last_error = Some(LastError {
        message: "Connection timeout - no progress after 60s".to_owned(),
        at: failed.lease.claimed_at,
        stage: Some("handshake".to_owned()),
        retry_at: Some(failed.lease.lease_until),
    });
    failed.seen.disconnect_counts = [
        ("408 timedOut".to_owned(), 2),
        ("428 connectionClosed".to_owned(), 1),
    ]
    .into();
    let mut waiting = owned(&api, "account_2", Status::QrReady);
    waiting.seen.disconnect_counts = [("428 connectionClosed".to_owned(), 2)].into();
    waiting.lease.deadline = api.clock.boottime() + Duration::from_secs(40);
    *api.worker.snapshot.lock() = WorkerSnapshot {
        accounts: vec![failed, waiting],
        session: api.session(),
    };

    let health = api.get("/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(
        health["accounts"],
        json!({
            "total": 2, "max": 18, "disconnected": 1, "needs_qr": 1, "connected": 0,
            "connecting": 0, "idle": 0, "banned": 0, "locked": 0, "conflict": 0, "degraded": 0,
            "logged_out": 0, "failed": 0, "stopped": 0, "needs_import": 0,
        })
    );
    let error = &health["errorsByStatus"]["disconnected"][0];
    assert_eq!(error["accountId"], id.as_str());
    assert_eq!(
        error["lastError"],
        "Connection timeout - no progress after 60s"
    );
    assert_eq!(error["stage"], "handshake");
    assert!(error["at"].is_string() && error["retryAt"].is_string());
    assert_eq!(
        health["lastDisconnectReasons"],
        json!({ "408 timedOut": 2, "428 connectionClosed": 3 })
    );
    let lease = &health["lock"]["leases"][0];
    assert_eq!(
        (
            &lease["epoch"],
            &lease["secondsLeft"],
            &lease["state"],
            &lease["lastFlushSeq"]
        ),
        (&json!(7), &json!(299), &json!("held"), &json!(412))
    );
    assert_eq!(
        health["lock"]["warnings"],
        json!([{ "accountId": "account_2", "code": "lease_expires_soon", "secondsLeft": 40 }])
    );
    assert_eq!(health["cluster"]["accounts"], 2);
    assert!(health["cluster"]["asOf"].is_string());
}

#[tokio::test]
async fn an_error_that_a_connection_followed_is_over() {
    let api = Fixture::new();
    let mut account = owned(&api, "account_1", Status::Connected);
    account.seen.last_error = Some(LastError {
        message: "connection closed".to_owned(),
        at: account.lease.claimed_at,
        stage: None,
        retry_at: None,
    });
    *api.worker.snapshot.lock() = WorkerSnapshot {
        accounts: vec![account],
        session: api.session(),
    };
    assert_eq!(
        api.get("/health").await.json()["errorsByStatus"]["connected"],
        json!([])
    );
}

#[tokio::test]
async fn a_silent_store_makes_the_worker_unhealthy_and_leaves_it_alive() {
    let api = Fixture::new();
    api.monitor.look(true).await;
    api.clock.advance(Duration::from_secs(11));
    let answer = api.get("/health").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["status"], "unhealthy");
    assert_eq!(answer.json()["firestore"]["status"], "disconnected");
    assert_eq!(api.get("/livez").await.status, StatusCode::OK);
    api.monitor.look(false).await;
    assert_eq!(api.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_draining_worker_is_not_ready_and_still_answers() {
    let api = Fixture::new();
    assert_eq!(api.get("/readyz").await.status, StatusCode::OK);
    api.lifecycle.set(Phase::Draining);
    let answer = api.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["reason"], "draining");
    assert_eq!(api.get("/livez").await.status, StatusCode::OK);
    assert_eq!(api.get("/v1/accounts").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_suspended_or_sealed_session_is_unhealthy_not_ready_and_alive() {
    let api = Fixture::new();
    api.monitor.look(true).await;
    for (standing, state, reason) in [
        (Standing::Suspended, "suspended", "suspended"),
        (Standing::Frozen, "sealed", "frozen"),
    ] {
        *api.worker.standing.lock() = standing;
        let health = api.get("/health").await;
        assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health.json()["lock"]["state"], state);
        assert_eq!(api.get("/readyz").await.json()["reason"], reason);
        assert_eq!(api.get("/livez").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn workers_are_listed_as_the_store_knows_them() {
    let api = Fixture::new();
    let me = api.worker.session_id();
    for (id, name, state, owned) in [
        (me.as_str(), "alice", "ACTIVE", 2),
        ("b", "bob", "DRAINING", 1),
        ("c", "carol", "SEALED", 9),
    ] {
        let fields = [
            ("name".to_owned(), StoreValue::from(name)),
            ("state".to_owned(), state.into()),
            ("owned".to_owned(), owned.into()),
            ("capacity".to_owned(), 18.into()),
            ("ttlMs".to_owned(), 10_000.into()),
        ];
        api.put(&format!("workers/{id}"), fields.into()).await;
    }
    api.clock.advance(Duration::from_secs(5));
    let workers = api.get("/v1/workers").await.json();
    let shown: Vec<String> = workers["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| {
            format!(
                "{} {} {} {}",
                worker["name"], worker["state"], worker["owned"], worker["self"]
            )
        })
        .collect();
    assert_eq!(
        shown,
        [r#""alice" "active" 2 true"#, r#""bob" "draining" 1 false"#]
    );
    let age = workers["workers"][0]["heartbeatAgeMs"].as_u64().unwrap();
    assert!((4_990..5_100).contains(&age), "{age}");
    api.clock.advance(Duration::from_secs(8));
    let workers = api.get("/v1/workers").await.json();
    assert_eq!(workers["workers"][0]["state"], "dead");
}

#[tokio::test]
async fn who_may_see_workers_is_told_where_traces_are_shown() {
    let workers = Fixture::new().get("/v1/workers").await.json();
    assert_eq!(workers["traceUrl"], json!(null));
    assert_eq!(workers["accountTracesUrl"], json!(null));

    let (trace, account) = ("http://traces/{trace}", "http://traces/?of={account}");
    let telemetry = TelemetryConfig {
        trace_url: Some(trace.to_owned()),
        account_traces_url: Some(account.to_owned()),
        ..TelemetryConfig::default()
    };
    let api = Fixture::of(&HttpConfig::default(), MediaStore::default(), &telemetry);
    let workers = api.get("/v1/workers").await.json();
    assert_eq!(workers["traceUrl"], trace);
    assert_eq!(workers["accountTracesUrl"], account);
}

#[tokio::test]
async fn the_reference_page_is_locked_down() {
    let answer = Fixture::new().get("/docs").await;
    assert_eq!(answer.status, StatusCode::OK);
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn debug_shows_what_the_owner_knows() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    let path = format!("/debug/accounts/{id}");
    assert_eq!(api.get(&path).await.json()["runtime"], Value::Null);
    *api.worker.snapshot.lock() = WorkerSnapshot {
        accounts: vec![owned(&api, &id, Status::Connected)],
        session: api.session(),
    };
    let claimed = [("leaseSession".to_owned(), api.worker.session_id().into())].into();
    api.update(collections::account(&id).unwrap(), claimed)
        .await;
    let debug = api.get(&path).await.json();
    assert_eq!(debug["runtime"], json!({ "handlers": {} }));
    assert_eq!(debug["account"]["id"], id.as_str());
}

#[tokio::test]
async fn the_history_tells_who_had_an_account_and_why() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    for (seq, kind, reason) in [(2, "claimed", "new"), (3, "released", "drain")] {
        let fields = [
            ("seq".to_owned(), StoreValue::from(seq)),
            ("kind".to_owned(), kind.into()),
            ("epoch".to_owned(), 1.into()),
            ("worker".to_owned(), "alice".into()),
            ("session".to_owned(), "s1".into()),
            ("reason".to_owned(), reason.into()),
            ("at".to_owned(), StoreValue::CommitTime),
        ];
        let path = format!("accounts/{id}/history/{seq}");
        api.put(&path, fields.into()).await;
    }
    let history = api.get(&format!("/v1/accounts/{id}/history")).await.json();
    let kinds: Vec<&Value> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["reason"])
        .collect();
    assert_eq!(kinds, ["drain", "new"]);
    api.get("/v1/accounts/account_none/history")
        .await
        .problem(404, "unknown_account");
}

#[tokio::test]
async fn only_an_account_with_an_owner_can_be_released() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    let path = format!("/v1/accounts/{id}/release");
    api.post_empty(&path).await.problem(409, "account_state");
    let claimed = [
        ("claimedBy".to_owned(), "alice".into()),
        ("leaseEpoch".to_owned(), 7.into()),
    ];
    api.update(collections::account(&id).unwrap(), claimed.into())
        .await;
    assert_eq!(api.post_empty(&path).await.status, StatusCode::ACCEPTED);
}
