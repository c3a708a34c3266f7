//! Creating, listing and steering accounts; their QR codes.

use std::time::Duration;

use coordinator_lib::clock::Clock;
use coordinator_lib::store::StoreTime;

use super::*;
use crate::model::account::QR_PURPOSE;

const CODE: &str = "https://wa.me/settings/linked_devices#2@AAAA,BBBB,CCCC,DDDD,1";

#[tokio::test]
async fn a_created_account_is_there_and_wanted() {
    let api = Fixture::new();
    let created = api
        .post(
            "/v1/accounts",
            json!({ "name": " eu ", "phone": "+49 170 1234567" }),
        )
        .await;
    assert_eq!(created.status, StatusCode::CREATED);
    let account = created.json();
    let id = account["id"].as_str().unwrap();
    assert_eq!(
        created.headers[header::LOCATION],
        format!("/v1/accounts/{id}")
    );
    assert_eq!(account["name"], "eu");
    assert_eq!(account["phone"], "+491701234567");
    assert_eq!(account["status"], "idle");
    assert_eq!(account["desired"], "running");
    assert_eq!(account["owner"], Value::Null);
    let read = api.get(&format!("/v1/accounts/{id}")).await;
    assert_eq!(read.json(), account);
    // Its data key opens with the ring: the head was created with it.
    api.data_key(id).await;
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let api = Fixture::new();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(api.account(name).await);
    }
    ids.sort();
    api.set_status(&ids[1], "connected").await;

    let mut seen = Vec::new();
    let mut path = "/v1/accounts?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.json();
        let accounts = page["accounts"].as_array().unwrap();
        seen.extend(
            accounts
                .iter()
                .map(|account| account["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/accounts?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let connected = api.get("/v1/accounts?status=connected").await.json();
    assert_eq!(connected["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(connected["accounts"][0]["id"], ids[1].as_str());
}

#[tokio::test]
async fn an_account_is_renamed_and_nothing_else_changes() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    api.set_status(&id, "connected").await;
    let request = Request::patch(format!("/v1/accounts/{id}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{\"name\":\"us\"}"))
        .unwrap();
    assert_eq!(api.send(request).await.json()["name"], "us");
    let account = api.get(&format!("/v1/accounts/{id}")).await.json();
    assert_eq!(
        (&account["name"], &account["status"]),
        (&json!("us"), &json!("connected"))
    );
}

#[tokio::test]
async fn an_account_is_put_into_a_group_and_out_of_it() {
    let api = Fixture::new();
    let body = json!({ "name": "eu", "spread": " customer 17 " });
    let created = api.post("/v1/accounts", body).await.json();
    assert_eq!(created["spread"], "customer 17");
    let path = format!("/v1/accounts/{}", created["id"].as_str().unwrap());
    let change = async |body: Value| {
        let request = Request::patch(&path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        api.send(request).await
    };
    let moved = change(json!({ "spread": "customer 18" })).await.json();
    assert_eq!(moved["spread"], "customer 18");
    let renamed = change(json!({ "name": "us" })).await.json();
    assert_eq!(renamed["spread"], "customer 18", "nothing else changes");
    let alone = change(json!({ "spread": null })).await.json();
    assert_eq!(alone["spread"], Value::Null);
    for bad in ["", "  ", &"x".repeat(101), "a\nb"] {
        let refused = change(json!({ "spread": bad })).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
        assert!(refused.json().to_string().contains("`spread`"), "{bad:?}");
    }
}

/// The request counter that the owner obeys.
async fn start_request(api: &Fixture, id: &str) -> i64 {
    let snapshot = api
        .store
        .get(&[collections::account(id).unwrap()])
        .await
        .unwrap();
    let request = &snapshot.documents[0].as_ref().unwrap().fields["startRequest"];
    let StoreValue::Int(number) = request else {
        panic!("no number: {request:?}")
    };
    *number
}

#[tokio::test]
async fn start_asks_once_and_restart_every_time() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    api.set_status(&id, "connected").await;
    let start = format!("/v1/accounts/{id}/start");
    assert_eq!(api.post_empty(&start).await.status, StatusCode::ACCEPTED);
    assert_eq!(
        start_request(&api, &id).await,
        0,
        "a connected account is left alone"
    );

    let stopped = api.post_empty(&format!("/v1/accounts/{id}/stop")).await;
    assert_eq!(stopped.json()["desired"], "stopped");
    assert_eq!(api.post_empty(&start).await.json()["desired"], "running");
    assert_eq!(start_request(&api, &id).await, 1);

    api.set_status(&id, "needs_qr").await;
    api.post_empty(&start).await;
    assert_eq!(start_request(&api, &id).await, 2, "new codes are asked for");
    api.set_status(&id, "connected").await;
    api.post_empty(&format!("/v1/accounts/{id}/restart")).await;
    assert_eq!(start_request(&api, &id).await, 3);
}

/// Stores a QR code as the owner does.
async fn put_qr(api: &Fixture, id: &str, valid_for: Duration) {
    let sealed =
        api.data_key(id)
            .await
            .seal_secret(api.rng.as_ref(), id, QR_PURPOSE, CODE.as_bytes());
    let expires_at = StoreTime::from_datetime(api.clock.wall()).saturating_add(valid_for);
    let qr: Fields = [
        ("sealed".to_owned(), StoreValue::Bytes(sealed.into())),
        ("expiresAt".to_owned(), StoreValue::Time(expires_at)),
        ("seq".to_owned(), StoreValue::Int(2)),
    ]
    .into();
    let fields = [
        ("status".to_owned(), StoreValue::Text("qr_ready".to_owned())),
        ("qr".to_owned(), StoreValue::Map(qr)),
    ];
    api.update(collections::account(id).unwrap(), fields.into())
        .await;
}

#[tokio::test]
async fn a_qr_code_comes_in_every_form() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    put_qr(&api, &id, Duration::from_secs(20)).await;
    let path = format!("/v1/accounts/{id}/qr");

    let json = api.get(&path).await.json();
    assert_eq!((&json["qr"], &json["seq"]), (&json!(CODE), &json!(2)));
    let png = api.get_as(&path, "image/png").await;
    assert_eq!(png.headers[header::CONTENT_TYPE], "image/png");
    assert_eq!(&png.bytes[..8], b"\x89PNG\r\n\x1a\n");
    let svg = api.get_as(&path, "image/svg+xml").await;
    assert_eq!(svg.headers[header::CONTENT_TYPE], "image/svg+xml");
    assert!(svg.bytes.starts_with(b"<?xml") || svg.bytes.starts_with(b"<svg"));
    let text = api.get(&format!("{path}?format=text")).await;
    assert!(String::from_utf8(text.bytes).unwrap().contains('█'));
    assert_eq!(png.headers[header::CACHE_CONTROL], "no-store");
    api.get_as(&path, "video/mp4")
        .await
        .problem(406, "not_acceptable");
    api.get(&format!("{path}?format=bmp"))
        .await
        .problem(400, "invalid_query");

    // The list says that there is a code, and never shows it.
    let account = api.get(&format!("/v1/accounts/{id}")).await;
    assert_eq!(account.json()["qr"]["seq"], 2);
    for path in [
        format!("/v1/accounts/{id}"),
        "/health".to_owned(),
        format!("/debug/accounts/{id}"),
    ] {
        let bytes = api.get(&path).await.bytes;
        assert!(
            !String::from_utf8(bytes).unwrap().contains("BBBB"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn without_a_code_the_answer_says_why() {
    let api = Fixture::new();
    let id = api.account("eu").await;
    let path = format!("/v1/accounts/{id}/qr");
    for (status, says) in [
        ("idle", "not started yet"),
        ("connected", "linked and connected"),
        ("needs_qr", "makes new ones"),
        ("stopped", "/start"),
        ("logged_out", "unlinked"),
        ("disconnected", "lastError"),
    ] {
        api.set_status(&id, status).await;
        let answer = api.get(&path).await;
        let detail = answer.problem(409, "nothing_to_scan");
        assert!(detail.contains(says), "{status}: {detail}");
        assert_eq!(answer.json()["status"], 409);
        assert_eq!(answer.json()["accountStatus"], status);
    }
    put_qr(&api, &id, Duration::from_secs(20)).await;
    api.clock.advance(Duration::from_secs(21));
    let detail = api.get(&path).await.problem(409, "nothing_to_scan");
    assert!(detail.contains("next code"), "{detail}");
}

#[tokio::test]
async fn an_account_is_erased_only_by_whoever_says_its_id_twice() {
    let api = Fixture::new();
    let id = api.account("sales").await;
    for query in ["", "?confirm=", "?confirm=yes", "?confirm=account_other"] {
        let request = Request::delete(format!("/v1/accounts/{id}{query}"));
        let request = request.body(Body::empty()).expect("a request");
        let detail = api.send(request).await.problem(400, "invalid_query");
        assert!(detail.contains("for good"), "{detail}");
    }
    let account = api.get(&format!("/v1/accounts/{id}")).await.json();
    assert_eq!(account["desired"], "running");
}

#[tokio::test]
async fn nothing_else_is_wanted_of_an_account_that_is_being_purged() {
    let api = Fixture::new();
    let id = api.account("sales").await;
    let path = collections::account(&id).expect("an id");
    let wanted = |desired: &str| {
        let desired = StoreValue::Text(desired.to_owned());
        [("desired".to_owned(), desired)].into()
    };
    api.update(path.clone(), wanted("purging")).await;
    let account = format!("/v1/accounts/{id}");
    assert_eq!(api.get(&account).await.json()["desired"], "purging");
    for action in ["start", "stop", "logout", "restart"] {
        let answer = api.post_empty(&format!("{account}/{action}")).await;
        let detail = answer.problem(409, "account_state");
        assert!(detail.contains("purged"), "{detail}");
    }
    let message = json!({ "to": "4915112345678", "text": "hello" });
    api.post(&format!("{account}/messages"), message.clone())
        .await
        .problem(404, "unknown_account");

    api.update(path, wanted("purged")).await;
    api.get(&account).await.problem(404, "unknown_account");
    api.post(&format!("{account}/messages"), message)
        .await
        .problem(404, "unknown_account");
    let list = api.get("/v1/accounts").await.json();
    assert_eq!(list["accounts"], json!([]));
}
