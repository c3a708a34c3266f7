//! Chats and their messages, read.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use coordinator_lib::store::{Query, StoreTime};
use serde::{Deserialize, Serialize};

use super::sessions::find;
use super::{ack, chat_id, message_id};
use crate::auth::Grant;
use crate::http::extract::Parameters;
use crate::http::page::PageParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;
use crate::model::message::Details;
use crate::model::stored::Record;
use crate::model::{MessageDoc, Stored, ThreadDoc, ThreadKind, ids, queries};

/// Which of them. WAHA counts; this API has cursors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ListParameters {
    limit: Option<u32>,
    #[serde(default)]
    offset: u32,
}

impl ListParameters {
    fn page(&self) -> Result<PageParameters, Problem> {
        if self.offset > 0 {
            return Err(Problem::new(
                ProblemKind::InvalidQuery,
                "`offset` is not known here: /v1 has pages (`limit`, `after`)",
            ));
        }
        Ok(PageParameters {
            limit: self.limit,
            after: None,
        })
    }
}

/// A chat as WAHA shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Chat {
    id: String,
    name: Option<String>,
    is_group: bool,
    unread_count: i64,
    archived: bool,
    /// Seconds since 1970.
    timestamp: i64,
}

impl From<Record<ThreadDoc>> for Chat {
    fn from(record: Record<ThreadDoc>) -> Self {
        let thread = record.value;
        Self {
            id: chat_id(thread.pn.as_ref().unwrap_or(&thread.chat)),
            is_group: thread.kind == ThreadKind::Group,
            name: thread.title,
            unread_count: thread.unread,
            archived: thread.archived,
            timestamp: seconds(thread.last_message_at),
        }
    }
}

/// A message as WAHA shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Message {
    id: String,
    /// Seconds since 1970.
    timestamp: i64,
    from: String,
    from_me: bool,
    to: String,
    /// Who wrote it, in a group.
    participant: Option<String>,
    body: Option<String>,
    has_media: bool,
    media: Option<MessageFile>,
    ack: i8,
    ack_name: &'static str,
}

/// Where the file of a message is.
#[derive(Serialize)]
struct MessageFile {
    /// On this worker; it needs the key, too.
    url: String,
    mimetype: Option<String>,
    filename: Option<String>,
}

impl Message {
    /// A message of a chat, for the account with this address.
    fn new(record: Record<MessageDoc>, me: &str, chat: &str) -> Self {
        let id = record.path.id().to_owned();
        let message = record.value;
        let (ack, ack_name) = ack(message.state);
        let file = match message.details {
            Some(Details::Media(media)) => Some(MessageFile {
                url: format!("/v1/threads/{}/messages/{id}/media", message.thread_id),
                mimetype: media.mime_type,
                filename: media.file_name,
            }),
            Some(Details::Location(_) | Details::Contacts(_) | Details::Poll(_)) | None => None,
        };
        let (from, to) = match message.from_me {
            true => (me, chat),
            false => (chat, me),
        };
        let is_group = ThreadKind::of(chat) == ThreadKind::Group;
        Self {
            id: message_id(message.from_me, chat, &message.wa_message_id),
            timestamp: seconds(message.timestamp),
            from: chat_id(from),
            to: chat_id(to),
            from_me: message.from_me,
            participant: (is_group && !message.from_me).then(|| chat_id(&message.sender)),
            body: message.body,
            has_media: file.is_some(),
            media: file,
            ack,
            ack_name,
        }
    }
}

fn seconds(time: StoreTime) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// `GET /api/{session}/chats`, the latest first.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(in crate::http) async fn list(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path(session): Path<String>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<Chat>>, Problem> {
    let account = find(&api, &grant, &session).await?;
    let page = parameters.page()?;
    let query = queries::threads(account.path.id())?;
    let page = page.read(api.store().as_ref(), query).await?;
    let chats = page.documents.iter().filter_map(ThreadDoc::read_or_skip);
    Ok(Json(chats.map(Into::into).collect()))
}

/// `GET /api/{session}/chats/{chat}/messages`, the latest first; none where
/// nothing was said.
///
/// # Errors
/// `unknown_account`; `invalid_id`; `invalid_query`.
pub(in crate::http) async fn messages(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Path((session, chat)): Path<(String, String)>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<Message>>, Problem> {
    let account = find(&api, &grant, &session).await?;
    let page = parameters.page()?;
    let address = whatsapp::normalise_recipient(&chat)
        .map_err(|error| Problem::new(ProblemKind::InvalidId, format!("the chat: {error}")))?;
    let thread = thread_with(&api, account.path.id(), &address).await?;
    let page = page
        .read(api.store().as_ref(), queries::messages_of(&thread)?)
        .await?;
    let me = account.value.jid.as_deref().unwrap_or_default();
    let me = crate::messages::identity::bare(me);
    let messages = page.documents.iter().filter_map(MessageDoc::read_or_skip);
    let messages = messages.map(|record| Message::new(record, &me, &address));
    Ok(Json(messages.collect()))
}

/// The thread with an address: one that was begun under the peer's LID is found
/// by the number, too.
async fn thread_with(api: &Api, account: &str, address: &str) -> Result<String, Problem> {
    if ThreadKind::of(address) == ThreadKind::Direct
        && let Some((number, _)) = address.split_once('@')
    {
        let query: Query = queries::threads_by_number(account, number)?.limit(1);
        let page = api.store().query(&query).await?;
        let found = page.documents.iter().find_map(ThreadDoc::read_or_skip);
        if let Some(found) = found.filter(|found| found.value.pn.as_deref() == Some(address)) {
            return Ok(found.path.id().to_owned());
        }
    }
    Ok(ids::thread(account, address))
}
