//! `GET /v1/messages`: what all accounts are to send, by how far it has come.
//! What one account sends is listed in `http::messages`.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;

use super::extract::Parameters;
use super::messages::{MessageView, OutgoingPage, other_halves};
use super::page::{PageParameters, next_page};
use super::problem::Problem;
use super::state::Api;
use crate::auth::Grant;
use crate::model::{OutboxDoc, OutboxState, Stored, WaOutboxDoc, collections, queries};

/// Parameters of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    /// [default: queued]
    state: Option<OutboxState>,
    // serde cannot flatten into a struct that refuses unknown fields.
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /v1/messages`: messages of all accounts in one state; the oldest first
/// where they wait, else the latest. Those of accounts that the key does not
/// reach are left out of their page.
///
/// # Errors
/// `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<OutgoingPage>, Problem> {
    let state = parameters.state.unwrap_or(OutboxState::Queued);
    let query = match state {
        OutboxState::Queued | OutboxState::Sending => queries::wa_outbox_oldest(state)?,
        OutboxState::Sent
        | OutboxState::Received
        | OutboxState::Delivered
        | OutboxState::Read
        | OutboxState::Played
        | OutboxState::Failed
        | OutboxState::Expired
        | OutboxState::Cancelled => queries::wa_outbox_latest(state)?,
    };
    let page = PageParameters {
        limit: parameters.limit,
        after: parameters.after,
    };
    let store = api.store().as_ref();
    let page = page.read(store, query).await?;
    let sent: Vec<_> = (page.documents.iter())
        .filter_map(WaOutboxDoc::read_or_skip)
        .filter(|record| grant.is_for(&record.value.account_id))
        .collect();
    let paths = (sent.iter()).map(|record| collections::outbox(record.path.id()));
    let asked = other_halves(store, paths).await?;
    // One that is being removed is half there: it is left out.
    let messages = sent.into_iter().zip(&asked).filter_map(|(sent, asked)| {
        let asked = OutboxDoc::read_or_skip(asked.as_ref()?)?;
        let id = sent.path.id().to_owned();
        Some(MessageView::new(id, asked.value, sent.value))
    });
    Ok(Json(OutgoingPage {
        messages: messages.collect(),
        next: next_page(&page),
    }))
}
