//! `/debug/accounts/{id}`: what the owner knows of an account and does not
//! store: handlers attached, events seen, the trail of the state machine.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::accounts::{self, AccountView};
use super::extract::Id;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::commands::{AskError, ask};
use crate::model::command::CommandKind;

/// How long another worker has for its answer.
const REPLY_LIMIT: Duration = Duration::from_secs(5);

/// What is known of an account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AccountDebug)]
pub(super) struct DebugView {
    account: AccountView,
    /// How often each reason ended its connection.
    disconnect_counts: BTreeMap<String, i64>,
    /// What its owner says: an object, whose shape may change. Null where
    /// nobody owns it.
    runtime: Value,
}

/// `GET /debug/accounts/{id}`, answered by the owner, whichever worker that is.
/// `runtime` is null where nobody owns the account.
///
/// # Errors
/// `unknown_account`; `owner_silent` if its owner does not answer.
pub(super) async fn account(
    State(api): State<Api>,
    Id(id): Id,
) -> Result<Json<DebugView>, Problem> {
    let record = accounts::find(&api, &id).await?;
    let counts = record.value.disconnect_counts.clone();
    let runtime = match &record.value.lease_session {
        None => Value::Null,
        Some(session) if *session == api.worker().session_id() => own(&api, &id),
        Some(session) => {
            let whom = (id.as_str(), session.as_str());
            let (store, clock, rng) = (api.store(), api.clock(), api.rng().as_ref());
            match ask(
                store,
                clock,
                rng,
                whom,
                (CommandKind::Inspect, None),
                REPLY_LIMIT,
            )
            .await
            {
                Ok(runtime) => runtime,
                Err(AskError::Store(error)) => return Err(error.into()),
                Err(error @ (AskError::Refused | AskError::NoReply(_))) => {
                    return Err(Problem::new(
                        ProblemKind::OwnerSilent,
                        format!("{error}; try again once the account has a living owner"),
                    ));
                }
            }
        }
    };
    Ok(Json(DebugView {
        account: AccountView::new(&id, record.value),
        disconnect_counts: counts,
        runtime,
    }))
}

fn own(api: &Api, id: &str) -> Value {
    let snapshot = api.worker().snapshot();
    let account = snapshot
        .accounts
        .into_iter()
        .find(|account| account.account_id == id);
    account.map_or(Value::Null, |account| account.seen.debug)
}
