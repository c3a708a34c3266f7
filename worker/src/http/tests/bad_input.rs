//! Each wrong request has an answer that says what is wrong and what helps.

use super::*;

#[tokio::test]
async fn broken_json_is_refused_with_its_place() {
    let api = Fixture::new();
    let detail = api
        .post_raw("/v1/accounts", "{\"name\": ")
        .await
        .problem(400, "invalid_json");
    assert!(detail.contains("line 1 column"), "{detail}");
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    let api = Fixture::new();
    let answer = api
        .post("/v1/accounts", json!({ "name": "eu", "colour": "red" }))
        .await;
    let detail = answer.problem(422, "invalid_body");
    assert!(detail.contains("`colour`"), "{detail}");
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let api = Fixture::new();
    let detail = api
        .post("/v1/accounts", json!({}))
        .await
        .problem(422, "invalid_body");
    assert!(detail.contains("`name`"), "{detail}");
}

#[tokio::test]
async fn a_wrong_type_is_refused_with_its_place() {
    let api = Fixture::new();
    let detail = api
        .post("/v1/accounts", json!({ "name": 5 }))
        .await
        .problem(422, "invalid_body");
    assert!(detail.contains("expected a string"), "{detail}");
}

#[tokio::test]
async fn a_list_is_not_taken_for_an_object() {
    let api = Fixture::new();
    for list in [json!([]), json!(["eu"])] {
        let answer = api.post("/v1/accounts", list).await;
        let detail = answer.problem(422, "invalid_body");
        assert!(detail.contains("expected an object"), "{detail}");
    }
}

#[tokio::test]
async fn names_and_numbers_are_checked() {
    let api = Fixture::new();
    for body in [
        json!({ "name": "" }),
        json!({ "name": "   " }),
        json!({ "name": "a\u{0}b" }),
        json!({ "name": "x".repeat(101) }),
        json!({ "name": "eu", "phone": "call me" }),
        json!({ "name": "eu", "phone": "1" }),
        json!({ "name": "eu", "phone": "1".repeat(16) }),
    ] {
        api.post("/v1/accounts", body)
            .await
            .problem(422, "invalid_body");
    }
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_refused() {
    let api = Fixture::new();
    let request = Request::post("/v1/accounts").header(header::CONTENT_TYPE, "text/plain");
    let request = request.body(Body::from("{\"name\":\"eu\"}")).unwrap();
    let detail = api
        .send(request)
        .await
        .problem(415, "unsupported_media_type");
    assert!(detail.contains("application/json"), "{detail}");
    api.post_empty("/v1/accounts")
        .await
        .problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn ten_mebibytes_are_refused_declared_or_not() {
    let api = Fixture::new();
    let large = json!({ "name": "x".repeat(10 * 1024 * 1024) }).to_string();
    let declared = Request::post("/v1/accounts")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, large.len())
        .body(Body::from(large.clone()))
        .unwrap();
    api.send(declared).await.problem(413, "body_too_large");
    api.post_raw("/v1/accounts", large)
        .await
        .problem(413, "body_too_large");
}

#[tokio::test]
async fn unknown_ids_are_not_found() {
    let api = Fixture::new();
    let account = "/v1/accounts/account_01";
    api.get(account).await.problem(404, "unknown_account");
    api.get(&format!("{account}/qr"))
        .await
        .problem(404, "unknown_account");
    api.get(&format!("{account}/threads"))
        .await
        .problem(404, "unknown_account");
    api.get("/debug/accounts/account_01")
        .await
        .problem(404, "unknown_account");
    for action in ["start", "stop", "restart"] {
        api.post_empty(&format!("{account}/{action}"))
            .await
            .problem(404, "unknown_account");
    }
    let text = json!({ "to": "+491701234567", "text": "hello" });
    api.post(&format!("{account}/messages"), text)
        .await
        .problem(404, "unknown_account");
    api.get("/v1/messages/msg_01")
        .await
        .problem(404, "unknown_message");
    api.get("/v1/threads/thr_01/messages")
        .await
        .problem(404, "unknown_thread");
    api.post_empty("/v1/threads/thr_01/read")
        .await
        .problem(404, "unknown_thread");
}

#[tokio::test]
async fn ids_that_cannot_be_are_refused_before_the_store_is_asked() {
    let api = Fixture::new();
    let long = "a".repeat(129);
    for id in [
        "%2e%2e",
        "a%2Fb",
        "a%00b",
        "__x__",
        "%ff",
        "%C3%A4",
        long.as_str(),
    ] {
        api.get(&format!("/v1/accounts/{id}"))
            .await
            .problem(400, "invalid_id");
    }
}

#[tokio::test]
async fn wrong_query_parameters_are_named() {
    let api = Fixture::new();
    for (query, names) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "invalid digit"),
        ("after=nonsense", "after"),
        ("status=happy", "happy"),
        ("page=2", "page"),
    ] {
        let answer = api.get(&format!("/v1/accounts?{query}")).await;
        let detail = answer.problem(400, "invalid_query");
        assert!(detail.contains(names), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let api = Fixture::new();
    let account = api.account("eu").await;
    for chat in ["491701111111", "491702222222"] {
        let body = json!({ "to": chat, "text": "hello" });
        api.post(&format!("/v1/accounts/{account}/messages"), body)
            .await;
    }
    let threads = api
        .get(&format!("/v1/accounts/{account}/threads?limit=1"))
        .await
        .json();
    let cursor = threads["next"].as_str().expect("there are two threads");
    let answer = api.get(&format!("/v1/accounts?after={cursor}")).await;
    answer.problem(400, "invalid_query");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let api = Fixture::new();
    let request = Request::delete("/v1/accounts").body(Body::empty()).unwrap();
    let answer = api.send(request).await;
    answer.problem(405, "method_not_allowed");
    let allowed = answer.headers[header::ALLOW].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
}

#[tokio::test]
async fn an_unknown_route_is_a_problem_too() {
    Fixture::new()
        .get("/v2/accounts")
        .await
        .problem(404, "unknown_route");
}

#[tokio::test]
async fn other_pages_and_names_are_refused() {
    let api = Fixture::new();
    for (name, value) in [
        ("host", "evil.example"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let mut request = Request::post("/v1/accounts/account_01/stop");
        if name != "host" {
            request = request.header("host", "127.0.0.1:8080");
        }
        let request = request.header(name, value).body(Body::empty()).unwrap();
        api.send(request).await.problem(403, "forbidden_origin");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_a_503_that_says_so() {
    let api = Fixture::new();
    api.memory
        .fail_next_commit(coordinator_lib::store::Fault::Unavailable);
    let answer = api.post("/v1/accounts", json!({ "name": "eu" })).await;
    answer.problem(503, "store_unavailable");
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    let listed = api.get("/v1/accounts").await.json();
    assert_eq!(listed["accounts"], json!([]), "nothing was written");
}
