//! `/v1/media` takes files that are to be sent; a message's `…/media` is the
//! file that came with it: from the media store if it is kept, else fetched from
//! WhatsApp. Neither way a whole file is in memory.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{CommitOutcome, Precondition, StoreError, StoreTime, Write};
use futures::StreamExt;
use serde::Serialize;
use session::HeadDoc;
use tokio::io::AsyncReadExt;
use utoipa::ToSchema;
use whatsapp::Proxy;
use whatsapp::media::{self, MediaError, MediaRef};

use super::extract::Ids;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::media::{FileName, MediaStoreError, Upload, is_full};
use crate::messages::arrival::media_ref;
use crate::model::message::Details;
use crate::model::{
    AccountDoc, KeptState, MediaDoc, MessageDoc, Read, ReceivedFile, Stored, collections, ids,
};

/// Characters of a media type.
const MIME_LENGTH_MAX: usize = 127;

/// Bytes that are read from a file at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// For the next piece of a file that comes: a client that sends nothing is gone.
const PIECE_LIMIT: Duration = Duration::from_secs(30);

/// A file that was taken.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UploadedFile)]
pub(super) struct UploadView {
    pub(super) media_id: String,
    bytes: u64,
    mime_type: String,
}

/// `POST /v1/media`: takes a file, as it is, with its `Content-Type`. 201 says
/// that it is stored; a message refers to it by its `mediaId`. A file that no
/// message uses is removed after a while.
///
/// # Errors
/// `no_media_store`, `invalid_header`, `invalid_body`, `media_too_large`,
/// `store_full`, `media_store_unavailable`.
pub(super) async fn upload(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kept = keep(&api, mime_type(&headers)?, body).await?;
    Ok((StatusCode::CREATED, Json(kept)).into_response())
}

/// Keeps a file that is to be sent.
///
/// # Errors
/// As [`upload`].
pub(super) async fn keep(api: &Api, mime_type: String, body: Body) -> Result<UploadView, Problem> {
    let media = api.media();
    let id = ids::media(api.clock().wall(), api.rng().as_ref());
    let name = FileName::given(&id).map_err(refused)?;
    let mut upload = media.begin(&name).await.map_err(refused)?;
    let bytes = match take(body, &mut upload).await {
        Ok(()) => upload.finish().await.map_err(refused)?,
        Err(problem) => {
            upload.give_up().await;
            return Err(problem);
        }
    };
    let picture = media.picture(&id, &mime_type).await;
    let now = StoreTime::from_datetime(api.clock().wall());
    let document = MediaDoc {
        mime_type: mime_type.clone(),
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        created_at: now,
        keep_until: now.saturating_add(media.limits.retention),
        width: picture.as_ref().map(|picture| picture.width.into()),
        height: picture.as_ref().map(|picture| picture.height.into()),
        thumbnail: picture.map(|picture| picture.thumbnail),
    };
    let write = Write::Set {
        path: collections::media(&id)?,
        fields: document.to_document()?,
        precondition: Precondition::Absent,
    };
    match api.store().commit(vec![write]).await {
        Ok(CommitOutcome::Committed(_)) => {}
        Ok(CommitOutcome::Rejected) => return Err(fault()),
        // Its document may be there: the sweep knows.
        Err(error @ StoreError::Ambiguous { .. }) => return Err(error.into()),
        Err(error) => {
            // Left, it is removed by the sweep.
            let _ = media.remove(&name).await;
            return Err(error.into());
        }
    }
    Ok(UploadView {
        media_id: id,
        bytes,
        mime_type,
    })
}

/// Passes a file on, piece by piece.
async fn take(body: Body, upload: &mut Upload) -> Result<(), Problem> {
    let invalid = |detail| Problem::new(ProblemKind::InvalidBody, detail);
    let mut pieces = body.into_data_stream();
    let mut is_empty = true;
    loop {
        let next = tokio::time::timeout(PIECE_LIMIT, pieces.next()).await;
        let next = next.map_err(|_elapsed| invalid("the body stopped before it was complete"))?;
        let Some(piece) = next else { break };
        let piece = piece.map_err(|_| invalid("the body ended before it was complete"))?;
        is_empty &= piece.is_empty();
        upload.write(piece).await.map_err(refused)?;
    }
    match is_empty {
        true => Err(invalid("the file is empty")),
        false => Ok(()),
    }
}

/// `GET /v1/threads/{id}/messages/{message}/media`: the file that came with a
/// message, as long as it is kept here or WhatsApp has it.
///
/// # Errors
/// `unknown_message`, `no_media`, `media_too_large`, `media_gone`,
/// `media_host_unavailable`, `media_store_unavailable`, `no_media_store`.
pub(super) async fn download(
    State(api): State<Api>,
    Ids((thread, message)): Ids,
) -> Result<Response, Problem> {
    let message = find(&api, &thread, &message).await?;
    let none = || Problem::new(ProblemKind::NoMedia, "no file came with this message");
    if message.media_ref.is_none() {
        return Err(none());
    }
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
    let media = media_ref(&message, &key).ok_or_else(unreadable)?;
    // Any worker fetches it, and by the account's own way.
    let proxy = account.value.proxy.as_ref();
    let proxy = proxy.map(|sealed| sealed.open(&key, &message.account_id));
    let proxy = proxy.transpose().map_err(|_| unreadable())?;

    let file = match &message.received {
        Some(ReceivedFile {
            id,
            state: KeptState::Kept,
        }) => match open_kept(&api, &message.account_id, id, &media).await {
            Ok(file) => file,
            // WhatsApp may still have it.
            Err(refused) => match fetch(&api, &media, proxy).await {
                Ok(file) => file,
                Err(_) => return Err(refused),
            },
        },
        Some(_) | None => fetch(&api, &media, proxy).await?,
    };
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

/// A file that is kept, decrypted.
async fn open_kept(
    api: &Api,
    account_id: &str,
    id: &str,
    media: &MediaRef,
) -> Result<std::fs::File, Problem> {
    let store = api.media();
    let name = FileName::received(account_id, id).map_err(unreadable_kept)?;
    let sealed = store.read(&name).await.map_err(unreadable_kept)?;
    let plain = store.temporary().map_err(|error| disk(&error))?;
    media::open(media, sealed, plain)
        .await
        .map_err(|error| match error {
            MediaError::Disk(error) => disk(&error),
            MediaError::TooLarge { .. }
            | MediaError::Gone
            | MediaError::Unavailable
            | MediaError::Incomplete
            | MediaError::Broken => {
                tracing::error!(
                    media.id = id,
                    "a file in the media store is not as it was put there"
                );
                lost()
            }
        })
}

/// A file that WhatsApp has, decrypted.
async fn fetch(
    api: &Api,
    media: &MediaRef,
    proxy: Option<Proxy>,
) -> Result<std::fs::File, Problem> {
    let limit = api.media().limits.bytes_max;
    let file = api.media().temporary().map_err(|error| disk(&error))?;
    let fetched = api.fetcher().fetch(media, proxy, file, limit).await;
    fetched.map_err(|error| match error {
        MediaError::TooLarge { limit } => too_large(limit),
        MediaError::Gone | MediaError::Incomplete => Problem::new(
            ProblemKind::MediaGone,
            "WhatsApp keeps files for some weeks only; ask the sender for it",
        ),
        MediaError::Unavailable | MediaError::Broken => Problem::new(
            ProblemKind::MediaHostUnavailable,
            "WhatsApp's media host does not answer, or what it has is not the file; try again",
        )
        .retry_after(30),
        MediaError::Disk(error) => disk(&error),
    })
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

/// What the media store's failures are to a client.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: MediaStoreError) -> Problem {
    match &error {
        MediaStoreError::NoPlace => Problem::new(
            ProblemKind::NoMediaStore,
            "with a cluster's database the worker that sends a file is another one than took it: \
             say with --media-store where all workers find files",
        ),
        MediaStoreError::TooLarge { limit } => too_large(*limit),
        MediaStoreError::Full(cause) => {
            tracing::warn!(error = %cause, "there is no room for a file");
            Problem::new(
                ProblemKind::StoreFull,
                "there is no room for the file: make some where files are kept (--media-store)",
            )
        }
        MediaStoreError::Gone => fault(),
        MediaStoreError::Unavailable(cause) => {
            tracing::warn!(error = %cause, "the media store failed");
            Problem::new(
                ProblemKind::MediaStoreUnavailable,
                "nothing was kept; try again in a moment, and if it lasts see to --media-store",
            )
            .retry_after(1)
        }
    }
}

/// Why a file that is kept is not given.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable_kept(error: MediaStoreError) -> Problem {
    match &error {
        MediaStoreError::Gone => {
            tracing::error!("a file that is kept is not in the media store any more");
            lost()
        }
        MediaStoreError::NoPlace => Problem::new(
            ProblemKind::NoMediaStore,
            "the file was kept in a media store: name it with --media-store",
        ),
        MediaStoreError::TooLarge { .. } => lost(),
        MediaStoreError::Full(cause) | MediaStoreError::Unavailable(cause) => {
            tracing::warn!(error = %cause, "the media store failed");
            Problem::new(
                ProblemKind::MediaStoreUnavailable,
                "the file is kept, but cannot be read now; try again in a moment, and if it lasts \
                 see to --media-store",
            )
            .retry_after(1)
        }
    }
}

fn lost() -> Problem {
    Problem::new(
        ProblemKind::MediaGone,
        "the file was kept, and is not in the media store any more, nor with WhatsApp",
    )
}

fn disk(error: &std::io::Error) -> Problem {
    tracing::warn!(%error, "a file was not written");
    if is_full(error) {
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
