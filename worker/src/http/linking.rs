//! `/v1/accounts/{id}/pairing-code` and `/passkey`: linking without a QR code.
//!
//! Both are for an account that waits to be linked (`qr_ready`), and are carried
//! out by its owner, whichever worker that is. The passkey step is made of the
//! engine's own interface and was never tried against WhatsApp.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::accounts::{self, checked_phone};
use super::extract::{Body, Id};
use super::problem::{Problem, ProblemKind};
use super::sealed::{data_key, open_text};
use super::state::Api;
use crate::commands::{AskError, ask};
use crate::model::account::PASSKEY_PURPOSE;
use crate::model::command::{COMMAND_PURPOSE, CommandKind};
use crate::model::{AccountDoc, Status};
use crate::supervisor::answers::{
    AssertionArgument, LinkingFailure, LinkingReply, PhoneArgument, seal_argument,
};

/// WhatsApp has so long for its answer, and the owner for the rest.
const REPLY_LIMIT: Duration = Duration::from_secs(25);
/// The most that a passkey's answer may take up, as JSON.
const ASSERTION_BYTES_MAX: usize = 16 * 1024;
/// After a refusal: it may be for asking too often.
const REFUSED_RETRY_SECONDS: u32 = 60;

/// Body of `POST /v1/accounts/{id}/pairing-code`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PairingCodeRequest)]
pub(super) struct CodeRequest {
    /// The phone's number [default: the account's].
    #[serde(default)]
    phone: Option<String>,
}

/// A code to type into the phone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PairingCode)]
pub(super) struct CodeView {
    /// Such as `ABCD-1234`.
    code: String,
    expires_at: StoreTime,
}

/// `POST /v1/accounts/{id}/pairing-code`: a code to type into the phone. A
/// second one replaces the first.
///
/// # Errors
/// `unknown_account`; `invalid_body`; `account_state` if the account does not
/// wait to be linked; `refused_by_whatsapp`; `owner_silent`.
pub(super) async fn pairing_code(
    State(api): State<Api>,
    Id(id): Id,
    Body(body): Body<CodeRequest>,
) -> Result<Json<CodeView>, Problem> {
    let account = accounts::find(&api, &id).await?.value;
    let phone = match (&body.phone, &account.phone) {
        (Some(phone), _) => checked_phone(phone)?,
        (None, Some(phone)) => phone.clone(),
        (None, None) => {
            return Err(Problem::new(
                ProblemKind::InvalidBody,
                "`phone` must be given: the account has no number yet",
            ));
        }
    };
    let argument = PhoneArgument {
        phone: phone.trim_start_matches('+').to_owned(),
    };
    let data_key = data_key(&api, &id).await?;
    let argument = seal_argument(&data_key, api.rng().as_ref(), &id, &argument);
    let reply = asked(
        &api,
        &id,
        &account,
        CommandKind::PairingCode,
        Some(argument),
    )
    .await?;
    match reply {
        LinkingReply::Code {
            sealed,
            valid_for_seconds,
        } => {
            let sealed = BASE64_STANDARD.decode(sealed).unwrap_or_default();
            let code = open_text(&data_key, &id, COMMAND_PURPOSE, &sealed)?;
            let now = StoreTime::from_datetime(api.clock().wall());
            let expires_at = now.saturating_add(Duration::from_secs(valid_for_seconds));
            let (first, second) = code.split_at_checked(4).unwrap_or((&code, ""));
            let code = format!("{first}-{second}");
            Ok(Json(CodeView { code, expires_at }))
        }
        LinkingReply::Done => Err(failed(LinkingFailure::TimedOut)),
        LinkingReply::Failed { why } => Err(failed(why)),
    }
}

/// `GET /v1/accounts/{id}/passkey`: what WhatsApp wants of a passkey.
///
/// # Errors
/// `unknown_account`; `account_state` if it wants nothing.
pub(super) async fn passkey(State(api): State<Api>, Id(id): Id) -> Result<Json<Value>, Problem> {
    let account = accounts::find(&api, &id).await?.value;
    let Some(step) = &account.passkey else {
        return Err(Problem::new(
            ProblemKind::AccountState,
            "WhatsApp does not ask for a passkey at the moment",
        ));
    };
    let data_key = data_key(&api, &id).await?;
    let text = open_text(&data_key, &id, PASSKEY_PURPOSE, &step.sealed)?;
    let mut step: Value = serde_json::from_str(&text).unwrap_or_default();
    // The options are JSON of their own, for `navigator.credentials.get`.
    if let Some(options) = step["options"].as_str() {
        step["options"] = serde_json::from_str(options).unwrap_or_default();
    }
    Ok(Json(step))
}

/// Body of `POST /v1/accounts/{id}/passkey`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasskeyStep {
    /// What `navigator.credentials.get` gave, as `toJSON()` writes it.
    #[serde(default)]
    assertion: Option<Value>,
    /// A person has compared the code with the phone's.
    #[serde(default)]
    confirm: bool,
}

/// `POST /v1/accounts/{id}/passkey`: answers what WhatsApp wants.
///
/// # Errors
/// `unknown_account`; `invalid_body`; `account_state`; `owner_silent`.
pub(super) async fn answer_passkey(
    State(api): State<Api>,
    Id(id): Id,
    Body(body): Body<PasskeyStep>,
) -> Result<StatusCode, Problem> {
    let account = accounts::find(&api, &id).await?.value;
    let reply = match (&body.assertion, body.confirm) {
        (Some(assertion), false) => {
            let argument = checked_assertion(assertion)?;
            let data_key = data_key(&api, &id).await?;
            let argument = seal_argument(&data_key, api.rng().as_ref(), &id, &argument);
            asked(
                &api,
                &id,
                &account,
                CommandKind::PasskeyAnswer,
                Some(argument),
            )
            .await?
        }
        (None, true) => asked(&api, &id, &account, CommandKind::PasskeyConfirm, None).await?,
        (Some(_), true) | (None, false) => {
            return Err(Problem::new(
                ProblemKind::InvalidBody,
                "either `assertion` or `confirm: true`",
            ));
        }
    };
    match reply {
        LinkingReply::Done | LinkingReply::Code { .. } => Ok(StatusCode::ACCEPTED),
        LinkingReply::Failed { why } => Err(failed(why)),
    }
}

fn checked_assertion(assertion: &Value) -> Result<AssertionArgument, Problem> {
    let invalid = |detail: &'static str| Problem::new(ProblemKind::InvalidBody, detail);
    let text = assertion.to_string();
    if !assertion.is_object() || text.len() > ASSERTION_BYTES_MAX {
        return Err(invalid("`assertion` must be an object of at most 16 KiB"));
    }
    let credential = assertion["rawId"]
        .as_str()
        .and_then(|id| {
            let padded = BASE64_URL_SAFE.decode(id);
            padded.or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(id)).ok()
        })
        .filter(|id| !id.is_empty())
        .ok_or_else(|| invalid("`assertion.rawId` must be base64url"))?;
    Ok(AssertionArgument {
        assertion: BASE64_STANDARD.encode(text),
        credential: BASE64_STANDARD.encode(credential),
    })
}

/// Asks the owner.
async fn asked(
    api: &Api,
    id: &str,
    account: &AccountDoc,
    kind: CommandKind,
    argument: Option<bytes::Bytes>,
) -> Result<LinkingReply, Problem> {
    let Some(session) = account
        .lease_session
        .as_deref()
        .filter(|_| account.status == Status::QrReady)
    else {
        return Err(
            failed(LinkingFailure::NotLinking).with("accountStatus", account.status.as_str())
        );
    };
    let (store, clock, rng) = (api.store(), api.clock(), api.rng().as_ref());
    let whom = (id, session);
    match ask(store, clock, rng, whom, (kind, argument), REPLY_LIMIT).await {
        Ok(reply) => Ok(LinkingReply::read(reply)),
        Err(AskError::Store(error)) => Err(error.into()),
        Err(error @ (AskError::Refused | AskError::NoReply(_))) => Err(Problem::new(
            ProblemKind::OwnerSilent,
            format!("{error}; try again once the account has a living owner"),
        )),
    }
}

fn failed(why: LinkingFailure) -> Problem {
    match why {
        LinkingFailure::NotLinking => Problem::new(
            ProblemKind::AccountState,
            "the account does not wait to be linked: POST /v1/accounts/{id}/start, then wait for `qr_ready`",
        ),
        LinkingFailure::InvalidNumber => Problem::new(
            ProblemKind::InvalidBody,
            "`phone` must be a number with its country code, such as +49 170 1234567",
        ),
        LinkingFailure::Refused => Problem::new(
            ProblemKind::RefusedByWhatsapp,
            "WhatsApp gives no code for this number now, perhaps because it was asked too often",
        )
        .retry_after(REFUSED_RETRY_SECONDS),
        LinkingFailure::OutOfTurn => Problem::new(
            ProblemKind::AccountState,
            "this is not what WhatsApp waits for: look at the account and GET its passkey step",
        ),
        LinkingFailure::TimedOut => Problem::new(
            ProblemKind::OwnerSilent,
            "WhatsApp did not answer in time; try again",
        ),
    }
}
