//! `DELETE /v1/accounts/{id}`: a purge, in runs that fit into a request.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Id, Parameters};
use super::problem::{Problem, ProblemKind};
use super::sessions::{begin, operator_problem, plain_id};
use super::state::Api;
use crate::purge::{self, EraseError, Progress, PurgeError};

/// One run; a request may take 30 s.
const RUN_LIMIT: Duration = Duration::from_secs(20);

/// Parameters of `DELETE /v1/accounts/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeParameters {
    /// The account's id once more.
    confirm: Option<String>,
}

/// How far a purge came.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Purge)]
pub(super) struct PurgeView {
    account: String,
    state: PurgeState,
    /// Documents that this request removed.
    removed: u64,
    /// Once it is purged: since when.
    purged_at: Option<StoreTime>,
    /// The worker that has been asked to stop, and has not yet.
    owner: Option<String>,
}

/// How a purge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PurgeState {
    /// Its owner was asked to stop: ask again.
    Waiting,
    /// There is more to remove: ask again.
    UnderWay,
    /// Nothing is left.
    Purged,
}

/// `DELETE /v1/accounts/{id}?confirm={id}`: erases everything of an account.
/// Whoever owns it stops first. 202 means that there is more to do: the same
/// request goes on.
///
/// # Errors
/// `invalid_query` unless the id is confirmed; `unknown_account`.
pub(super) async fn delete(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<PurgeParameters>,
) -> Result<Response, Problem> {
    let account = plain_id(&id)?;
    if parameters.confirm.as_deref() != Some(id.as_str()) {
        return Err(Problem::new(
            ProblemKind::InvalidQuery,
            "this erases the session and every conversation of the account, for good: add \
             `confirm` with the account's id. To keep them, POST …/stop or …/logout",
        ));
    }
    let operator = begin(&api, "purge").await?;
    let progress = purge::run(&operator, api.media(), &account, RUN_LIMIT).await;
    operator.close().await;
    let view = PurgeView::new(id, progress.map_err(purge_problem)?);
    let status = match view.state {
        PurgeState::Waiting | PurgeState::UnderWay => StatusCode::ACCEPTED,
        PurgeState::Purged => StatusCode::OK,
    };
    Ok((status, Json(view)).into_response())
}

impl PurgeView {
    fn new(account: String, progress: Progress) -> Self {
        let view = Self {
            account,
            state: PurgeState::UnderWay,
            removed: 0,
            purged_at: None,
            owner: None,
        };
        match progress {
            Progress::Waiting { owner } => Self {
                state: PurgeState::Waiting,
                owner,
                ..view
            },
            Progress::UnderWay { removed } => Self { removed, ..view },
            Progress::Purged { at, removed } => Self {
                state: PurgeState::Purged,
                removed,
                purged_at: Some(at),
                ..view
            },
        }
    }
}

fn purge_problem(error: PurgeError) -> Problem {
    match error {
        PurgeError::Missing => Problem::new(
            ProblemKind::UnknownAccount,
            "GET /v1/accounts lists the accounts there are",
        ),
        PurgeError::NotOurs | PurgeError::Lost => {
            Problem::new(ProblemKind::AccountState, error.to_string())
        }
        PurgeError::Busy => Problem::new(ProblemKind::StoreUnavailable, error.to_string()),
        PurgeError::Operator(error) => operator_problem(error),
        PurgeError::Erase(EraseError::Store(error)) | PurgeError::Store(error) => error.into(),
        PurgeError::Erase(EraseError::Media(_)) => Problem::new(
            ProblemKind::MediaStoreUnavailable,
            "a file of the account was not removed; the same request goes on",
        ),
    }
}
