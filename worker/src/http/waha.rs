//! `/compat/waha/api/…`: the calls of WAHA that are used most, so that a
//! program written for it works with another base address and key. Off unless
//! `--waha-compat` is given. A thin layer: everything is done as through `/v1`.
//!
//! | Module | Holds |
//! |---|---|
//! | [`sessions`] | a session is an account, by its name or its id |
//! | [`chats`] | conversations and messages |
//! | [`sending`] | texts and pictures |
//!
//! Errors are this API's problems, with the status that WAHA would answer.

pub(super) mod chats;
pub(super) mod sending;
pub(super) mod sessions;

use crate::model::MessageState;

/// The server part of a person's address, as WAHA writes it.
const PERSON: &str = "@c.us";
/// The same, as WhatsApp writes it today.
const PERSON_OF_WHATSAPP: &str = "@s.whatsapp.net";

/// An address as WAHA writes it.
fn chat_id(address: &str) -> String {
    match address.strip_suffix(PERSON_OF_WHATSAPP) {
        Some(number) => format!("{number}{PERSON}"),
        None => address.to_owned(),
    }
}

/// How far a message has come, as WAHA counts it, and its name for that.
fn ack(state: MessageState) -> (i8, &'static str) {
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
fn message_id(from_me: bool, chat: &str, wa_message_id: &str) -> String {
    format!("{from_me}_{}_{wa_message_id}", chat_id(chat))
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
