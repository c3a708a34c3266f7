//! A new secret for a webhook, beside which the old one is good for a while.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use coordinator_lib::store::StoreTime;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{WebhookView, apply, invalid};
use crate::http::extract::{Body, Id};
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::model::webhook::PreviousSecretDoc;
use crate::webhooks::secret::Secret;

/// Seconds for which the old secret is good unless the request says otherwise:
/// a day.
const OVERLAP_SECONDS: u64 = 86_400;

/// Seconds for which it is good at most: a week.
pub(in crate::http) const OVERLAP_SECONDS_MAX: u64 = 7 * 86_400;

/// Body of `POST /v1/webhooks/{id}/secret`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::http) struct NewSecret {
    /// For so long the old secret is good beside the new one.
    #[serde(default = "a_day")]
    overlap_seconds: u64,
}

fn a_day() -> u64 {
    OVERLAP_SECONDS
}

/// `POST /v1/webhooks/{id}/secret`: makes a new secret, which the answer shows.
/// Deliveries carry a signature of each until the old one's time is over. One
/// that was old already is good for nothing any more.
///
/// # Errors
/// `unknown_webhook`; `invalid_body`.
pub(in crate::http) async fn rotate(
    State(api): State<Api>,
    Id(id): Id,
    Body(body): Body<NewSecret>,
) -> Result<Json<WebhookView>, Problem> {
    if body.overlap_seconds > OVERLAP_SECONDS_MAX {
        return Err(invalid(format!(
            "`overlapSeconds` is {OVERLAP_SECONDS_MAX} at most, a week; 0 ends the old secret at once"
        )));
    }
    let overlap = Duration::from_secs(body.overlap_seconds);
    let secret = Secret::generate(api.rng().as_ref());
    let document = apply(&api, &id, |document| {
        let until = StoreTime::from_datetime(api.clock().wall()).saturating_add(overlap);
        let (wrapped_keys, sealed_secret) = secret.seal(api.keys(), api.rng().as_ref(), &id);
        let previous = PreviousSecretDoc {
            wrapped_keys: std::mem::replace(&mut document.wrapped_keys, wrapped_keys),
            sealed_secret: std::mem::replace(&mut document.sealed_secret, sealed_secret),
            until,
        };
        document.previous_secret = (!overlap.is_zero()).then_some(previous);
    })
    .await?;
    tracing::info!(webhook.id = id, "webhook has a new secret");
    Ok(Json(WebhookView {
        secret: Some(secret.expose().to_owned()),
        ..WebhookView::new(&id, document)
    }))
}
