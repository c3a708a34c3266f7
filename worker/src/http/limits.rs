//! What every request must keep to, whatever it asks for: size, time, origin.
//! A panic in a handler ends that request and no other.

use std::any::Any;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::extract::too_large;
use super::problem::{Problem, ProblemKind};

/// Largest body of a request. Texts and settings are far smaller.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// For a whole file of the largest size on a slow line.
pub const TRANSFER_LIMIT: Duration = Duration::from_secs(15 * 60);
/// As much of a refused body is read and thrown away, so that a client which
/// sends all before it reads sees the answer instead of a broken connection.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Refuses a body that is declared as too large, before anything reads it.
pub async fn body_size(request: Request, next: Next) -> Response {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_none_or(|bytes| bytes <= BODY_BYTES_MAX as u64) {
        return next.run(request).await;
    }
    // A client that asked first is told before it sends anything.
    if !request.headers().contains_key(header::EXPECT) {
        let mut chunks = request.into_body().into_data_stream();
        let mut discarded = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            discarded += chunk.len();
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    }
    let mut response = too_large().into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Gives a request up after the configured time.
pub async fn time_limit(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            ProblemKind::RequestTimeout,
            format!(
                "no answer within {}; what was asked for may still have happened: look before \
                 repeating it, or repeat it with an Idempotency-Key",
                crate::config::duration::format_duration(limit)
            ),
        )
        .retry_after(1)
        .into_response(),
    }
}

/// What a web page of somebody else makes a browser on this machine send.
/// Without API keys the loopback address is all that guards the API, and
/// a browser reaches it on behalf of any page: by a form (`Origin`,
/// `Sec-Fetch-Site`) or by a name that points here (`Host`).
pub(super) fn foreign_origin(
    headers: &HeaderMap,
    uri: &Uri,
    is_safe: bool,
) -> Option<&'static str> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text("host").or_else(|| uri.authority().map(|authority| authority.as_str()));
    // HTTP/1.0 without a host: no browser.
    let host = host?;
    if !is_local_authority(host) {
        return Some("address this worker as localhost or 127.0.0.1");
    }
    let foreign_page = text("origin").is_some_and(|origin| {
        origin
            .strip_prefix("http://")
            .is_none_or(|origin| origin != host)
    });
    let foreign_site =
        text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    // Following a link shows the page to the person, not to the other site.
    let is_link = is_safe && text("sec-fetch-dest") == Some("document");
    (foreign_page || (foreign_site && !is_link))
        .then_some("another web page made the browser send this; open the worker's own page")
}

fn is_local_authority(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Answers a request whose handler panicked. The panic's text stays in the log.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(panic = text, "request handler panicked");
    Problem::new(
        ProblemKind::Internal,
        "the worker's log says more; please report it",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        foreign_origin(&headers, &Uri::from_static("/v1/accounts"), true).is_some()
    }

    #[test]
    fn own_programs_and_the_own_page_pass() {
        assert!(!refused(&[]));
        assert!(!refused(&[("host", "127.0.0.1:8080")]));
        assert!(!refused(&[
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080")
        ]));
        assert!(!refused(&[
            ("host", "[::1]:8080"),
            ("sec-fetch-site", "same-origin")
        ]));
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(!refused(
            &[&[("host", "localhost:8080")], &link[..]].concat()
        ));
    }

    #[test]
    fn other_pages_are_refused() {
        assert!(refused(&[("host", "evil.example:8080")]));
        assert!(refused(&[("host", "127.0.0.1.evil.example")]));
        assert!(refused(&[
            ("host", "127.0.0.1:8080"),
            ("origin", "https://evil.example")
        ]));
        assert!(refused(&[("host", "127.0.0.1:8080"), ("origin", "null")]));
        assert!(refused(&[
            ("host", "127.0.0.1:8080"),
            ("origin", "http://127.0.0.1:9999")
        ]));
        assert!(refused(&[
            ("host", "127.0.0.1:8080"),
            ("sec-fetch-site", "cross-site")
        ]));
    }
}
