//! Outbound messages before they are encrypted: addresses, ids, payloads.
//!
//! A payload is encoded once, when a message is accepted, and stored with its
//! id. Every attempt to send it, by whichever worker, uses the same id and the
//! same bytes, message secret included: the receiver drops what it has already
//! seen, and later reactions or votes refer to the same secret.

use bytes::Bytes;
use coordinator_lib::rng::Rng;
use wacore::proto_helpers::MessageBuilderExt;
use wacore_binary::{Jid, Server};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

/// Bytes of a message secret.
pub const MESSAGE_SECRET_BYTES: usize = 32;

/// The longest text that is sent, in bytes. WhatsApp's clients cut at 65,536
/// characters.
pub const TEXT_BYTES_MAX: usize = 65_536;

/// Digits of a phone number with its country code: E.164 allows up to 15;
/// fewer than 7 are no number anywhere.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// The secret of one message: made when it is accepted, part of its payload.
pub type MessageSecret = [u8; MESSAGE_SECRET_BYTES];

/// Why an address cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecipient {
    /// Neither a phone number nor a JID.
    #[error(
        "write a phone number with its country code, such as +49 170 1234567, or a WhatsApp address such as 491701234567@s.whatsapp.net"
    )]
    Unknown,
    /// A phone number with too few or too many digits.
    #[error("a phone number has 7 to 15 digits, country code included")]
    Length,
    /// A phone number without its country code.
    #[error("write the number with its country code, without the leading zero")]
    NoCountryCode,
    /// An address of a kind that cannot be written to.
    #[error("messages can be sent to people and groups only")]
    Kind,
}

/// Makes a message id as WhatsApp's web client does: `3EB0` and 18 hex digits.
pub fn generate_message_id(rng: &dyn Rng) -> String {
    let mut bytes = [0; 9];
    rng.fill(&mut bytes);
    let mut id = String::with_capacity(4 + 2 * bytes.len());
    id.push_str("3EB0");
    for byte in bytes {
        id.push_str(&format!("{byte:02X}"));
    }
    id
}

/// Makes the secret of a new message.
pub fn generate_message_secret(rng: &dyn Rng) -> MessageSecret {
    let mut secret = [0; MESSAGE_SECRET_BYTES];
    rng.fill(&mut secret);
    secret
}

/// Encodes a plain text message.
pub fn encode_text(text: &str, secret: &MessageSecret) -> Bytes {
    let mut message = wa::Message::text(text);
    message.message_context_info = MessageField::some(wa::MessageContextInfo {
        message_secret: Some(secret.to_vec()),
        ..Default::default()
    });
    waproto::codec::message_to_vec(&message).into()
}

/// Reads a phone number (`+49 170 1234567`, `0049…`, `49-170-…`) or a WhatsApp
/// address, and gives the address of the conversation: without a device, in
/// one spelling.
///
/// # Errors
/// [`InvalidRecipient`], with a text for the user.
pub fn normalise_recipient(recipient: &str) -> Result<String, InvalidRecipient> {
    let recipient = recipient.trim();
    if recipient.contains('@') {
        normalise_jid(recipient)
    } else {
        normalise_phone(recipient)
    }
}

fn normalise_jid(text: &str) -> Result<String, InvalidRecipient> {
    let jid: Jid = text.parse().map_err(|_| InvalidRecipient::Unknown)?;
    match jid.server {
        Server::Pn | Server::Legacy => normalise_phone(&jid.user),
        Server::Lid => {
            let is_number = !jid.user.is_empty() && jid.user.bytes().all(|b| b.is_ascii_digit());
            if is_number {
                Ok(format!("{}@lid", jid.user))
            } else {
                Err(InvalidRecipient::Unknown)
            }
        }
        Server::Group => {
            // Old groups are named `creator-time`.
            let is_group =
                !jid.user.is_empty() && jid.user.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            if is_group {
                Ok(format!("{}@g.us", jid.user))
            } else {
                Err(InvalidRecipient::Unknown)
            }
        }
        Server::Broadcast
        | Server::Newsletter
        | Server::Hosted
        | Server::HostedLid
        | Server::Messenger
        | Server::Interop
        | Server::Bot
        | Server::Call => Err(InvalidRecipient::Kind),
    }
}

fn normalise_phone(text: &str) -> Result<String, InvalidRecipient> {
    let is_separator = |c: char| matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}');
    let bare: String = text.chars().filter(|c| !is_separator(*c)).collect();
    let digits = bare
        .strip_prefix('+')
        .or_else(|| bare.strip_prefix("00"))
        .unwrap_or(&bare);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidRecipient::Unknown);
    }
    if digits.starts_with('0') {
        return Err(InvalidRecipient::NoCountryCode);
    }
    if !PHONE_DIGITS.contains(&digits.len()) {
        return Err(InvalidRecipient::Length);
    }
    Ok(format!("{digits}@s.whatsapp.net"))
}

/// The protocol's name of what a message holds.
pub(crate) fn content_name(message: &wa::Message) -> &'static str {
    let contents = [
        (message.image_message.is_set(), "imageMessage"),
        (message.video_message.is_set(), "videoMessage"),
        (message.audio_message.is_set(), "audioMessage"),
        (message.document_message.is_set(), "documentMessage"),
        (message.sticker_message.is_set(), "stickerMessage"),
        (message.location_message.is_set(), "locationMessage"),
        (
            message.live_location_message.is_set(),
            "liveLocationMessage",
        ),
        (message.contact_message.is_set(), "contactMessage"),
        (
            message.contacts_array_message.is_set(),
            "contactsArrayMessage",
        ),
        (message.reaction_message.is_set(), "reactionMessage"),
        (
            message.poll_creation_message.is_set(),
            "pollCreationMessage",
        ),
        (
            message.poll_creation_message_v3.is_set(),
            "pollCreationMessage",
        ),
        (message.poll_update_message.is_set(), "pollUpdateMessage"),
        (message.event_message.is_set(), "eventMessage"),
        (message.protocol_message.is_set(), "protocolMessage"),
        (message.call.is_set(), "call"),
    ];
    contents
        .into_iter()
        .find_map(|(set, name)| set.then_some(name))
        .unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::SeededRng;

    use super::*;

    #[test]
    fn phone_numbers_are_read_in_the_usual_spellings() {
        let expected = Ok("491701234567@s.whatsapp.net".to_owned());
        for spelling in [
            "+49 170 1234567",
            "0049 170 1234567",
            "491701234567",
            " +49 (170) 123-45.67 ",
            "491701234567@s.whatsapp.net",
            "491701234567:12@s.whatsapp.net",
            "491701234567@c.us",
        ] {
            assert_eq!(normalise_recipient(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn what_is_no_recipient_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", InvalidRecipient::Unknown),
            ("Anna", InvalidRecipient::Unknown),
            ("anna@example.com", InvalidRecipient::Unknown),
            ("0170 1234567", InvalidRecipient::NoCountryCode),
            ("12345", InvalidRecipient::Length),
            ("1234567890123456", InvalidRecipient::Length),
            ("status@broadcast", InvalidRecipient::Kind),
            ("123@newsletter", InvalidRecipient::Kind),
        ] {
            assert_eq!(normalise_recipient(text), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn groups_and_aliases_keep_their_kind() {
        let group = "120363041234567890@g.us";
        assert_eq!(normalise_recipient(group).as_deref(), Ok(group));
        assert_eq!(
            normalise_recipient("4915112345-1600000000@g.us").as_deref(),
            Ok("4915112345-1600000000@g.us")
        );
        assert_eq!(
            normalise_recipient("100000012345678:3@lid").as_deref(),
            Ok("100000012345678@lid")
        );
    }

    #[test]
    fn a_text_survives_encoding_with_its_secret() {
        let rng = SeededRng::new(1);
        let secret = generate_message_secret(&rng);
        let payload = encode_text("Grüße 👋", &secret);
        let message = waproto::codec::message_decode(&payload).unwrap();
        let (content, _) = crate::content::decode::decode(&message);
        assert!(content == crate::Content::Text("Grüße 👋".to_owned()));
        assert_eq!(
            wacore::reporting_token::extract_message_secret(&message),
            Some(secret.as_slice())
        );
        assert_eq!(
            payload,
            encode_text("Grüße 👋", &secret),
            "encoding is repeatable"
        );
    }

    #[test]
    fn message_ids_look_like_those_of_the_web_client() {
        let rng = SeededRng::new(2);
        let id = generate_message_id(&rng);
        assert_eq!(id.len(), 22);
        assert!(id.starts_with("3EB0"));
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        );
        assert_ne!(id, generate_message_id(&rng));
    }
}
