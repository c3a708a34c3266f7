//! `POST /v1/accounts/{id}/broadcasts`: one message to many people, each on
//! their own.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::{Body, Id};
use super::message_body::MessageBody;
use super::messages::{idempotency_key, refusal};
use super::problem::{Problem, ProblemKind, ProblemSummary};
use super::state::Api;
use crate::outbox::broadcast::{BROADCAST_PEOPLE_MAX, BroadcastRequest, broadcast};
use crate::outbox::{AcceptParts, NewMessage};

/// Body of `POST /v1/accounts/{id}/broadcasts`: people, and what `POST
/// …/messages` takes beside `to`.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewBroadcast)]
pub(super) struct BroadcastBody {
    /// By number or address.
    to: Vec<String>,
    #[serde(flatten)]
    message: Map<String, Value>,
}

impl BroadcastBody {
    fn message(self) -> Result<(Vec<String>, String, NewMessage), Problem> {
        let invalid = |detail: String| Problem::new(ProblemKind::InvalidBody, detail);
        if !(1..=BROADCAST_PEOPLE_MAX).contains(&self.to.len()) {
            return Err(invalid(format!(
                "`to` has 1 to {BROADCAST_PEOPLE_MAX} entries"
            )));
        }
        let mut fields = self.message;
        fields.insert("to".to_owned(), "".into());
        let body: MessageBody = serde_json::from_value(Value::Object(fields))
            .map_err(|error| invalid(error.to_string()))?;
        let fingerprint = body.fingerprint()?;
        let (_, message) = body.message()?;
        let refers = match &message {
            NewMessage::Amend { .. } => true,
            NewMessage::Text { quote, .. } => quote.is_some(),
            NewMessage::Location(_)
            | NewMessage::Contacts(_)
            | NewMessage::Poll(_)
            | NewMessage::Media { .. } => false,
        };
        if refers {
            return Err(invalid(
                "what refers to another message goes to one person".to_owned(),
            ));
        }
        Ok((self.to, fingerprint, message))
    }
}

/// What became of a message to many people.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedBroadcast)]
pub(super) struct BroadcastView {
    account_id: String,
    messages: Vec<PersonView>,
}

/// One person's message, or why there is none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = BroadcastMessage)]
enum PersonView {
    Queued(QueuedView),
    Refused(RefusedView),
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QueuedForPerson)]
struct QueuedView {
    to: String,
    message_id: String,
    wa_message_id: String,
    thread_id: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RefusedForPerson)]
struct RefusedView {
    to: String,
    error: ProblemSummary,
}

/// Queues one message for each person. 202 says that all were looked at: each
/// entry of `messages` has a `messageId`, or an `error` with its `code`.
///
/// # Errors
/// As for `POST …/messages`, where it concerns all.
pub(super) async fn send(
    State(api): State<Api>,
    Id(account_id): Id,
    headers: HeaderMap,
    Body(body): Body<BroadcastBody>,
) -> Result<Response, Problem> {
    let (to, fingerprint, message) = body.message()?;
    let key = idempotency_key(&headers)?;
    let request = BroadcastRequest {
        account_id,
        to,
        message,
        fingerprint,
        idempotency_key: key.unwrap_or_else(|| api.rng().nonce()),
    };
    let parts = AcceptParts {
        store: api.store().as_ref(),
        keys: api.keys(),
        clock: api.clock().as_ref(),
        rng: api.rng().as_ref(),
        idempotency_ttl: api.info().idempotency_ttl,
        media_retention: api.media().limits.retention,
    };
    let outcome = broadcast(parts, &request).await.map_err(refusal)?;
    let messages = outcome
        .people
        .into_iter()
        .map(|person| match person.outcome {
            Ok(accepted) => PersonView::Queued(QueuedView {
                to: person.to,
                message_id: accepted.message_id,
                wa_message_id: accepted.wa_message_id,
                thread_id: accepted.thread_id,
            }),
            Err(error) => PersonView::Refused(RefusedView {
                to: person.to,
                error: refusal(error).summary(),
            }),
        });
    let body = BroadcastView {
        account_id: request.account_id,
        messages: messages.collect(),
    };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    if outcome.is_repetition {
        let name = HeaderName::from_static("idempotent-replayed");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static("true"));
    }
    Ok(response)
}
