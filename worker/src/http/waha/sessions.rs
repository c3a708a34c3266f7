//! Sessions: WAHA's word for accounts.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coordinator_lib::store::{Write, query_all};
use serde::{Deserialize, Serialize};

use super::webhooks::SessionConfig;
use crate::auth::Grant;
use crate::http::account_qr;
use crate::http::accounts;
use crate::http::extract::{Body, Id, Parameters};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;
use crate::http::webhooks::NewHook;
use crate::model::stored::Record;
use crate::model::{AccountDoc, Desired, Status, Stored, collections, queries};
use crate::qr;
use crate::waha::{self, Me};

/// Sessions that one list holds: WAHA knows no pages.
const SESSIONS_MAX: usize = 10_000;

/// A session as WAHA shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Session {
    name: String,
    /// The account's id, which WAHA does not have: it is a session's name, too.
    account_id: String,
    status: &'static str,
    me: Option<Me>,
}

impl Session {
    fn new(record: Record<AccountDoc>) -> Self {
        let account = record.value;
        Self {
            account_id: record.path.id().to_owned(),
            status: status(&account),
            me: Me::of(&account),
            name: account.name,
        }
    }
}

/// What is not to run is stopped, whatever it still does.
fn status(account: &AccountDoc) -> &'static str {
    match account.desired {
        Desired::Running => waha::status(account.status),
        Desired::Stopped | Desired::LoggedOut | Desired::Purging | Desired::Purged => {
            waha::status(Status::Stopped)
        }
    }
}

/// The account that is meant: by its id, or by its name if only one has it.
///
/// # Errors
/// `unknown_account`; `account_state` if several have the name.
pub(super) async fn find(
    api: &Api,
    grant: &Grant,
    session: &str,
) -> Result<Record<AccountDoc>, Problem> {
    if let Ok(path) = collections::account(session) {
        let found = api.store().get(&[path]).await?;
        let found = found.documents.iter().flatten().next();
        if let Some(record) = found.and_then(AccountDoc::read_or_skip)
            && !record.value.is_purged()
            && grant.is_for(record.path.id())
        {
            return Ok(record);
        }
    }
    let mut named = named(api, session).await?;
    named.retain(|record| grant.is_for(record.path.id()));
    match (named.pop(), named.is_empty()) {
        (Some(record), true) => Ok(record),
        (Some(_), false) => Err(Problem::new(
            ProblemKind::AccountState,
            "several accounts have this name: take the `accountId` as the session",
        )),
        (None, _) => Err(Problem::new(
            ProblemKind::UnknownAccount,
            "GET /compat/waha/api/sessions lists the sessions there are",
        )),
    }
}

async fn named(api: &Api, name: &str) -> Result<Vec<Record<AccountDoc>>, Problem> {
    let query = queries::accounts_named(name)?;
    let documents = query_all(api.store().as_ref(), &query, SESSIONS_MAX).await?;
    Ok(documents
        .iter()
        .filter_map(AccountDoc::read_or_skip)
        .collect())
}

/// Query parameters of `GET /api/sessions`.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct ListParameters {
    /// Stopped ones, too.
    #[serde(default)]
    all: bool,
}

/// `GET /api/sessions`.
///
/// # Errors
/// The store's failure.
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<Session>>, Problem> {
    let documents = query_all(api.store().as_ref(), &queries::accounts()?, SESSIONS_MAX).await?;
    let sessions = documents
        .iter()
        .filter_map(AccountDoc::read_or_skip)
        .filter(|record| !record.value.is_purged())
        .filter(|record| grant.is_for(record.path.id()))
        .map(Session::new)
        .filter(|session| parameters.all || session.status != "STOPPED");
    Ok(Json(sessions.collect()))
}

/// Body of `POST /api/sessions`. Fields that are not known are left alone, as
/// WAHA's clients send many.
#[derive(Deserialize)]
pub(in crate::http) struct NewSession {
    name: String,
    /// Whether it is to run at once.
    #[serde(default = "yes")]
    start: bool,
    #[serde(default)]
    config: Option<SessionConfig>,
}

fn yes() -> bool {
    true
}

/// `POST /api/sessions`: one session for a name.
///
/// With `config.webhooks` also its webhooks, in WAHA's format.
///
/// # Errors
/// `invalid_body` if the name is taken, or none, or a webhook is none.
pub(in crate::http) async fn create(
    State(api): State<Api>,
    Body(body): Body<NewSession>,
) -> Result<Response, Problem> {
    let name = accounts::checked_name(&body.name)?;
    if !named(&api, &name).await?.is_empty() {
        return Err(Problem::new(
            ProblemKind::InvalidBody,
            "there is a session of this name: POST /compat/waha/api/sessions/{name}/start starts it",
        ));
    }
    let hooks = body.config.unwrap_or_default().checked(&api, &name)?;
    let also = |account: &str| -> Result<Vec<Write>, Problem> {
        let writes = hooks.into_iter().map(|hook| {
            let hook = NewHook {
                accounts: Some(vec![account.to_owned()]),
                ..hook
            };
            hook.into_write(&api).map(|(_, _, _, write)| write)
        });
        writes.collect()
    };
    let about = AccountDoc {
        name,
        ..AccountDoc::default()
    };
    let (id, _) = api.create_account(about, None, also).await?;
    tracing::info!(account.id = %id, "account created");
    if !body.start {
        accounts::put_off(&api, &id, Desired::Stopped).await?;
    }
    let record = accounts::find(&api, &id).await?;
    Ok((StatusCode::CREATED, Json(Session::new(record))).into_response())
}

/// `GET /api/sessions/{session}`.
///
/// # Errors
/// `unknown_account`.
pub(in crate::http) async fn read(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path(session): Path<String>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(Session::new(find(&api, &grant, &session).await?)))
}

/// `POST /api/sessions/{session}/start`.
///
/// # Errors
/// `unknown_account`.
pub(in crate::http) async fn start(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path(session): Path<String>,
) -> Result<Json<Session>, Problem> {
    let id = find(&api, &grant, &session).await?.path.id().to_owned();
    accounts::start(State(api.clone()), Id(id.clone())).await?;
    Ok(Json(Session::new(accounts::find(&api, &id).await?)))
}

/// `POST /api/sessions/{session}/stop`.
///
/// # Errors
/// `unknown_account`.
pub(in crate::http) async fn stop(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path(session): Path<String>,
) -> Result<Json<Session>, Problem> {
    let id = find(&api, &grant, &session).await?.path.id().to_owned();
    accounts::stop(State(api.clone()), Id(id.clone())).await?;
    Ok(Json(Session::new(accounts::find(&api, &id).await?)))
}

/// `POST /api/sessions/{session}/logout`.
///
/// # Errors
/// `unknown_account`.
pub(in crate::http) async fn log_out(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path(session): Path<String>,
) -> Result<Json<Session>, Problem> {
    let id = find(&api, &grant, &session).await?.path.id().to_owned();
    accounts::log_out(State(api.clone()), Id(id.clone())).await?;
    Ok(Json(Session::new(accounts::find(&api, &id).await?)))
}

/// Query parameters of the code.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct CodeParameters {
    format: Option<CodeFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CodeFormat {
    Image,
    Raw,
}

/// What the code is made of.
#[derive(Debug, Serialize)]
struct RawCode {
    value: String,
}

/// A file as WAHA sends it inside JSON.
#[derive(Debug, Serialize)]
struct File {
    mimetype: &'static str,
    data: String,
}

/// `GET /api/{session}/auth/qr`: a picture, or JSON if that is accepted.
///
/// # Errors
/// `unknown_account`; `nothing_to_scan`.
pub(in crate::http) async fn qr_code(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path(session): Path<String>,
    Parameters(parameters): Parameters<CodeParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = find(&api, &grant, &session).await?;
    let code = account_qr::present(&api, record.path.id(), &record.value).await?;
    if parameters.format == Some(CodeFormat::Raw) {
        return Ok(Json(RawCode { value: code.qr }).into_response());
    }
    let picture = qr::png(&code.qr).map_err(|error| account_qr::not_drawn(&error))?;
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.starts_with("application/json")) {
        let file = File {
            mimetype: "image/png",
            data: BASE64_STANDARD.encode(picture),
        };
        return Ok(Json(file).into_response());
    }
    Ok(([(header::CONTENT_TYPE, "image/png")], picture).into_response())
}
