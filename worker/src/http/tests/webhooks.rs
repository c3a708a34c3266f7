//! `/v1/webhooks`: made, listed, changed, removed; what is refused.

use super::*;
use crate::auth::Scope;

async fn make(fixture: &Fixture, body: Value) -> Value {
    let made = fixture.post("/v1/webhooks", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    made.json()
}

async fn ask(
    fixture: &Fixture,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Value,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    fixture
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn a_webhook_shows_its_secret_once_and_is_sealed_in_the_store() {
    let fixture = Fixture::new();
    let made = make(
        &fixture,
        json!({ "url": "https://example.org/hook?token=7", "types": ["presence", "account.status"] }),
    )
    .await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() > 40);
    assert_eq!(made["types"], json!(["account.status", "presence"]));
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let read = fixture.get(&path).await.json();
    assert_eq!(read["url"], "https://example.org/hook?token=7");
    assert_eq!(read["lanes"], json!([]));
    assert_eq!(read.get("secret"), None);
    let list = fixture.get("/v1/webhooks").await.json();
    assert_eq!(list["webhooks"].as_array().unwrap().len(), 1);
    assert!(!list.to_string().contains("whsec_"));

    let change = json!({ "enabled": false, "types": null, "rotateSecret": true });
    let changed = ask(&fixture, "PATCH", &path, None, change).await.json();
    assert_eq!(
        (&changed["enabled"], &changed["types"]),
        (&json!(false), &Value::Null)
    );
    assert_ne!(changed["secret"], made["secret"]);
    let gone = ask(&fixture, "DELETE", &path, None, Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    fixture.get(&path).await.problem(404, "unknown_webhook");
}

#[tokio::test]
async fn bad_webhooks_are_refused_with_what_is_wrong() {
    let fixture = Fixture::new();
    for (body, names) in [
        (json!({ "url": "example.org" }), "https://"),
        (json!({ "url": "ftp://example.org" }), "https://"),
        (
            json!({ "url": "http://169.254.169.254/latest" }),
            "--webhook-allow-private",
        ),
        (
            json!({ "url": "http://[::ffff:10.0.0.1]/" }),
            "--webhook-allow-private",
        ),
        (
            json!({ "url": "http://0x7f.1/" }),
            "--webhook-allow-private",
        ),
        (json!({ "url": "https://a:b@example.org" }), "password"),
        (
            json!({ "url": "https://example.org", "types": ["x"] }),
            "message.received",
        ),
        (
            json!({ "url": "https://example.org", "types": [] }),
            "types",
        ),
        (
            json!({ "url": "https://example.org", "accounts": [] }),
            "accounts",
        ),
        (
            json!({ "url": "https://example.org", "name": "n".repeat(101) }),
            "name",
        ),
        (
            json!({ "url": "https://example.org", "secret": "mine" }),
            "secret",
        ),
    ] {
        let refused = fixture.post("/v1/webhooks", body.clone()).await;
        let detail = refused.problem(422, "invalid_body");
        assert!(detail.contains(names), "{body}: {detail}");
    }
    let missing = fixture.post_empty("/v1/webhooks/whk_1/test").await;
    missing.problem(404, "unknown_webhook");
    let path = "/v1/webhooks/whk_1/deliveries/whk_1-a-000000000001/replay";
    fixture
        .post_empty(path)
        .await
        .problem(404, "unknown_delivery");
    let made = make(&fixture, json!({ "url": "https://example.org" })).await;
    let path = format!("/v1/webhooks/{}/deliveries", made["id"].as_str().unwrap());
    assert_eq!(fixture.get(&path).await.json()["deliveries"], json!([]));
    let dead = fixture.get(&format!("{path}?state=dead")).await;
    assert_eq!(dead.status, StatusCode::OK);
    let refused = fixture.get(&format!("{path}?state=lost")).await;
    refused.problem(400, "invalid_query");
}

#[tokio::test]
async fn a_limited_key_has_webhooks_of_its_accounts_only() {
    let fixture = Fixture::with_config(&HttpConfig {
        api_rate: 0.0,
        ..HttpConfig::default()
    });
    let admin = super::auth::make(&fixture, None, &[Scope::Admin], None).await;
    let key = super::auth::make(&fixture, Some(&admin), &[Scope::Control], Some(&["a"])).await;
    let key = Some(key.as_str());
    let url = "https://example.org";
    for accounts in [Value::Null, json!(["b"]), json!(["a", "b"])] {
        let body = json!({ "url": url, "accounts": accounts });
        let refused = ask(&fixture, "POST", "/v1/webhooks", key, body).await;
        assert!(matches!(refused.status.as_u16(), 404 | 422), "{accounts}");
    }
    let body = json!({ "url": url, "accounts": ["a"] });
    let own = ask(&fixture, "POST", "/v1/webhooks", key, body).await;
    assert_eq!(own.status, StatusCode::CREATED, "{}", own.json());
    let all = ask(
        &fixture,
        "POST",
        "/v1/webhooks",
        Some(&admin),
        json!({ "url": url }),
    )
    .await;
    let path = format!("/v1/webhooks/{}", all.json()["id"].as_str().unwrap());
    for method in ["GET", "PATCH", "DELETE"] {
        let refused = ask(&fixture, method, &path, key, json!({})).await;
        refused.problem(404, "unknown_webhook");
    }
    let seen = ask(&fixture, "GET", "/v1/webhooks", key, Value::Null).await;
    assert_eq!(seen.json()["webhooks"].as_array().unwrap().len(), 1);
    let seen = ask(&fixture, "GET", "/v1/webhooks", Some(&admin), Value::Null).await;
    assert_eq!(seen.json()["webhooks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_account_can_be_made_with_a_webhook_of_its_own() {
    let fixture = Fixture::new();
    let body = json!({ "name": "sales", "webhook": "https://example.org/hook" });
    let made = fixture.post("/v1/accounts", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let made = made.json();
    assert!(
        made["webhook"]["secret"]
            .as_str()
            .unwrap()
            .starts_with("whsec_")
    );
    let path = format!("/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
    let webhook = fixture.get(&path).await.json();
    assert_eq!(webhook["accounts"], json!([made["id"]]));
    let body = json!({ "name": "sales", "webhook": "http://10.0.0.1/" });
    let refused = fixture.post("/v1/accounts", body).await;
    refused.problem(422, "invalid_body");
}

#[tokio::test]
async fn a_secret_is_rotated_and_the_old_one_is_good_for_a_stated_time() {
    let fixture = Fixture::new();
    let made = make(&fixture, json!({ "url": "https://example.org/hook" })).await;
    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let secret_path = format!("{path}/secret");
    let until = |answer: &Value| answer["previousSecretUntil"].clone();
    assert_eq!(until(&made), Value::Null);

    let rotated = fixture.post(&secret_path, json!({})).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.json());
    let rotated = rotated.json();
    assert_ne!(rotated["secret"], made["secret"]);
    // A day, by the fixture's clock, which stands at the year's beginning.
    assert_eq!(until(&rotated), "2026-01-02T00:00:00.000000Z");
    let read = fixture.get(&path).await.json();
    assert_eq!((read.get("secret"), until(&read)), (None, until(&rotated)));

    let rotated = fixture
        .post(&secret_path, json!({ "overlapSeconds": 60 }))
        .await;
    assert_eq!(until(&rotated.json()), "2026-01-01T00:01:00.000000Z");
    let at_once = fixture
        .post(&secret_path, json!({ "overlapSeconds": 0 }))
        .await;
    assert_eq!(until(&at_once.json()), Value::Null);
    for (body, part) in [
        (json!({ "overlapSeconds": 604_801 }), "604800"),
        (json!({ "overlapSeconds": -1 }), "-1"),
        (json!({ "overlap": "1d" }), "overlapSeconds"),
    ] {
        let refused = fixture.post(&secret_path, body).await;
        assert!(
            refused.problem(422, "invalid_body").contains(part),
            "{part}"
        );
    }
    let unknown = fixture.post("/v1/webhooks/whk_1/secret", json!({})).await;
    unknown.problem(404, "unknown_webhook");

    // What was asked for at once ends the overlap, too.
    fixture.post(&secret_path, json!({})).await;
    let change = json!({ "rotateSecret": true });
    let changed = ask(&fixture, "PATCH", &path, None, change).await.json();
    assert_eq!(until(&changed), Value::Null);
}

#[tokio::test]
async fn a_webhook_has_a_format() {
    let fixture = Fixture::new();
    let url = "https://example.org/hook";
    let made = make(&fixture, json!({ "url": url })).await;
    assert_eq!(made["format"], "leasehold");
    let made = make(&fixture, json!({ "url": url, "format": "waha" })).await;
    assert_eq!(made["format"], "waha");
    let body = json!({ "url": url, "format": "xml" });
    let refused = fixture.post("/v1/webhooks", body).await;
    assert!(refused.problem(422, "invalid_body").contains("waha"));
}
