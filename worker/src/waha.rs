//! WAHA's words for what there is here: how it names sessions, people, messages
//! and statuses. What the calls under `/compat/waha` and webhooks of the format
//! `waha` have in common.
//!
//! Pure.

pub mod events;

use coordinator_lib::store::StoreTime;
use serde::Serialize;

use crate::messages::identity::bare;
use crate::model::message::Details;
use crate::model::stored::Record;
use crate::model::{AccountDoc, MessageDoc, MessageState, Status, ThreadKind};

/// The server part of a person's address, as WAHA writes it.
const PERSON: &str = "@c.us";
/// The same, as WhatsApp writes it today.
const PERSON_OF_WHATSAPP: &str = "@s.whatsapp.net";

/// An address as WAHA writes it.
pub fn chat_id(address: &str) -> String {
    match address.strip_suffix(PERSON_OF_WHATSAPP) {
        Some(number) => format!("{number}{PERSON}"),
        None => address.to_owned(),
    }
}

/// How far a message has come, as WAHA counts it, and its name for that.
pub fn ack(state: MessageState) -> (i8, &'static str) {
    match state {
        MessageState::Failed | MessageState::Expired | MessageState::Cancelled => (-1, "ERROR"),
        MessageState::Queued | MessageState::Sending => (0, "PENDING"),
        MessageState::Sent => (1, "SERVER"),
        MessageState::Received | MessageState::Delivered => (2, "DEVICE"),
        MessageState::Read => (3, "READ"),
        MessageState::Played => (4, "PLAYED"),
    }
}

/// The id of a message, as WAHA makes it.
pub fn message_id(from_me: bool, chat: &str, wa_message_id: &str) -> String {
    format!("{from_me}_{}_{wa_message_id}", chat_id(chat))
}

/// WAHA has five statuses; this is the one of an account that is to run.
pub fn status(status: Status) -> &'static str {
    match status {
        Status::Idle
        | Status::Connecting
        | Status::Pairing
        | Status::Disconnected
        | Status::Degraded => "STARTING",
        Status::QrReady => "SCAN_QR_CODE",
        Status::Connected => "WORKING",
        Status::NeedsQr
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::LoggedOut
        | Status::Failed => "FAILED",
        Status::Stopped | Status::NeedsImport => "STOPPED",
    }
}

/// Seconds since 1970.
pub fn seconds(time: StoreTime) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// Whom a session is linked as.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    id: String,
    push_name: Option<String>,
}

impl Me {
    /// None of an account that was never linked.
    pub fn of(account: &AccountDoc) -> Option<Self> {
        account.jid.as_deref().map(|jid| Self {
            id: chat_id(&bare(jid)),
            push_name: account.push_name.clone(),
        })
    }
}

/// A message as WAHA shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
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
    /// On any worker; it needs the key, too.
    url: String,
    mimetype: Option<String>,
    filename: Option<String>,
}

impl Message {
    /// A message of a chat, for the account with this address.
    pub fn new(record: Record<MessageDoc>, me: &str, chat: &str) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_named_as_waha_names_them() {
        assert_eq!(chat_id("491701234567@s.whatsapp.net"), "491701234567@c.us");
        assert_eq!(
            chat_id("120363000000000000@g.us"),
            "120363000000000000@g.us"
        );
        assert_eq!(
            message_id(true, "491701234567@s.whatsapp.net", "3EB0"),
            "true_491701234567@c.us_3EB0"
        );
    }
}
