//! The dashboard's way in: the cookie, what it lets in, and when it ends.

use axum::http::request::Builder;

use super::auth::make;
use super::*;
use crate::auth::Scope;

/// A browser's request with the cookie of `token`.
fn with_cookie(request: Builder, token: &str) -> Builder {
    request.header(header::COOKIE, format!("theme=dark; {token}"))
}

fn sign_in_request() -> Builder {
    Request::post("/v1/sign-in").header(header::CONTENT_TYPE, "application/json")
}

async fn sign_in_as(fixture: &Fixture, request: Builder, key: &str) -> Answer {
    let body = json!({ "key": key }).to_string();
    fixture.send(request.body(body.into()).unwrap()).await
}

async fn sign_in(fixture: &Fixture, key: &str) -> Answer {
    sign_in_as(fixture, sign_in_request(), key).await
}

/// The cookie's `name=value`.
fn cookie_of(answer: &Answer) -> String {
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

async fn signed_in(fixture: &Fixture, key: &str) -> String {
    let answer = sign_in(fixture, key).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    cookie_of(&answer)
}

async fn get_with(fixture: &Fixture, path: &str, cookie: &str) -> Answer {
    let request = with_cookie(Request::get(path), cookie);
    fixture.send(request.body(Body::empty()).unwrap()).await
}

/// A change that a browser with the cookie asks for, with these headers.
async fn stop_with(fixture: &Fixture, id: &str, cookie: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = with_cookie(Request::post(format!("/v1/accounts/{id}/stop")), cookie);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    fixture.send(request.body(Body::empty()).unwrap()).await
}

const OWN_PAGE: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    let answer = sign_in(&fixture, &key).await;
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    for flag in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(set.contains(flag), "{set}");
    }
    assert!(!set.contains("Secure"), "it came without TLS: {set}");
    let secret = key.rsplit('_').next().unwrap();
    assert!(!set.contains(secret) && !answer.json().to_string().contains(secret));
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=192.0.2.1;proto=https"),
    ] {
        let request = sign_in_request().header(name, value);
        let answer = sign_in_as(&fixture, request, &key).await;
        let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
        assert!(set.ends_with("; Secure"), "{set}");
    }
}

#[tokio::test]
async fn a_key_signs_in_with_its_own_rights() {
    let fixture = Fixture::new();
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    let account = fixture.account_with("one", &admin).await;
    let reader = make(&fixture, Some(&admin), &[Scope::Read], None).await;
    let cookie = signed_in(&fixture, &reader).await;
    let read = get_with(&fixture, "/v1/accounts", &cookie).await;
    assert_eq!(read.status, StatusCode::OK);
    let refused = stop_with(&fixture, &account, &cookie, OWN_PAGE).await;
    refused.problem(403, "not_permitted");
    let shown = get_with(&fixture, "/v1/sign-in", &cookie).await.json();
    assert_eq!(shown["signedIn"], true);
    assert_eq!(shown["scopes"], json!(["read"]));
}

#[tokio::test]
async fn a_wrong_key_signs_nobody_in() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    let wrong = format!("{}{}", &key[..key.len() - 4], "0000");
    for wrong in ["", "secret", &wrong] {
        let answer = sign_in(&fixture, wrong).await;
        answer.problem(401, "unauthorized");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
    }
    let shown = fixture.get("/v1/sign-in").await.json();
    assert_eq!(shown["signedIn"], false);
    fixture
        .get("/v1/accounts")
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn a_sign_in_ends_after_its_time() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    let cookie = signed_in(&fixture, &key).await;
    fixture
        .clock
        .advance(std::time::Duration::from_secs(43_199));
    assert_eq!(
        get_with(&fixture, "/v1/accounts", &cookie).await.status,
        200
    );
    fixture.clock.advance(std::time::Duration::from_secs(1));
    let answer = get_with(&fixture, "/v1/accounts", &cookie).await;
    assert!(
        answer
            .problem(401, "unauthorized")
            .contains("sign in again")
    );
    let shown = get_with(&fixture, "/v1/sign-in", &cookie).await.json();
    assert_eq!(shown["signedIn"], false);
}

#[tokio::test]
async fn a_sign_in_ends_with_its_key() {
    let fixture = Fixture::new();
    let admin = make(&fixture, None, &[Scope::Admin], None).await;
    let key = make(&fixture, Some(&admin), &[Scope::Admin], None).await;
    let cookie = signed_in(&fixture, &key).await;
    assert_eq!(
        get_with(&fixture, "/v1/accounts", &cookie).await.status,
        200
    );
    let id = key.split('_').nth(1).unwrap();
    let request = Request::delete(format!("/v1/keys/{id}")).header("x-api-key", &admin);
    let gone = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let answer = get_with(&fixture, "/v1/accounts", &cookie).await;
    assert!(answer.problem(401, "unauthorized").contains("revoked"));
}

#[tokio::test]
async fn a_forged_cookie_lets_nobody_in() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    let cookie = signed_in(&fixture, &key).await;
    let longer = cookie.replacen("=1.", "=1.0", 1);
    for forged in [
        longer.as_str(),
        "leasehold_sign_in=",
        "leasehold_sign_in=1.2.3.4.5",
    ] {
        get_with(&fixture, "/v1/accounts", forged)
            .await
            .problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn what_a_cookie_lets_in_changes_something_for_the_own_page_alone() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    let account = fixture.account_with("one", &key).await;
    let cookie = signed_in(&fixture, &key).await;
    let own: [&[(&str, &str)]; 4] = [
        OWN_PAGE,
        &[("host", "example.org"), ("origin", "https://example.org")],
        &[
            ("host", "10.0.0.7:8080"),
            ("origin", "http://10.0.0.7:8080"),
        ],
        &[("host", "[::1]:8080"), ("sec-fetch-site", "same-origin")],
    ];
    for headers in own {
        let answer = stop_with(&fixture, &account, &cookie, headers).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{headers:?}");
    }
    let foreign: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("host", "example.org"), ("origin", "https://evil.example")],
        &[("host", "example.org"), ("origin", "null")],
        // Nothing says that a page of ours asked.
        &[("host", "example.org")],
    ];
    for headers in foreign {
        let answer = stop_with(&fixture, &account, &cookie, headers).await;
        answer.problem(403, "forbidden_origin");
    }
}

#[tokio::test]
async fn another_page_signs_nobody_in_or_out() {
    let fixture = Fixture::new();
    let key = make(&fixture, None, &[Scope::Admin], None).await;
    let request = sign_in_request().header("sec-fetch-site", "cross-site");
    sign_in_as(&fixture, request, &key)
        .await
        .problem(403, "forbidden_origin");
    let request = Request::delete("/v1/sign-in").header("origin", "https://evil.example");
    let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
    answer.problem(403, "forbidden_origin");
    let request = Request::delete("/v1/sign-in").header("sec-fetch-site", "same-origin");
    let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("leasehold_sign_in=;") && set.contains("Max-Age=0"));
}

#[tokio::test]
async fn without_any_key_nobody_has_to_sign_in() {
    let fixture = Fixture::new();
    let shown = fixture.get("/v1/sign-in").await.json();
    assert_eq!(
        (&shown["signedIn"], &shown["open"]),
        (&json!(true), &json!(true))
    );
    // Nor does a cookie from before stand in the way.
    let answer = get_with(&fixture, "/v1/accounts", "leasehold_sign_in=1.2.3.4.5").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn the_page_and_its_files_let_nothing_in_from_outside() {
    let fixture = Fixture::new();
    make(&fixture, None, &[Scope::Admin], None).await;
    for path in ["/", "/assets/app.js", "/assets/app.css", "/assets/icon.svg"] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-cache");
        let tag = answer.headers[header::ETAG].clone();
        let again = Request::get(path).header(header::IF_NONE_MATCH, tag);
        let again = fixture.send(again.body(Body::empty()).unwrap()).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        assert!(again.bytes.is_empty());
        let packed = Request::get(path).header(header::ACCEPT_ENCODING, "gzip, br");
        let packed = fixture.send(packed.body(Body::empty()).unwrap()).await;
        assert_eq!(packed.headers[header::CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(packed.bytes.as_slice());
        std::io::Read::read_to_end(&mut reader, &mut unpacked).unwrap();
        assert_eq!(unpacked, answer.bytes);
    }
    fixture
        .get("/assets/secrets.txt")
        .await
        .problem(404, "unknown_route");
}
