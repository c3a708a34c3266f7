//! `/v1/accounts`: create, list, read, rename, and say what is wanted of them.
//!
//! These handlers write an account's business fields by name and nothing else:
//! the lease belongs to the coordinator, the status to the owner.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use coordinator_lib::spread::SPREAD_FIELD;
use coordinator_lib::store::{CommitOutcome, Precondition, StoreTime, Write};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Id, Parameters};
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::proxy::CheckedProxy;
use super::sealed::data_key;
use super::state::Api;
use super::webhooks::{NewHook, checked_url};
use crate::auth::Grant;
use crate::model::stored::Record;
use crate::model::webhook::WebhookFormat;
use crate::model::{
    AccountDoc, Desired, DisconnectReasonDoc, LastError, Read, Status, Stored, collections, queries,
};
use crate::supervisor::wanted;

/// Characters of an account's name, and of its group's.
pub(super) const NAME_LENGTH_MAX: usize = 100;
/// Attempts at a change that others' changes keep getting ahead of.
const CHANGE_ATTEMPTS_MAX: usize = 8;

/// An account as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub(super) struct AccountView {
    id: String,
    name: String,
    phone: Option<String>,
    /// Without its credentials.
    proxy: Option<String>,
    /// Whether it is to be shown as online; null where nobody has said.
    available: Option<bool>,
    /// Its group: accounts of one are kept on different workers where there is a choice.
    spread: Option<String>,
    status: Status,
    status_at: Option<StoreTime>,
    stage: Option<String>,
    desired: Desired,
    owner: Option<OwnerView>,
    qr: Option<QrView>,
    /// WhatsApp waits for a passkey: `GET /v1/accounts/{id}/passkey`.
    passkey_asked: bool,
    attempt: i64,
    retry_at: Option<StoreTime>,
    action_required: Option<String>,
    last_error: Option<LastError>,
    last_disconnect_reason: Option<DisconnectReasonDoc>,
    jid: Option<String>,
    lid: Option<String>,
    push_name: Option<String>,
    paired_at: Option<StoreTime>,
    created_at: StoreTime,
}

/// Who owns an account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Owner)]
struct OwnerView {
    worker: String,
    session_id: Option<String>,
    epoch: i64,
    claimed_at: Option<StoreTime>,
    lease_until: Option<StoreTime>,
}

/// That there is a QR code; the code itself is at `/v1/accounts/{id}/qr`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PresentQr)]
struct QrView {
    seq: i64,
    expires_at: StoreTime,
}

impl AccountView {
    /// The view of a stored account.
    pub(super) fn new(id: &str, doc: AccountDoc) -> Self {
        let owner = doc.claimed_by.map(|worker| OwnerView {
            worker,
            session_id: doc.lease_session,
            epoch: doc.lease_epoch,
            claimed_at: doc.claimed_at,
            lease_until: doc.lease_until,
        });
        Self {
            id: id.to_owned(),
            name: doc.name,
            phone: doc.phone,
            proxy: doc.proxy.map(|proxy| proxy.address),
            available: doc.available,
            spread: doc.spread,
            status: doc.status,
            status_at: doc.status_at,
            stage: doc.stage,
            desired: doc.desired,
            owner,
            qr: doc.qr.map(|qr| QrView {
                seq: qr.seq,
                expires_at: qr.expires_at,
            }),
            passkey_asked: doc.passkey.is_some(),
            attempt: doc.attempt,
            retry_at: doc.retry_at,
            action_required: doc.action_required,
            last_error: doc.last_error,
            last_disconnect_reason: doc.last_disconnect_reason,
            jid: doc.jid,
            lid: doc.lid,
            push_name: doc.push_name,
            paired_at: doc.paired_at,
            created_at: doc.created_at,
        }
    }
}

/// A page of accounts, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountPage {
    accounts: Vec<AccountView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// Body of `POST /v1/accounts`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    name: String,
    #[serde(default)]
    phone: Option<String>,
    /// `http://name:password@host:port` or `socks5://…`.
    #[serde(default)]
    proxy: Option<String>,
    /// Where its events go.
    #[serde(default)]
    webhook: Option<String>,
    /// The name of a group, such as a customer's: its accounts are kept on different
    /// workers where there is a choice. Up to 100 characters.
    #[serde(default)]
    spread: Option<String>,
}

/// An account that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MadeAccount {
    #[serde(flatten)]
    account: AccountView,
    /// The webhook for its events, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<MadeWebhook>,
}

/// A webhook that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeWebhook {
    id: String,
    /// What signatures are made with: nothing shows it again.
    secret: String,
}

impl std::fmt::Debug for MadeWebhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MadeWebhook")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/accounts`: creates an account that is to run at once; with
/// `webhook` also one for its events, whose secret the answer shows.
///
/// # Errors
/// `invalid_body` for a name, number, proxy, address or group that is none.
pub(super) async fn create(
    State(api): State<Api>,
    Body(body): Body<NewAccount>,
) -> Result<Response, Problem> {
    let name = checked_name(&body.name)?;
    let phone = body.phone.as_deref().map(checked_phone).transpose()?;
    let proxy = body.proxy.as_deref().map(CheckedProxy::new).transpose()?;
    let spread = body.spread.as_deref().map(checked_spread).transpose()?;
    let endpoint = body.webhook.as_deref();
    let endpoint = endpoint.map(|url| checked_url(&api, url)).transpose()?;
    let mut webhook = None;
    let also = |account: &str| {
        let Some(endpoint) = endpoint else {
            return Ok(Vec::new());
        };
        let new = NewHook {
            endpoint,
            name: name.clone(),
            accounts: Some(vec![account.to_owned()]),
            types: None,
            format: WebhookFormat::Leasehold,
            secret: None,
        };
        let (id, secret, _, write) = new.into_write(&api)?;
        webhook = Some(MadeWebhook {
            id,
            secret: secret.expose().to_owned(),
        });
        Ok(vec![write])
    };
    let about = AccountDoc {
        name: name.clone(),
        phone,
        spread,
        ..AccountDoc::default()
    };
    let created = api.create_account(about, proxy.as_ref(), also);
    let (id, account) = created.await?;
    tracing::info!(account.id = %id, "account created");
    let location = format!("/v1/accounts/{id}");
    let view = MadeAccount {
        account: AccountView::new(&id, account),
        webhook,
    };
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(view),
    )
        .into_response())
}

/// Parameters of `GET /v1/accounts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    #[serde(default)]
    status: Option<Status>,
    // serde cannot flatten into a struct that refuses unknown fields.
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /v1/accounts`: all accounts, or those of one status, by id.
///
/// # Errors
/// `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<AccountPage>, Problem> {
    if let Some(ids) = &grant.accounts {
        let accounts = of_key(&api, ids, parameters.status).await?;
        return Ok(Json(AccountPage {
            accounts,
            next: None,
        }));
    }
    let query = match parameters.status {
        Some(status) => queries::accounts_with_status(status)?,
        None => queries::accounts()?,
    };
    let page = PageParameters {
        limit: parameters.limit,
        after: parameters.after,
    };
    let page = page.read(api.store().as_ref(), query).await?;
    let accounts: Vec<AccountView> = page
        .documents
        .iter()
        .filter_map(AccountDoc::read_or_skip)
        .filter(|record| !record.value.is_purged())
        .map(|record| AccountView::new(record.path.id(), record.value))
        .collect();
    Ok(Json(AccountPage {
        accounts,
        next: next_page(&page),
    }))
}

/// The accounts that a key is limited to, by id.
async fn of_key(
    api: &Api,
    ids: &[String],
    status: Option<Status>,
) -> Result<Vec<AccountView>, Problem> {
    let paths: Result<Vec<_>, _> = ids.iter().map(|id| collections::account(id)).collect();
    let found = api.store().get(&paths?).await?;
    let mut accounts: Vec<AccountView> = found
        .documents
        .iter()
        .flatten()
        .filter_map(AccountDoc::read_or_skip)
        .filter(|record| !record.value.is_purged())
        .filter(|record| status.is_none_or(|status| record.value.status == status))
        .map(|record| AccountView::new(record.path.id(), record.value))
        .collect();
    accounts.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(accounts)
}

/// `GET /v1/accounts/{id}`.
///
/// # Errors
/// `unknown_account`.
pub(super) async fn read(State(api): State<Api>, Id(id): Id) -> Result<Json<AccountView>, Problem> {
    let record = find(&api, &id).await?;
    Ok(Json(AccountView::new(&id, record.value)))
}

/// Body of `PATCH /v1/accounts/{id}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountChange {
    #[serde(default)]
    name: Option<String>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    proxy: Option<Option<String>>,
    /// Shown as online while it is connected, or not.
    #[serde(default)]
    available: Option<bool>,
    /// The name of its group; null takes it out of it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    spread: Option<Option<String>>,
}

/// Tells null from absent.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// `PATCH /v1/accounts/{id}`: renames; changes the proxy, in force from the next
/// connection, which a restart makes at once; says whether the account is
/// shown as online while it is connected (`available`), in force at once; or
/// names its group (`spread`), which moves nothing by itself.
///
/// # Errors
/// `unknown_account`; `invalid_body`.
pub(super) async fn rename(
    State(api): State<Api>,
    Id(id): Id,
    Body(body): Body<AccountChange>,
) -> Result<Json<AccountView>, Problem> {
    let name = body.name.as_deref().map(checked_name).transpose()?;
    let proxy = match &body.proxy {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => {
            let proxy = CheckedProxy::new(text)?;
            // Also says that there is no such account.
            find(&api, &id).await?;
            let data_key = data_key(&api, &id).await?;
            Some(Some(proxy.seal(&data_key, api.rng().as_ref(), &id)))
        }
    };
    let spread = match &body.spread {
        None => None,
        Some(None) => Some(None),
        Some(Some(group)) => Some(Some(checked_spread(group)?)),
    };
    if name.is_none() && proxy.is_none() && body.available.is_none() && spread.is_none() {
        return Err(Problem::new(
            ProblemKind::InvalidBody,
            "give `name`, `proxy`, `available`, `spread` or several",
        ));
    }
    let names = ["name", "proxy", "available", SPREAD_FIELD];
    let account = change(&api, &id, &names, |account| {
        if body.available.is_some() {
            account.available = body.available;
        }
        if let Some(name) = &name {
            account.name.clone_from(name);
        }
        if let Some(proxy) = &proxy {
            account.proxy.clone_from(proxy);
        }
        if let Some(spread) = &spread {
            account.spread.clone_from(spread);
        }
    })
    .await?;
    Ok(Json(AccountView::new(&id, account)))
}

/// `POST /v1/accounts/{id}/start`: wants it to run. Nothing changes for one
/// that is connected or on the way; one whose QR codes ran out gets new ones.
///
/// # Errors
/// `unknown_account`.
pub(super) async fn start(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let account = change(&api, &id, &["desired", "startRequest"], |account| {
        if account.desired != Desired::Running || !is_under_way(account.status) {
            account.desired = Desired::Running;
            account.start_request += 1;
        }
    })
    .await?;
    Ok(asked(&api, &id, account, "start"))
}

/// `POST /v1/accounts/{id}/stop`: wants it off; the session is kept.
///
/// # Errors
/// `unknown_account`.
pub(super) async fn stop(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let account = put_off(&api, &id, Desired::Stopped).await?;
    Ok(asked(&api, &id, account, "stop"))
}

/// `POST /v1/accounts/{id}/logout`: wants it unlinked from its phone; the old
/// session is archived once it is linked anew, threads are kept.
///
/// # Errors
/// `unknown_account`.
pub(super) async fn log_out(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let account = put_off(&api, &id, Desired::LoggedOut).await?;
    Ok(asked(&api, &id, account, "logout"))
}

/// Wants an account not to run.
pub(super) async fn put_off(api: &Api, id: &str, desired: Desired) -> Result<AccountDoc, Problem> {
    let now = StoreTime::from_datetime(api.clock().wall());
    let names = ["desired", "status", "statusAt", "retryAt", "stage", "qr"];
    change(api, id, &names, |account| {
        account.desired = desired;
        // Nobody owns it, or will, who could say so.
        if account.claimed_by.is_none()
            && !wanted::is_wanted(account)
            && let Some(status) = wanted::resting_status(account)
        {
            account.status = status;
            account.status_at = Some(now);
            account.retry_at = None;
            account.stage = None;
            account.qr = None;
        }
    })
    .await
}

/// `POST /v1/accounts/{id}/restart`: wants it to begin anew, whatever it does now.
///
/// # Errors
/// `unknown_account`.
pub(super) async fn restart(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let account = change(&api, &id, &["desired", "startRequest"], |account| {
        account.desired = Desired::Running;
        account.start_request += 1;
    })
    .await?;
    Ok(asked(&api, &id, account, "restart"))
}

/// `POST /v1/accounts/{id}/release`: asks its owner to hand it off to another
/// worker.
///
/// # Errors
/// `unknown_account`; `account_state` if nobody owns it.
pub(super) async fn release(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    let record = find(&api, &id).await?;
    if record.value.claimed_by.is_none() {
        return Err(Problem::new(
            ProblemKind::AccountState,
            "nobody owns the account, so nobody can hand it off",
        ));
    }
    let account = change(&api, &id, &["releaseRequest"], |account| {
        // Once for the present owner.
        account.release_request = account.lease_epoch;
    })
    .await?;
    tracing::info!(account.id = %id, request = "release", "account asked for");
    Ok((StatusCode::ACCEPTED, Json(AccountView::new(&id, account))).into_response())
}

/// The account with this id.
///
/// # Errors
/// `unknown_account`; the store's failure.
pub(super) async fn find(api: &Api, id: &str) -> Result<Record<AccountDoc>, Problem> {
    let path = collections::account(id)?;
    let snapshot = api.store().get(&[path]).await?;
    let Some(document) = snapshot.documents.into_iter().flatten().next() else {
        return Err(Problem::new(
            ProblemKind::UnknownAccount,
            "GET /v1/accounts lists the accounts there are",
        ));
    };
    match AccountDoc::read(&document)? {
        Read::Known(record) if record.value.is_purged() => Err(Problem::new(
            ProblemKind::UnknownAccount,
            "it was purged; its id is not used again",
        )),
        Read::Known(record) => Ok(record),
        Read::Newer(version) => Err(Problem::new(
            ProblemKind::StoredDataUnreadable,
            format!(
                "the account was written by a newer worker (schema version {version}); ask one, \
                 or update this worker"
            ),
        )),
    }
}

/// Changes the named fields of an account on the condition that nothing else
/// changed meanwhile, and tries again if it did.
async fn change(
    api: &Api,
    id: &str,
    names: &[&str],
    apply: impl Fn(&mut AccountDoc) + Send + Sync,
) -> Result<AccountDoc, Problem> {
    for _ in 0..CHANGE_ATTEMPTS_MAX {
        let mut record = find(api, id).await?;
        if record.value.desired == Desired::Purging {
            return Err(Problem::new(
                ProblemKind::AccountState,
                "the account is being purged: nothing else can be wanted of it any more",
            ));
        }
        let before = record.value.clone();
        apply(&mut record.value);
        if record.value == before {
            return Ok(before);
        }
        let write = Write::Update {
            path: record.path,
            fields: record.value.named(names)?,
            precondition: Precondition::Unchanged(record.update_time),
        };
        match api.store().commit(vec![write]).await? {
            CommitOutcome::Committed(_) => return Ok(record.value),
            // Somebody else changed the account: look again.
            CommitOutcome::Rejected => {}
        }
    }
    Err(Problem::new(
        ProblemKind::StoreUnavailable,
        "the account changes too often at the moment; try again",
    )
    .retry_after(1))
}

fn is_under_way(status: Status) -> bool {
    match status {
        Status::Connecting | Status::QrReady | Status::Pairing | Status::Connected => true,
        Status::Idle
        | Status::NeedsQr
        | Status::Disconnected
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::Degraded
        | Status::LoggedOut
        | Status::Failed
        | Status::Stopped
        | Status::NeedsImport => false,
    }
}

fn asked(api: &Api, id: &str, account: AccountDoc, what: &'static str) -> Response {
    api.worker().rested(id);
    tracing::info!(account.id = %id, request = what, "account asked for");
    (StatusCode::ACCEPTED, Json(AccountView::new(id, account))).into_response()
}

pub(super) fn checked_name(name: &str) -> Result<String, Problem> {
    checked_text("name", name)
}

fn checked_spread(group: &str) -> Result<String, Problem> {
    checked_text(SPREAD_FIELD, group)
}

fn checked_text(field: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > NAME_LENGTH_MAX || text.chars().any(char::is_control) {
        return Err(Problem::new(
            ProblemKind::InvalidBody,
            format!(
                "`{field}` must have 1 to {NAME_LENGTH_MAX} characters, none of them control \
                 characters"
            ),
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn checked_phone(phone: &str) -> Result<String, Problem> {
    let digits: String = phone
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/'))
        .collect();
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    // ITU-T E.164: 15 digits at most.
    if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::new(
            ProblemKind::InvalidBody,
            "`phone` must be a number with its country code, such as +49 170 1234567",
        ));
    }
    Ok(format!("+{digits}"))
}
