//! `/v1/media` takes files that are to be sent; a message's `…/media` is the
//! file that came with it, fetched from WhatsApp when somebody asks. Neither
//! way a whole file is in memory.

use std::path::PathBuf;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{CommitOutcome, Precondition, StoreTime, Write};
use futures::StreamExt;
use serde_json::json;
use session::HeadDoc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use whatsapp::media::{MediaError, MediaRef};

use super::extract::Ids;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::messages::arrival::media_purpose;
use crate::model::message::Details;
use crate::model::{AccountDoc, MediaDoc, MessageDoc, Read, Stored, collections, ids};

/// Characters of a media type.
const MIME_LENGTH_MAX: usize = 127;

/// Bytes that are read from a file at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that is removed again unless it is kept.
struct Draft {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// `POST /v1/media`: takes a file, as it is, with its `Content-Type`. 201 says
/// that it is stored; a message refers to it by its `mediaId`.
///
/// # Errors
/// `no_media_folder`, `invalid_header`, `media_too_large`, `store_full`.
pub(super) async fn upload(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let folder = api.media();
    let limit = folder.bytes_max;
    if !folder.is_there() {
        return Err(Problem::new(
            ProblemKind::NoMediaFolder,
            "with a cluster's database the worker that sends a file is another one than took it; \
             files can be sent with the embedded database only, so far",
        ));
    }
    let mime_type = mime_type(&headers)?;
    let id = ids::media(api.clock().wall(), api.rng().as_ref());
    let path = folder.path(&id).ok_or_else(fault)?;
    let file = folder.create(&id).map_err(|error| disk(&error))?;
    let mut draft = Draft {
        path,
        is_kept: false,
    };
    let mut file = tokio::fs::File::from_std(file);
    let mut pieces = body.into_data_stream();
    let mut bytes = 0_u64;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| {
            Problem::new(
                ProblemKind::InvalidBody,
                "the body ended before it was complete",
            )
        })?;
        bytes += piece.len() as u64;
        if bytes > limit {
            return Err(too_large(limit));
        }
        file.write_all(&piece).await.map_err(|error| disk(&error))?;
    }
    if bytes == 0 {
        return Err(Problem::new(ProblemKind::InvalidBody, "the file is empty"));
    }
    file.sync_all().await.map_err(|error| disk(&error))?;
    let document = MediaDoc {
        mime_type: mime_type.clone(),
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        created_at: StoreTime::from_datetime(api.clock().wall()),
    };
    let write = Write::Set {
        path: collections::media(&id)?,
        fields: document.to_document()?,
        precondition: Precondition::Absent,
    };
    match api.store().commit(vec![write]).await? {
        CommitOutcome::Committed(_) => draft.is_kept = true,
        CommitOutcome::Rejected => return Err(fault()),
    }
    let answer = json!({ "mediaId": id, "bytes": bytes, "mimeType": mime_type });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `GET /v1/threads/{id}/messages/{message}/media`: the file that came with a
/// message. WhatsApp keeps files for some weeks.
///
/// # Errors
/// `unknown_message`, `no_media`, `media_too_large`, `media_gone`,
/// `media_host_unavailable`.
pub(super) async fn download(
    State(api): State<Api>,
    Ids((thread, message)): Ids,
) -> Result<Response, Problem> {
    let message = find(&api, &thread, &message).await?;
    let none = || Problem::new(ProblemKind::NoMedia, "no file came with this message");
    let sealed = message.media_ref.as_ref().ok_or_else(none)?;
    let unreadable = || {
        Problem::new(
            ProblemKind::StoredDataUnreadable,
            "what is stored of the file does not open with this worker's key ring",
        )
    };
    let paths = [
        collections::head(&message.account_id)?,
        collections::account(&message.account_id)?,
    ];
    let snapshot = api.store().get(&paths).await?;
    let [Some(head), Some(account)] = &snapshot.documents[..] else {
        return Err(none());
    };
    let head: HeadDoc = head.decode()?;
    let Read::Known(account) = AccountDoc::read(account)? else {
        return Err(unreadable());
    };
    let key = api
        .keys()
        .unwrap(&head.wrapped_keys, &message.account_id)
        .map_err(|_| unreadable())?;
    let purpose = media_purpose(&message.wa_message_id);
    let plain = key
        .open_secret(&message.account_id, &purpose, sealed)
        .map_err(|_| unreadable())?;
    let media: MediaRef = serde_json::from_slice(&plain).map_err(|_| unreadable())?;
    // Any worker fetches it, and by the account's own way.
    let proxy = account.value.proxy.as_ref();
    let proxy = proxy.map(|sealed| sealed.open(&key, &message.account_id));
    let proxy = proxy.transpose().map_err(|_| unreadable())?;

    let limit = api.media().bytes_max;
    let file = api.media().temporary().map_err(|error| disk(&error))?;
    let file = api
        .fetcher()
        .fetch(&media, proxy, file, limit)
        .await
        .map_err(|error| match error {
            MediaError::TooLarge { limit } => too_large(limit),
            MediaError::Gone | MediaError::Incomplete => Problem::new(
                ProblemKind::MediaGone,
                "WhatsApp keeps files for some weeks only; ask the sender for it",
            ),
            MediaError::Unavailable => Problem::new(
                ProblemKind::MediaHostUnavailable,
                "WhatsApp's media host does not answer, or what it has is not the file; try again",
            )
            .retry_after(30),
            MediaError::Disk(error) => disk(&error),
        })?;
    let length = file.metadata().map_err(|error| disk(&error))?.len();
    let mime_type = match &message.details {
        Some(Details::Media(media)) => media.mime_type.clone(),
        Some(Details::Location(_) | Details::Contacts(_) | Details::Poll(_)) | None => None,
    };
    let mime_type = mime_type.filter(|mime| is_mime_type(mime));
    let headers = [
        (
            header::CONTENT_TYPE,
            mime_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        ),
        (header::CONTENT_LENGTH, length.to_string()),
        // It is a stranger's: never to be shown as a page of ours.
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
    ];
    let pieces = futures::stream::try_unfold(tokio::fs::File::from_std(file), async |mut file| {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((piece, file)))
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

async fn find(api: &Api, thread: &str, message: &str) -> Result<MessageDoc, Problem> {
    let unknown = || {
        Problem::new(
            ProblemKind::UnknownMessage,
            "GET /v1/threads/{id}/messages lists the messages of a thread",
        )
    };
    let path = collections::message(thread, message)?;
    let snapshot = api.store().get(&[path]).await?;
    let document = snapshot.documents.into_iter().flatten().next();
    match MessageDoc::read(&document.ok_or_else(unknown)?)? {
        Read::Known(record) => Ok(record.value),
        Read::Newer(_) => Err(Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the message was written by a newer worker; ask one, or update this worker",
        )),
    }
}

fn mime_type(headers: &HeaderMap) -> Result<String, Problem> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let value = value.filter(|value| is_mime_type(value)).ok_or_else(|| {
        Problem::new(
            ProblemKind::InvalidHeader,
            "send the file's media type as `Content-Type`, such as image/jpeg",
        )
    })?;
    Ok(value.to_owned())
}

fn is_mime_type(text: &str) -> bool {
    text.len() <= MIME_LENGTH_MAX
        && text.contains('/')
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        ProblemKind::MediaTooLarge,
        format!("a file may have {limit} bytes at most; --media-bytes-max sets it"),
    )
}

fn disk(error: &std::io::Error) -> Problem {
    tracing::warn!(%error, "a file was not written");
    let kind = error.kind();
    if kind == std::io::ErrorKind::StorageFull || kind == std::io::ErrorKind::QuotaExceeded {
        return Problem::new(
            ProblemKind::StoreFull,
            "the disk of the data folder is full",
        );
    }
    fault()
}

fn fault() -> Problem {
    Problem::new(
        ProblemKind::Internal,
        "the file could not be written; the worker's log says why",
    )
}
