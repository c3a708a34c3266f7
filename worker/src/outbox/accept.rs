//! A request to send becomes documents, on whichever worker it arrives.
//!
//! One commit holds all of it: the request (`outbox`), its WhatsApp side with
//! the reserved message id and the sealed payload (`wa_outbox`), the message as
//! the thread shows it, the thread, and the idempotency key. After the commit
//! the message is the owner's to send; before it there is nothing.
//!
//! This does not look whether the account is connected: what is queued waits.
//!
//! | Module | Holds |
//! |---|---|
//! | [`look`] | what is known before |

mod look;

use std::time::Duration;

use bytes::Bytes;
use coordinator_lib::clock::Clock;
use coordinator_lib::rng::Rng;
use coordinator_lib::store::{
    CommitOutcome, DocumentStore, Fields, Path, Precondition, StoreError, StoreTime, Value, Write,
};
use session::KeyRing;
use whatsapp::content::encode::{Surroundings, encode};
use whatsapp::media::MEDIA_KEY_BYTES;
use whatsapp::{Content, Extras, InvalidRecipient};

use self::look::{KeyState, Known, Looked, Place, look};
use super::request::{Context, NewMessage, Prepared};
use crate::groups::shelf;
use crate::killpoint::{self, KillPoint};
use crate::messages::arrival::poll_purpose;
use crate::messages::expiry;
use crate::messages::identity::{self, ME, Preview};
use crate::model::expiry::ExpiryDoc;
use crate::model::message::Details;
use crate::model::outbox::payload_purpose;
use crate::model::stored::Record;
use crate::model::{
    Direction, GroupDoc, IdempotencyDoc, MessageDoc, MessageState, OutboxDoc, Status, Stored,
    ThreadDoc, WaOutboxDoc, collections, ids,
};
use crate::telemetry::metrics;

/// Attempts at a commit that other commits keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;

/// Between two such attempts.
const ATTEMPT_WAIT: Duration = Duration::from_millis(10);

/// What [`accept`] works with.
#[derive(Clone, Copy)]
pub struct AcceptParts<'a> {
    /// The documents.
    pub store: &'a dyn DocumentStore,
    /// Opens the account's data key.
    pub keys: &'a KeyRing,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Ids, message secrets and nonces.
    pub rng: &'a dyn Rng,
    /// How long an idempotency key is remembered.
    pub idempotency_ttl: Duration,
    /// How long files are kept.
    pub media_retention: Duration,
}

/// A message to be sent.
#[derive(Clone)]
pub struct AcceptRequest {
    /// Who sends.
    pub account_id: String,
    /// A phone number or a WhatsApp address, as the client wrote it.
    pub to: String,
    /// What is to be sent.
    pub message: NewMessage,
    /// The request in one spelling, to tell a repetition from another request.
    pub fingerprint: String,
    /// The client's key for repetitions of this request.
    pub idempotency_key: Option<String>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// It is queued.
    Accepted(Accepted),
    /// It was queued before, under the same key.
    Repeated(Accepted),
}

/// A queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// For `GET /v1/messages/{id}`.
    pub message_id: String,
    /// The reserved WhatsApp id.
    pub wa_message_id: String,
    /// The thread that shows it.
    pub thread_id: String,
    /// The message's document in that thread.
    pub stored_message_id: String,
}

/// Why a request was not accepted; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// There is no such account.
    #[error("no such account")]
    UnknownAccount,
    /// The account's documents were written by a newer worker.
    #[error("the account was written by a newer worker")]
    Newer,
    /// The account cannot send any more, or not yet.
    #[error("the account is {0} and sends nothing")]
    NotSending(Status),
    /// The recipient is none.
    #[error(transparent)]
    Recipient(#[from] InvalidRecipient),
    /// The account is not in the group any more.
    #[error("the account is not in this group")]
    NotInGroup,
    /// The recipient is on the do-not-contact list.
    #[error("the recipient is on the do-not-contact list")]
    Refused,
    /// The text is empty or too long.
    #[error("a text has 1 to {max} bytes")]
    Text {
        /// The limit.
        max: usize,
    },
    /// Something in the message is not as it may be.
    #[error("{0}")]
    Content(String),
    /// The message that is referred to is not in this conversation.
    #[error("there is no such message in this conversation")]
    UnknownTarget,
    /// There is no such file.
    #[error("there is no such file")]
    UnknownMedia,
    /// Only own texts can be edited, only own messages taken back.
    #[error("only what this account wrote can be changed: its texts edited, its messages revoked")]
    NotOurs,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The account's data key does not open with this worker's key ring.
    #[error("the account's data key does not open with this worker's key ring")]
    Keys,
    /// Other writes kept getting ahead of this one.
    #[error("the conversation changes too often at the moment")]
    Contended,
    /// The store failed. After `Ambiguous` the message may be queued: ask with
    /// the same idempotency key.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Queues a message, in one commit.
///
/// # Errors
/// [`AcceptError`].
///
/// # Cancel safety
/// Dropped half-way, it is queued or not.
pub async fn accept(
    parts: AcceptParts<'_>,
    request: &AcceptRequest,
) -> Result<AcceptOutcome, AcceptError> {
    let to = whatsapp::normalise_recipient(&request.to)?;
    for _ in 0..ATTEMPTS_MAX {
        let known = match look(parts, request, &to).await? {
            Looked::Repeated(accepted) => return Ok(AcceptOutcome::Repeated(accepted)),
            Looked::Ready(known) => known,
        };
        let Place { thread, group } = &known.place;
        let context = Context {
            group: group.as_ref(),
            store: parts.store,
            account_id: &request.account_id,
            data_key: &known.data_key,
            own: &known.own,
            thread_id: thread.as_ref().map(|thread| thread.path.id()),
            to: &to,
            media_retention: parts.media_retention,
        };
        let prepared = request.message.prepare(&context).await?;
        let (writes, accepted) = writes(parts, request, &to, prepared, *known)?;
        match parts.store.commit(writes).await? {
            CommitOutcome::Committed(_) => {
                killpoint::reach(KillPoint::AfterAccept);
                metrics::accepted();
                return Ok(AcceptOutcome::Accepted(accepted));
            }
            // The thread was created meanwhile, the key was used, or the file was
            // kept for another message: look again.
            CommitOutcome::Rejected => parts.clock.sleep(ATTEMPT_WAIT).await,
        }
    }
    Err(AcceptError::Contended)
}

fn writes(
    parts: AcceptParts<'_>,
    request: &AcceptRequest,
    to: &str,
    mut prepared: Prepared,
    known: Known,
) -> Result<(Vec<Write>, Accepted), AcceptError> {
    let AcceptParts { clock, rng, .. } = parts;
    let Known { data_key, key, .. } = known;
    let Place { thread, group } = known.place;
    let wall = clock.wall();
    let now = StoreTime::from_datetime(wall);
    let account_id = request.account_id.clone();
    let message_id = ids::outgoing(wall, rng);
    let wa_message_id = whatsapp::generate_message_id(rng);
    let secret = whatsapp::generate_message_secret(rng);
    if prepared.amends.is_none() {
        prepared.extras.expires_after_seconds = timer(thread.as_ref(), group.as_ref());
    }
    let around = Surroundings {
        chat: to,
        now_ms: wall.timestamp_millis(),
        secret: &secret,
        media_key: prepared.file.as_ref().map(|_| {
            let mut key = [0; MEDIA_KEY_BYTES];
            rng.fill(&mut key);
            key
        }),
        thumbnail: prepared
            .file
            .as_ref()
            .and_then(|file| file.thumbnail.as_deref()),
    };
    let expires_at = expiry::expires_at(now, prepared.extras.expires_after_seconds);
    let payload = encode(&prepared.content, &prepared.extras, around);
    let sealed = data_key.seal_secret(rng, &account_id, &payload_purpose(&message_id), &payload);

    let thread_id = thread.as_ref().map_or_else(
        || ids::thread(&account_id, to),
        |found| found.path.id().to_owned(),
    );
    let stored_message_id = ids::message(&thread_id, ME, &wa_message_id);
    let mut writes = Vec::with_capacity(6);
    let (media_id, keep) = match prepared.file {
        Some(file) => (Some(file.media_id), file.keep),
        None => (None, None),
    };
    writes.extend(keep);
    // What changes another message is none of its own in the thread.
    if prepared.amends.is_none() {
        writes.push(thread_write(
            &account_id,
            &thread_id,
            to,
            now,
            Preview::of_content(&prepared.content),
            &stored_message_id,
            match thread.is_some() {
                true => Before::Exists,
                false => Before::New(group.as_ref()),
            },
        )?);
        let poll_secret = matches!(prepared.content, Content::Poll(_)).then(|| {
            let purpose = poll_purpose(&wa_message_id);
            Bytes::from(data_key.seal_secret(rng, &account_id, &purpose, &secret))
        });
        let message = MessageDoc {
            account_id: account_id.clone(),
            thread_id: thread_id.clone(),
            chat: to.to_owned(),
            sender: ME.to_owned(),
            wire_chat: None,
            wire_sender: None,
            from_me: true,
            direction: Direction::Out,
            wa_message_id: wa_message_id.clone(),
            outbox_id: Some(message_id.clone()),
            push_name: None,
            kind: prepared.content.name().to_owned(),
            body: prepared.content.text().map(str::to_owned),
            details: Details::of(&prepared.content),
            extras: Some(prepared.extras.clone()).filter(|extras| *extras != Extras::default()),
            reactions: Vec::new(),
            votes: Vec::new(),
            poll_secret,
            media_ref: None,
            received: None,
            edited_at: None,
            revoked_at: None,
            timestamp: now,
            sort_at: now,
            state: MessageState::Queued,
            state_at: now,
            error: None,
            expires_at,
            stored_at: now,
            offline: false,
            history: false,
            traceparent: request.traceparent.clone(),
        };
        let path = collections::message(&thread_id, &stored_message_id)?;
        writes.push(create(path, message.to_document()?));
        if let Some(expires_at) = expires_at {
            let expiry = ExpiryDoc {
                account_id: account_id.clone(),
                thread_id: thread_id.clone(),
                expires_at,
            };
            let path = collections::expiry(&stored_message_id)?;
            writes.push(create(path, expiry.to_document()?));
        }
    }
    let mut outbox = OutboxDoc {
        account_id: account_id.clone(),
        channel: "whatsapp".to_owned(),
        to: to.to_owned(),
        kind: prepared.content.name().to_owned(),
        body: prepared.content.text().unwrap_or_default().to_owned(),
        idempotency_key: request.idempotency_key.clone(),
        thread_id: thread_id.clone(),
        stored_message_id: stored_message_id.clone(),
        accepted_at: now,
        traceparent: request.traceparent.clone(),
    }
    .to_document()?;
    let mut wa_outbox = WaOutboxDoc {
        account_id: account_id.clone(),
        chat: to.to_owned(),
        wa_message_id: wa_message_id.clone(),
        payload: Bytes::from(sealed),
        state: MessageState::Queued,
        open: true,
        attempts: 0,
        accepted_at: now,
        next_attempt_at: None,
        sent_at: None,
        delivered_at: None,
        read_at: None,
        error: None,
        amends: prepared.amends,
        media_id,
        thread_id: thread_id.clone(),
        stored_message_id: stored_message_id.clone(),
        traceparent: request.traceparent.clone(),
    }
    .to_document()?;
    // The store's own time: the order in which requests were answered, whatever
    // the clocks of the workers that answered them say.
    for fields in [&mut outbox, &mut wa_outbox] {
        fields.insert("acceptedAt".to_owned(), Value::CommitTime);
    }
    writes.push(create(collections::outbox(&message_id)?, outbox));
    writes.push(create(collections::wa_outbox(&message_id)?, wa_outbox));
    if let (KeyState::Free(precondition), Some(key)) = (key, &request.idempotency_key) {
        let fields = IdempotencyDoc {
            account_id: account_id.clone(),
            message_id: message_id.clone(),
            body_hash: body_hash(request, to),
            expires_at: now.saturating_add(parts.idempotency_ttl),
        }
        .to_document()?;
        let path = collections::idempotency_key(&ids::idempotency(&account_id, key))?;
        writes.push(Write::Set {
            path,
            fields,
            precondition,
        });
    }
    Ok((
        writes,
        Accepted {
            message_id,
            wa_message_id,
            thread_id,
            stored_message_id,
        },
    ))
}

/// After how many seconds messages of a conversation disappear.
fn timer(thread: Option<&Record<ThreadDoc>>, group: Option<&GroupDoc>) -> Option<u32> {
    let seconds = match group {
        Some(group) => group.timer_seconds,
        None => thread.and_then(|thread| thread.value.timer_seconds),
    };
    seconds.and_then(|seconds| u32::try_from(seconds).ok())
}

/// Creates the thread, or moves the one that exists to the top. The owner
/// writes it too, conditionally, and looks again after this.
fn thread_write(
    account_id: &str,
    thread_id: &str,
    to: &str,
    now: StoreTime,
    preview: Preview,
    message_id: &str,
    before: Before<'_>,
) -> Result<Write, StoreError> {
    let path = collections::thread(thread_id)?;
    let group = match before {
        Before::New(group) => group,
        Before::Exists => {
            let fields = Fields::from([
                ("lastMessageAt".to_owned(), Value::Time(now)),
                ("lastMessagePreview".to_owned(), Value::Text(preview.into())),
                (
                    "lastMessageId".to_owned(),
                    Value::Text(message_id.to_owned()),
                ),
            ]);
            return Ok(Write::Update {
                path,
                fields,
                precondition: Precondition::Exists,
            });
        }
    };
    let mut thread = identity::new_thread(account_id, to, now);
    if let Some(group) = group {
        shelf::name(&mut thread, group);
    }
    thread.last_message_preview = Some(preview.into());
    thread.last_message_id = Some(message_id.to_owned());
    Ok(create(path, thread.to_document()?))
}

/// A thread before a message is accepted for it.
enum Before<'a> {
    /// It is there.
    Exists,
    /// It is not; this is its group, if it is one's.
    New(Option<&'a GroupDoc>),
}

fn create(path: Path, fields: Fields) -> Write {
    Write::Set {
        path,
        fields,
        precondition: Precondition::Absent,
    }
}

fn body_hash(request: &AcceptRequest, to: &str) -> String {
    ids::body_hash(&["message", to, &request.fingerprint])
}

#[cfg(test)]
mod tests;
