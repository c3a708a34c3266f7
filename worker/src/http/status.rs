//! `/health`, `/livez`, `/readyz` and `/metrics`. They answer from memory, at once, also
//! while the store does not answer.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::state::Api;
use crate::health::{HealthInputs, Verdict};
use crate::telemetry;

/// `GET /health`: the whole document; 503 while the worker cannot do its job.
pub(super) async fn health(State(api): State<Api>) -> Response {
    let snapshot = api.worker().snapshot();
    let store = api.monitor().sight();
    let inputs = HealthInputs {
        info: api.info(),
        phase: api.phase(),
        snapshot: &snapshot,
        store: &store,
        now: api.clock().boottime(),
        wall: api.clock().wall(),
    };
    let status = match inputs.verdict() {
        Verdict::Healthy | Verdict::Degraded => StatusCode::OK,
        Verdict::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(inputs.document())).into_response()
}

/// `GET /metrics`: everything that is measured, in Prometheus' text format.
pub(super) async fn metrics() -> impl IntoResponse {
    let form = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], telemetry::metrics::text())
}

/// `GET /livez`: fails only when nothing answers at all. Never because of the
/// store or WhatsApp: restarting for them would end healthy accounts.
pub(super) async fn livez() -> impl IntoResponse {
    Json(json!({ "status": "alive" }))
}

/// `GET /readyz`: whether requests should come here.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let phase = api.phase();
    if phase.is_ready() {
        Json(json!({ "status": "ready" })).into_response()
    } else {
        let body = json!({ "status": "not_ready", "reason": phase.as_str() });
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }
}
