//! `/v1/workers`: the worker sessions that have not ended.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use coordinator_lib::worker_session::{self, SessionState, WorkerSession};
use serde_json::json;

use super::problem::Problem;
use super::state::Api;

/// Worker sessions that one answer lists at most: far more than a cluster has.
const WORKERS_MAX: usize = 10_000;

/// `GET /v1/workers`, as the store says: any worker gives the same answer.
///
/// # Errors
/// The store's failure.
pub(super) async fn list(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let config = &api.info().lease;
    let mut query = worker_session::living();
    let mut workers = Vec::new();
    loop {
        let page = api.store().query(&query).await?;
        for document in &page.documents {
            let session = WorkerSession::read(document, config);
            let is_dead = session.is_dead(page.read_time, config);
            workers.push(json!({
                "name": session.name,
                "sessionId": session.id,
                "state": if is_dead { "dead" } else { state_name(session.state) },
                "heartbeatAgeMs": page.read_time.since(session.update_time).as_millis() as u64,
                "capacity": session.capacity,
                "owned": session.owned,
                "startedAt": session.started_at,
                "version": session.version,
                "address": session.address,
                "self": session.id.as_str() == api.worker().session_id(),
            }));
        }
        match page.next {
            Some(cursor) if workers.len() < WORKERS_MAX => query = query.start_after(cursor),
            Some(_) | None => break,
        }
    }
    Ok(Json(json!({ "workers": workers, "next": null })))
}

fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Active => "active",
        SessionState::Draining => "draining",
        SessionState::Closed => "closed",
        SessionState::Sealed => "sealed",
    }
}
