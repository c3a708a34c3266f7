//! `/health` in each state, as it is served. `cargo insta review` shows what a
//! change does to it; without that program, `INSTA_UPDATE=always` on the test.

use std::time::Duration;

use super::status::owned;
use super::*;
use crate::model::{LastError, Status};

/// Values that are another with every build, machine and run.
const VOLATILE: [&str; 8] = [
    "/version",
    "/commit",
    "/simulation",
    "/bootTimestamp",
    "/timestamp",
    "/firestore/latencyMs",
    "/firestore/clockOffsetMs",
    "/cluster/asOf",
];

/// The answer of a worker that has been up for some time.
async fn health(api: &Fixture) -> (u16, Value) {
    let answer = api.get("/health").await;
    let mut document = answer.json();
    for path in VOLATILE {
        let value = document.pointer_mut(path);
        let value = value.unwrap_or_else(|| panic!("{path} is missing"));
        if !value.is_null() {
            *value = "[…]".into();
        }
    }
    mask_times(&mut document);
    (answer.status.as_u16(), document)
}

/// Times of the store's clock are told apart by being there, not by their value.
fn mask_times(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(mask_times),
        Value::Array(items) => items.iter_mut().for_each(mask_times),
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => {
            *value = "[time]".into();
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A worker that owns one account, in this status.
async fn with_account(status: Status) -> Fixture {
    let api = Fixture::new();
    api.monitor.look(true).await;
    let mut account = owned(&api, "account_1", status);
    if status == Status::Connecting {
        account.seen.stage = Some("handshake".to_owned());
        account.seen.last_error = Some(LastError {
            message: "Connection timeout - no progress after 60s".to_owned(),
            at: account.lease.claimed_at,
            stage: Some("handshake".to_owned()),
            retry_at: None,
        });
        account.seen.disconnect_counts = [("408 timedOut".to_owned(), 1)].into();
    }
    *api.worker.snapshot.lock() = WorkerSnapshot {
        accounts: vec![account],
        session: api.session(),
    };
    api
}

#[tokio::test]
async fn health_of_a_fresh_worker() {
    let api = Fixture::new();
    api.monitor.look(true).await;
    api.worker.snapshot.lock().session = api.session();
    insta::assert_json_snapshot!(health(&api).await);
}

#[tokio::test]
async fn health_while_an_account_connects() {
    let api = with_account(Status::Connecting).await;
    insta::assert_json_snapshot!(health(&api).await);
}

#[tokio::test]
async fn health_with_a_connected_account() {
    let api = with_account(Status::Connected).await;
    insta::assert_json_snapshot!(health(&api).await);
}

#[tokio::test]
async fn health_of_a_suspended_worker() {
    let api = with_account(Status::Connected).await;
    *api.worker.standing.lock() = Standing::Suspended;
    insta::assert_json_snapshot!(health(&api).await);
}

#[tokio::test]
async fn health_of_a_frozen_worker() {
    let api = with_account(Status::Connected).await;
    *api.worker.standing.lock() = Standing::Frozen;
    insta::assert_json_snapshot!(health(&api).await);
}

#[tokio::test]
async fn health_of_a_draining_worker() {
    let api = with_account(Status::Connected).await;
    api.lifecycle.set(Phase::Draining);
    insta::assert_json_snapshot!(health(&api).await);
}

#[tokio::test]
async fn health_while_the_store_is_down() {
    let api = with_account(Status::Connected).await;
    api.clock.advance(Duration::from_secs(11));
    api.memory.fail_next_read();
    api.monitor.look(false).await;
    insta::assert_json_snapshot!(health(&api).await);
}
