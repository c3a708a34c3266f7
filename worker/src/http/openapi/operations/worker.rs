//! The worker itself: health, its pages, its cluster.

use axum::http::StatusCode;

use super::super::operation::{Operation, operation};
use crate::http::problem::ProblemKind as P;
use crate::http::workers;

pub(super) const TAG: &str = "Worker";

pub(super) fn operations() -> Vec<Operation> {
    let op = |method, path, id, summary| operation(TAG, method, path, id, summary);
    vec![
        op("GET", "/", "dashboard", "The page for people").answers_as(
            StatusCode::OK,
            "A page",
            &["text/html"],
        ),
        op(
            "GET",
            "/assets/{file}",
            "dashboardFile",
            "A file of the page for people",
        )
        .answers_as(
            StatusCode::OK,
            "The file",
            &["text/javascript", "text/css", "image/svg+xml"],
        )
        .fails(&[P::UnknownRoute]),
        op("GET", "/docs", "referencePage", "This description, to read").answers_as(
            StatusCode::OK,
            "A page that loads nothing from outside",
            &["text/html"],
        ),
        op("GET", "/openapi.json", "describeApi", "This description")
            .answers_object(StatusCode::OK, "OpenAPI 3.1"),
        op(
            "GET",
            "/health",
            "readHealth",
            "How the worker is, from memory",
        )
        .about(
            "`status` is `healthy`, `degraded` or `unhealthy`. Holds no phone numbers, no QR \
                 codes and no secrets.",
        )
        .answers_object(StatusCode::OK, "The worker does its job")
        .answers_object(StatusCode::SERVICE_UNAVAILABLE, "It cannot, and says why"),
        op(
            "GET",
            "/livez",
            "readLiveness",
            "Whether the process answers",
        )
        .about("Never fails because of the store or WhatsApp: restarting would not help.")
        .answers_object(StatusCode::OK, "It does"),
        op(
            "GET",
            "/readyz",
            "readReadiness",
            "Whether requests should come here",
        )
        .answers_object(StatusCode::OK, "They should")
        .answers_object(
            StatusCode::SERVICE_UNAVAILABLE,
            "Starting, suspended, frozen or draining",
        ),
        op(
            "GET",
            "/metrics",
            "readMetrics",
            "What the worker counts, for Prometheus",
        )
        .about("Public with --metrics-public.")
        .answers_as(StatusCode::OK, "All metrics", &["text/plain"]),
        op(
            "GET",
            "/v1/workers",
            "listWorkers",
            "The worker sessions that have not ended",
        )
        .answers::<workers::WorkerList>(StatusCode::OK, "All of them"),
    ]
}
