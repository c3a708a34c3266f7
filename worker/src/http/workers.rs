//! `/v1/workers`: the live worker sessions. For now a store has one worker, the
//! one that answers.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::json;

use super::state::Api;

/// `GET /v1/workers`.
pub(super) async fn list(State(api): State<Api>) -> impl IntoResponse {
    let info = api.info();
    let snapshot = api.worker().snapshot();
    Json(json!({
        "workers": [{
            "name": info.worker_name,
            "sessionId": info.session_id,
            "state": api.lifecycle().get().as_str(),
            "heartbeatAgeMs": null,
            "capacity": info.capacity,
            "owned": snapshot.accounts.len(),
            "version": crate::VERSION,
        }],
        "next": null,
    }))
}
