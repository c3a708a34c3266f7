//! Accepting texts; threads and what is in them.

use coordinator_lib::store::StoreTime;

use super::*;
use crate::auth::Scope;

async fn send(api: &Fixture, account: &str, key: Option<&str>, body: Value) -> Answer {
    let mut request = Request::post(format!("/v1/accounts/{account}/messages"))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    api.send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn an_accepted_text_is_queued_and_shown_in_its_thread() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    let sent = send(
        &api,
        &account,
        None,
        json!({ "to": "+49 170 1234567", "text": "hello" }),
    )
    .await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.json());
    let answer = sent.json();
    let message_id = answer["messageId"].as_str().unwrap();
    assert_eq!(
        sent.headers[header::LOCATION],
        format!("/v1/messages/{message_id}")
    );

    let message = api.get(&format!("/v1/messages/{message_id}")).await.json();
    assert_eq!(message["state"], "queued");
    assert_eq!(message["text"], "hello");
    assert_eq!(message["accountId"], account.as_str());
    assert_eq!(message["waMessageId"], answer["waMessageId"]);

    let threads = api
        .get(&format!("/v1/accounts/{account}/threads"))
        .await
        .json();
    let thread = &threads["threads"][0];
    assert_eq!(thread["id"], answer["threadId"]);
    let path = format!("/v1/threads/{}/messages", thread["id"].as_str().unwrap());
    let messages = api.get(&path).await.json();
    assert_eq!(messages["messages"].as_array().unwrap().len(), 1);
    let shown = &messages["messages"][0];
    assert_eq!(
        (
            &shown["text"],
            &shown["messageId"],
            &shown["direction"],
            &shown["state"]
        ),
        (
            &json!("hello"),
            &json!(message_id),
            &json!("out"),
            &json!("queued")
        )
    );
}

#[tokio::test]
async fn an_idempotency_key_repeats_one_request_only() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    let hello = json!({ "to": "491701234567", "text": "hello" });
    let first = send(&api, &account, Some("key-1"), hello.clone()).await;
    let second = send(&api, &account, Some("key-1"), hello.clone()).await;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    assert_eq!(second.json(), first.json());
    assert_eq!(second.headers["idempotent-replayed"], "true");
    let other = json!({ "to": "491701234567", "text": "bye" });
    send(&api, &account, Some("key-1"), other)
        .await
        .problem(422, "idempotency_key_reused");
    let third = send(&api, &account, Some("key-2"), hello.clone())
        .await
        .json();
    assert_ne!(third["messageId"], first.json()["messageId"]);
    send(&api, &account, Some(&"k".repeat(256)), hello)
        .await
        .problem(400, "invalid_header");
}

#[tokio::test]
async fn wrong_recipients_and_texts_are_refused() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    for (to, text, names) in [
        ("nobody", "hello", "`to`"),
        ("", "hello", "`to`"),
        ("491701234567", "", "`text`"),
    ] {
        let answer = send(&api, &account, None, json!({ "to": to, "text": text })).await;
        let detail = answer.problem(422, "invalid_body");
        assert!(detail.contains(names), "{detail}");
    }
    let long = "x".repeat(whatsapp::TEXT_BYTES_MAX + 1);
    let answer = send(
        &api,
        &account,
        None,
        json!({ "to": "491701234567", "text": long }),
    )
    .await;
    answer.problem(422, "invalid_body");
}

#[tokio::test]
async fn a_logged_out_account_sends_nothing() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    api.set_status(&account, "logged_out").await;
    let answer = send(
        &api,
        &account,
        None,
        json!({ "to": "491701234567", "text": "hello" }),
    )
    .await;
    answer.problem(409, "account_state");
    assert_eq!(answer.json()["accountStatus"], "logged_out");
}

#[tokio::test]
async fn marking_as_read_is_left_to_the_owner() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    let sent = send(
        &api,
        &account,
        None,
        json!({ "to": "491701234567", "text": "hello" }),
    )
    .await;
    let thread = sent.json()["threadId"].as_str().unwrap().to_owned();
    let asked = api.post_empty(&format!("/v1/threads/{thread}/read")).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let snapshot = api
        .store
        .get(&[collections::thread(&thread).unwrap()])
        .await
        .unwrap();
    let fields = &snapshot.documents[0].as_ref().unwrap().fields;
    assert_eq!(fields["readPending"], StoreValue::Bool(true));
}

async fn delete(api: &Fixture, path: &str) -> Answer {
    api.send(Request::delete(path).body(Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn a_queued_message_is_taken_back_and_a_later_one_is_not() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    let hello = json!({ "to": "491701234567", "text": "hello" });
    let sent = send(&api, &account, None, hello.clone()).await.json();
    let path = format!("/v1/messages/{}", sent["messageId"].as_str().unwrap());
    assert_eq!(delete(&api, &path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        delete(&api, &path).await.status,
        StatusCode::NO_CONTENT,
        "again is the same"
    );
    assert_eq!(api.get(&path).await.json()["state"], "cancelled");
    let thread = format!(
        "/v1/threads/{}/messages",
        sent["threadId"].as_str().unwrap()
    );
    assert_eq!(
        api.get(&thread).await.json()["messages"][0]["state"],
        "cancelled"
    );

    let sent = send(&api, &account, None, hello).await.json();
    let id = sent["messageId"].as_str().unwrap();
    let fields = [("state".to_owned(), StoreValue::Text("sending".to_owned()))].into();
    api.update(collections::wa_outbox(id).unwrap(), fields)
        .await;
    let answer = delete(&api, &format!("/v1/messages/{id}")).await;
    answer.problem(409, "not_cancellable");
    assert_eq!(answer.json()["state"], "sending");
    delete(&api, "/v1/messages/msg_01")
        .await
        .problem(404, "unknown_message");
}

#[tokio::test]
async fn each_kind_has_its_limits_and_two_at_once_are_none() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    let to = "+49 170 1234567";
    let options: Vec<String> = (0..13).map(|n| n.to_string()).collect();
    for body in [
        json!({ "to": to }),
        json!({ "to": to, "text": "x", "location": { "latitude": 1.0, "longitude": 1.0 } }),
        json!({ "to": to, "location": { "latitude": 91.0, "longitude": 1.0 } }),
        json!({ "to": to, "location": { "latitude": 1.0, "longitude": 1.0 }, "mentions": [to] }),
        json!({ "to": to, "contacts": [] }),
        json!({ "to": to, "contacts": [{ "name": "Anna", "vcard": "nonsense" }] }),
        json!({ "to": to, "poll": { "question": "When?", "options": ["now"] } }),
        json!({ "to": to, "poll": { "question": "When?", "options": ["now", "now"] } }),
        json!({ "to": to, "poll": { "question": "When?", "options": options } }),
        json!({ "to": to, "poll": { "question": "When?", "options": ["a", "b"], "selectable": 3 } }),
        json!({ "to": to, "text": "x", "preview": { "url": "https://example.com" } }),
        json!({ "to": to, "text": "x", "mentions": ["nobody"] }),
        json!({ "to": to, "media": { "mediaId": "med_0", "kind": "image" } }),
    ] {
        let answer = send(&api, &account, None, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(!answer.problem(422, "invalid_body").is_empty());
    }
    for change in [
        json!({ "reaction": { "messageId": "wam_0", "emoji": "👍" } }),
        json!({ "edit": { "messageId": "wam_0", "text": "x" } }),
        json!({ "revoke": { "messageId": "wam_0" } }),
    ] {
        let mut body = change;
        body["to"] = to.into();
        send(&api, &account, None, body)
            .await
            .problem(404, "unknown_message");
    }
}

#[tokio::test]
async fn who_is_not_to_be_contacted_is_refused_until_taken_off() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    let put = Request::put("/v1/do-not-contact/+491701234567")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "note": "asked" }).to_string()));
    let answer = api.send(put.unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let body = json!({ "to": "491701234567@s.whatsapp.net", "text": "hello" });
    send(&api, &account, None, body.clone())
        .await
        .problem(409, "do_not_contact");
    let listed = api.get("/v1/do-not-contact").await.json();
    assert_eq!(listed["entries"][0]["note"], "asked");
    let answer = delete(&api, "/v1/do-not-contact/+491701234567").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let sent = send(&api, &account, None, body).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    let unknown = Request::put("/v1/do-not-contact/nobody")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"));
    api.send(unknown.unwrap()).await.problem(400, "invalid_id");
}

#[tokio::test]
async fn threads_are_searched_by_number_and_put_away() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    for to in ["+49 170 1234567", "+33 1 23456789"] {
        let body = json!({ "to": to, "text": "hello" });
        assert_eq!(
            send(&api, &account, None, body).await.status,
            StatusCode::ACCEPTED
        );
    }
    let list = async |parameters: &str| {
        let path = format!("/v1/accounts/{account}/threads?{parameters}");
        let threads = api.get(&path).await.json()["threads"].clone();
        threads.as_array().unwrap().clone()
    };
    let found = list("search=%2B4917").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["pn"], "491701234567@s.whatsapp.net");
    assert_eq!(list("search=nobody").await.len(), 0);
    assert_eq!(list("archived=false").await.len(), 2);

    let id = found[0]["id"].as_str().unwrap();
    let patch = Request::patch(format!("/v1/threads/{id}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "archived": true }).to_string()));
    assert_eq!(
        api.send(patch.unwrap()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(list("archived=true").await.len(), 1);
    assert_eq!(list("archived=false").await.len(), 1);
    api.get(&format!(
        "/v1/accounts/{account}/threads?search=a&archived=true"
    ))
    .await
    .problem(400, "invalid_query");
}

#[tokio::test]
async fn files_are_refused_where_there_is_no_place_for_them() {
    let api = Fixture::new();
    api.post_raw("/v1/media", "x")
        .await
        .problem(409, "no_media_store");
}

#[tokio::test]
async fn what_an_account_sends_is_listed_the_latest_first() {
    let fixture = Fixture::new();
    let id = fixture.account("eu").await;
    let path = format!("/v1/accounts/{id}/messages");
    assert_eq!(fixture.get(&path).await.json()["messages"], json!([]));
    for text in ["first", "second", "third"] {
        let body = json!({ "to": "491701234567", "text": text });
        assert_eq!(fixture.post(&path, body).await.status, 202);
        fixture.clock.advance(std::time::Duration::from_secs(1));
    }
    let page = fixture.get(&format!("{path}?limit=2")).await.json();
    let texts = |page: &Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts(&page), ["third", "second"]);
    assert_eq!(page["messages"][0]["state"], "queued");
    let next = page["next"].as_str().unwrap();
    let rest = fixture.get(&format!("{path}?after={next}")).await.json();
    assert_eq!(texts(&rest), ["first"]);
    let unknown = fixture.get("/v1/accounts/account_0/messages").await;
    unknown.problem(404, "unknown_account");
}

#[tokio::test]
async fn what_waits_is_listed_the_oldest_first_and_what_failed_the_latest() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.account("eu").await, fixture.account("us").await);
    let mut ids = Vec::new();
    for (account, text) in [(&one, "first"), (&other, "second"), (&one, "third")] {
        let body = json!({ "to": "491701234567", "text": text });
        let sent = fixture
            .post(&format!("/v1/accounts/{account}/messages"), body)
            .await;
        ids.push(sent.json()["messageId"].as_str().unwrap().to_owned());
        fixture.clock.advance(std::time::Duration::from_secs(1));
    }
    let texts = |page: &Value| -> Vec<String> {
        let messages = page["messages"].as_array().unwrap().iter();
        messages
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = fixture.get("/v1/messages?limit=2").await.json();
    assert_eq!(texts(&page), ["first", "second"]);
    let next = page["next"].as_str().unwrap();
    let rest = fixture
        .get(&format!("/v1/messages?after={next}"))
        .await
        .json();
    assert_eq!(texts(&rest), ["third"]);

    for id in &ids[..2] {
        let fields = [("state".to_owned(), StoreValue::Text("failed".to_owned()))].into();
        let path = collections::wa_outbox(id).unwrap();
        fixture.update(path, fields).await;
    }
    let failed = fixture.get("/v1/messages?state=failed").await.json();
    assert_eq!(texts(&failed), ["second", "first"]);
    let waiting = fixture.get("/v1/messages?state=queued").await.json();
    assert_eq!(texts(&waiting), ["third"]);
    let unknown = fixture.get("/v1/messages?state=lost").await;
    unknown.problem(400, "invalid_query");

    let admin = auth::make(&fixture, None, &[Scope::Admin], None).await;
    let own = auth::make(&fixture, Some(&admin), &[Scope::Read], Some(&[&other])).await;
    let request = Request::get("/v1/messages?state=failed").header("x-api-key", own);
    let limited = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(texts(&limited.json()), ["second"]);
}

#[tokio::test]
async fn messages_and_changes_of_owner_name_their_trace() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = || StoreValue::Text(format!("00-{trace}-00f067aa0ba902b7-01"));
    let fixture = Fixture::new();
    let account = fixture.account("eu").await;
    let path = format!("/v1/accounts/{account}/messages");
    let body = json!({ "to": "491701234567", "text": "hello" });
    let sent = fixture.post(&path, body).await.json();
    let listed = fixture.get(&path).await.json();
    assert_eq!(
        listed["messages"][0]["traceId"],
        json!(null),
        "nothing is traced here"
    );

    let id = |name: &str| sent[name].as_str().unwrap();
    let fields = || [("traceparent".to_owned(), traceparent())].into();
    let outgoing = collections::outbox(id("messageId")).unwrap();
    fixture.update(outgoing, fields()).await;
    let listed = fixture.get(&path).await.json();
    assert_eq!(listed["messages"][0]["traceId"], trace);

    let thread = format!("/v1/threads/{}/messages", id("threadId"));
    let stored = fixture.get(&thread).await.json();
    let stored = stored["messages"][0]["id"].as_str().unwrap();
    let stored = collections::message(id("threadId"), stored).unwrap();
    fixture.update(stored, fields()).await;
    let shown = fixture.get(&thread).await.json();
    assert_eq!(shown["messages"][0]["traceId"], trace);

    let entry = [
        ("schemaVersion".to_owned(), 1.into()),
        ("kind".to_owned(), "claimed".into()),
        ("epoch".to_owned(), 1.into()),
        ("seq".to_owned(), 2.into()),
        ("worker".to_owned(), "alice".into()),
        ("session".to_owned(), "s".into()),
        ("reason".to_owned(), "new".into()),
        ("at".to_owned(), StoreValue::Time(StoreTime::from_micros(0))),
        ("traceparent".to_owned(), traceparent()),
    ];
    let place = format!("accounts/{account}/history/000000000001-claimed");
    fixture.put(&place, entry.into()).await;
    let history = format!("/v1/accounts/{account}/history");
    let history = fixture.get(&history).await.json();
    assert_eq!(history["history"][0]["traceId"], trace);
    assert!(history["history"][0].get("traceparent").is_none());
}
