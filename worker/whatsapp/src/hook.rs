//! Gives decrypted messages to the inbox before they are acknowledged.
//!
//! The engine calls the hook with each batch and acknowledges it only after
//! `Ok`. Messages between a person's own devices (keys, history, sync) and those
//! that only distribute keys are none that a person wrote: they are left out,
//! and acknowledged with the rest.

use std::sync::Arc;

use async_trait::async_trait;
use wacore::proto_helpers::MessageExt;
use wacore::types::message::{MessageCategory, MessageInfo};
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;
use whatsapp_rust::types::durability_hook::InboundMessage;
use whatsapp_rust::{Client, InboundDurabilityHook};

use crate::content::Content;
use crate::content::decode::decode;
use crate::inbox::{Inbound, Inbox, InboxError};
use crate::media;
use crate::monitor::Monitor;

/// The engine's way to the inbox.
#[derive(Clone)]
pub(crate) struct InboxHook {
    inbox: Arc<dyn Inbox>,
    monitor: Arc<Monitor>,
}

impl InboxHook {
    pub(crate) fn new(inbox: Arc<dyn Inbox>, monitor: Arc<Monitor>) -> Self {
        Self { inbox, monitor }
    }

    /// Stores what people wrote of the batch, all or nothing.
    pub(crate) async fn store(&self, batch: &[InboundMessage]) -> Result<(), InboxError> {
        let inbound: Vec<_> = batch
            .iter()
            .filter(|item| is_written_by_a_person(&item.message, &item.info))
            .map(|item| translate(&item.message, &item.info))
            .collect();
        if inbound.is_empty() {
            return Ok(());
        }
        let count = inbound.len();
        self.inbox.commit(inbound).await?;
        self.monitor.inbound(count);
        Ok(())
    }
}

#[async_trait]
impl InboundDurabilityHook for InboxHook {
    async fn on_messages(
        &self,
        _client: Arc<Client>,
        batch: &[InboundMessage],
    ) -> Result<(), anyhow::Error> {
        self.store(batch).await.inspect_err(|error| {
            let error: &dyn std::error::Error = error;
            tracing::warn!(
                messages = batch.len(),
                error,
                "inbound messages not stored, not acknowledged"
            );
        })?;
        Ok(())
    }
}

fn is_written_by_a_person(message: &wa::Message, info: &MessageInfo) -> bool {
    if info.category == MessageCategory::Peer {
        return false;
    }
    let base = message.get_base_message();
    if let Some(protocol) = base.protocol_message.as_option() {
        // Revoking, editing and making messages disappear are what people do;
        // the rest is upkeep.
        return matches!(
            protocol.r#type,
            Some(
                ProtocolType::REVOKE | ProtocolType::MESSAGE_EDIT | ProtocolType::EPHEMERAL_SETTING
            )
        );
    }
    !distributes_keys_only(base)
}

/// True for a message that holds nothing besides a sender key.
fn distributes_keys_only(message: &wa::Message) -> bool {
    if message.sender_key_distribution_message.is_unset()
        && message
            .fast_ratchet_key_sender_key_distribution_message
            .is_unset()
    {
        return false;
    }
    let mut rest = message.clone();
    rest.sender_key_distribution_message = Default::default();
    rest.fast_ratchet_key_sender_key_distribution_message = Default::default();
    rest.message_context_info = Default::default();
    waproto::codec::message_encoded_len(&rest) == 0
}

fn translate(message: &wa::Message, info: &MessageInfo) -> Inbound {
    let source = &info.source;
    let wire_chat = source.chat.to_non_ad();
    let wire_sender = source.sender.to_non_ad();
    let sender_alt = source.sender_alt.as_ref().map(Jid::to_non_ad);
    // In a chat between two, the other's second address comes with the message:
    // the sender's, or the recipient's if this account wrote it elsewhere.
    let chat_alt = if source.is_group {
        None
    } else if source.is_from_me {
        source
            .recipient_alt
            .as_ref()
            .or(info.peer_recipient_pn.as_ref())
            .map(Jid::to_non_ad)
    } else {
        sender_alt.clone()
    };
    let (chat, _) = number_first(&wire_chat, chat_alt.as_ref());
    let (sender, sender_alt) = number_first(&wire_sender, sender_alt.as_ref());
    let (content, extras) = decode(message);
    Inbound {
        id: info.id.clone(),
        chat: chat.to_string(),
        sender: sender.to_string(),
        sender_alt: sender_alt.map(Jid::to_string),
        wire_chat: wire_chat.to_string(),
        wire_sender: wire_sender.to_string(),
        is_group: source.is_group,
        from_me: source.is_from_me,
        push_name: info.push_name.clone(),
        timestamp: info.timestamp,
        media: if let Content::Media(file) = &content {
            media::reference(message.get_base_message(), file.kind)
        } else {
            None
        },
        content,
        extras,
        secret: wacore::reporting_token::extract_message_secret(message)
            .map(bytes::Bytes::copy_from_slice),
        offline: info.is_offline,
    }
}

/// The phone number's address first, where it is known, then the other one.
fn number_first<'a>(jid: &'a Jid, alt: Option<&'a Jid>) -> (&'a Jid, Option<&'a Jid>) {
    match alt {
        Some(number) if jid.is_lid() && number.is_pn() => (number, Some(jid)),
        alt => (jid, alt),
    }
}

#[cfg(test)]
mod tests;
