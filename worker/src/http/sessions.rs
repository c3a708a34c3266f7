//! `/v1/accounts/{id}/session`: one account's session from Baileys, and back.
//!
//! For single accounts; `worker import-baileys` takes hundreds. Bodies hold keys
//! and are neither logged nor kept but sealed.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::identity::AccountId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use whatsapp::baileys::{AHEAD_DEFAULT, Generation, ImportOptions, import};

use super::extract::{Id, Parameters};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::account::term::TermError;
use crate::baileys::archive::{self, Entry};
use crate::baileys::intake::{Intake, IntakeError, IntakeOutcome};
use crate::baileys::outlet::{self, OutletError};
use crate::baileys::source;
use crate::operator::{Operator, OperatorError};

/// A packed session: ten times what a large one has.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Parameters of `PUT /v1/accounts/{id}/session`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportParameters {
    /// Import; without it only a report is made.
    #[serde(default)]
    write: bool,
    /// Keep the account stopped.
    #[serde(default)]
    stopped: bool,
    /// Counters that sending chains are moved ahead by.
    ahead: Option<u32>,
}

/// What a session holds, and what was done with it.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionImport)]
pub(super) struct ImportView {
    account: String,
    /// Its phone number.
    number: String,
    outcome: Outcome,
    /// What was found, by kind.
    #[schema(value_type = Object)]
    report: Value,
}

/// What was done with a session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SessionImportOutcome)]
enum Outcome {
    /// It was only looked at.
    Checked,
    /// The account has it now.
    Imported,
    /// The account had it already.
    AlreadyThere,
}

/// `PUT /v1/accounts/{id}/session`: takes a zip, tar or tar.gz of a
/// `useMultiFileAuthState` folder, or documents, for an account that is new, not
/// linked, or the predecessor's. Answers with a report; imports with `write=true`.
///
/// # Errors
/// `invalid_id`; `invalid_body` if it is no session; `body_too_large`;
/// `account_state` if somebody holds the account or it is linked.
pub(super) async fn put(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<ImportParameters>,
    body: Body,
) -> Result<Response, Problem> {
    let account = plain_id(&id)?;
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| {
            Problem::new(
                ProblemKind::BodyTooLarge,
                format!("a session takes {BODY_BYTES_MAX} bytes at most, or the body was cut off"),
            )
        })?;
    let ahead = parameters.ahead.unwrap_or(AHEAD_DEFAULT);
    let options = ImportOptions {
        ahead,
        ..ImportOptions::at(api.clock().wall().timestamp())
    };
    let label = id.clone();
    // Unpacking and checking signatures keeps a processor busy.
    let read = tokio::task::spawn_blocking(move || {
        let found = source::from_bytes(&bytes, &label).map_err(|error| invalid(&error))?;
        let [found] = &found[..] else {
            return Err(invalid(&"it holds several sessions; give one"));
        };
        let files = found.files().map_err(|error| invalid(&error))?.into_owned();
        let session = import(&files, options).map_err(|error| invalid(&error))?;
        Ok((session, files))
    });
    let (session, files) = read
        .await
        .map_err(|_| Problem::new(ProblemKind::Internal, "reading the session failed"))??;
    let mut answer = ImportView {
        account: id.clone(),
        number: session.own.number.clone(),
        outcome: Outcome::Checked,
        report: json!(session.report),
    };
    if parameters.write {
        let operator = begin(&api, "import").await?;
        let intake = Intake {
            name: id.clone(),
            account,
            session: &session,
            files: &files,
            start: !parameters.stopped,
        };
        let outcome = intake.run(&operator).await;
        operator.close().await;
        answer.outcome = match outcome.map_err(intake_problem)? {
            IntakeOutcome::Imported => Outcome::Imported,
            IntakeOutcome::AlreadyThere => Outcome::AlreadyThere,
        };
        tracing::info!(account.id = %id, "session of Baileys imported");
    }
    Ok(Json(answer).into_response())
}

/// Parameters of `POST /v1/accounts/{id}/session/export`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportParameters {
    /// 6 or 7 [default: 7].
    baileys: Option<u8>,
}

/// `POST /v1/accounts/{id}/session/export`: the session of a stopped account as
/// a zip of Baileys' files. The account is `needs_import` afterwards.
///
/// # Errors
/// `unknown_account`; `invalid_query`; `account_state` if a worker holds it or
/// it was never linked.
pub(super) async fn export(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<ExportParameters>,
) -> Result<Response, Problem> {
    let account = plain_id(&id)?;
    let generation = match parameters.baileys {
        None | Some(7) => Generation::Seven,
        Some(6) => Generation::Six,
        Some(_) => {
            return Err(Problem::new(
                ProblemKind::InvalidQuery,
                "`baileys` must be 6 or 7",
            ));
        }
    };
    let operator = begin(&api, "export").await?;
    let exported = outlet::current(&operator, &account, generation).await;
    operator.close().await;
    let exported = exported.map_err(outlet_problem)?;
    let entries: Vec<Entry> = exported
        .files
        .into_iter()
        .map(|(name, bytes)| Entry {
            path: format!("{id}/{name}.json"),
            bytes,
        })
        .collect();
    let packed = archive::write_zip(&entries)
        .map_err(|_| Problem::new(ProblemKind::Internal, "packing the files failed"))?;
    tracing::warn!(account.id = %id, "session exported to Baileys");
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{id}.zip\""),
        ),
    ];
    Ok((StatusCode::OK, headers, packed).into_response())
}

pub(super) async fn begin(api: &Api, name: &str) -> Result<Operator, Problem> {
    let name = format!("{name}-{}", &api.rng().nonce()[..8]);
    Operator::begin(api.operator().clone(), &name)
        .await
        .map_err(|error| Problem::new(ProblemKind::StoreUnavailable, error.to_string()))
}

pub(super) fn plain_id(id: &str) -> Result<AccountId, Problem> {
    let is_plain = (1..=100).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !is_plain {
        return Err(Problem::new(
            ProblemKind::InvalidId,
            "an account's id has 1 to 100 letters, digits, - and _",
        ));
    }
    Ok(AccountId::new(id)?)
}

fn invalid(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::InvalidBody, error.to_string())
}

fn intake_problem(error: IntakeError) -> Problem {
    match error {
        IntakeError::Occupied | IntakeError::Purged | IntakeError::Held { .. } => {
            Problem::new(ProblemKind::AccountState, error.to_string())
        }
        IntakeError::Operator(error) => operator_problem(error),
        IntakeError::Record(_) => Problem::new(ProblemKind::InvalidBody, error.to_string()),
        IntakeError::Newer(_) => Problem::new(ProblemKind::StoredDataUnreadable, error.to_string()),
        IntakeError::Busy => Problem::new(ProblemKind::StoreUnavailable, error.to_string()),
        IntakeError::Store(error) => error.into(),
        IntakeError::Term(error) => term_problem(error),
    }
}

fn outlet_problem(error: OutletError) -> Problem {
    match error {
        OutletError::Operator(error) => operator_problem(error),
        OutletError::Export(_) | OutletError::Original(_) => {
            Problem::new(ProblemKind::AccountState, error.to_string())
        }
        OutletError::Term(error) => term_problem(error),
    }
}

pub(super) fn operator_problem(error: OperatorError) -> Problem {
    match error {
        OperatorError::Held | OperatorError::NeedsImport | OperatorError::Purging => {
            Problem::new(ProblemKind::AccountState, error.to_string())
        }
        OperatorError::Missing => Problem::new(
            ProblemKind::UnknownAccount,
            "GET /v1/accounts lists the accounts there are",
        ),
        OperatorError::Session(_) => Problem::new(ProblemKind::StoreUnavailable, error.to_string()),
        OperatorError::Term(error) => term_problem(error),
        OperatorError::Store(error) => error.into(),
    }
}

fn term_problem(error: TermError) -> Problem {
    match error {
        TermError::Store(error) => error.into(),
        TermError::Missing
        | TermError::Newer(_)
        | TermError::Keys(_)
        | TermError::Session(_)
        | TermError::Lost => Problem::new(ProblemKind::StoredDataUnreadable, error.to_string()),
    }
}
