//! `/v1/workers`: the worker sessions that have not ended.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use coordinator_lib::store::StoreTime;
use coordinator_lib::worker_session::{self, SessionState, WorkerSession};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::state::Api;
use crate::config::TelemetryConfig;

/// Worker sessions that one answer lists at most: far more than a cluster has.
const WORKERS_MAX: usize = 10_000;

/// Where people look at traces, as the worker was told.
#[derive(Debug)]
pub(super) struct TraceLinks {
    trace: Option<String>,
    account: Option<String>,
}

impl TraceLinks {
    /// Those of a configuration.
    pub(super) fn new(config: &TelemetryConfig) -> Self {
        Self {
            trace: config.trace_url().map(str::to_owned),
            account: config.account_traces_url().map(str::to_owned),
        }
    }
}

/// A worker session as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WorkerSession)]
struct SessionView {
    name: String,
    session_id: String,
    /// `active`, `draining`, `closed`, `sealed`; `dead` if its heartbeat is too
    /// old.
    state: &'static str,
    heartbeat_age_ms: u64,
    capacity: u32,
    owned: u32,
    started_at: Option<StoreTime>,
    version: String,
    address: Option<String>,
    /// It is the worker that answers.
    #[serde(rename = "self")]
    is_self: bool,
}

/// All of them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkerList {
    workers: Vec<SessionView>,
    /// How long a lease of an account lasts unless it is renewed.
    lease_ms: u64,
    /// How long a worker session lasts without a heartbeat.
    session_ms: u64,
    /// Where a trace is shown to people, with `{trace}` in the place of its id.
    trace_url: Option<String>,
    /// Where an account's traces are shown to people, with `{account}` in the
    /// place of its id.
    account_traces_url: Option<String>,
    /// Always null: there are no pages.
    next: Option<String>,
}

/// `GET /v1/workers`, as the store says: any worker gives the same answer.
///
/// # Errors
/// The store's failure.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(links): Extension<Arc<TraceLinks>>,
) -> Result<Json<WorkerList>, Problem> {
    let config = &api.info().lease;
    let mut query = worker_session::living();
    let mut workers = Vec::new();
    loop {
        let page = api.store().query(&query).await?;
        for document in &page.documents {
            let session = WorkerSession::read(document, config);
            let is_dead = session.is_dead(page.read_time, config);
            workers.push(SessionView {
                state: if is_dead {
                    "dead"
                } else {
                    state_name(session.state)
                },
                heartbeat_age_ms: page.read_time.since(session.update_time).as_millis() as u64,
                is_self: session.id.as_str() == api.worker().session_id(),
                name: session.name,
                session_id: session.id.as_str().to_owned(),
                capacity: session.capacity,
                owned: session.owned,
                started_at: session.started_at,
                version: session.version,
                address: session.address,
            });
        }
        match page.next {
            Some(cursor) if workers.len() < WORKERS_MAX => query = query.start_after(cursor),
            Some(_) | None => break,
        }
    }
    Ok(Json(WorkerList {
        workers,
        lease_ms: config.duration.as_millis() as u64,
        session_ms: config.session_ttl.as_millis() as u64,
        trace_url: links.trace.clone(),
        account_traces_url: links.account.clone(),
        next: None,
    }))
}

fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Active => "active",
        SessionState::Draining => "draining",
        SessionState::Closed => "closed",
        SessionState::Sealed => "sealed",
    }
}
