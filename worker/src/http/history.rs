//! `/v1/accounts/{id}/history`: who owned an account, in which epoch, and why
//! it moved; with `of=status`, how it was, and why that changed.

use axum::Json;
use axum::extract::State;
use coordinator_lib::history;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::accounts;
use super::extract::{Id, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::Problem;
use super::state::Api;
use crate::model::{EventDoc, Stored, queries};
use crate::telemetry::propagation;

/// An entry as the coordinator writes it and clients see it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OwnershipChange)]
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
    /// The trace of the claim or the release, where it was traced.
    #[serde(default, alias = "traceparent", deserialize_with = "trace_of")]
    trace_id: Option<String>,
}

/// Stored is the whole context.
fn trace_of<'de, D: Deserializer<'de>>(stored: D) -> Result<Option<String>, D::Error> {
    let traceparent: Option<String> = Deserialize::deserialize(stored)?;
    Ok(traceparent.as_deref().and_then(propagation::trace_id))
}

/// Parameters of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryParameters {
    /// [default: ownership]
    #[serde(default)]
    of: Of,
    // serde cannot flatten into a struct that refuses unknown fields.
    limit: Option<u32>,
    after: Option<String>,
}

/// What is told.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HistoryOf)]
pub(super) enum Of {
    /// Claims and releases, kept for ever.
    #[default]
    Ownership,
    /// Changes of the status, as long as events are kept.
    Status,
}

/// A change of the status.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StatusChange {
    seq: i64,
    epoch: i64,
    from: String,
    to: String,
    reason: String,
    at: StoreTime,
    /// The trace that it belongs to, where it was traced.
    trace_id: Option<String>,
}

impl StatusChange {
    /// None for an event that changed what goes with a status only, such as
    /// the next QR code.
    fn new(event: EventDoc) -> Option<Self> {
        let mut data = event.data;
        let mut take = |name: &str| data.remove(name).unwrap_or_default();
        let (from, to, reason) = (take("from"), take("to"), take("reason"));
        (from != to).then_some(Self {
            seq: event.seq,
            epoch: event.epoch,
            from,
            to,
            reason,
            at: event.at,
            trace_id: event.trace.as_deref().and_then(propagation::trace_id),
        })
    }
}

/// A page of one of the two, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryPage {
    history: Entries,
    /// The `after` of the next page.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = HistoryEntries)]
enum Entries {
    /// With `of=ownership`.
    Ownership(Vec<Entry>),
    /// With `of=status`.
    Status(Vec<StatusChange>),
}

/// `GET /v1/accounts/{id}/history`, the latest first.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<HistoryParameters>,
) -> Result<Json<HistoryPage>, Problem> {
    accounts::find(&api, &id).await?;
    let page = PageParameters {
        limit: parameters.limit,
        after: parameters.after,
    };
    let store = api.store().as_ref();
    let (page, history) = match parameters.of {
        Of::Ownership => {
            let query = history::of(&AccountId::new(id)?)?;
            let page = page.read(store, query).await?;
            let entries = page
                .documents
                .iter()
                .map(|document| document.decode::<Entry>())
                .collect::<Result<Vec<Entry>, _>>()?;
            (page, Entries::Ownership(entries))
        }
        Of::Status => {
            let page = page.read(store, queries::status_changes(&id)?).await?;
            let changes: Vec<StatusChange> = page
                .documents
                .iter()
                .filter_map(EventDoc::read_or_skip)
                .filter_map(|record| StatusChange::new(record.value))
                .collect();
            (page, Entries::Status(changes))
        }
    };
    let next = next_page(&page);
    Ok(Json(HistoryPage { history, next }))
}
