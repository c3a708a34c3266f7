//! `/v1/accounts/{id}/archives`: sessions of links that are gone, which are kept
//! for a while.

use axum::Json;
use axum::extract::State;
use coordinator_lib::store::StoreTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::accounts;
use super::extract::{Id, Ids, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::account::archive;
use crate::model::collections::{self, SESSION_ARCHIVES};
use crate::model::{SessionArchiveDoc, Stored, queries};

/// A session that is kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SessionArchive)]
pub(super) struct ArchiveView {
    /// Names it, among those of its account.
    epoch: i64,
    /// Since when it is kept.
    archived_at: Option<StoreTime>,
    /// The number that it was linked to.
    phone: Option<String>,
    /// How many files it has.
    files: usize,
}

impl From<SessionArchiveDoc> for ArchiveView {
    fn from(archive: SessionArchiveDoc) -> Self {
        Self {
            epoch: archive.epoch,
            archived_at: archive.archived_at.time(),
            phone: archive.phone,
            files: archive.files.len(),
        }
    }
}

/// A page of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionArchivePage)]
pub(super) struct ArchivePage {
    archives: Vec<ArchiveView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// `GET /v1/accounts/{id}/archives`, the oldest first.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<ArchivePage>, Problem> {
    accounts::find(&api, &id).await?;
    let query = queries::of_account(SESSION_ARCHIVES, &id)?;
    let page = page.read(api.store().as_ref(), query).await?;
    let archives = page
        .documents
        .iter()
        .filter_map(SessionArchiveDoc::read_or_skip);
    Ok(Json(ArchivePage {
        archives: archives.map(|record| record.value.into()).collect(),
        next: next_page(&page),
    }))
}

/// `DELETE /v1/accounts/{id}/archives/{epoch}`: erases one before its time; the
/// answer shows what it was.
///
/// # Errors
/// `unknown_account`; `unknown_archive`.
pub(super) async fn delete(
    State(api): State<Api>,
    Ids((id, epoch)): Ids,
) -> Result<Json<ArchiveView>, Problem> {
    accounts::find(&api, &id).await?;
    let unknown = || {
        Problem::new(
            ProblemKind::UnknownArchive,
            "GET /v1/accounts/{id}/archives lists those that are kept",
        )
    };
    let epoch: i64 = epoch.parse().map_err(|_| unknown())?;
    let path = collections::session_archive(&id, epoch)?;
    let snapshot = api.store().get(&[path]).await?;
    let found = snapshot.documents.iter().flatten().next();
    let record = found
        .and_then(SessionArchiveDoc::read_or_skip)
        .filter(|record| record.value.account_id == id)
        .ok_or_else(unknown)?;
    archive::erase(api.store(), &record).await?;
    tracing::warn!(account.id = %id, epoch, "archived session erased");
    Ok(Json(record.value.into()))
}
