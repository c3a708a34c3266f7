//! `/debug/accounts/{id}`: what the owner knows of an account and does not
//! store: handlers attached, events seen, the trail of the state machine.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::accounts::{self, AccountView};
use super::extract::Id;
use super::problem::Problem;
use super::state::Api;

/// `GET /debug/accounts/{id}`. `runtime` is null where this worker is not the
/// owner, or the account does not run.
///
/// # Errors
/// `unknown_account`.
pub(super) async fn account(State(api): State<Api>, Id(id): Id) -> Result<Json<Value>, Problem> {
    let record = accounts::find(&api, &id).await?;
    let counts = record.value.disconnect_counts.clone();
    let snapshot = api.worker().snapshot();
    let owned = snapshot
        .accounts
        .into_iter()
        .find(|account| account.account_id == id);
    Ok(Json(json!({
        "account": AccountView::new(&id, record.value),
        "disconnectCounts": counts,
        "runtime": owned.map(|account| account.seen.debug),
    })))
}
