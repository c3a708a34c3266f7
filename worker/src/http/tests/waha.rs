//! The calls of WAHA, as its clients make them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

const API: &str = "/compat/waha/api";

fn compatible() -> Fixture {
    Fixture::with_config(&HttpConfig {
        waha_compat: true,
        ..HttpConfig::default()
    })
}

#[tokio::test]
async fn it_is_off_unless_asked_for() {
    let api = Fixture::new();
    let answer = api.get(&format!("{API}/sessions")).await;
    answer.problem(404, "unknown_route");
}

#[tokio::test]
async fn a_session_is_an_account_by_its_name_or_its_id() {
    let api = compatible();
    let made = api
        .post(
            &format!("{API}/sessions"),
            json!({ "name": "default", "config": {} }),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let id = made.json()["accountId"].as_str().unwrap().to_owned();
    for name in ["default", &id] {
        let read = api.get(&format!("{API}/sessions/{name}")).await.json();
        assert_eq!(
            read,
            json!({ "name": "default", "accountId": id, "status": "STARTING", "me": null })
        );
    }
    let again = api
        .post(&format!("{API}/sessions"), json!({ "name": "default" }))
        .await;
    again.problem(422, "invalid_body");
    let missing = api.get(&format!("{API}/sessions/other")).await;
    missing.problem(404, "unknown_account");

    api.account("default").await;
    let both = api.get(&format!("{API}/sessions/default")).await;
    both.problem(409, "account_state");
}

#[tokio::test]
async fn a_session_is_started_stopped_and_listed() {
    let api = compatible();
    let id = api.account("default").await;
    let stopped = api
        .post_empty(&format!("{API}/sessions/default/stop"))
        .await;
    assert_eq!(stopped.json()["status"], "STOPPED");
    assert_eq!(api.get(&format!("{API}/sessions")).await.json(), json!([]));
    let all = api.get(&format!("{API}/sessions?all=true")).await.json();
    assert_eq!(all[0]["accountId"], id.as_str());
    api.post_empty(&format!("{API}/sessions/default/start"))
        .await;
    for (status, shown) in [
        ("qr_ready", "SCAN_QR_CODE"),
        ("connected", "WORKING"),
        ("needs_qr", "FAILED"),
        ("disconnected", "STARTING"),
    ] {
        api.set_status(&id, status).await;
        let listed = api.get(&format!("{API}/sessions")).await.json();
        assert_eq!(listed[0]["status"], shown, "{status}");
    }
    let out = api
        .post_empty(&format!("{API}/sessions/default/logout"))
        .await;
    assert_eq!(out.json()["status"], "STOPPED");
}

#[tokio::test]
async fn a_text_is_queued_and_read_back_as_a_message_of_its_chat() {
    let api = compatible();
    let id = api.account("default").await;
    api.set_status(&id, "connected").await;
    let chat = "491701234567@c.us";
    let body =
        json!({ "session": "default", "chatId": chat, "text": "hello", "linkPreview": true });
    let sent = api.post(&format!("{API}/sendText"), body).await;
    assert_eq!(sent.status, StatusCode::CREATED, "{}", sent.json());
    let sent = sent.json();
    assert_eq!(
        (&sent["to"], &sent["fromMe"], &sent["ack"]),
        (&json!(chat), &json!(true), &json!(0))
    );

    let chats = api.get(&format!("{API}/default/chats")).await.json();
    assert_eq!(
        (&chats[0]["id"], &chats[0]["isGroup"]),
        (&json!(chat), &json!(false))
    );
    let path = format!("{API}/default/chats/{chat}/messages?limit=10&downloadMedia=false");
    let messages = api.get(&path).await.json();
    assert_eq!(messages[0]["id"], sent["id"]);
    assert_eq!(
        (&messages[0]["body"], &messages[0]["ackName"]),
        (&json!("hello"), &json!("PENDING"))
    );
    let other = format!("{API}/default/chats/491709999999@c.us/messages");
    assert_eq!(api.get(&other).await.json(), json!([]));
}

#[tokio::test]
async fn what_it_does_not_know_is_refused_with_another_way() {
    let api = compatible();
    let id = api.account("default").await;
    api.set_status(&id, "connected").await;
    let answered = json!({
        "session": "default", "chatId": "491701234567@c.us", "text": "hello",
        "reply_to": "false_491701234567@c.us_3EB0",
    });
    let refused = api.post(&format!("{API}/sendText"), answered).await;
    assert!(refused.problem(422, "invalid_body").contains("quote"));
    let offset = api.get(&format!("{API}/default/chats?offset=20")).await;
    offset.problem(400, "invalid_query");
    for (file, part) in [
        (json!({ "url": "http://127.0.0.1/a.jpg" }), "file.data"),
        (
            json!({ "mimetype": "image/jpeg", "data": "no base64!" }),
            "base64",
        ),
        (json!({ "mimetype": "image/jpeg" }), "data"),
    ] {
        let body = json!({ "session": "default", "chatId": "491701234567@c.us", "file": file });
        let refused = api.post(&format!("{API}/sendImage"), body).await;
        assert!(
            refused.problem(422, "invalid_body").contains(part),
            "{part}"
        );
    }
}

#[tokio::test]
async fn a_picture_may_be_larger_than_other_bodies_and_needs_a_place() {
    let api = compatible();
    api.account("default").await;
    let picture = BASE64_STANDARD.encode(vec![0xff; 2 * 1024 * 1024]);
    let body = json!({
        "session": "default", "chatId": "491701234567@c.us",
        "file": { "mimetype": "image/jpeg", "data": picture },
    });
    let answer = api.post(&format!("{API}/sendImage"), body).await;
    answer.problem(409, "no_media_store");
}

#[tokio::test]
async fn a_session_is_made_with_its_webhooks() {
    let api = compatible();
    let session = |webhooks: Value| json!({ "name": "shop", "config": { "webhooks": webhooks } });
    let url = "https://example.org/hook";
    for (webhook, part) in [
        (json!({ "url": "http://10.0.0.1/" }), "public"),
        (
            json!({ "url": url, "events": ["group.v2.join"] }),
            "message.ack",
        ),
        (
            json!({ "url": url, "hmac": { "key": "k".repeat(257) } }),
            "256",
        ),
    ] {
        let refused = api
            .post(&format!("{API}/sessions"), session(json!([webhook])))
            .await;
        let detail = refused.problem(422, "invalid_body");
        assert!(detail.contains(part), "{detail}");
    }
    let webhooks = json!([
        {
            "url": url,
            "events": ["message", "session.status"],
            "hmac": { "key": "mine" },
            "retries": { "attempts": 15 },
        },
        { "url": url, "events": ["*"] },
    ]);
    let made = api
        .post(&format!("{API}/sessions"), session(webhooks))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let listed = api.get("/v1/webhooks").await.json();
    let listed = listed["webhooks"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for webhook in listed {
        assert_eq!(webhook["format"], "waha");
        assert_eq!(webhook["accounts"], json!([made.json()["accountId"]]));
    }
    let limited = listed
        .iter()
        .any(|webhook| webhook["types"] == json!(["account.status", "message.received"]));
    assert!(limited, "{listed:?}");
}
