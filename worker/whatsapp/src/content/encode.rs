//! From our message to the protocol's, once and for all attempts.

use bytes::Bytes;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;

use super::{Contact, Content, Extras, Media, MediaKind, Target};
use crate::media::MEDIA_KEY_BYTES;
use crate::message::MessageSecret;

/// What a payload is made from besides the content.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The address of the chat.
    pub chat: &'a str,
    /// When, in milliseconds since 1970.
    pub now_ms: i64,
    /// The message's own secret: votes, reactions and edits that follow refer
    /// to it.
    pub secret: &'a MessageSecret,
    /// The key of the file that goes with it.
    pub media_key: Option<[u8; MEDIA_KEY_BYTES]>,
    /// A small JPEG of the picture that goes with it.
    pub thumbnail: Option<&'a [u8]>,
}

/// Encodes a message.
pub fn encode(content: &Content, extras: &Extras, around: Surroundings<'_>) -> Bytes {
    let mut message = message(content, extras, around);
    // What changes another message has no secret of its own.
    if content.target().is_none() {
        message.message_context_info = MessageField::some(wa::MessageContextInfo {
            message_secret: Some(around.secret.to_vec()),
            ..Default::default()
        });
    }
    waproto::codec::message_to_vec(&message).into()
}

fn message(content: &Content, extras: &Extras, around: Surroundings<'_>) -> wa::Message {
    let context = context(extras);
    let empty = wa::Message::default();
    match content {
        Content::Text(text) => text_message(text, extras, context),
        Content::Location(place) => wa::Message {
            location_message: MessageField::some(wa::message::LocationMessage {
                degrees_latitude: Some(place.latitude),
                degrees_longitude: Some(place.longitude),
                name: place.name.clone(),
                address: place.address.clone(),
                context_info: context,
                ..Default::default()
            }),
            ..empty
        },
        Content::Contacts(cards) => contacts(cards, context),
        Content::Poll(poll) => {
            let creation = MessageField::some(wa::message::PollCreationMessage {
                name: Some(poll.question.clone()),
                options: poll.options.iter().map(|name| option(name)).collect(),
                selectable_options_count: Some(poll.selectable),
                context_info: context,
                ..Default::default()
            });
            // The protocol has a field of its own for polls with one choice.
            match poll.selectable {
                1 => wa::Message {
                    poll_creation_message_v3: creation,
                    ..empty
                },
                _ => wa::Message {
                    poll_creation_message: creation,
                    ..empty
                },
            }
        }
        Content::Reaction { target, emoji } => wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: key(target, around.chat),
                text: Some(emoji.clone()),
                sender_timestamp_ms: Some(around.now_ms),
                ..Default::default()
            }),
            ..empty
        },
        Content::Edit { target, text } => wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: key(target, around.chat),
                r#type: Some(ProtocolType::MESSAGE_EDIT),
                edited_message: MessageField::some(wa::Message {
                    conversation: Some(text.clone()),
                    ..Default::default()
                }),
                timestamp_ms: Some(around.now_ms),
                ..Default::default()
            }),
            ..empty
        },
        Content::Revoke { target } => wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: key(target, around.chat),
                r#type: Some(ProtocolType::REVOKE),
                ..Default::default()
            }),
            ..empty
        },
        Content::Vote { target, vote } => wa::Message {
            poll_update_message: MessageField::some(wa::message::PollUpdateMessage {
                poll_creation_message_key: key(target, around.chat),
                vote: MessageField::some(wa::message::PollEncValue {
                    enc_payload: Some(vote.payload.to_vec()),
                    enc_iv: Some(vote.nonce.to_vec()),
                }),
                sender_timestamp_ms: Some(around.now_ms),
                ..Default::default()
            }),
            ..empty
        },
        Content::Timer { seconds } => wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                r#type: Some(ProtocolType::EPHEMERAL_SETTING),
                ephemeral_expiration: Some(*seconds),
                ..Default::default()
            }),
            ..empty
        },
        Content::Media(file) => media(file, around, context),
        // Not sent from here.
        Content::Other { .. } => empty,
    }
}

/// A plain text where nothing comes with it, as WhatsApp's clients do.
fn text_message(
    text: &str,
    extras: &Extras,
    context: MessageField<wa::ContextInfo>,
) -> wa::Message {
    if context.is_unset() && extras.preview.is_none() {
        return wa::Message {
            conversation: Some(text.to_owned()),
            ..Default::default()
        };
    }
    let preview = extras.preview.as_ref();
    wa::Message {
        extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
            text: Some(text.to_owned()),
            matched_text: preview.map(|preview| preview.url.clone()),
            title: preview.and_then(|preview| preview.title.clone()),
            description: preview.and_then(|preview| preview.description.clone()),
            context_info: context,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn contacts(cards: &[Contact], context: MessageField<wa::ContextInfo>) -> wa::Message {
    let card = |contact: &Contact| wa::message::ContactMessage {
        display_name: Some(contact.name.clone()),
        vcard: Some(contact.vcard.clone()),
        ..Default::default()
    };
    match cards {
        [one] => wa::Message {
            contact_message: MessageField::some(wa::message::ContactMessage {
                context_info: context,
                ..card(one)
            }),
            ..Default::default()
        },
        several => wa::Message {
            contacts_array_message: MessageField::some(wa::message::ContactsArrayMessage {
                display_name: Some(format!("{} contacts", several.len())),
                contacts: several.iter().map(card).collect(),
                context_info: context,
            }),
            ..Default::default()
        },
    }
}

/// The message without its file's place, which is known once it is uploaded.
fn media(
    file: &Media,
    around: Surroundings<'_>,
    context: MessageField<wa::ContextInfo>,
) -> wa::Message {
    let media_key = around.media_key.map(|key| key.to_vec());
    let (mimetype, file_length) = (file.mime_type.clone(), file.bytes);
    let caption = file.caption.clone();
    let mut message = wa::Message::default();
    match file.kind {
        MediaKind::Image => {
            message.image_message = MessageField::some(wa::message::ImageMessage {
                media_key,
                mimetype,
                file_length,
                caption,
                width: file.width,
                height: file.height,
                jpeg_thumbnail: around.thumbnail.map(<[u8]>::to_vec),
                context_info: context,
                ..Default::default()
            });
        }
        MediaKind::Video => {
            message.video_message = MessageField::some(wa::message::VideoMessage {
                media_key,
                mimetype,
                file_length,
                caption,
                seconds: file.seconds,
                width: file.width,
                height: file.height,
                context_info: context,
                ..Default::default()
            });
        }
        MediaKind::Audio | MediaKind::Voice => {
            message.audio_message = MessageField::some(wa::message::AudioMessage {
                media_key,
                mimetype,
                file_length,
                seconds: file.seconds,
                ptt: (file.kind == MediaKind::Voice).then_some(true),
                context_info: context,
                ..Default::default()
            });
        }
        MediaKind::Document => {
            message.document_message = MessageField::some(wa::message::DocumentMessage {
                media_key,
                mimetype,
                file_length,
                caption,
                file_name: file.file_name.clone(),
                title: file.file_name.clone(),
                context_info: context,
                ..Default::default()
            });
        }
        MediaKind::Sticker => {
            message.sticker_message = MessageField::some(wa::message::StickerMessage {
                media_key,
                mimetype,
                file_length,
                width: file.width,
                height: file.height,
                context_info: context,
                ..Default::default()
            });
        }
    }
    message
}

fn context(extras: &Extras) -> MessageField<wa::ContextInfo> {
    let is_plain = extras.mentions.is_empty()
        && extras.quote.is_none()
        && !extras.forwarded
        && extras.expires_after_seconds.is_none();
    if is_plain {
        return MessageField::none();
    }
    let quote = extras.quote.as_ref();
    MessageField::some(wa::ContextInfo {
        mentioned_jid: extras.mentions.clone(),
        stanza_id: quote.map(|quote| quote.wa_message_id.clone()),
        participant: quote.map(|quote| quote.sender.clone()),
        quoted_message: match quote {
            Some(quote) => MessageField::some(wa::Message {
                conversation: Some(quote.text.clone().unwrap_or_default()),
                ..Default::default()
            }),
            None => MessageField::none(),
        },
        is_forwarded: extras.forwarded.then_some(true),
        forwarding_score: extras.forwarded.then_some(1),
        expiration: extras.expires_after_seconds,
        ..Default::default()
    })
}

fn key(target: &Target, chat: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey {
        remote_jid: Some(chat.to_owned()),
        from_me: Some(target.from_me),
        id: Some(target.id.clone()),
        participant: target.participant.clone(),
    })
}

fn option(name: &str) -> wa::message::poll_creation_message::Option {
    wa::message::poll_creation_message::Option {
        option_name: Some(name.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{LinkPreview, Location, Poll, Quote, decode::decode};

    fn there_and_back(content: &Content, extras: &Extras) -> (Content, Extras) {
        let around = Surroundings {
            chat: "491701234567@s.whatsapp.net",
            now_ms: 1_790_000_000_000,
            secret: &[7; 32],
            media_key: None,
            thumbnail: None,
        };
        let payload = encode(content, extras, around);
        decode(&waproto::codec::message_decode(&payload).unwrap())
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let target = Target {
            id: "3EB0AA".to_owned(),
            from_me: true,
            participant: None,
        };
        let poll = |selectable| {
            Content::Poll(Poll {
                question: "When?".to_owned(),
                options: vec!["now".to_owned(), "later".to_owned()],
                selectable,
            })
        };
        let card = |name: &str| Contact {
            name: name.to_owned(),
            vcard: format!("BEGIN:VCARD\nFN:{name}\nEND:VCARD"),
        };
        let contents = [
            Content::Text("Grüße".to_owned()),
            Content::Location(Location {
                latitude: 52.5,
                longitude: -13.4,
                name: Some("Office".to_owned()),
                address: Some("1 Street".to_owned()),
                live: false,
            }),
            Content::Contacts(vec![card("Anna")]),
            Content::Contacts(vec![card("Anna"), card("Ben")]),
            poll(0),
            poll(1),
            Content::Reaction {
                target: target.clone(),
                emoji: "👍".to_owned(),
            },
            Content::Edit {
                target: target.clone(),
                text: "better".to_owned(),
            },
            Content::Revoke { target },
            Content::Timer { seconds: 86_400 },
        ];
        for content in contents {
            let (read, _) = there_and_back(&content, &Extras::default());
            assert!(read == content, "{content:?}");
        }
    }

    #[test]
    fn what_comes_with_a_text_survives() {
        let extras = Extras {
            mentions: vec!["491700000001@s.whatsapp.net".to_owned()],
            quote: Some(Quote {
                wa_message_id: "3EB0BB".to_owned(),
                sender: "491700000001@s.whatsapp.net".to_owned(),
                text: Some("before".to_owned()),
            }),
            preview: Some(LinkPreview {
                url: "https://example.com".to_owned(),
                title: Some("Example".to_owned()),
                description: None,
            }),
            forwarded: true,
            expires_after_seconds: Some(86_400),
            ..Extras::default()
        };
        let (_, read) = there_and_back(&Content::Text("see @1".to_owned()), &extras);
        assert!(read == extras);
    }
}
