//! `/docs`: the API's description, to read. The page is made in the browser
//! from `/openapi.json` and loads nothing else.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse};

use super::embedded;

const PAGE: &str = include_str!("reference.html");

static POLICY: LazyLock<String> = LazyLock::new(|| embedded::policy(PAGE));

/// `GET /docs`.
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
