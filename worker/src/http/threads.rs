//! Threads and their messages: what was said, the latest first.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{CommitOutcome, Precondition, Query, StoreTime, Value, Write};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use whatsapp::Extras;
use whatsapp::content::{Contact, Location, Media, Poll};

use super::accounts;
use super::extract::{Body, Id, Ids, Parameters};
use super::page::{PageParameters, Search, next_page, search};
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::model::group::PersonReceipts;
use crate::model::message::{Details, ReactionDoc, VoteDoc};
use crate::model::stored::Record;
use crate::model::thread::{MergedThreadDoc, ThreadKind};
use crate::model::{
    Direction, KeptState, MessageDoc, MessageState, Read, ReceiptsDoc, ReceivedFile, Stored,
    ThreadDoc, collections, queries,
};
use crate::telemetry::propagation;

/// A thread as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Thread)]
struct ThreadView {
    id: String,
    account_id: String,
    chat: String,
    pn: Option<String>,
    lid: Option<String>,
    kind: ThreadKind,
    title: Option<String>,
    last_message_at: StoreTime,
    last_message_preview: Option<String>,
    last_message_id: Option<String>,
    unread: i64,
    archived: bool,
    timer_seconds: Option<i64>,
}

impl From<Record<ThreadDoc>> for ThreadView {
    fn from(record: Record<ThreadDoc>) -> Self {
        let doc = record.value;
        Self {
            id: record.path.id().to_owned(),
            account_id: doc.account_id,
            chat: doc.chat,
            pn: doc.pn,
            lid: doc.lid,
            kind: doc.kind,
            title: doc.title,
            last_message_at: doc.last_message_at,
            last_message_preview: doc.last_message_preview,
            last_message_id: doc.last_message_id,
            unread: doc.unread,
            archived: doc.archived,
            timer_seconds: doc.timer_seconds,
        }
    }
}

/// What a message holds that is no text: one of these, or none.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Held)]
struct HeldView {
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contacts: Option<Vec<Contact>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<Poll>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<MediaView>,
}

/// A file.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageMedia)]
struct MediaView {
    #[serde(flatten)]
    media: Media,
    /// Whether it is kept here, where files that come are (`--keep-media`).
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<KeptState>,
}

impl HeldView {
    fn new(details: Details, received: Option<ReceivedFile>) -> Self {
        let mut held = Self::default();
        match details {
            Details::Location(location) => held.location = Some(location),
            Details::Contacts(contacts) => held.contacts = Some(contacts),
            Details::Poll(poll) => held.poll = Some(poll),
            Details::Media(media) => {
                let kept = received.map(|file| file.state);
                held.media = Some(MediaView { media, kept });
            }
        }
        held
    }
}

/// A message of a thread as clients see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
struct ThreadMessageView {
    id: String,
    account_id: String,
    thread_id: String,
    chat: String,
    sender: String,
    push_name: Option<String>,
    from_me: bool,
    direction: Direction,
    kind: String,
    text: Option<String>,
    #[serde(flatten)]
    held: HeldView,
    #[serde(flatten)]
    extras: Extras,
    reactions: Vec<ReactionDoc>,
    votes: Vec<VoteDoc>,
    edited_at: Option<StoreTime>,
    revoked_at: Option<StoreTime>,
    timestamp: StoreTime,
    state: MessageState,
    state_at: StoreTime,
    error: Option<String>,
    wa_message_id: String,
    /// The id that `POST …/messages` returned, if it was sent from here.
    message_id: Option<String>,
    stored_at: StoreTime,
    offline: bool,
    /// It is from before the account was linked.
    history: bool,
    /// The trace of the request to send it, or of its arrival, where it was traced.
    trace_id: Option<String>,
}

impl From<Record<MessageDoc>> for ThreadMessageView {
    fn from(record: Record<MessageDoc>) -> Self {
        let doc = record.value;
        Self {
            id: record.path.id().to_owned(),
            account_id: doc.account_id,
            thread_id: doc.thread_id,
            chat: doc.chat,
            sender: doc.sender,
            push_name: doc.push_name,
            from_me: doc.from_me,
            direction: doc.direction,
            kind: doc.kind,
            text: doc.body,
            held: doc
                .details
                .map(|details| HeldView::new(details, doc.received))
                .unwrap_or_default(),
            extras: doc.extras.unwrap_or_default(),
            reactions: shown(doc.reactions),
            votes: doc.votes,
            edited_at: doc.edited_at,
            revoked_at: doc.revoked_at,
            timestamp: doc.timestamp,
            state: doc.state,
            state_at: doc.state_at,
            error: doc.error,
            wa_message_id: doc.wa_message_id,
            message_id: doc.outbox_id,
            stored_at: doc.stored_at,
            offline: doc.offline,
            history: doc.history,
            trace_id: doc.traceparent.as_deref().and_then(propagation::trace_id),
        }
    }
}

/// Reactions that were not taken off again.
fn shown(mut reactions: Vec<ReactionDoc>) -> Vec<ReactionDoc> {
    reactions.retain(|reaction| !reaction.emoji.is_empty());
    reactions
}

/// A page of threads.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ThreadPage {
    threads: Vec<ThreadView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// A page of messages, the latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagePage {
    messages: Vec<ThreadMessageView>,
    /// The `after` of the next page.
    next: Option<String>,
}

/// Who has got a message, and who has read it.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipts)]
pub(super) struct ReceiptsView {
    people: Vec<PersonReceipts>,
}

/// That a thread is to be marked as read.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReadAsked)]
pub(super) struct ReadView {
    thread_id: String,
    account_id: String,
    read_pending: bool,
}

/// Which threads.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThreadParameters {
    limit: Option<u32>,
    after: Option<String>,
    /// Only those that were put away, or only the others.
    archived: Option<bool>,
    /// Only those whose name, or whose number, begins so.
    search: Option<String>,
}

impl ThreadParameters {
    fn query(&self, account_id: &str) -> Result<Query, Problem> {
        match (&self.search, self.archived) {
            (None, None) => Ok(queries::threads(account_id)?),
            (None, Some(archived)) => Ok(queries::threads_archived(account_id, archived)?),
            (Some(_), Some(_)) => Err(Problem::new(
                ProblemKind::InvalidQuery,
                "give `search` or `archived`, not both",
            )),
            (Some(text), None) => Ok(match search(text)? {
                Search::Number(digits) => queries::threads_by_number(account_id, digits)?,
                Search::Name(name) => queries::threads_by_title(account_id, &name)?,
            }),
        }
    }
}

/// `GET /v1/accounts/{id}/threads`: the latest first; by name or number where
/// they are searched.
///
/// # Errors
/// `unknown_account`; `invalid_query`.
pub(super) async fn list(
    State(api): State<Api>,
    Id(account_id): Id,
    Parameters(wanted): Parameters<ThreadParameters>,
) -> Result<Json<ThreadPage>, Problem> {
    accounts::find(&api, &account_id).await?;
    let query = wanted.query(&account_id)?;
    let page = PageParameters {
        limit: wanted.limit,
        after: wanted.after,
    };
    let page = page.read(api.store().as_ref(), query).await?;
    let threads: Vec<ThreadView> = page
        .documents
        .iter()
        .filter_map(ThreadDoc::read_or_skip)
        .map(Into::into)
        .collect();
    let next = next_page(&page);
    Ok(Json(ThreadPage { threads, next }))
}

/// `GET /v1/threads/{id}/messages`: the latest first.
///
/// # Errors
/// `unknown_thread`; `invalid_query`.
pub(super) async fn messages(
    State(api): State<Api>,
    Id(thread_id): Id,
    Parameters(page): Parameters<PageParameters>,
) -> Result<Json<MessagePage>, Problem> {
    let thread = find(&api, &thread_id).await?;
    let query = queries::messages_of(thread.path.id())?;
    let page = page.read(api.store().as_ref(), query).await?;
    let messages: Vec<ThreadMessageView> = page
        .documents
        .iter()
        .filter_map(MessageDoc::read_or_skip)
        .map(Into::into)
        .collect();
    let next = next_page(&page);
    Ok(Json(MessagePage { messages, next }))
}

/// `GET /v1/threads/{id}/messages/{message}/receipts`: who has got a message to
/// a group, and who has read it; nobody, as long as nobody has.
///
/// # Errors
/// `unknown_thread`; `unknown_message`.
pub(super) async fn receipts(
    State(api): State<Api>,
    Ids((thread_id, message_id)): Ids,
) -> Result<Json<ReceiptsView>, Problem> {
    let paths = [
        collections::message(&thread_id, &message_id)?,
        collections::receipts(&message_id)?,
    ];
    let snapshot = api.store().get(&paths).await?;
    let [Some(_), receipts] = &snapshot.documents[..] else {
        return Err(Problem::new(
            ProblemKind::UnknownMessage,
            "GET /v1/threads/{id}/messages lists the messages of a thread",
        ));
    };
    let known = receipts.as_ref().and_then(ReceiptsDoc::read_or_skip);
    let people = known.map(|record| record.value.people).unwrap_or_default();
    Ok(Json(ReceiptsView { people }))
}

/// `POST /v1/threads/{id}/read`: asks the owner to mark what came in as read.
///
/// # Errors
/// `unknown_thread`.
pub(super) async fn mark_read(
    State(api): State<Api>,
    Id(thread_id): Id,
) -> Result<Response, Problem> {
    let record = find(&api, &thread_id).await?;
    let account_id = record.value.account_id.clone();
    let write = Write::Update {
        path: record.path,
        fields: [
            ("readPending".to_owned(), Value::Bool(true)),
            ("pending".to_owned(), Value::Bool(true)),
        ]
        .into(),
        precondition: Precondition::Exists,
    };
    commit(&api, write).await?;
    let body = ReadView {
        thread_id,
        account_id,
        read_pending: true,
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Body of `POST /v1/threads/{id}/typing`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Typing {
    typing: bool,
}

/// `POST /v1/threads/{id}/typing`: asks the owner to show the peer that
/// somebody is writing, or no longer is. Worth something for some seconds.
///
/// # Errors
/// `unknown_thread`.
pub(super) async fn typing(
    State(api): State<Api>,
    Id(thread_id): Id,
    Body(body): Body<Typing>,
) -> Result<Response, Problem> {
    let record = find(&api, &thread_id).await?;
    let now = StoreTime::from_datetime(api.clock().wall());
    let write = Write::Update {
        path: record.path,
        fields: [
            ("typingPending".to_owned(), Value::Bool(body.typing)),
            ("typingAt".to_owned(), Value::Time(now)),
            ("pending".to_owned(), Value::Bool(true)),
        ]
        .into(),
        precondition: Precondition::Exists,
    };
    commit(&api, write).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `POST /v1/threads/{id}/presence`: asks the owner to be told of the peer's
/// presence, as events `presence`, for as long as this owner has the account.
/// WhatsApp tells only accounts that are shown as online.
///
/// # Errors
/// `unknown_thread`; `invalid_body` if the thread is not with one person.
pub(super) async fn watch_presence(
    State(api): State<Api>,
    Id(thread_id): Id,
) -> Result<Response, Problem> {
    let record = find(&api, &thread_id).await?;
    if record.value.kind != ThreadKind::Direct {
        return Err(Problem::new(
            ProblemKind::InvalidBody,
            "people have a presence, groups have none",
        ));
    }
    let write = Write::Update {
        path: record.path,
        fields: [
            ("presencePending".to_owned(), Value::Bool(true)),
            ("pending".to_owned(), Value::Bool(true)),
        ]
        .into(),
        precondition: Precondition::Exists,
    };
    commit(&api, write).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Body of `PATCH /v1/threads/{id}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ThreadChange {
    archived: bool,
}

/// `PATCH /v1/threads/{id}`: puts a thread away, or takes it out again. The
/// next message that comes takes it out, too.
///
/// # Errors
/// `unknown_thread`.
pub(super) async fn change(
    State(api): State<Api>,
    Id(thread_id): Id,
    Body(body): Body<ThreadChange>,
) -> Result<Response, Problem> {
    let record = find(&api, &thread_id).await?;
    let write = Write::Update {
        path: record.path,
        fields: [("archived".to_owned(), Value::Bool(body.archived))].into(),
        precondition: Precondition::Exists,
    };
    commit(&api, write).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn commit(api: &Api, write: Write) -> Result<(), Problem> {
    match api.store().commit(vec![write]).await? {
        CommitOutcome::Committed(_) => Ok(()),
        CommitOutcome::Rejected => Err(unknown()),
    }
}

/// A thread; where it was merged into another one, that one.
async fn find(api: &Api, id: &str) -> Result<Record<ThreadDoc>, Problem> {
    let paths = [collections::thread(id)?, collections::merged_thread(id)?];
    let snapshot = api.store().get(&paths).await?;
    let [found, merged] = &snapshot.documents[..] else {
        return Err(unknown());
    };
    let merged = merged.as_ref().and_then(MergedThreadDoc::read_or_skip);
    let document = match (found, merged) {
        (Some(document), _) => document.clone(),
        (None, Some(merged)) => {
            let path = collections::thread(&merged.value.into)?;
            let snapshot = api.store().get(&[path]).await?;
            let target = snapshot.documents.into_iter().flatten().next();
            target.ok_or_else(unknown)?
        }
        (None, None) => return Err(unknown()),
    };
    match ThreadDoc::read(&document)? {
        Read::Known(record) => Ok(record),
        Read::Newer(_) => Err(Problem::new(
            ProblemKind::StoredDataUnreadable,
            "the thread was written by a newer worker; ask one, or update this worker",
        )),
    }
}

fn unknown() -> Problem {
    Problem::new(
        ProblemKind::UnknownThread,
        "GET /v1/accounts/{id}/threads lists the threads of an account",
    )
}
