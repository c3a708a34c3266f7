//! `/v1/do-not-contact`: who is not written to, by any account.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{CommitOutcome, Precondition, StoreTime, Write};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::messages::refusals;
use crate::model::{DoNotContactDoc, Stored, queries};

/// Characters of a note.
pub(super) const NOTE_CHARS_MAX: usize = 500;

/// Body of `PUT /v1/do-not-contact/{address}`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDoNotContactEntry)]
pub(super) struct NewEntry {
    #[serde(default)]
    note: Option<String>,
}

/// An entry as clients see it.
#[derive(Serialize, ToSchema)]
#[schema(as = DoNotContactEntry)]
struct EntryView {
    address: String,
    note: Option<String>,
    since: StoreTime,
}

/// A page of the list.
#[derive(Serialize, ToSchema)]
#[schema(as = DoNotContactPage)]
pub(super) struct EntryPage {
    entries: Vec<EntryView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// `GET /v1/do-not-contact`.
///
/// # Errors
/// `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<EntryPage>, Problem> {
    let page = page
        .read(api.store().as_ref(), queries::do_not_contact()?)
        .await?;
    let entries: Vec<EntryView> = page
        .documents
        .iter()
        .filter_map(DoNotContactDoc::read_or_skip)
        .map(|record| EntryView {
            address: record.value.address,
            note: record.value.note,
            since: record.value.since,
        })
        .collect();
    let next = next_page(&page);
    Ok(Json(EntryPage { entries, next }))
}

/// `PUT /v1/do-not-contact/{address}`: once this is answered nothing more is
/// put on its way to the address, what is queued included.
///
/// # Errors
/// `invalid_id`; `invalid_body`.
pub(super) async fn put(
    State(api): State<Api>,
    Path(address): Path<String>,
    Body(entry): Body<NewEntry>,
) -> Result<Response, Problem> {
    let address = normalised(&address)?;
    let is_long = |note: &String| note.chars().count() > NOTE_CHARS_MAX;
    if entry.note.as_ref().is_some_and(is_long) {
        return Err(Problem::new(
            ProblemKind::InvalidBody,
            format!("`note` has {NOTE_CHARS_MAX} characters at most"),
        ));
    }
    let document = DoNotContactDoc {
        address: address.clone(),
        note: entry.note,
        since: StoreTime::from_datetime(api.clock().wall()),
    };
    let write = Write::Set {
        path: refusals::path(&address)?,
        fields: document.to_document()?,
        precondition: Precondition::None,
    };
    commit(&api, write).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /v1/do-not-contact/{address}`.
///
/// # Errors
/// `invalid_id`.
pub(super) async fn delete(
    State(api): State<Api>,
    Path(address): Path<String>,
) -> Result<Response, Problem> {
    let write = Write::Delete {
        path: refusals::path(&normalised(&address)?)?,
        precondition: Precondition::None,
    };
    commit(&api, write).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn commit(api: &Api, write: Write) -> Result<(), Problem> {
    match api.store().commit(vec![write]).await? {
        CommitOutcome::Committed(_) => Ok(()),
        // Without a condition there is nothing to be rejected for.
        CommitOutcome::Rejected => Err(Problem::new(
            ProblemKind::StoreUnavailable,
            "the list changes too often at the moment; try again",
        )
        .retry_after(1)),
    }
}

fn normalised(address: &str) -> Result<String, Problem> {
    whatsapp::normalise_recipient(address)
        .map_err(|error| Problem::new(ProblemKind::InvalidId, format!("the address: {error}")))
}
