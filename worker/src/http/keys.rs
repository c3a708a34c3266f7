//! `/v1/keys` and `/v1/audit`: who may do what, and who did.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Id, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::auth::book::{NewKey, NewKeyError};
use crate::auth::{ApiKey, Scope};
use crate::model::stored::Record;
use crate::model::{ApiKeyDoc, AuditDoc, Stored, collections, queries};

/// A key as clients see it: without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
pub(super) struct KeyView {
    id: String,
    name: String,
    scopes: Vec<Scope>,
    accounts: Option<Vec<String>>,
    created_at: StoreTime,
    revoked_at: Option<StoreTime>,
    last_used_at: Option<StoreTime>,
}

impl From<Record<ApiKeyDoc>> for KeyView {
    fn from(record: Record<ApiKeyDoc>) -> Self {
        let doc = record.value;
        Self {
            id: record.path.id().to_owned(),
            name: doc.name,
            scopes: doc.scopes,
            accounts: doc.accounts,
            created_at: doc.created_at,
            revoked_at: doc.revoked_at,
            last_used_at: doc.last_used_at,
        }
    }
}

/// A page of keys, by id.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyPage {
    keys: Vec<KeyView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeKey {
    id: String,
    /// The key itself: nothing shows it again.
    key: String,
    name: String,
    scopes: Vec<Scope>,
    accounts: Option<Vec<String>>,
    created_at: StoreTime,
}

/// Body of `POST /v1/keys`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewKey)]
pub(super) struct KeyBody {
    name: String,
    scopes: Vec<Scope>,
    #[serde(default)]
    accounts: Option<Vec<String>>,
}

/// `POST /v1/keys`: makes a key. The answer is the only place that shows it.
///
/// # Errors
/// `invalid_body`; the first key must be an admin's.
pub(super) async fn create(
    State(api): State<Api>,
    Body(body): Body<KeyBody>,
) -> Result<Response, Problem> {
    let new = NewKey {
        name: body.name,
        scopes: body.scopes,
        accounts: body.accounts,
    };
    let now = StoreTime::from_datetime(api.clock().wall());
    let made = api.book().create(new, now, api.rng().as_ref()).await;
    let (key, document) = made.map_err(|error| match error {
        NewKeyError::Store(error) => error.into(),
        NewKeyError::Name
        | NewKeyError::Scopes
        | NewKeyError::Accounts
        | NewKeyError::First
        | NewKeyError::Taken => Problem::new(ProblemKind::InvalidBody, error.to_string()),
    })?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/keys/{}", key.id()))],
        Json(MadeKey::new(&key, document)),
    )
        .into_response())
}

impl MadeKey {
    fn new(key: &ApiKey, document: ApiKeyDoc) -> Self {
        Self {
            id: key.id().to_owned(),
            key: key.expose().as_str().to_owned(),
            name: document.name,
            scopes: document.scopes,
            accounts: document.accounts,
            created_at: document.created_at,
        }
    }
}

/// `GET /v1/keys`: every key, revoked ones too, by id.
///
/// # Errors
/// `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<KeyPage>, Problem> {
    let page = page
        .read(api.store().as_ref(), queries::api_keys()?)
        .await?;
    let keys: Vec<KeyView> = page
        .documents
        .iter()
        .filter_map(ApiKeyDoc::read_or_skip)
        .map(Into::into)
        .collect();
    let next = next_page(&page);
    Ok(Json(KeyPage { keys, next }))
}

/// `GET /v1/keys/{id}`.
///
/// # Errors
/// `unknown_key`.
pub(super) async fn read(State(api): State<Api>, Id(id): Id) -> Result<Json<KeyView>, Problem> {
    let found = api.store().get(&[collections::api_key(&id)?]).await?;
    let document = found.documents.iter().flatten().next();
    let record = document.and_then(ApiKeyDoc::read_or_skip);
    Ok(Json(KeyView::from(record.ok_or_else(unknown)?)))
}

/// `DELETE /v1/keys/{id}`: the key is good for nothing, on all workers within
/// seconds. It stays in the list.
///
/// # Errors
/// `unknown_key`.
pub(super) async fn revoke(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let now = StoreTime::from_datetime(api.clock().wall());
    match api.book().revoke(&id, now).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::new(
        ProblemKind::UnknownKey,
        "GET /v1/keys lists the keys there are; the id is what stands between the two `_` of a key",
    )
}

/// An entry of the audit log as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
struct AuditView {
    id: String,
    #[serde(flatten)]
    entry: AuditDoc,
}

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditPage {
    entries: Vec<AuditView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// `GET /v1/audit`: what was changed with which key, the latest first.
///
/// # Errors
/// `invalid_query`.
pub(super) async fn audit(
    State(api): State<Api>,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<AuditPage>, Problem> {
    let page = page.read(api.store().as_ref(), queries::audit()?).await?;
    let entries: Vec<AuditView> = page
        .documents
        .iter()
        .filter_map(AuditDoc::read_or_skip)
        .map(|record| AuditView {
            id: record.path.id().to_owned(),
            entry: record.value,
        })
        .collect();
    let next = next_page(&page);
    Ok(Json(AuditPage { entries, next }))
}
