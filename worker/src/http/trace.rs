//! Each request as a span, part of its caller's trace if it brings one, and as a
//! metric by route and status.
//!
//! Probes and scrapes come every few seconds from machines: they are counted,
//! and have no spans. Answers name their trace in `traceresponse`.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use coordinator_lib::clock::SharedClock;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use crate::telemetry::{metrics, propagation, spans};

/// W3C's header for the context of an answer.
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Routes that machines ask all day.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];

/// Requests that are under way are counted also if their client leaves.
struct Active(bool);

impl Drop for Active {
    fn drop(&mut self) {
        if !self.0 {
            metrics::http_left();
        }
    }
}

/// The middleware.
pub(super) async fn trace(
    State(clock): State<SharedClock>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = known(request.method());
    let span = if PROBES.contains(&route) {
        Span::none()
    } else {
        open(&request, method, route)
    };
    metrics::http_began();
    let mut active = Active(false);
    let began = clock.boottime();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        spans::failed(&span);
    }
    active.0 = true;
    metrics::http_answered(method, route, status.as_u16(), clock.boottime() - began);
    let context = propagation::of(&span);
    if let Some(value) = context.and_then(|context| HeaderValue::from_str(&context).ok()) {
        response.headers_mut().insert(TRACERESPONSE, value);
    }
    response
}

fn open(request: &Request, method: &'static str, route: &str) -> Span {
    let span = info_span!(
        parent: None,
        "http.request",
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    let caller = request.headers().get(propagation::TRACEPARENT);
    propagation::continues(&span, caller.and_then(|value| value.to_str().ok()));
    span
}

/// A method as a label: there are few.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}
