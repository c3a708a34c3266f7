//! `/v1/sign-in`: the dashboard's way in. A person gives an API key once; their
//! browser keeps a cookie that no script can read and that it sends to this
//! origin alone.
//!
//! A browser sends a cookie whoever makes it ask. So a request that a cookie
//! lets in and that may change something must show that the worker's own page
//! made it ([`is_own_page`]), beside `SameSite=Strict`.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Body;
use super::guard;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::auth::{Admission, Grant, Scope, SignIn};

/// The cookie's name.
const COOKIE: &str = "leasehold_sign_in";

/// How long a sign-in is good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime(pub(super) Duration);

/// Body of `POST /v1/sign-in`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSignIn)]
pub(super) struct SignInBody {
    /// `lh_<id>_<secret>`.
    key: String,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SignIn)]
pub(super) struct SignInView {
    /// Whether requests from this browser go on.
    signed_in: bool,
    /// There is no key at all: nobody has to sign in.
    open: bool,
    key_id: Option<String>,
    key_name: Option<String>,
    scopes: Vec<Scope>,
    /// The only accounts that the key is for; null for all.
    accounts: Option<Vec<String>>,
    until: Option<StoreTime>,
}

impl SignInView {
    fn of_nobody() -> Self {
        Self {
            signed_in: false,
            open: false,
            key_id: None,
            key_name: None,
            scopes: Vec::new(),
            accounts: None,
            until: None,
        }
    }

    fn of_this_machine() -> Self {
        Self {
            signed_in: true,
            open: true,
            scopes: vec![Scope::Admin],
            ..Self::of_nobody()
        }
    }

    fn new(grant: Grant, sign_in: &SignIn) -> Self {
        Self {
            signed_in: true,
            open: false,
            key_id: Some(grant.key_id),
            key_name: Some(grant.name),
            scopes: grant.scopes,
            accounts: grant.accounts,
            until: Some(StoreTime::from_datetime(sign_in.until)),
        }
    }
}

/// `POST /v1/sign-in`: sets the cookie, where the key is good.
///
/// # Errors
/// `unauthorized`; `invalid_body`; `forbidden_origin` from another page.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(lifetime): Extension<Lifetime>,
    uri: Uri,
    headers: HeaderMap,
    Body(body): Body<SignInBody>,
) -> Result<Response, Problem> {
    check_not_foreign(&headers, &uri)?;
    let admission = api.book().admit(Some(body.key.trim())).await;
    let grant = match admission.map_err(guard::refusal)? {
        Admission::Granted(grant) => grant,
        // A key was given, and a key was asked for.
        Admission::Open => Grant::of_this_machine(),
    };
    let sign_in = SignIn {
        key_id: grant.key_id.clone(),
        until: api.clock().wall() + lifetime.0,
    };
    let token = sign_in.to_text(api.keys());
    let cookie = cookie(&token, lifetime.0, came_by_tls(&headers));
    let view = SignInView::new(grant, &sign_in);
    Ok(([(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// `GET /v1/sign-in`: who is signed in, if anybody is.
///
/// # Errors
/// `rate_limited`; the store's failure.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    headers: HeaderMap,
) -> Result<Json<SignInView>, Problem> {
    if grant == Grant::of_this_machine() {
        return Ok(Json(SignInView::of_this_machine()));
    }
    let Some(token) = token(&headers) else {
        return Ok(Json(SignInView::of_nobody()));
    };
    let Ok(sign_in) = SignIn::from_text(token, api.keys(), api.clock().wall()) else {
        return Ok(Json(SignInView::of_nobody()));
    };
    let admitted = api.book().admit_signed_in(&sign_in.key_id).await;
    match admitted.map_err(guard::refusal) {
        Ok(grant) => Ok(Json(SignInView::new(grant, &sign_in))),
        Err(problem) if problem.kind() == ProblemKind::Unauthorized => {
            Ok(Json(SignInView::of_nobody()))
        }
        Err(problem) => Err(problem),
    }
}

/// `DELETE /v1/sign-in`: takes the cookie away.
///
/// # Errors
/// `forbidden_origin` from another page.
pub(super) async fn delete(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    check_not_foreign(&headers, &uri)?;
    let cookie = cookie("", Duration::ZERO, came_by_tls(&headers));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn cookie(token: &str, lifetime: Duration, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    let seconds = lifetime.as_secs();
    format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// What stands in the sign-in's cookie.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let texts = cookies.filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether the browser came by TLS, as whoever ended it says.
fn came_by_tls(headers: &HeaderMap) -> bool {
    let first = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.split(',').next()?.trim().to_ascii_lowercase())
    };
    let forwarded = first("forwarded").unwrap_or_default();
    first("x-forwarded-proto").as_deref() == Some("https") || forwarded.contains("proto=https")
}

/// Whether the browser says that a page of this very origin made it ask. One
/// that says nothing is none that keeps to these rules.
pub(super) fn is_own_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text("host").or_else(|| uri.authority().map(|authority| authority.as_str()));
    let origin = text("origin").and_then(|origin| {
        let bare = origin.strip_prefix("https://");
        bare.or_else(|| origin.strip_prefix("http://"))
    });
    origin.is_some() && origin == host
}

/// What a page of another origin asks for is not done.
///
/// # Errors
/// `forbidden_origin`.
fn check_not_foreign(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let is_of_a_page = headers.contains_key("sec-fetch-site") || headers.contains_key("origin");
    match is_of_a_page && !is_own_page(headers, uri) {
        false => Ok(()),
        true => Err(foreign()),
    }
}

/// The answer to another page.
pub(super) fn foreign() -> Problem {
    Problem::new(
        ProblemKind::ForbiddenOrigin,
        "another web page made the browser send this; use the worker's own page, or a program with \
         an API key",
    )
}
