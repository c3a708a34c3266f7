//! Sessions of Baileys over the API: what is reported and what is refused. That
//! they move in is shown with real ones, in the integration tests.

use super::*;

/// Two sessions that Baileys wrote.
const SESSIONS: &str = include_str!("../../../whatsapp/src/baileys/fixture.json");

async fn give(api: &Fixture, path: &str, content: impl Into<Body>) -> Answer {
    let request = Request::put(path).body(content.into());
    api.send(request.expect("a request")).await
}

fn one(name: &str) -> String {
    let all: Value = serde_json::from_str(SESSIONS).expect("JSON");
    json!({ name: all[name] }).to_string()
}

#[tokio::test]
async fn a_session_is_checked_and_nothing_is_written() {
    let api = Fixture::new();
    let answer = give(&api, "/v1/accounts/eu/session", one("baileys7")).await;
    let report = answer.json();
    assert_eq!(answer.status, StatusCode::OK, "{report}");
    assert_eq!(report["outcome"], "checked");
    assert_eq!(report["number"], "999000000001");
    assert_eq!(report["report"]["parts"]["sessions"]["taken"], 2);
    let paths = [
        collections::account("eu").expect("an id"),
        collections::head("eu").expect("an id"),
    ];
    let stored = api.store.get(&paths).await.expect("the store works");
    assert_eq!(stored.documents, [None, None]);
}

#[tokio::test]
async fn what_is_no_session_is_refused_and_not_quoted() {
    let api = Fixture::new();
    let path = "/v1/accounts/eu/session";
    let two = give(&api, path, SESSIONS).await;
    assert!(two.problem(422, "invalid_body").contains("several"));
    for body in [
        "",
        "canary",
        "{\"canary\": 1}",
        "{\"eu\": {\"creds\": \"canary\"}}",
    ] {
        let detail = give(&api, path, body).await.problem(422, "invalid_body");
        assert!(!detail.contains("canary"), "{detail}");
    }
    give(&api, "/v1/accounts/a%2Fb/session", one("baileys7"))
        .await
        .problem(400, "invalid_id");
    give(&api, "/v1/accounts/eu/session?ahead=9999", one("baileys7"))
        .await
        .problem(422, "invalid_body");
    give(&api, "/v1/accounts/eu/session?ahed=9", one("baileys7"))
        .await
        .problem(400, "invalid_query");
    let path = "/v1/accounts/eu/session/export?baileys=5";
    api.post_empty(path).await.problem(400, "invalid_query");
}
