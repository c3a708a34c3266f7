//! Chats and their messages, read.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use coordinator_lib::store::Query;
use serde::{Deserialize, Serialize};

use super::sessions::find;
use crate::auth::Grant;
use crate::http::extract::Parameters;
use crate::http::page::PageParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;
use crate::model::stored::Record;
use crate::model::{MessageDoc, Stored, ThreadDoc, ThreadKind, ids, queries};
use crate::waha::{Message, chat_id, seconds};

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
