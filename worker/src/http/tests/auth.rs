//! Who may do what: every route with every right, and without.

use axum::http::Method;

use super::*;
use crate::auth::Scope;
use crate::http::rules::{RULES, Reach, Rule};

/// A request with a key.
async fn ask(fixture: &Fixture, method: &str, path: &str, key: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        // A stream would not end.
        .header(header::ACCEPT, "application/json");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    fixture.send(request.body(Body::from("{}")).unwrap()).await
}

/// Makes a key by the API; the first one with none.
pub(super) async fn make(
    fixture: &Fixture,
    admin: Option<&str>,
    scopes: &[Scope],
    accounts: Option<&[&str]>,
) -> String {
    let body = json!({ "name": "test", "scopes": scopes, "accounts": accounts });
    let mut request = Request::post("/v1/keys").header(header::CONTENT_TYPE, "application/json");
    if let Some(admin) = admin {
        request = request.header("x-api-key", admin);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    let made = fixture.send(request).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    made.json()["key"].as_str().unwrap().to_owned()
}

fn path_of(route: &str, account: &str) -> String {
    let id = if route.contains("/accounts/") {
        account
    } else {
        "thr_1"
    };
    route
        .replace("{id}", id)
        .replace("{message}", "wam_1")
        .replace("{delivery}", "whk_1-a-1")
        .replace("{address}", "491701234567")
        .replace("{session}", account)
        .replace("{chat}", "491701234567@c.us")
}

/// Whether the guard let it through: what the handler then says is its own.
fn is_let_through(answer: &Answer) -> bool {
    let code = match answer.status.as_u16() {
        401 | 403 | 429 => answer.json()["code"].as_str().unwrap().to_owned(),
        _ => return true,
    };
    !matches!(
        code.as_str(),
        "unauthorized" | "not_permitted" | "rate_limited"
    )
}

/// Without a limit, and with every route.
fn unhurried() -> Fixture {
    Fixture::with_config(&HttpConfig {
        api_rate: 0.0,
        waha_compat: true,
        ..HttpConfig::default()
    })
}

#[tokio::test]
async fn every_route_takes_the_right_it_needs_and_no_other() {
    for scope in Scope::ALL {
        let fixture = unhurried();
        let account = fixture.account("one").await;
        let admin = make(&fixture, None, &[Scope::Admin], None).await;
        let key = make(&fixture, Some(&admin), &[scope], None).await;
        for (method, route, rule) in RULES {
            let answer = ask(&fixture, method, &path_of(route, &account), Some(&key)).await;
            let expected = match rule {
                Rule::Public => true,
                Rule::Key(needed, _) => scope == *needed || scope == Scope::Admin,
            };
            assert_eq!(
                is_let_through(&answer),
                expected,
                "{method} {route} with {scope:?}: {}",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn without_a_good_key_nothing_but_the_worker_itself_is_shown() {
    let fixture = unhurried();
    let account = fixture.account("one").await;
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    let revoked = make(&fixture, Some(&admin), &[Scope::Admin], None).await;
    let id = revoked.split('_').nth(1).unwrap();
    let gone = ask(&fixture, "DELETE", &format!("/v1/keys/{id}"), Some(&admin)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let (start, _) = admin.rsplit_once('_').unwrap();
    let forged = format!("{start}_{}", "0".repeat(64));
    let stranger = format!("lh_{}_{}", "0".repeat(16), "0".repeat(64));
    for (method, route, rule) in RULES {
        let path = path_of(route, &account);
        for key in [
            None,
            Some("no key"),
            Some(&*revoked),
            Some(&*forged),
            Some(&*stranger),
        ] {
            let answer = ask(&fixture, method, &path, key).await;
            if *rule == Rule::Public {
                assert!(is_let_through(&answer), "{method} {route}");
            } else {
                answer.problem(401, "unauthorized");
                assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn a_limited_key_knows_no_accounts_but_its_own() {
    let fixture = unhurried();
    let own = fixture.account("own").await;
    let other = fixture.account("other").await;
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    let all = [Scope::Read, Scope::Send, Scope::Control, Scope::Admin];
    let key = make(&fixture, Some(&admin), &all, Some(&[&own])).await;
    for (method, route, rule) in RULES {
        let Rule::Key(_, reach) = rule else {
            continue;
        };
        let answer = ask(&fixture, method, &path_of(route, &other), Some(&key)).await;
        match reach {
            Reach::Account | Reach::Thread | Reach::Message | Reach::Webhook => {
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {route}");
            }
            Reach::Cluster => {
                answer.problem(403, "not_permitted");
            }
            Reach::List | Reach::Nobody => assert!(is_let_through(&answer), "{method} {route}"),
        }
    }
    let listed = ask(&fixture, "GET", "/v1/accounts", Some(&key))
        .await
        .json();
    let ids: Vec<&str> = listed["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [own.as_str()]);
    let read = ask(&fixture, "GET", &format!("/v1/accounts/{own}"), Some(&key)).await;
    assert_eq!(read.status, StatusCode::OK);
}

#[tokio::test]
async fn the_first_key_makes_the_others_and_none_is_shown_twice() {
    let fixture = unhurried();
    let body = json!({ "name": "first", "scopes": ["read"] });
    let refused = fixture.post("/v1/keys", body).await;
    assert!(refused.problem(422, "invalid_body").contains("admin"));
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    let listed = ask(&fixture, "GET", "/v1/keys", Some(&admin)).await;
    let secret = admin.rsplit('_').next().unwrap();
    assert!(!String::from_utf8_lossy(&listed.bytes).contains(secret));
    assert_eq!(listed.json()["keys"].as_array().unwrap().len(), 1);
    fixture.get("/v1/keys").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn who_changed_what_is_written_down() {
    let fixture = unhurried();
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    let account = fixture.account_with("one", &admin).await;
    let path = format!("/v1/accounts/{account}/stop");
    ask(&fixture, "POST", &path, Some(&admin)).await;
    ask(&fixture, "GET", "/v1/accounts", Some(&admin)).await;
    let log = ask(&fixture, "GET", "/v1/audit", Some(&admin)).await.json();
    let entries: Vec<(&str, &str)> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["method"].as_str().unwrap(),
                entry["route"].as_str().unwrap(),
            )
        })
        .collect();
    let mut expected = [
        ("POST", "/v1/keys"),
        ("POST", "/v1/accounts"),
        ("POST", "/v1/accounts/{id}/stop"),
    ];
    let mut seen = entries.clone();
    expected.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, expected);
    assert!(log.to_string().contains(&account), "what it was done to");
}

#[tokio::test]
async fn too_many_requests_with_one_key_wait() {
    let fixture = Fixture::with_config(&HttpConfig {
        api_rate: 1.0,
        api_burst: 3,
        ..HttpConfig::default()
    });
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    for _ in 0..3 {
        let answer = ask(&fixture, "GET", "/v1/workers", Some(&admin)).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let answer = ask(&fixture, "GET", "/v1/workers", Some(&admin)).await;
    answer.problem(429, "rate_limited");
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn metrics_are_for_keys_unless_they_are_public() {
    for metrics_public in [false, true] {
        let telemetry = TelemetryConfig {
            metrics_public,
            ..TelemetryConfig::default()
        };
        let config = HttpConfig::default();
        let fixture = Fixture::of(&config, MediaStore::default(), &telemetry);
        let admin = make(&fixture, None, &[Scope::Admin], None).await;
        let reader = make(&fixture, Some(&admin), &[Scope::Read], None).await;
        let limited = make(&fixture, Some(&admin), &[Scope::Read], Some(&["a1"])).await;
        for (key, without) in [(None, 401), (Some(&*limited), 403), (Some(&*reader), 200)] {
            let answer = ask(&fixture, "GET", "/metrics", key).await;
            let expected = if metrics_public { 200 } else { without };
            assert_eq!(answer.status.as_u16(), expected, "{key:?}");
        }
    }
}

/// What a stranger could learn is what the answer and the work for it tell.
/// The comparison itself is of hashes, by `subtle`: `auth::key` measures it.
#[tokio::test]
async fn however_much_of_a_key_is_right_the_answer_is_the_same() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    assert_eq!(
        ask(&fixture, "GET", "/v1/keys", Some(&key)).await.status,
        200
    );
    let secret_at = key.rfind('_').unwrap() + 1;
    let mut answers = Vec::new();
    for right in [0, 1, 2, 31, 32, 62, 63] {
        let at = secret_at + right;
        let wrong: String = key[at..]
            .chars()
            .map(|c| if c == '0' { '1' } else { '0' })
            .collect();
        let presented = format!("{}{wrong}", &key[..at]);
        let answer = ask(&fixture, "GET", "/v1/keys", Some(&presented)).await;
        answer.problem(401, "unauthorized");
        answers.push((format!("{:?}", answer.headers), answer.bytes));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}
