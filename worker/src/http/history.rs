//! `/v1/accounts/{id}/history`: who owned an account, in which epoch, and why
//! it moved.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use coordinator_lib::history;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts;
use super::extract::{Id, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::Problem;
use super::state::Api;

/// An entry as the coordinator writes it and clients see it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// `claimed` or `released`.
    kind: String,
    epoch: i64,
    worker: String,
    session: String,
    /// Claimed: the owner before, where there was one.
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    from_session: Option<String>,
    /// Released: the session that was to have it next.
    #[serde(default)]
    to_session: Option<String>,
    reason: String,
    at: StoreTime,
}

/// `GET /v1/accounts/{id}/history`, the latest first.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<PageParameters>,
) -> Result<impl IntoResponse, Problem> {
    accounts::find(&api, &id).await?;
    let query = history::of(&AccountId::new(id)?)?;
    let page = parameters.read(api.store().as_ref(), query).await?;
    let entries = page
        .documents
        .iter()
        .map(|document| document.decode::<Entry>())
        .collect::<Result<Vec<Entry>, _>>()?;
    Ok(Json(
        json!({ "history": entries, "next": next_page(&page) }),
    ))
}
