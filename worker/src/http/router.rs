//! Every route of the API, on one page.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{delete, get, patch, post, put};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use super::guard::{self, Guard};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use super::{
    account_qr, accounts, archives, broadcasts, contacts, dashboard, debug, do_not_contact, events,
    groups, history, keys, limits, linking, media, messages, openapi, outbox, purge, reference,
    sessions, sign_in, status, threads, trace, waha, webhooks, workers,
};
use crate::config::{HttpConfig, TelemetryConfig};

/// The router with all its limits.
pub fn router(api: Api, config: &HttpConfig, telemetry: &TelemetryConfig) -> Router {
    let routes = Router::new()
        .route("/", get(dashboard::page))
        .route("/assets/{file}", get(dashboard::asset))
        .route("/docs", get(reference::show))
        .route("/openapi.json", get(openapi::show))
        .route("/health", get(status::health))
        .route("/livez", get(status::livez))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route("/v1/workers", get(workers::list))
        .route("/v1/accounts", get(accounts::list).post(accounts::create))
        .route(
            "/v1/accounts/{id}",
            get(accounts::read)
                .patch(accounts::rename)
                .delete(purge::delete),
        )
        .route("/v1/accounts/{id}/start", post(accounts::start))
        .route("/v1/accounts/{id}/stop", post(accounts::stop))
        .route("/v1/accounts/{id}/logout", post(accounts::log_out))
        .route("/v1/accounts/{id}/restart", post(accounts::restart))
        .route("/v1/accounts/{id}/release", post(accounts::release))
        .route("/v1/accounts/{id}/history", get(history::list))
        .route("/v1/accounts/{id}/archives", get(archives::list))
        .route(
            "/v1/accounts/{id}/archives/{epoch}",
            delete(archives::delete),
        )
        .route("/v1/accounts/{id}/qr", get(account_qr::show))
        .route(
            "/v1/accounts/{id}/pairing-code",
            post(linking::pairing_code),
        )
        .route(
            "/v1/accounts/{id}/passkey",
            get(linking::passkey).post(linking::answer_passkey),
        )
        .route(
            "/v1/accounts/{id}/messages",
            get(messages::list).post(messages::send),
        )
        .route("/v1/accounts/{id}/broadcasts", post(broadcasts::send))
        .route("/v1/accounts/{id}/threads", get(threads::list))
        .route("/v1/accounts/{id}/contacts", get(contacts::list))
        .route(
            "/v1/accounts/{id}/groups",
            get(groups::list).post(groups::create),
        )
        .route("/v1/accounts/{id}/groups/join", post(groups::join))
        .route("/v1/groups/{id}", get(groups::read).patch(groups::change))
        .route("/v1/groups/{id}/members", post(groups::members))
        .route(
            "/v1/groups/{id}/invitation",
            get(groups::invitation).post(groups::renew_invitation),
        )
        .route("/v1/groups/{id}/leave", post(groups::leave))
        .route("/v1/messages", get(outbox::list))
        .route(
            "/v1/messages/{id}",
            get(messages::read).delete(messages::cancel),
        )
        .route("/v1/do-not-contact", get(do_not_contact::list))
        .route(
            "/v1/do-not-contact/{address}",
            put(do_not_contact::put).delete(do_not_contact::delete),
        )
        .route("/v1/threads/{id}/messages", get(threads::messages))
        .route(
            "/v1/threads/{id}/messages/{message}/receipts",
            get(threads::receipts),
        )
        .route("/v1/threads/{id}", patch(threads::change))
        .route("/v1/threads/{id}/read", post(threads::mark_read))
        .route("/v1/threads/{id}/typing", post(threads::typing))
        .route("/v1/threads/{id}/presence", post(threads::watch_presence))
        .route("/v1/events", get(events::show))
        .route("/v1/events/ws", get(events::socket))
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/v1/webhooks/{id}",
            get(webhooks::read)
                .patch(webhooks::change)
                .delete(webhooks::delete),
        )
        .route("/v1/webhooks/{id}/test", post(webhooks::test))
        .route("/v1/webhooks/{id}/secret", post(webhooks::secret::rotate))
        .route(
            "/v1/webhooks/{id}/deliveries",
            get(webhooks::deliveries::list),
        )
        .route(
            "/v1/webhooks/{id}/deliveries/{delivery}/replay",
            post(webhooks::deliveries::replay),
        )
        .route(
            "/v1/sign-in",
            get(sign_in::read)
                .post(sign_in::create)
                .delete(sign_in::delete),
        )
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", get(keys::read).delete(keys::revoke))
        .route("/v1/audit", get(keys::audit))
        .route("/debug/accounts/{id}", get(debug::account))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .with_state(api.clone());

    let routes = match config.waha_compat {
        true => routes.merge(waha_routes(&api)),
        false => routes,
    };
    // Files have limits of their own, of bytes and of time; media are not read
    // into memory.
    let files = Router::new()
        .route("/v1/media", post(media::upload))
        .route("/v1/accounts/{id}/session", put(sessions::put))
        .route("/v1/accounts/{id}/session/export", post(sessions::export))
        .route(
            "/v1/threads/{id}/messages/{message}/media",
            get(media::download),
        )
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(
            limits::TRANSFER_LIMIT,
            limits::time_limit,
        ))
        .with_state(api.clone());
    let files = match config.waha_compat {
        true => files.merge(waha_files(&api)),
        false => files,
    };
    // The last layer is the outermost.
    let limited = routes
        .layer(Extension(sign_in::Lifetime(config.sign_in_time)))
        .layer(Extension(Arc::new(workers::TraceLinks::new(telemetry))))
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
        .layer(from_fn(limits::body_size))
        .layer(from_fn_with_state(
            config.request_timeout,
            limits::time_limit,
        ))
        .merge(files);
    let clock = Arc::clone(api.clock());
    let guard = Guard {
        api,
        metrics_public: telemetry.metrics_public,
        is_insecure: config.insecure_no_auth && !config.is_local(),
    };
    limited
        .layer(from_fn_with_state(guard, guard::guard))
        .layer(CatchPanicLayer::custom(limits::panicked))
        .layer(from_fn_with_state(clock, trace::trace))
        .layer(map_response(common_headers))
}

/// What programs that were written for WAHA ask for.
fn waha_routes(api: &Api) -> Router {
    Router::new()
        .route(
            "/compat/waha/api/sessions",
            get(waha::sessions::list).post(waha::sessions::create),
        )
        .route(
            "/compat/waha/api/sessions/{session}",
            get(waha::sessions::read),
        )
        .route(
            "/compat/waha/api/sessions/{session}/start",
            post(waha::sessions::start),
        )
        .route(
            "/compat/waha/api/sessions/{session}/stop",
            post(waha::sessions::stop),
        )
        .route(
            "/compat/waha/api/sessions/{session}/logout",
            post(waha::sessions::log_out),
        )
        .route(
            "/compat/waha/api/{session}/auth/qr",
            get(waha::sessions::qr_code),
        )
        .route("/compat/waha/api/{session}/chats", get(waha::chats::list))
        .route(
            "/compat/waha/api/{session}/chats/{chat}/messages",
            get(waha::chats::messages),
        )
        .route("/compat/waha/api/sendText", post(waha::sending::text))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api.clone())
}

/// Pictures come inside JSON, and are larger than other bodies.
fn waha_files(api: &Api) -> Router {
    Router::new()
        .route("/compat/waha/api/sendImage", post(waha::sending::image))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(
            limits::TRANSFER_LIMIT,
            limits::time_limit,
        ))
        .with_state(api.clone())
}

async fn unknown_route() -> Problem {
    Problem::new(
        ProblemKind::UnknownRoute,
        "the API begins at /v1/accounts, the page is /",
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "the header `Allow` lists the methods",
    )
}

/// Answers are of the moment, and what they are called is what they are.
async fn common_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    response
}
