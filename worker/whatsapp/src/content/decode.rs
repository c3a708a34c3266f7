//! From the protocol's message to ours.
//!
//! Everything here comes from strangers, so everything has a limit: what is
//! longer is cut, what is too many is left out. A message must always fit into
//! a document, or it could never be stored and would come again for ever.

use wacore::proto_helpers::MessageExt;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;

use super::{
    Contact, Content, Extras, LinkPreview, Location, Media, MediaKind, Poll, Quote, SealedVote,
    Target,
};
use crate::message::content_name;

/// Bytes of a text that are kept: four for each of the characters that
/// WhatsApp's clients send.
pub(crate) const TEXT_KEPT_BYTES: usize = 4 * 65_536;

/// Bytes of a name, a title, an address, an option.
pub(crate) const LINE_BYTES: usize = 1_024;

/// Bytes of an address card; some carry a photograph.
const VCARD_BYTES: usize = 32 * 1_024;

/// Cards, options and mentions of one message.
const LIST_MAX: usize = 12;
const MENTIONS_MAX: usize = 1_024;

/// Bytes of an emoji: the longest is a family of many joined signs.
pub(crate) const EMOJI_BYTES: usize = 64;

/// Bytes of a message id, of a JID.
const ID_BYTES: usize = 128;

/// Bytes of a vote.
const VOTE_BYTES: usize = 4_096;

/// What a message holds.
pub(crate) fn decode(message: &wa::Message) -> (Content, Extras) {
    let base = message.get_base_message();
    let content = content(base, message.text_content());
    let context = context(base);
    let mut extras = context.map(extras).unwrap_or_default();
    extras.view_once = message.is_view_once();
    extras.preview = base.extended_text_message.as_option().and_then(preview);
    (content, extras)
}

fn content(base: &wa::Message, text: Option<&str>) -> Content {
    if let Some(protocol) = base.protocol_message.as_option() {
        return protocol_content(protocol);
    }
    if let Some(text) = text {
        return Content::Text(cut(text, TEXT_KEPT_BYTES));
    }
    if let Some(reaction) = base.reaction_message.as_option()
        && let Some(target) = reaction.key.as_option().and_then(target)
    {
        let emoji = line(reaction.text.as_deref(), EMOJI_BYTES).unwrap_or_default();
        return Content::Reaction { target, emoji };
    }
    if let Some(update) = base.poll_update_message.as_option()
        && let Some(target) = update
            .poll_creation_message_key
            .as_option()
            .and_then(target)
        && let Some(vote) = update.vote.as_option()
        && let (Some(payload), Some(nonce)) = (&vote.enc_payload, &vote.enc_iv)
        && payload.len() <= VOTE_BYTES
        && nonce.len() <= ID_BYTES
    {
        let vote = SealedVote {
            payload: payload.clone().into(),
            nonce: nonce.clone().into(),
        };
        return Content::Vote { target, vote };
    }
    let polls = [
        &base.poll_creation_message,
        &base.poll_creation_message_v2,
        &base.poll_creation_message_v3,
    ];
    if let Some(poll) = polls.into_iter().find_map(|poll| poll.as_option()) {
        return Content::Poll(Poll {
            question: line(poll.name.as_deref(), LINE_BYTES).unwrap_or_default(),
            options: poll
                .options
                .iter()
                .filter_map(|option| line(option.option_name.as_deref(), LINE_BYTES))
                .take(LIST_MAX)
                .collect(),
            selectable: poll.selectable_options_count.unwrap_or(0),
        });
    }
    if let Some(place) = location(base) {
        return Content::Location(place);
    }
    if let Some(cards) = contacts(base) {
        return Content::Contacts(cards);
    }
    match media(base) {
        Some(media) => Content::Media(media),
        None => Content::Other {
            name: content_name(base),
        },
    }
}

fn protocol_content(protocol: &wa::message::ProtocolMessage) -> Content {
    let target = protocol.key.as_option().and_then(target);
    match (protocol.r#type, target) {
        (Some(ProtocolType::REVOKE), Some(target)) => Content::Revoke { target },
        (Some(ProtocolType::MESSAGE_EDIT), Some(target)) => {
            let edited = protocol.edited_message.as_option();
            let text = edited.and_then(|edited| edited.text_content().or(edited.get_caption()));
            Content::Edit {
                target,
                text: cut(text.unwrap_or_default(), TEXT_KEPT_BYTES),
            }
        }
        (Some(ProtocolType::EPHEMERAL_SETTING), _) => Content::Timer {
            seconds: protocol.ephemeral_expiration.unwrap_or(0),
        },
        (_, _) => Content::Other {
            name: "protocolMessage",
        },
    }
}

fn target(key: &wa::MessageKey) -> Option<Target> {
    Some(Target {
        id: short(key.id.as_deref()?)?,
        from_me: key.from_me.unwrap_or(false),
        participant: key.participant.as_deref().and_then(short),
    })
}

fn location(base: &wa::Message) -> Option<Location> {
    if let Some(place) = base.location_message.as_option() {
        return Some(Location {
            latitude: place
                .degrees_latitude
                .filter(|degrees| degrees.is_finite())?,
            longitude: place
                .degrees_longitude
                .filter(|degrees| degrees.is_finite())?,
            name: line(place.name.as_deref(), LINE_BYTES),
            address: line(place.address.as_deref(), LINE_BYTES),
            live: place.is_live.unwrap_or(false),
        });
    }
    let place = base.live_location_message.as_option()?;
    Some(Location {
        latitude: place
            .degrees_latitude
            .filter(|degrees| degrees.is_finite())?,
        longitude: place
            .degrees_longitude
            .filter(|degrees| degrees.is_finite())?,
        name: line(place.caption.as_deref(), LINE_BYTES),
        address: None,
        live: true,
    })
}

fn contacts(base: &wa::Message) -> Option<Vec<Contact>> {
    let card = |contact: &wa::message::ContactMessage| Contact {
        name: line(contact.display_name.as_deref(), LINE_BYTES).unwrap_or_default(),
        vcard: cut(contact.vcard.as_deref().unwrap_or_default(), VCARD_BYTES),
    };
    if let Some(contact) = base.contact_message.as_option() {
        return Some(vec![card(contact)]);
    }
    let several = base.contacts_array_message.as_option()?;
    Some(several.contacts.iter().take(LIST_MAX).map(card).collect())
}

fn media(base: &wa::Message) -> Option<Media> {
    let empty = |kind| Media {
        kind,
        mime_type: None,
        bytes: None,
        caption: None,
        file_name: None,
        seconds: None,
        width: None,
        height: None,
    };
    let mime = |text: &Option<String>| line(text.as_deref(), ID_BYTES);
    if let Some(image) = base.image_message.as_option() {
        return Some(Media {
            mime_type: mime(&image.mimetype),
            bytes: image.file_length,
            caption: caption(image.caption.as_deref()),
            width: image.width,
            height: image.height,
            ..empty(MediaKind::Image)
        });
    }
    if let Some(video) = base.video_message.as_option() {
        return Some(Media {
            mime_type: mime(&video.mimetype),
            bytes: video.file_length,
            caption: caption(video.caption.as_deref()),
            seconds: video.seconds,
            width: video.width,
            height: video.height,
            ..empty(MediaKind::Video)
        });
    }
    if let Some(audio) = base.audio_message.as_option() {
        let kind = match audio.ptt.unwrap_or(false) {
            true => MediaKind::Voice,
            false => MediaKind::Audio,
        };
        return Some(Media {
            mime_type: mime(&audio.mimetype),
            bytes: audio.file_length,
            seconds: audio.seconds,
            ..empty(kind)
        });
    }
    if let Some(document) = base.document_message.as_option() {
        return Some(Media {
            mime_type: mime(&document.mimetype),
            bytes: document.file_length,
            caption: caption(document.caption.as_deref()),
            file_name: line(document.file_name.as_deref(), LINE_BYTES),
            ..empty(MediaKind::Document)
        });
    }
    let sticker = base.sticker_message.as_option()?;
    Some(Media {
        mime_type: mime(&sticker.mimetype),
        bytes: sticker.file_length,
        width: sticker.width,
        height: sticker.height,
        ..empty(MediaKind::Sticker)
    })
}

/// The context of whatever the message holds.
fn context(base: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! context_of {
        ($($field:ident),*) => {
            $(if let Some(inner) = base.$field.as_option() {
                return inner.context_info.as_option();
            })*
        };
    }
    context_of!(
        extended_text_message,
        location_message,
        live_location_message,
        contact_message,
        contacts_array_message,
        poll_creation_message,
        poll_creation_message_v2,
        poll_creation_message_v3,
        image_message,
        video_message,
        audio_message,
        document_message,
        sticker_message
    );
    None
}

fn extras(context: &wa::ContextInfo) -> Extras {
    let quote = context.stanza_id.as_deref().and_then(short).map(|id| {
        let quoted = context.quoted_message.as_option();
        let text = quoted.and_then(|quoted| quoted.text_content().or(quoted.get_caption()));
        Quote {
            wa_message_id: id,
            sender: context
                .participant
                .as_deref()
                .and_then(short)
                .unwrap_or_default(),
            text: text.map(|text| cut(text, TEXT_KEPT_BYTES / 4)),
        }
    });
    Extras {
        mentions: context
            .mentioned_jid
            .iter()
            .filter_map(|jid| short(jid))
            .take(MENTIONS_MAX)
            .collect(),
        quote,
        preview: None,
        forwarded: context.is_forwarded.unwrap_or(false),
        view_once: false,
        expires_after_seconds: context.expiration.filter(|seconds| *seconds > 0),
    }
}

fn preview(text: &wa::message::ExtendedTextMessage) -> Option<LinkPreview> {
    let title = line(text.title.as_deref(), LINE_BYTES);
    let description = line(text.description.as_deref(), 4 * LINE_BYTES);
    let url = line(text.matched_text.as_deref(), 4 * LINE_BYTES)?;
    Some(LinkPreview {
        url,
        title,
        description,
    })
}

fn caption(text: Option<&str>) -> Option<String> {
    line(text, TEXT_KEPT_BYTES)
}

/// A text that is there and not empty, cut.
pub(crate) fn line(text: Option<&str>, bytes: usize) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(cut(text, bytes))
}

/// An id or address, unless it is too long to be one.
pub(crate) fn short(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= ID_BYTES).then(|| text.to_owned())
}

/// The start of a text, at a character's end.
fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_fits_into_a_document() {
        let huge = wa::Message {
            conversation: Some("ü".repeat(30_000_000 / 2)),
            ..Default::default()
        };
        let (Content::Text(text), _) = decode(&huge) else {
            panic!("not a text");
        };
        assert_eq!(text.len(), TEXT_KEPT_BYTES);
        assert_eq!(cut("aü", 2), "a");
    }

    #[test]
    fn a_place_that_is_nowhere_is_no_place() {
        let nowhere = wa::Message {
            location_message: waproto::buffa::MessageField::some(wa::message::LocationMessage {
                degrees_latitude: Some(f64::NAN),
                degrees_longitude: Some(1.0),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(matches!(decode(&nowhere).0, Content::Other { .. }));
    }
}
