//! Conversations and messages of the past, from the protocol's form to ours.

use std::cmp::Reverse;

use chrono::DateTime;
use wacore_binary::{Jid, JidExt as _};
use waproto::whatsapp as wa;
use waproto::whatsapp::web_message_info::Status;

use super::people::{Addresses, person_jid};
use super::{PastChat, PastMessage, PastReaction, PastState, Person, UnpackLimits};
use crate::content::Content;
use crate::content::decode::{EMOJI_BYTES, LINE_BYTES, decode, line, short};
use crate::inbox::Inbound;
use crate::media;

/// Emojis that one message keeps.
const REACTIONS_MAX: usize = 256;

/// A conversation with what is kept of its messages; none, if its address is
/// no conversation's.
pub(super) fn chat(
    conversation: wa::Conversation,
    addresses: &Addresses,
    limits: &UnpackLimits,
) -> Option<PastChat> {
    let wire: Jid = short(&conversation.id)?.parse().ok()?;
    let wire = wire.to_non_ad();
    let peer = match person_jid(&wire.to_string()) {
        Some(jid) => {
            let known = addresses.person(&jid);
            let told = |text: &Option<String>| {
                let jid = text.as_deref().and_then(person_jid)?;
                Some(jid.to_non_ad().to_string())
            };
            Person {
                pn: known.pn.or_else(|| told(&conversation.pn_jid)),
                lid: known.lid.or_else(|| told(&conversation.lid_jid)),
                ..Person::default()
            }
        }
        None => Person::default(),
    };
    let (chat, alt) = match (peer.pn, peer.lid) {
        (Some(pn), lid) => (pn, lid),
        (None, Some(lid)) => (lid, None),
        (None, None) => (wire.to_string(), None),
    };
    let since = u64::try_from(limits.since.timestamp()).unwrap_or(0);
    let total = conversation.messages.len();
    let mut dated: Vec<(u64, u64, wa::WebMessageInfo)> = conversation
        .messages
        .into_iter()
        .filter_map(|mut entry| {
            let order = entry.msg_order_id.unwrap_or(0);
            let message = entry.message.take()?;
            Some((message.message_timestamp?, order, message))
        })
        .filter(|(written, ..)| *written >= since)
        .collect();
    dated.sort_by_key(|(written, order, _)| (Reverse(*written), Reverse(*order)));
    let place = Place {
        chat: &chat,
        alt: alt.as_deref(),
        wire: &wire,
        addresses,
    };
    let mut messages: Vec<PastMessage> = dated
        .iter()
        .filter_map(|(written, _, message)| place.message(*written, message))
        .take(limits.chat_messages_max)
        .collect();
    messages.reverse();
    Some(PastChat {
        name: line(conversation.name.as_deref(), LINE_BYTES)
            .or_else(|| line(conversation.display_name.as_deref(), LINE_BYTES)),
        archived: conversation.archived.unwrap_or(false),
        timer_seconds: conversation
            .ephemeral_expiration
            .filter(|seconds| *seconds > 0),
        left_out: total - messages.len(),
        messages,
        chat,
        alt,
    })
}

/// Where messages of one conversation belong.
struct Place<'a> {
    chat: &'a str,
    alt: Option<&'a str>,
    wire: &'a Jid,
    addresses: &'a Addresses,
}

impl Place<'_> {
    /// A message, if it is one that somebody wrote and that stands for itself.
    fn message(&self, written: u64, info: &wa::WebMessageInfo) -> Option<PastMessage> {
        let key = info.key.as_option()?;
        let message = info.message.as_option()?;
        let (content, extras) = decode(message);
        if !stands_for_itself(&content) {
            return None;
        }
        let from_me = key.from_me.unwrap_or(false);
        let is_group = self.wire.is_group();
        let author = key.participant.as_deref().or(info.participant.as_deref());
        let author = author.and_then(person_jid);
        let wire_sender = match (&author, from_me || is_group) {
            (Some(author), _) => author.to_non_ad(),
            (None, false) => self.wire.clone(),
            // Of oneself it says nothing; of others in a group it must.
            (None, true) if from_me => self.wire.clone(),
            (None, true) => return None,
        };
        let (sender, sender_alt) = if is_group {
            self.both_addresses(&wire_sender)
        } else {
            (self.chat.to_owned(), self.alt.map(str::to_owned))
        };
        let seconds = i64::try_from(written).ok()?;
        let inbound = Inbound {
            id: short(key.id.as_deref()?)?,
            chat: self.chat.to_owned(),
            sender,
            sender_alt,
            wire_chat: self.wire.to_string(),
            wire_sender: wire_sender.to_string(),
            is_group,
            from_me,
            push_name: line(info.push_name.as_deref(), LINE_BYTES).unwrap_or_default(),
            timestamp: DateTime::from_timestamp(seconds, 0)?,
            media: if let Content::Media(file) = &content {
                media::reference(base(message), file.kind)
            } else {
                None
            },
            content,
            extras,
            secret: info
                .message_secret
                .as_deref()
                .map(bytes::Bytes::copy_from_slice),
            offline: true,
        };
        Some(PastMessage {
            inbound,
            state: state(info.status),
            reactions: self.reactions(info, seconds),
        })
    }

    fn both_addresses(&self, jid: &Jid) -> (String, Option<String>) {
        let person = self.addresses.person(jid);
        match (person.pn, person.lid) {
            (Some(pn), lid) => (pn, lid),
            (None, Some(lid)) => (lid, None),
            (None, None) => (jid.to_string(), None),
        }
    }

    fn reactions(&self, info: &wa::WebMessageInfo, written: i64) -> Vec<PastReaction> {
        let mut reactions = Vec::new();
        for reaction in info.reactions.iter().take(REACTIONS_MAX) {
            let Some(emoji) = line(reaction.text.as_deref(), EMOJI_BYTES) else {
                continue;
            };
            let Some(key) = reaction.key.as_option() else {
                continue;
            };
            let sender = match key.from_me.unwrap_or(false) {
                true => None,
                false => {
                    let author = key.participant.as_deref().and_then(person_jid);
                    Some(match author {
                        Some(author) => self.both_addresses(&author.to_non_ad()).0,
                        None => self.chat.to_owned(),
                    })
                }
            };
            let at = reaction.sender_timestamp_ms.unwrap_or(written * 1_000);
            if let Some(at) = DateTime::from_timestamp_millis(at) {
                reactions.push(PastReaction { sender, emoji, at });
            }
        }
        reactions
    }
}

fn base(message: &wa::Message) -> &wa::Message {
    use wacore::proto_helpers::MessageExt as _;
    message.get_base_message()
}

/// Whether it is a message of its own: what changes another one has been done
/// to it already when the phone gives it away.
fn stands_for_itself(content: &Content) -> bool {
    match content {
        Content::Text(_)
        | Content::Location(_)
        | Content::Contacts(_)
        | Content::Poll(_)
        | Content::Media(_) => true,
        Content::Reaction { .. }
        | Content::Edit { .. }
        | Content::Revoke { .. }
        | Content::Vote { .. }
        | Content::Timer { .. } => false,
        Content::Other { name } => *name != "protocolMessage" && *name != "unknown",
    }
}

fn state(status: Option<Status>) -> PastState {
    match status {
        Some(Status::DELIVERY_ACK) => PastState::Delivered,
        Some(Status::READ | Status::PLAYED) => PastState::Read,
        Some(Status::ERROR | Status::PENDING | Status::SERVER_ACK) | None => PastState::Sent,
    }
}
