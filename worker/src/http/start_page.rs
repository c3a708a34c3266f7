//! `/`: a small page that shows the accounts and their QR codes.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse};

use super::embedded;

const PAGE: &str = include_str!("start_page.html");

static POLICY: LazyLock<String> = LazyLock::new(|| embedded::policy(PAGE));

/// `GET /`.
pub(super) async fn show() -> impl IntoResponse {
    (
        [(header::CONTENT_SECURITY_POLICY, POLICY.as_str())],
        Html(PAGE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_outside_and_has_no_inline_handlers() {
        embedded::tests::check(PAGE);
    }
}
