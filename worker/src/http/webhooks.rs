//! `/v1/webhooks`: where events go, how far they came, what is sent again.

pub(super) mod deliveries;
pub(super) mod secret;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use coordinator_lib::store::{CommitOutcome, Precondition, Stamp, StoreTime, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::extract::{Body, Id, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::auth::Grant;
use crate::model::stored::Record;
use crate::model::webhook::{LaneDoc, WebhookFormat};
use crate::model::{EventKind, Stored, WebhookDoc, collections, ids, queries};
use crate::telemetry::propagation;
use crate::waha::events as waha;
use crate::webhooks::Hook;
use crate::webhooks::address::Endpoint;
use crate::webhooks::body;
use crate::webhooks::post::Letter;
use crate::webhooks::secret::Secret;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 100;
/// Accounts that a webhook is limited to.
const ACCOUNTS_MAX: usize = 100;
/// Webhooks of a cluster: every worker has all of them in memory.
const WEBHOOKS_MAX: u64 = 1_000;
/// Attempts at a change that others' changes keep getting ahead of.
const CHANGE_ATTEMPTS_MAX: usize = 8;
/// What a made-up event says that it is.
const TEST_KIND: &str = "webhook.test";
/// Lanes that are removed at a time.
const LANES_TOGETHER: u32 = 200;

/// A webhook as clients see it: without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub(super) struct WebhookView {
    id: String,
    name: String,
    url: String,
    accounts: Option<Vec<String>>,
    types: Option<Vec<EventKind>>,
    format: WebhookFormat,
    enabled: bool,
    created_at: Option<StoreTime>,
    /// Until when the secret before the present one is good, too.
    previous_secret_until: Option<StoreTime>,
    /// What signatures are made with: shown where it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// How far it came with each account: shown for one webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<Vec<LaneView>>,
}

/// A page of webhooks, by id.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookPage {
    webhooks: Vec<WebhookView>,
    /// The `after` of the next page.
    next: Option<String>,
}

impl WebhookView {
    fn new(id: &str, doc: WebhookDoc) -> Self {
        Self {
            id: id.to_owned(),
            name: doc.name,
            url: doc.url,
            accounts: doc.accounts,
            types: doc.types,
            format: doc.format,
            enabled: doc.enabled,
            previous_secret_until: doc.previous_secret.map(|previous| previous.until),
            created_at: doc.created_at.time(),
            secret: None,
            lanes: None,
        }
    }
}

/// How far a webhook came with an account, as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookLane)]
struct LaneView {
    account_id: String,
    settled_seq: i64,
    attempts: i64,
    next_attempt_at: Option<StoreTime>,
    failing_since: Option<StoreTime>,
    last_error: Option<String>,
}

impl From<Record<LaneDoc>> for LaneView {
    fn from(record: Record<LaneDoc>) -> Self {
        let doc = record.value;
        Self {
            account_id: doc.account_id,
            settled_seq: doc.settled_seq,
            attempts: doc.attempts,
            next_attempt_at: doc.next_attempt_at,
            failing_since: doc.failing_since,
            last_error: doc.last_error,
        }
    }
}

/// What a receiver said to a made-up event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookTest)]
pub(super) struct TestView {
    event_id: String,
    delivered: bool,
    /// Of its answer, if there was one.
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
}

/// Body of `POST /v1/webhooks`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    url: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    accounts: Option<Vec<String>>,
    #[serde(default)]
    types: Option<Vec<String>>,
    /// `waha` for a program that was written for WAHA's webhooks.
    #[serde(default)]
    format: WebhookFormat,
}

/// Body of `PATCH /v1/webhooks/{id}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WebhookChange {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// Null stands for all.
    #[serde(default, deserialize_with = "given")]
    accounts: Option<Option<Vec<String>>>,
    /// Null stands for all.
    #[serde(default, deserialize_with = "given")]
    types: Option<Option<Vec<String>>>,
    #[serde(default)]
    enabled: Option<bool>,
    /// Makes a new secret, which the answer shows; the old one is good for
    /// nothing any more.
    #[serde(default)]
    rotate_secret: bool,
}

/// Tells null from absent.
fn given<'de, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// `POST /v1/webhooks`: makes a webhook. The answer is the only place that
/// shows its secret.
///
/// # Errors
/// `invalid_body`; `unknown_account`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Body(body): Body<NewWebhook>,
) -> Result<Response, Problem> {
    let endpoint = checked_url(&api, &body.url)?;
    let name = checked_name(&body.name)?;
    let accounts = checked_accounts(&grant, body.accounts)?;
    let types = body.types.map(checked_types).transpose()?;
    if api.store().count(&queries::webhooks()?).await? >= WEBHOOKS_MAX {
        return Err(invalid(format!(
            "there are {WEBHOOKS_MAX} webhooks; DELETE one that is not needed any more"
        )));
    }
    let new = NewHook {
        endpoint,
        name,
        accounts,
        types,
        format: body.format,
        secret: None,
    };
    let (id, secret, document, write) = new.into_write(&api)?;
    match api.store().commit(vec![write]).await? {
        CommitOutcome::Committed(_) => {}
        CommitOutcome::Rejected => {
            return Err(Problem::new(
                ProblemKind::Internal,
                "a fresh id was taken already; try again",
            ));
        }
    }
    tracing::info!(webhook.id = id, "webhook made");
    let view = WebhookView {
        secret: Some(secret.expose().to_owned()),
        ..WebhookView::new(&id, document)
    };
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, format!("/v1/webhooks/{id}"))],
        Json(view),
    )
        .into_response())
}

/// A webhook to be made, checked.
pub(super) struct NewHook {
    pub(super) endpoint: Endpoint,
    pub(super) name: String,
    pub(super) accounts: Option<Vec<String>>,
    pub(super) types: Option<Vec<EventKind>>,
    pub(super) format: WebhookFormat,
    /// A new one, unless it was given.
    pub(super) secret: Option<Secret>,
}

impl NewHook {
    /// Its id, its secret, its document, and the write that makes it.
    pub(super) fn into_write(
        self,
        api: &Api,
    ) -> Result<(String, Secret, WebhookDoc, Write), Problem> {
        let rng = api.rng().as_ref();
        let id = ids::webhook(api.clock().wall(), rng);
        let secret = self.secret.unwrap_or_else(|| Secret::generate(rng));
        let (wrapped_keys, sealed_secret) = secret.seal(api.keys(), rng, &id);
        let document = WebhookDoc {
            name: self.name,
            url: self.endpoint.to_string(),
            accounts: self.accounts,
            types: self.types,
            enabled: true,
            wrapped_keys,
            sealed_secret,
            previous_secret: None,
            format: self.format,
            created_at: Stamp::Commit,
        };
        let write = Write::Set {
            path: collections::webhook(&id)?,
            fields: document.to_document()?,
            precondition: Precondition::Absent,
        };
        Ok((id, secret, document, write))
    }
}

/// `GET /v1/webhooks`: those that the key may see, by id.
///
/// # Errors
/// `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<WebhookPage>, Problem> {
    let page = page
        .read(api.store().as_ref(), queries::webhooks()?)
        .await?;
    let webhooks: Vec<WebhookView> = page
        .documents
        .iter()
        .filter_map(WebhookDoc::read_or_skip)
        .filter(|record| is_within(&grant, record.value.accounts.as_deref()))
        .map(|record| WebhookView::new(record.path.id(), record.value))
        .collect();
    Ok(Json(WebhookPage {
        webhooks,
        next: next_page(&page),
    }))
}

/// `GET /v1/webhooks/{id}`, with how far it came with each account, the first
/// two hundred of them.
///
/// # Errors
/// `unknown_webhook`.
pub(super) async fn read(State(api): State<Api>, Id(id): Id) -> Result<Json<WebhookView>, Problem> {
    let record = find(&api, &id).await?;
    let lanes = queries::webhook_lanes(&id)?.limit(LANES_TOGETHER);
    let lanes = api.store().query(&lanes).await?;
    let lanes: Vec<LaneView> = lanes
        .documents
        .iter()
        .filter_map(LaneDoc::read_or_skip)
        .map(Into::into)
        .collect();
    Ok(Json(WebhookView {
        lanes: Some(lanes),
        ..WebhookView::new(&id, record.value)
    }))
}

/// `PATCH /v1/webhooks/{id}`: changes what is named. Events wait while it is
/// not `enabled`; with `rotateSecret` the answer shows the new secret.
///
/// # Errors
/// `unknown_webhook`; `invalid_body`.
pub(super) async fn change(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Id(id): Id,
    Body(body): Body<WebhookChange>,
) -> Result<Json<WebhookView>, Problem> {
    let url = body.url.as_deref().map(|url| checked_url(&api, url));
    let url = url.transpose()?.map(|endpoint| endpoint.to_string());
    let name = body.name.as_deref().map(checked_name).transpose()?;
    let accounts = body
        .accounts
        .map(|accounts| checked_accounts(&grant, accounts))
        .transpose()?;
    let types = body
        .types
        .map(|types| types.map(checked_types).transpose())
        .transpose()?;
    let secret = body
        .rotate_secret
        .then(|| Secret::generate(api.rng().as_ref()));
    let document = apply(&api, &id, |document| {
        if let Some(url) = &url {
            document.url.clone_from(url);
        }
        if let Some(name) = &name {
            document.name.clone_from(name);
        }
        if let Some(accounts) = &accounts {
            document.accounts.clone_from(accounts);
        }
        if let Some(types) = &types {
            document.types.clone_from(types);
        }
        document.enabled = body.enabled.unwrap_or(document.enabled);
        if let Some(secret) = &secret {
            (document.wrapped_keys, document.sealed_secret) =
                secret.seal(api.keys(), api.rng().as_ref(), &id);
            document.previous_secret = None;
        }
    })
    .await?;
    Ok(Json(WebhookView {
        secret: secret.map(|secret| secret.expose().to_owned()),
        ..WebhookView::new(&id, document)
    }))
}

/// Changes a webhook's document, as it is by then; gives what it became.
///
/// # Errors
/// `unknown_webhook`; `store_unavailable`.
async fn apply(
    api: &Api,
    id: &str,
    change: impl Fn(&mut WebhookDoc),
) -> Result<WebhookDoc, Problem> {
    for _ in 0..CHANGE_ATTEMPTS_MAX {
        let record = find(api, id).await?;
        let mut document = record.value;
        change(&mut document);
        let write = Write::Set {
            path: record.path,
            fields: document.to_document()?,
            precondition: Precondition::Unchanged(record.update_time),
        };
        if let CommitOutcome::Committed(_) = api.store().commit(vec![write]).await? {
            return Ok(document);
        }
    }
    Err(Problem::new(
        ProblemKind::StoreUnavailable,
        "others keep changing this webhook; try again",
    )
    .retry_after(1))
}

/// `DELETE /v1/webhooks/{id}`: nothing more is sent; what waited is forgotten.
///
/// # Errors
/// `unknown_webhook`.
pub(super) async fn delete(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let record = find(&api, &id).await?;
    let gone = |path| Write::Delete {
        path,
        precondition: Precondition::None,
    };
    let _ = api.store().commit(vec![gone(record.path)]).await?;
    loop {
        let lanes = queries::webhook_lanes(&id)?.limit(LANES_TOGETHER);
        let found = api.store().query(&lanes).await?;
        let is_last = found.next.is_none();
        if !found.documents.is_empty() {
            let writes = found
                .documents
                .into_iter()
                .map(|document| gone(document.path));
            api.store().commit_each(writes.collect()).await?;
        }
        if is_last {
            break;
        }
    }
    tracing::info!(webhook.id = id, "webhook deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/webhooks/{id}/test`: sends a made-up event at once, and says what
/// the receiver answered. It is no part of the log.
///
/// # Errors
/// `unknown_webhook`; `stored_data_unreadable`.
pub(super) async fn test(State(api): State<Api>, Id(id): Id) -> Result<Json<TestView>, Problem> {
    let snapshot = api.store().get(&[collections::webhook(&id)?]).await?;
    let document = snapshot.documents.iter().flatten().next();
    let document = document.ok_or_else(unknown)?;
    let hook = Hook::read(document, api.keys()).ok_or_else(|| {
        Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the webhook's secret does not open with this worker's key ring; PATCH it with \
             `rotateSecret`",
        )
    })?;
    let now = api.clock().wall();
    let event_id = ids::test_event(now, api.rng().as_ref());
    let at = StoreTime::from_datetime(now);
    let body = match hook.format {
        WebhookFormat::Leasehold => body::json(&json!({
            "id": event_id,
            "accountId": null,
            "seq": 0,
            "type": TEST_KIND,
            "at": at,
            "data": {},
        })),
        WebhookFormat::Waha => body::json(&waha::made_up(&event_id, at)),
    };
    let letter = Letter {
        event_id: event_id.clone(),
        account_id: None,
        kind: TEST_KIND,
        attempt: 1,
        trace: propagation::current(),
        body,
    };
    let (outcome, took) = api.post().send_now(&hook, &letter).await;
    Ok(Json(TestView {
        event_id,
        delivered: outcome.is_delivered(),
        status: outcome.status(),
        error: outcome.error(),
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
}

async fn find(api: &Api, id: &str) -> Result<Record<WebhookDoc>, Problem> {
    let snapshot = api.store().get(&[collections::webhook(id)?]).await?;
    let document = snapshot.documents.iter().flatten().next();
    document
        .and_then(WebhookDoc::read_or_skip)
        .ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(
        ProblemKind::UnknownWebhook,
        "GET /v1/webhooks lists the webhooks there are",
    )
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidBody, detail)
}

/// Where a webhook may lead.
///
/// # Errors
/// `invalid_body`; the address is not repeated, it may hold a token.
pub(super) fn checked_url(api: &Api, text: &str) -> Result<Endpoint, Problem> {
    let endpoint: Endpoint = text
        .parse()
        .map_err(|error| invalid(format!("`url`: {error}")))?;
    if !api.post().config().allow_private {
        endpoint
            .check_public()
            .map_err(|error| invalid(format!("`url`: {error}")))?;
    }
    Ok(endpoint)
}

fn checked_name(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    match name.chars().count() <= NAME_CHARS_MAX {
        true => Ok(name.to_owned()),
        false => Err(invalid(format!(
            "`name` has {NAME_CHARS_MAX} characters at most"
        ))),
    }
}

/// The accounts that a webhook is for: those of the key, if it is limited.
fn checked_accounts(
    grant: &Grant,
    accounts: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, Problem> {
    let Some(accounts) = accounts else {
        return match grant.is_for_all() {
            true => Ok(None),
            false => Err(invalid(
                "`accounts` names some of the key's own: it is limited to them",
            )),
        };
    };
    let is_account = |id: &String| collections::account(id).is_ok();
    if accounts.is_empty() || accounts.len() > ACCOUNTS_MAX || !accounts.iter().all(is_account) {
        return Err(invalid(format!(
            "`accounts` names 1 to {ACCOUNTS_MAX} ids of accounts, or is left out"
        )));
    }
    match accounts.iter().find(|account| !grant.is_for(account)) {
        None => Ok(Some(accounts)),
        Some(other) => Err(Problem::new(
            ProblemKind::UnknownAccount,
            format!("this key knows no account {other:?}"),
        )),
    }
}

fn checked_types(names: Vec<String>) -> Result<Vec<EventKind>, Problem> {
    if names.is_empty() {
        return Err(invalid("`types` names at least one, or is left out"));
    }
    let kinds = names.iter().map(|name| {
        EventKind::of_name(name).ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            invalid(format!("`types`: {name:?} is none of {known}"))
        })
    });
    let mut kinds: Vec<EventKind> = kinds.collect::<Result<_, _>>()?;
    kinds.sort_by_key(|kind| kind.as_str());
    kinds.dedup();
    Ok(kinds)
}

/// Whether a key may see a webhook: one for all accounts only if it is for all.
pub(super) fn is_within(grant: &Grant, accounts: Option<&[String]>) -> bool {
    match accounts {
        None => grant.is_for_all(),
        Some(accounts) => accounts.iter().all(|account| grant.is_for(account)),
    }
}
