//! `sendText` and `sendImage`.

use axum::body::{Body as RawBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use whatsapp::content::MediaKind;

use super::sessions::find;
use crate::auth::Grant;
use crate::http::extract::Body;
use crate::http::media;
use crate::http::messages::{self, Asked};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;
use crate::outbox::NewMessage;
use crate::waha::{chat_id, message_id};

/// A picture of WhatsApp's largest size, 16 MiB, in base64.
const PICTURE_BODY_BYTES_MAX: usize = 23 * 1024 * 1024;

/// Body of `POST /api/sendText`. Fields that are not known are left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Text {
    session: String,
    chat_id: String,
    text: String,
    #[serde(default)]
    mentions: Vec<String>,
    /// Which message it answers, in WAHA's words.
    #[serde(default, rename = "reply_to")]
    reply_to: Option<String>,
}

/// Body of `POST /api/sendImage`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Picture {
    session: String,
    chat_id: String,
    file: PictureFile,
    #[serde(default)]
    caption: Option<String>,
    #[serde(default, rename = "reply_to")]
    reply_to: Option<String>,
}

#[derive(Deserialize)]
struct PictureFile {
    mimetype: Option<String>,
    /// In base64.
    data: Option<String>,
    url: Option<String>,
}

/// What was queued, as WAHA shows a message that it sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queued {
    id: String,
    to: String,
    from_me: bool,
    ack: i8,
    /// What WAHA does not have: `GET /v1/messages/{id}` tells how far it has come.
    message_id: String,
}

/// `POST /api/sendText`: queued, not yet sent.
///
/// # Errors
/// As `POST /v1/accounts/{id}/messages`.
pub(in crate::http) async fn text(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Body(body): Body<Text>,
) -> Result<Response, Problem> {
    refuse_answer(body.reply_to.as_deref())?;
    let message = NewMessage::Text {
        text: body.text,
        mentions: body.mentions,
        preview: None,
        quote: None,
    };
    queue(&api, &grant, &body.session, body.chat_id, message).await
}

/// `POST /api/sendImage`: its body is larger than others.
///
/// # Errors
/// As `POST /v1/media` and `POST /v1/accounts/{id}/messages`.
pub(in crate::http) async fn image(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    request: Request,
) -> Result<Response, Problem> {
    let body = to_bytes(request.into_body(), PICTURE_BODY_BYTES_MAX)
        .await
        .map_err(|_| {
            Problem::new(
                ProblemKind::BodyTooLarge,
                format!("a picture's body may have {PICTURE_BODY_BYTES_MAX} bytes at most"),
            )
        })?;
    let body: Picture = serde_json::from_slice(&body).map_err(|error| match error.is_data() {
        true => invalid(error.to_string()),
        false => Problem::new(ProblemKind::InvalidJson, error.to_string()),
    })?;
    refuse_answer(body.reply_to.as_deref())?;
    // Before a file is kept for nothing.
    find(&api, &grant, &body.session).await?;
    let mime_type = body
        .file
        .mimetype
        .unwrap_or_else(|| "image/jpeg".to_owned());
    if !matches!(&*mime_type, "image/jpeg" | "image/png") {
        return Err(invalid("`file.mimetype` is image/jpeg or image/png"));
    }
    let data = match (body.file.data, body.file.url) {
        (Some(data), None) => data,
        (None, Some(_)) => {
            return Err(invalid(
                "`file.url` is not fetched here: send the picture as `file.data`, in base64",
            ));
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("`file` has `data`, in base64, and `mimetype`"));
        }
    };
    let data = BASE64_STANDARD
        .decode(data.trim())
        .map_err(|error| invalid(format!("`file.data` is not base64: {error}")))?;
    let kept = media::keep(&api, mime_type, RawBody::from(data)).await?;
    let message = NewMessage::Media {
        media_id: kept.media_id,
        kind: MediaKind::Image,
        caption: body.caption,
        file_name: None,
    };
    queue(&api, &grant, &body.session, body.chat_id, message).await
}

async fn queue(
    api: &Api,
    grant: &Grant,
    session: &str,
    to: String,
    message: NewMessage,
) -> Result<Response, Problem> {
    let account_id = find(api, grant, session).await?.path.id().to_owned();
    let asked = Asked {
        account_id,
        to: to.clone(),
        message,
        // Without an idempotency key nothing is compared.
        fingerprint: String::new(),
        idempotency_key: None,
    };
    let (accepted, _) = messages::accept(api, asked).await?;
    // What was accepted has an address.
    let chat = whatsapp::normalise_recipient(&to).unwrap_or(to);
    let queued = Queued {
        id: message_id(true, &chat, &accepted.wa_message_id),
        to: chat_id(&chat),
        from_me: true,
        ack: 0,
        message_id: accepted.message_id,
    };
    Ok((StatusCode::CREATED, Json(queued)).into_response())
}

fn refuse_answer(reply_to: Option<&str>) -> Result<(), Problem> {
    match reply_to {
        None | Some("") => Ok(()),
        Some(_) => Err(invalid(
            "`reply_to` is not known here: POST /v1/accounts/{id}/messages takes a `quote`",
        )),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidBody, detail)
}
