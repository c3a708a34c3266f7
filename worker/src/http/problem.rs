//! Errors as clients see them: `application/problem+json` (RFC 9457) with a
//! stable `code` for programs and a `detail` that says what to do.
//!
//! [`ProblemKind`] is the one table of status codes. Details never carry
//! message texts, phone numbers or keys that the client did not just send.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Every kind of error that the API answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The body is no JSON.
    InvalidJson,
    /// The body is JSON, but not what this request takes.
    InvalidBody,
    /// A query parameter is unknown or wrong.
    InvalidQuery,
    /// An id in the path has characters that no id has.
    InvalidId,
    /// A header is wrong.
    InvalidHeader,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The request has no key, or not a good one.
    Unauthorized,
    /// The key may not do this.
    NotPermitted,
    /// The key is used too often.
    RateLimited,
    /// The key has too many streams open.
    TooManyStreams,
    /// This worker cannot take more.
    WorkerBusy,
    /// What follows a cursor is not kept any more.
    CursorExpired,
    /// No such key.
    UnknownKey,
    /// The request was not made by this machine's own programs or page.
    ForbiddenOrigin,
    /// No such route.
    UnknownRoute,
    /// No such account.
    UnknownAccount,
    /// No such message.
    UnknownMessage,
    /// No such thread.
    UnknownThread,
    /// No such group.
    UnknownGroup,
    /// No such webhook.
    UnknownWebhook,
    /// No such delivery.
    UnknownDelivery,
    /// No such archived session.
    UnknownArchive,
    /// The event is not kept any more.
    EventGone,
    /// The account is not in the group any more.
    NotInGroup,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// None of the accepted formats is available.
    NotAcceptable,
    /// There is no QR code to scan.
    NothingToScan,
    /// The message is no longer queued.
    NotCancellable,
    /// The account is in no state for this.
    AccountState,
    /// The idempotency key was used with another body.
    IdempotencyKeyReused,
    /// The recipient is not to be written to.
    DoNotContact,
    /// There is no place for files that are to be sent.
    NoMediaStore,
    /// The place of files does not answer.
    MediaStoreUnavailable,
    /// No file came with the message.
    NoMedia,
    /// The file is larger than allowed.
    MediaTooLarge,
    /// WhatsApp does not have the file any more.
    MediaGone,
    /// WhatsApp's media host does not answer.
    MediaHostUnavailable,
    /// Too much is queued.
    QueueFull,
    /// The request took too long.
    RequestTimeout,
    /// WhatsApp does not do what was asked of it.
    RefusedByWhatsapp,
    /// The worker that owns the account does not answer.
    OwnerSilent,
    /// The store does not answer.
    StoreUnavailable,
    /// The store's disk is full.
    StoreFull,
    /// A change may or may not have been made.
    OutcomeUnknown,
    /// Something stored cannot be read.
    StoredDataUnreadable,
    /// A fault of the program.
    Internal,
}

impl ProblemKind {
    /// The status that goes with it.
    pub(super) fn status(self) -> StatusCode {
        self.parts().0
    }

    /// Its stable code.
    pub(super) fn code(self) -> &'static str {
        self.parts().1
    }

    /// What is wrong, in a few words.
    pub(super) fn title(self) -> &'static str {
        self.parts().2
    }

    /// Status, stable code and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidJson => (S::BAD_REQUEST, "invalid_json", "The body is not valid JSON"),
            Self::InvalidBody => (
                S::UNPROCESSABLE_ENTITY,
                "invalid_body",
                "The body is not what this request takes",
            ),
            Self::InvalidQuery => (
                S::BAD_REQUEST,
                "invalid_query",
                "A query parameter is not valid",
            ),
            Self::InvalidId => (
                S::BAD_REQUEST,
                "invalid_id",
                "The id in the path is not valid",
            ),
            Self::InvalidHeader => (S::BAD_REQUEST, "invalid_header", "A header is not valid"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON",
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is too large",
            ),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A key is needed"),
            Self::NotPermitted => (S::FORBIDDEN, "not_permitted", "The key may not do this"),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
            Self::TooManyStreams => (
                S::TOO_MANY_REQUESTS,
                "too_many_streams",
                "The key has too many streams open",
            ),
            Self::WorkerBusy => (
                S::SERVICE_UNAVAILABLE,
                "worker_busy",
                "This worker takes no more",
            ),
            Self::CursorExpired => (
                S::GONE,
                "cursor_expired",
                "What follows the cursor is not kept any more",
            ),
            Self::UnknownKey => (S::NOT_FOUND, "unknown_key", "There is no such key"),
            Self::ForbiddenOrigin => (
                S::FORBIDDEN,
                "forbidden_origin",
                "Requests from there are refused",
            ),
            Self::UnknownRoute => (S::NOT_FOUND, "unknown_route", "There is nothing here"),
            Self::UnknownAccount => (S::NOT_FOUND, "unknown_account", "There is no such account"),
            Self::UnknownMessage => (S::NOT_FOUND, "unknown_message", "There is no such message"),
            Self::UnknownThread => (S::NOT_FOUND, "unknown_thread", "There is no such thread"),
            Self::UnknownGroup => (S::NOT_FOUND, "unknown_group", "There is no such group"),
            Self::UnknownWebhook => (S::NOT_FOUND, "unknown_webhook", "There is no such webhook"),
            Self::UnknownDelivery => (
                S::NOT_FOUND,
                "unknown_delivery",
                "There is no such delivery",
            ),
            Self::UnknownArchive => (
                S::NOT_FOUND,
                "unknown_archive",
                "There is no such archived session",
            ),
            Self::EventGone => (S::GONE, "event_gone", "The event is not kept any more"),
            Self::NotInGroup => (
                S::CONFLICT,
                "not_in_group",
                "The account is not in the group",
            ),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The method is not allowed here",
            ),
            Self::NotAcceptable => (
                S::NOT_ACCEPTABLE,
                "not_acceptable",
                "None of the accepted formats is available",
            ),
            Self::NothingToScan => (
                S::CONFLICT,
                "nothing_to_scan",
                "There is no QR code to scan",
            ),
            Self::NotCancellable => (
                S::CONFLICT,
                "not_cancellable",
                "The message can no longer be cancelled",
            ),
            Self::AccountState => (
                S::CONFLICT,
                "account_state",
                "The account is in no state for this",
            ),
            Self::IdempotencyKeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The idempotency key was used for another request",
            ),
            Self::DoNotContact => (
                S::CONFLICT,
                "do_not_contact",
                "The recipient is not to be written to",
            ),
            Self::NoMediaStore => (S::CONFLICT, "no_media_store", "There is no place for files"),
            Self::MediaStoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "media_store_unavailable",
                "The media store does not answer",
            ),
            Self::NoMedia => (S::NOT_FOUND, "no_media", "There is no file"),
            Self::MediaTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "media_too_large",
                "The file is too large",
            ),
            Self::MediaGone => (S::GONE, "media_gone", "The file is gone"),
            Self::MediaHostUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "media_host_unavailable",
                "WhatsApp's media host does not answer",
            ),
            Self::QueueFull => (S::TOO_MANY_REQUESTS, "queue_full", "Too much is queued"),
            Self::RequestTimeout => (
                S::SERVICE_UNAVAILABLE,
                "request_timeout",
                "The request took too long",
            ),
            Self::RefusedByWhatsapp => {
                (S::BAD_GATEWAY, "refused_by_whatsapp", "WhatsApp refused it")
            }
            Self::OwnerSilent => (
                S::GATEWAY_TIMEOUT,
                "owner_silent",
                "The worker that owns the account does not answer",
            ),
            Self::StoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The store does not answer",
            ),
            Self::StoreFull => (S::INSUFFICIENT_STORAGE, "store_full", "The store is full"),
            Self::OutcomeUnknown => (
                S::SERVICE_UNAVAILABLE,
                "outcome_unknown",
                "Whether the change was made is not known",
            ),
            Self::StoredDataUnreadable => (
                S::INTERNAL_SERVER_ERROR,
                "stored_data_unreadable",
                "Something stored cannot be read",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "The worker has a fault",
            ),
        }
    }
}

/// An error that is one of several answers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ProblemSummary {
    code: &'static str,
    detail: String,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    members: Map<String, Value>,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// An error with a sentence that says what to do.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            members: Map::new(),
            retry_after_seconds: None,
        }
    }

    /// Adds a member for programs to read.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Code and detail, where it is one of several answers.
    pub(super) fn summary(self) -> ProblemSummary {
        ProblemSummary {
            code: self.kind.code(),
            detail: self.detail,
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title) = self.kind.parts();
        let mut body = json!({
            "type": format!("urn:leasehold:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.members);
        }
        let mut response = (
            status,
            [(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            )],
            Json(body).into_response().into_body(),
        )
            .into_response();
        if self.kind == ProblemKind::Unauthorized {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            let name: HeaderName = header::RETRY_AFTER;
            response
                .headers_mut()
                .insert(name, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Problem {
    /// The store's own words go to the log alone: they may name paths on disk.
    fn from(error: StoreError) -> Self {
        let (kind, detail) = match &error {
            StoreError::Unavailable { .. } | StoreError::Contended { .. } => (
                ProblemKind::StoreUnavailable,
                "nothing was changed; try again in a moment, and if it lasts run `worker doctor` \
                 on the worker's machine",
            ),
            StoreError::Full { .. } => (
                ProblemKind::StoreFull,
                "nothing was changed; make room on the worker's disk",
            ),
            StoreError::Ambiguous { .. } => (
                ProblemKind::OutcomeUnknown,
                "the store did not say whether the change was made; look before repeating it",
            ),
            StoreError::Unusable { .. } => (
                ProblemKind::StoreUnavailable,
                "somebody must act: the worker's log and `worker doctor` say what to do",
            ),
            StoreError::Invalid { .. } => (
                ProblemKind::Internal,
                "the worker's log says more; please report it",
            ),
            StoreError::Corrupt { .. } => (
                ProblemKind::StoredDataUnreadable,
                "the worker's log says which document; nothing was changed",
            ),
        };
        // Where the store is slow or away, nobody has to do anything.
        if error.may_pass() {
            tracing::warn!(%error, "store failed a request");
        } else {
            tracing::error!(%error, "store failed a request");
        }
        let problem = Self::new(kind, detail);
        if error.is_retryable() {
            problem.retry_after(1)
        } else {
            problem
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_rfc_9457_with_a_stable_code() {
        let response = Problem::new(ProblemKind::StoreUnavailable, "try again")
            .with("accountId", "account_1")
            .retry_after(1)
            .into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        insta::assert_snapshot!(
            String::from_utf8(body.to_vec()).unwrap(),
            @r#"{"type":"urn:leasehold:problem:store_unavailable","title":"The store does not answer","status":503,"code":"store_unavailable","detail":"try again","accountId":"account_1"}"#
        );
    }
}
