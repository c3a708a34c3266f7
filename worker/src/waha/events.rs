//! What WAHA's webhooks say, and how: `message`, `message.ack`,
//! `session.status`, in its envelope and with its headers.
//!
//! Events of ours that WAHA has no word for, and messages that the account wrote
//! on its phone, are none of these.
//!
//! Pure.

use coordinator_lib::store::StoreTime;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::HeaderName;
use serde::Serialize;
use sha2::Sha512;

use super::{Me, Message, ack, chat_id, message_id, status};
use crate::events::Logged;
use crate::messages::identity::bare;
use crate::model::stored::Record;
use crate::model::{AccountDoc, EventKind, MessageDoc, MessageState, Status, ThreadKind};

/// The event's id.
const REQUEST_HEADER: HeaderName = HeaderName::from_static("x-webhook-request-id");
/// When it is sent, in milliseconds since 1970.
const TIME_HEADER: HeaderName = HeaderName::from_static("x-webhook-timestamp");
/// The body's authenticity.
const HMAC_HEADER: HeaderName = HeaderName::from_static("x-webhook-hmac");
/// What that is made with.
const ALGORITHM_HEADER: HeaderName = HeaderName::from_static("x-webhook-hmac-algorithm");

/// What WAHA calls the program behind a session.
const ENGINE: &str = "LEASEHOLD";

/// The headers that WAHA sends. Its signature is of the body alone.
pub fn headers(
    event_id: &str,
    unix_millis: i64,
    secret: &[u8],
    body: &[u8],
) -> Vec<(HeaderName, String)> {
    vec![
        (REQUEST_HEADER, event_id.to_owned()),
        (TIME_HEADER, unix_millis.to_string()),
        (HMAC_HEADER, sign(secret, body)),
        (ALGORITHM_HEADER, "sha512".to_owned()),
    ]
}

fn sign(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// What must be known to tell of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// The account.
    Account,
    /// The account, this thread, and this message of it.
    Message {
        /// The thread's id.
        thread: String,
        /// The message's.
        message: String,
    },
}

/// What must be read to tell of an event; none of what WAHA does not tell of.
pub fn need(event: &Logged) -> Option<Need> {
    let data = &event.event.data;
    match event.event.kind {
        EventKind::MessageReceived | EventKind::MessageUpdated => Some(Need::Message {
            thread: data.get("threadId")?.clone(),
            message: data.get("messageId")?.clone(),
        }),
        EventKind::AccountStatus => Some(Need::Account),
        EventKind::MessageChanged
        | EventKind::CallReceived
        | EventKind::MessageUndecryptable
        | EventKind::GroupChanged
        | EventKind::ThreadMerged
        | EventKind::Presence
        | EventKind::HistoryReceived => None,
    }
}

/// A message, and the address of its chat.
pub struct InChat {
    /// The message.
    pub message: Record<MessageDoc>,
    /// By phone number, where that is known.
    pub chat: String,
}

/// The body of a delivery.
#[derive(Serialize)]
pub struct Envelope<'a> {
    id: &'a str,
    /// Milliseconds since 1970.
    timestamp: i64,
    event: &'static str,
    session: &'a str,
    metadata: Metadata<'a>,
    me: Option<Me>,
    payload: Payload<'a>,
    engine: &'static str,
    environment: Environment,
}

/// What WAHA lets people note of a session; here its account.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    account_id: &'a str,
}

#[derive(Serialize)]
struct Environment {
    version: &'static str,
    engine: &'static str,
    tier: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Message(Box<Message>),
    Ack(Ack),
    Status(SessionStatus<'a>),
    Nothing {},
}

/// How far a message of the account's has come.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ack {
    id: String,
    from: String,
    to: String,
    participant: Option<String>,
    from_me: bool,
    ack: i8,
    ack_name: &'static str,
}

#[derive(Serialize)]
struct SessionStatus<'a> {
    name: &'a str,
    status: &'static str,
    /// The latest ones, the present one last.
    statuses: [StatusAt; 1],
}

#[derive(Serialize)]
struct StatusAt {
    status: &'static str,
    /// Milliseconds since 1970.
    timestamp: i64,
}

/// An event in WAHA's words; none if it has no word for it, or if its message is
/// gone.
pub fn tell<'a>(
    event: &'a Logged,
    account: &'a AccountDoc,
    message: Option<InChat>,
) -> Option<Envelope<'a>> {
    let me = bare(account.jid.as_deref().unwrap_or_default());
    let (name, payload) = match event.event.kind {
        EventKind::MessageReceived => {
            let InChat { message, chat } = message.filter(|found| !found.message.value.from_me)?;
            let message = Message::new(message, &me, &chat);
            ("message", Payload::Message(Box::new(message)))
        }
        EventKind::MessageUpdated => {
            let found = message.filter(|found| found.message.value.from_me)?;
            let state = event.event.data.get("state")?;
            // What was then, and not what is now.
            let state = MessageState::of_name(state)?;
            ("message.ack", Payload::Ack(Ack::new(&found, &me, state)))
        }
        EventKind::AccountStatus => {
            let of = |key| {
                event
                    .event
                    .data
                    .get(key)
                    .and_then(|name| Status::of_name(name))
            };
            let (from, to) = (of("from").map(status), status(of("to")?));
            if from == Some(to) {
                return None;
            }
            let status = SessionStatus {
                name: &account.name,
                status: to,
                statuses: [StatusAt {
                    status: to,
                    timestamp: millis(event.event.at),
                }],
            };
            ("session.status", Payload::Status(status))
        }
        EventKind::MessageChanged
        | EventKind::CallReceived
        | EventKind::MessageUndecryptable
        | EventKind::GroupChanged
        | EventKind::ThreadMerged
        | EventKind::Presence
        | EventKind::HistoryReceived => return None,
    };
    Some(Envelope {
        id: &event.id,
        timestamp: millis(event.event.at),
        event: name,
        session: &account.name,
        metadata: Metadata {
            account_id: &event.event.account_id,
        },
        me: Me::of(account),
        payload,
        engine: ENGINE,
        environment: Environment::present(),
    })
}

/// A made-up event, of no account.
pub fn made_up(id: &str, at: StoreTime) -> Envelope<'_> {
    Envelope {
        id,
        timestamp: millis(at),
        event: "webhook.test",
        session: "",
        metadata: Metadata { account_id: "" },
        me: None,
        payload: Payload::Nothing {},
        engine: ENGINE,
        environment: Environment::present(),
    }
}

impl Environment {
    fn present() -> Self {
        Self {
            version: crate::VERSION,
            engine: ENGINE,
            tier: "CORE",
        }
    }
}

impl Ack {
    fn new(found: &InChat, me: &str, state: MessageState) -> Self {
        let (ack, ack_name) = ack(state);
        let message = &found.message.value;
        let is_group = ThreadKind::of(&found.chat) == ThreadKind::Group;
        Self {
            id: message_id(true, &found.chat, &message.wa_message_id),
            from: chat_id(me),
            to: chat_id(&found.chat),
            participant: is_group.then(|| chat_id(me)),
            from_me: true,
            ack,
            ack_name,
        }
    }
}

fn millis(time: StoreTime) -> i64 {
    time.as_micros().div_euclid(1_000)
}

#[cfg(test)]
mod tests;
