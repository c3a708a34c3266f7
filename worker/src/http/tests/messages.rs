//! Accepting texts; threads and what is in them.

use super::*;

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
