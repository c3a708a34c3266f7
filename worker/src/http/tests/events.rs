//! `/v1/events`: pages, streams, cursors, and who sees what.

use std::collections::BTreeMap;
use std::time::Duration;

use coordinator_lib::clock::Clock;
use coordinator_lib::store::{Stamp, StoreTime};
use futures::StreamExt;

use super::*;
use crate::model::{EventDoc, EventKind, Stored};

/// Stores an event, as the account's owner does.
pub(super) async fn store_event(fixture: &Fixture, account: &str, seq: i64, kind: EventKind) {
    let event = EventDoc {
        account_id: account.to_owned(),
        seq,
        kind,
        at: StoreTime::from_datetime(fixture.clock.wall()),
        stored_at: Stamp::Commit,
        epoch: 1,
        trace: None,
        data: BTreeMap::from([("threadId".to_owned(), "thr_1".to_owned())]),
    };
    let write = Write::Set {
        path: collections::event(account, seq).unwrap(),
        fields: event.to_document().unwrap(),
        precondition: Precondition::Absent,
    };
    let outcome = fixture.store.commit(vec![write]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

async fn page(fixture: &Fixture, query: &str) -> Value {
    let path = format!("/v1/events{query}");
    let answer = fixture.get_as(&path, "application/json").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()
}

fn seen(page: &Value) -> Vec<(String, i64)> {
    page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let account = event["accountId"].as_str().unwrap().to_owned();
            (account, event["seq"].as_i64().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn pages_go_through_all_events_once_in_their_order() {
    let fixture = Fixture::new();
    for seq in 1..=5 {
        for account in ["a", "b"] {
            store_event(&fixture, account, seq, EventKind::MessageReceived).await;
        }
    }
    let mut after = String::new();
    let mut all = Vec::new();
    loop {
        let page = page(&fixture, &format!("?limit=3{after}")).await;
        let events = seen(&page);
        after = format!("&after={}", page["next"].as_str().unwrap());
        if events.is_empty() {
            break;
        }
        all.extend(events);
    }
    let expected: Vec<(String, i64)> = (1..=5)
        .flat_map(|seq| [("a".to_owned(), seq), ("b".to_owned(), seq)])
        .collect();
    assert_eq!(all, expected);
    // What comes later is on the page after the last.
    store_event(&fixture, "a", 6, EventKind::AccountStatus).await;
    let page = page(&fixture, &format!("?limit=3{after}")).await;
    assert_eq!(seen(&page), [("a".to_owned(), 6)]);
    assert_eq!(page["events"][0]["type"], "account.status");
    assert_eq!(page["events"][0]["id"], "a-000000000006");
}

#[tokio::test]
async fn filters_take_accounts_and_types() {
    let fixture = Fixture::new();
    store_event(&fixture, "a", 1, EventKind::MessageReceived).await;
    store_event(&fixture, "b", 1, EventKind::AccountStatus).await;
    store_event(&fixture, "a", 2, EventKind::AccountStatus).await;
    let of_a = page(&fixture, "?accounts=a").await;
    assert_eq!(seen(&of_a), [("a".to_owned(), 1), ("a".to_owned(), 2)]);
    let status = page(&fixture, "?types=account.status,presence").await;
    assert_eq!(seen(&status), [("b".to_owned(), 1), ("a".to_owned(), 2)]);
    let refused = fixture.get("/v1/events?types=message.lost").await;
    let detail = refused.problem(400, "invalid_query");
    assert!(detail.contains("message.received"), "{detail}");
}

#[tokio::test]
async fn bad_cursors_and_limits_are_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let json = "application/json";
    for query in ["?after=x", "?after=5.a%2Fb", "?accounts=", "?accounts=a,,b"] {
        let answer = fixture.get(&format!("/v1/events{query}")).await;
        answer.problem(400, "invalid_query");
    }
    for query in ["?limit=0", "?limit=501", "?limit=x", "?since=1"] {
        let answer = fixture.get_as(&format!("/v1/events{query}"), json).await;
        answer.problem(400, "invalid_query");
    }
    let stream = fixture.get("/v1/events?limit=5").await;
    assert!(stream.problem(400, "invalid_query").contains("Accept"));
    let socket = fixture.get("/v1/events/ws").await;
    socket.problem(400, "invalid_header");
}

#[tokio::test]
async fn a_cursor_that_is_too_old_is_gone_and_says_where_to_go_on() {
    let fixture = Fixture::new();
    let answer = fixture
        .get_as(
            "/v1/events?after=1000000.a-000000000001",
            "application/json",
        )
        .await;
    answer.problem(410, "cursor_expired");
    let oldest = answer.json()["oldest"].as_str().unwrap().to_owned();
    page(&fixture, &format!("?after={oldest}")).await;
}

/// The body of a stream, piece by piece.
struct OpenStream {
    pieces: axum::body::BodyDataStream,
    text: String,
}

impl OpenStream {
    async fn open(fixture: &Fixture, path: &str, key: Option<&str>) -> Self {
        let mut request = Request::get(path).header(header::ACCEPT, "text/event-stream");
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let response = fixture
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        Self {
            pieces: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// Reads until the text so far holds something.
    async fn until(&mut self, part: &str) -> &str {
        let read = async {
            while !self.text.contains(part) {
                let piece = self.pieces.next().await.expect("the stream goes on");
                self.text
                    .push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .unwrap_or_else(|_| panic!("{part} did not come"));
        &self.text
    }

    async fn end(mut self) -> String {
        while let Some(piece) = self.pieces.next().await {
            self.text
                .push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        self.text
    }
}

#[tokio::test]
async fn a_stream_begins_after_its_cursor_and_goes_on_with_what_happens() {
    let fixture = Fixture::new();
    store_event(&fixture, "a", 1, EventKind::MessageReceived).await;
    let first = page(&fixture, "").await;
    let cursor = first["next"].as_str().unwrap();
    store_event(&fixture, "a", 2, EventKind::MessageReceived).await;
    let mut stream = OpenStream::open(&fixture, &format!("/v1/events?after={cursor}"), None).await;
    stream.until("\"seq\":2").await;
    store_event(&fixture, "b", 1, EventKind::Presence).await;
    let text = stream.until("event: presence").await;
    assert!(!text.contains("\"seq\":1,\"type\":\"message"), "{text}");
    assert!(text.contains("id: "), "{text}");
}

#[tokio::test]
async fn without_a_cursor_a_stream_shows_what_happens_from_now_on() {
    let fixture = Fixture::new();
    store_event(&fixture, "a", 1, EventKind::MessageReceived).await;
    let mut stream = OpenStream::open(&fixture, "/v1/events", None).await;
    stream.until("heartbeat").await;
    store_event(&fixture, "a", 2, EventKind::MessageReceived).await;
    let text = stream.until("\"seq\":2").await;
    assert!(!text.contains("\"seq\":1"), "{text}");
}

#[tokio::test]
async fn a_stream_that_fell_behind_is_told_so_and_goes_on() {
    let fixture = Fixture::new();
    store_event(&fixture, "a", 1, EventKind::MessageReceived).await;
    let mut stream = OpenStream::open(&fixture, "/v1/events?after=5", None).await;
    let text = stream.until("\"seq\":1").await;
    assert!(text.contains("event: fell_behind"), "{text}");
}

#[tokio::test]
async fn a_limited_key_sees_its_accounts_only() {
    let fixture = Fixture::with_config(&HttpConfig {
        api_rate: 0.0,
        ..HttpConfig::default()
    });
    let admin = super::auth::make(&fixture, None, &[crate::auth::Scope::Admin], None).await;
    let scopes = [crate::auth::Scope::Read];
    let key = super::auth::make(&fixture, Some(&admin), &scopes, Some(&["a"])).await;
    store_event(&fixture, "a", 1, EventKind::MessageReceived).await;
    store_event(&fixture, "b", 1, EventKind::MessageReceived).await;
    let request = |path: &str| {
        Request::get(path)
            .header("x-api-key", &key)
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .unwrap()
    };
    let answer = fixture.send(request("/v1/events")).await;
    assert_eq!(seen(&answer.json()), [("a".to_owned(), 1)]);
    let answer = fixture.send(request("/v1/events?accounts=b")).await;
    answer.problem(404, "unknown_account");
}

#[tokio::test]
async fn a_key_has_few_streams_and_none_once_it_is_revoked() {
    let fixture = Fixture::with_config(&HttpConfig {
        api_rate: 0.0,
        ..HttpConfig::default()
    });
    let admin = super::auth::make(&fixture, None, &[crate::auth::Scope::Admin], None).await;
    let scopes = [crate::auth::Scope::Read];
    let key = super::auth::make(&fixture, Some(&admin), &scopes, None).await;
    let first = OpenStream::open(&fixture, "/v1/events", Some(&key)).await;
    let second = OpenStream::open(&fixture, "/v1/events", Some(&key)).await;
    let third = Request::get("/v1/events").header("x-api-key", &key);
    let third = fixture.send(third.body(Body::empty()).unwrap()).await;
    third.problem(429, "too_many_streams");
    drop(second);

    let id = key.split('_').nth(1).unwrap();
    let revoke = Request::delete(format!("/v1/keys/{id}")).header("x-api-key", &admin);
    let revoked = fixture.send(revoke.body(Body::empty()).unwrap()).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let ended = tokio::spawn(first.end());
    while !ended.is_finished() {
        fixture.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let text = ended.await.unwrap();
    assert!(text.contains("key_revoked"), "{text}");
}
