//! What became of events at a webhook, and sending one again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{Precondition, StoreTime, Value, Write};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find;
use crate::http::extract::{Id, Ids, Parameters};
use crate::http::page::{PageParameters, next_page};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;
use crate::model::stored::Record;
use crate::model::webhook::{DeliveryDoc, DeliveryState};
use crate::model::{EventKind, Stored, collections, queries};

/// A delivery as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(in crate::http) struct DeliveryView {
    id: String,
    event_id: String,
    account_id: String,
    #[serde(rename = "type")]
    kind: EventKind,
    state: DeliveryState,
    attempts: i64,
    status: Option<i64>,
    error: Option<String>,
    at: StoreTime,
    duration_ms: i64,
    /// A client wants it to be sent once more, which has not happened yet.
    replay: bool,
}

impl From<Record<DeliveryDoc>> for DeliveryView {
    fn from(record: Record<DeliveryDoc>) -> Self {
        let doc = record.value;
        Self {
            id: record.path.id().to_owned(),
            event_id: collections::event_id(&doc.account_id, doc.seq),
            account_id: doc.account_id,
            kind: doc.kind,
            state: doc.state,
            attempts: doc.attempts,
            status: doc.status,
            error: doc.error,
            at: doc.at,
            duration_ms: doc.duration_ms,
            replay: doc.replay,
        }
    }
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DeliveryPage {
    deliveries: Vec<DeliveryView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// Parameters of `GET /v1/webhooks/{id}/deliveries`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DeliveryParameters {
    /// Only those that stand so.
    state: Option<DeliveryState>,
    // serde cannot flatten into a struct that refuses unknown fields.
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /v1/webhooks/{id}/deliveries`: what became of events, the latest first.
///
/// # Errors
/// `unknown_webhook`; `invalid_query`.
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<DeliveryParameters>,
) -> Result<Json<DeliveryPage>, Problem> {
    find(&api, &id).await?;
    let query = match parameters.state {
        Some(state) => queries::webhook_deliveries_so(&id, state)?,
        None => queries::webhook_deliveries(&id)?,
    };
    let page = PageParameters {
        limit: parameters.limit,
        after: parameters.after,
    };
    let page = page.read(api.store().as_ref(), query).await?;
    let deliveries: Vec<DeliveryView> = page
        .documents
        .iter()
        .filter_map(DeliveryDoc::read_or_skip)
        .map(Into::into)
        .collect();
    Ok(Json(DeliveryPage {
        deliveries,
        next: next_page(&page),
    }))
}

/// `POST /v1/webhooks/{id}/deliveries/{delivery}/replay`: the account's owner
/// sends the event once more, out of its order.
///
/// # Errors
/// `unknown_delivery`; `event_gone`.
pub(in crate::http) async fn replay(
    State(api): State<Api>,
    Ids((id, delivery)): Ids,
) -> Result<Response, Problem> {
    let path = collections::webhook_delivery_by_id(&delivery)?;
    let snapshot = api.store().get(std::slice::from_ref(&path)).await?;
    let found = snapshot.documents.iter().flatten().next();
    let record = found
        .and_then(DeliveryDoc::read_or_skip)
        .filter(|record| record.value.webhook_id == id)
        .ok_or_else(|| {
            Problem::new(
                ProblemKind::UnknownDelivery,
                "GET /v1/webhooks/{id}/deliveries lists those that are kept",
            )
        })?;
    let event = collections::event(&record.value.account_id, record.value.seq)?;
    let event = api.store().get(&[event]).await?;
    if event.documents.iter().flatten().next().is_none() {
        return Err(Problem::new(
            ProblemKind::EventGone,
            "events are kept for --event-retention; this one is older",
        ));
    }
    let write = Write::Update {
        path,
        fields: [("replay".to_owned(), Value::Bool(true))].into(),
        precondition: Precondition::Exists,
    };
    let _ = api.store().commit(vec![write]).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
