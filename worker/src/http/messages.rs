//! `/v1/accounts/{id}/messages` and `/v1/messages/{id}`: send, list, look up, take back.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{
    CommitOutcome, Document, DocumentStore, Fields, Path, Precondition, StoreError, StoreTime,
    Value, Write,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::accounts;
use super::extract::{Body, Id, Parameters};
use super::message_body::MessageBody;
use super::page::{PageParameters, next_page};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::model::outbox::SendFailure;
use crate::model::{OutboxDoc, OutboxState, Read, Stored, WaOutboxDoc, collections, queries};
use crate::outbox::{self, AcceptError, AcceptOutcome, AcceptParts, AcceptRequest, NewMessage};
use crate::telemetry::propagation;

/// Characters of an idempotency key.
pub(super) const IDEMPOTENCY_KEY_LENGTH_MAX: usize = 255;
/// Attempts at a cancellation that others' changes keep getting ahead of.
const CANCEL_ATTEMPTS_MAX: usize = 8;
/// The header that makes a repetition harmless.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// An outgoing message as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OutgoingMessage)]
pub(super) struct MessageView {
    message_id: String,
    account_id: String,
    to: String,
    kind: String,
    text: String,
    state: OutboxState,
    attempts: i64,
    accepted_at: StoreTime,
    next_attempt_at: Option<StoreTime>,
    sent_at: Option<StoreTime>,
    delivered_at: Option<StoreTime>,
    read_at: Option<StoreTime>,
    error: Option<SendFailure>,
    wa_message_id: String,
    thread_id: String,
    idempotency_key: Option<String>,
    /// The trace of the request to send it, where it was traced.
    trace_id: Option<String>,
}

/// A message that was queued.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedMessage)]
pub(super) struct AcceptedView {
    pub(super) message_id: String,
    account_id: String,
    state: OutboxState,
    pub(super) wa_message_id: String,
    thread_id: String,
}

/// `POST /v1/accounts/{id}/messages`: queues a message. 202 says that it is
/// stored and will be sent in order, also if this worker dies.
///
/// # Errors
/// `unknown_account`, `invalid_body`, `account_state`, `idempotency_key_reused`.
pub(super) async fn send(
    State(api): State<Api>,
    Id(account_id): Id,
    headers: HeaderMap,
    Body(body): Body<MessageBody>,
) -> Result<Response, Problem> {
    let fingerprint = body.fingerprint()?;
    let (to, message) = body.message()?;
    let asked = Asked {
        account_id,
        to,
        message,
        fingerprint,
        idempotency_key: idempotency_key(&headers)?,
    };
    let (accepted, is_repetition) = accept(&api, asked).await?;
    let location = format!("/v1/messages/{}", accepted.message_id);
    let mut response = (
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(accepted),
    )
        .into_response();
    if is_repetition {
        let name = HeaderName::from_static("idempotent-replayed");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What somebody wants to be sent.
pub(super) struct Asked {
    pub(super) account_id: String,
    pub(super) to: String,
    pub(super) message: NewMessage,
    /// What is compared where an idempotency key comes again.
    pub(super) fingerprint: String,
    pub(super) idempotency_key: Option<String>,
}

/// Queues a message; true if it was queued before, under the same key.
///
/// # Errors
/// As [`send`].
pub(super) async fn accept(api: &Api, asked: Asked) -> Result<(AcceptedView, bool), Problem> {
    let request = AcceptRequest {
        account_id: asked.account_id,
        to: asked.to,
        message: asked.message,
        fingerprint: asked.fingerprint,
        idempotency_key: asked.idempotency_key,
        traceparent: propagation::current(),
    };
    let parts = AcceptParts {
        store: api.store().as_ref(),
        keys: api.keys(),
        clock: api.clock().as_ref(),
        rng: api.rng().as_ref(),
        idempotency_ttl: api.info().idempotency_ttl,
        media_retention: api.media().limits.retention,
    };
    let outcome = outbox::accept(parts, &request).await.map_err(refusal)?;
    let (accepted, is_repetition) = match outcome {
        AcceptOutcome::Accepted(accepted) => (accepted, false),
        AcceptOutcome::Repeated(accepted) => (accepted, true),
    };
    let answer = AcceptedView {
        message_id: accepted.message_id,
        account_id: request.account_id,
        state: OutboxState::Queued,
        wa_message_id: accepted.wa_message_id,
        thread_id: accepted.thread_id,
    };
    Ok((answer, is_repetition))
}

/// The table of refusals.
pub(super) fn refusal(error: AcceptError) -> Problem {
    let text = error.to_string();
    match error {
        AcceptError::UnknownAccount => Problem::new(
            ProblemKind::UnknownAccount,
            "GET /v1/accounts lists the accounts there are",
        ),
        AcceptError::Newer => Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the account was written by a newer worker; ask one, or update this worker",
        ),
        AcceptError::NotSending(status) => Problem::new(
            ProblemKind::AccountState,
            "link the account first: POST /v1/accounts/{id}/start, then scan its QR code",
        )
        .with("accountStatus", status.as_str()),
        AcceptError::Recipient(_) => {
            Problem::new(ProblemKind::InvalidBody, format!("`to`: {text}"))
        }
        AcceptError::NotInGroup => Problem::new(
            ProblemKind::NotInGroup,
            "the account has left this group, or was taken out of it",
        ),
        AcceptError::Refused => Problem::new(
            ProblemKind::DoNotContact,
            "DELETE /v1/do-not-contact/{address} takes an entry off, if the person agrees",
        ),
        AcceptError::Text { .. } => {
            Problem::new(ProblemKind::InvalidBody, format!("`text`: {text}"))
        }
        AcceptError::Content(_) => Problem::new(ProblemKind::InvalidBody, text),
        AcceptError::UnknownTarget => Problem::new(
            ProblemKind::UnknownMessage,
            "`messageId` and `quote` take the `id` of a message of the thread with this recipient: \
             GET /v1/threads/{id}/messages",
        ),
        AcceptError::UnknownMedia => Problem::new(
            ProblemKind::InvalidBody,
            "`media.mediaId` is what POST /v1/media returned; a file is removed once no queued message \
             needs it and --media-retention is over",
        ),
        AcceptError::NotOurs => Problem::new(ProblemKind::InvalidBody, text),
        AcceptError::KeyReused => Problem::new(
            ProblemKind::IdempotencyKeyReused,
            "take a fresh key for each message; the same key repeats the same request",
        ),
        AcceptError::Keys => Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the account's data key does not open with this worker's key ring: give it the ring \
             that the account was created with",
        ),
        AcceptError::Contended => Problem::new(
            ProblemKind::StoreUnavailable,
            "the conversation changes too often at the moment; try again",
        )
        .retry_after(1),
        AcceptError::Store(error) => error.into(),
    }
}

/// `GET /v1/messages/{id}`.
///
/// # Errors
/// `unknown_message`.
pub(super) async fn read(State(api): State<Api>, Id(id): Id) -> Result<Json<MessageView>, Problem> {
    let paths = [collections::outbox(&id)?, collections::wa_outbox(&id)?];
    let snapshot = api.store().get(&paths).await?;
    let [Some(asked), Some(sent)] = snapshot.documents.as_slice() else {
        return Err(unknown());
    };
    Ok(Json(MessageView::new(id, known(asked)?, known(sent)?)))
}

impl MessageView {
    /// The view of a message: what was asked for, and how far it has come.
    pub(super) fn new(id: String, asked: OutboxDoc, sent: WaOutboxDoc) -> Self {
        Self {
            message_id: id,
            account_id: asked.account_id,
            to: asked.to,
            kind: asked.kind,
            text: asked.body,
            state: sent.state,
            attempts: sent.attempts,
            accepted_at: asked.accepted_at,
            next_attempt_at: sent.next_attempt_at,
            sent_at: sent.sent_at,
            delivered_at: sent.delivered_at,
            read_at: sent.read_at,
            error: sent.error,
            wa_message_id: sent.wa_message_id,
            thread_id: asked.thread_id,
            idempotency_key: asked.idempotency_key,
            trace_id: asked.traceparent.as_deref().and_then(propagation::trace_id),
        }
    }
}

/// The documents that go with those of a page, in the same order: a message to be
/// sent is what was asked for, and what became of it.
///
/// # Errors
/// The store's.
pub(super) async fn other_halves(
    store: &dyn DocumentStore,
    paths: impl Iterator<Item = Result<Path, StoreError>>,
) -> Result<Vec<Option<Document>>, StoreError> {
    let paths: Vec<Path> = paths.collect::<Result<_, _>>()?;
    match paths.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(store.get(&paths).await?.documents),
    }
}

/// A page of what accounts were asked to send.
#[derive(Serialize, ToSchema)]
pub(super) struct OutgoingPage {
    pub(super) messages: Vec<MessageView>,
    /// The `after` of the next page.
    pub(super) next: Option<String>,
}

/// `GET /v1/accounts/{id}/messages`: what clients asked to send, the latest
/// first, and how far each has come.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<OutgoingPage>, Problem> {
    accounts::find(&api, &id).await?;
    let store = api.store().as_ref();
    let page = page.read(store, queries::outbox(&id)?).await?;
    let asked: Vec<_> = (page.documents.iter())
        .filter_map(OutboxDoc::read_or_skip)
        .collect();
    let paths = (asked.iter()).map(|record| collections::wa_outbox(record.path.id()));
    let sent = other_halves(store, paths).await?;
    // One that is being removed is half there: it is left out.
    let messages = asked.into_iter().zip(&sent).filter_map(|(asked, sent)| {
        let sent = WaOutboxDoc::read_or_skip(sent.as_ref()?)?;
        let id = asked.path.id().to_owned();
        Some(MessageView::new(id, asked.value, sent.value))
    });
    Ok(Json(OutgoingPage {
        messages: messages.collect(),
        next: next_page(&page),
    }))
}

/// `DELETE /v1/messages/{id}`: takes a message back while it is queued. The
/// owner takes it on the same condition, so one of the two wins.
///
/// # Errors
/// `unknown_message`; `not_cancellable` once it is being sent.
pub(super) async fn cancel(State(api): State<Api>, Id(id): Id) -> Result<Response, Problem> {
    for _ in 0..CANCEL_ATTEMPTS_MAX {
        let snapshot = api.store().get(&[collections::wa_outbox(&id)?]).await?;
        let document = snapshot
            .documents
            .into_iter()
            .flatten()
            .next()
            .ok_or_else(unknown)?;
        let sent: WaOutboxDoc = known(&document)?;
        match sent.state {
            OutboxState::Queued => {}
            OutboxState::Cancelled => return Ok(StatusCode::NO_CONTENT.into_response()),
            OutboxState::Sending
            | OutboxState::Sent
            | OutboxState::Received
            | OutboxState::Delivered
            | OutboxState::Read
            | OutboxState::Played
            | OutboxState::Failed
            | OutboxState::Expired => {
                return Err(Problem::new(
                    ProblemKind::NotCancellable,
                    "only a queued message can be taken back",
                )
                .with("state", sent.state.as_str()));
            }
        }
        let writes = cancellation(&api, &document, &sent)?;
        if let CommitOutcome::Committed(_) = api.store().commit(writes).await? {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        // The owner was faster, or only the thread changed: look again.
    }
    Err(Problem::new(
        ProblemKind::StoreUnavailable,
        "the message changes too often at the moment; try again",
    )
    .retry_after(1))
}

/// The writes that cancel a queued message, on the condition that it still is.
fn cancellation(api: &Api, document: &Document, sent: &WaOutboxDoc) -> Result<Vec<Write>, Problem> {
    let now = Value::Time(StoreTime::from_datetime(api.clock().wall()));
    let state = || Value::Text(OutboxState::Cancelled.as_str().to_owned());
    let mut writes = vec![Write::Update {
        path: document.path.clone(),
        fields: Fields::from([
            ("state".to_owned(), state()),
            ("open".to_owned(), Value::Bool(false)),
        ]),
        precondition: Precondition::Unchanged(document.update_time),
    }];
    // What changes another message is not shown as one of its own.
    if sent.amends.is_none() {
        writes.push(Write::Update {
            path: collections::message(&sent.thread_id, &sent.stored_message_id)?,
            fields: Fields::from([("state".to_owned(), state()), ("stateAt".to_owned(), now)]),
            precondition: Precondition::Exists,
        });
    }
    Ok(writes)
}

fn unknown() -> Problem {
    Problem::new(
        ProblemKind::UnknownMessage,
        "this takes the `messageId` that POST /v1/accounts/{id}/messages returned",
    )
}

fn known<T: Stored>(document: &Document) -> Result<T, Problem> {
    match T::read(document)? {
        Read::Known(record) => Ok(record.value),
        Read::Newer(_) => Err(Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the message was written by a newer worker; ask one, or update this worker",
        )),
    }
}

/// The key that the client sent, if it sent one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let is_key = |text: &&str| !text.is_empty() && text.len() <= IDEMPOTENCY_KEY_LENGTH_MAX;
    let key = value.to_str().ok().filter(is_key).ok_or_else(|| {
        Problem::new(
            ProblemKind::InvalidHeader,
            format!(
                "`Idempotency-Key` must have 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} ASCII characters"
            ),
        )
    })?;
    Ok(Some(key.to_owned()))
}
