//! What a phone sends: texts, key shares, receipts, and texts again.

use std::sync::Arc;

use prost::Message as _;
use proto::whatsapp::{
    Message, MessageContextInfo,
    message::{
        AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
        AppStateSyncKeyShare, DeviceSentMessage, ProtocolMessage, protocol_message::Type,
    },
};
use rand::RngExt as _;

use super::{Phone, PhoneError, Sent, State, signal_bundle};
use crate::{
    server::{Bundle, DeviceId, fresh_id},
    signal::SignalError,
    wire::{Jid, Node},
};

/// Android phones' message ids begin like this.
const ID_PREFIX: &str = "AC";

impl Phone {
    /// Writes a text to a number: to its phone, its linked devices, and as a
    /// copy to one's own. Returns the message's id.
    ///
    /// # Errors
    /// Nobody has the number → [`PhoneError::UnknownNumber`]; the server takes
    /// no more → [`PhoneError::Refused`].
    pub fn send_text(&self, to: &str, text: &str) -> Result<String, PhoneError> {
        let mut state = self.inner.state.lock();
        let content = text_message(&mut state, text);
        let (id, to) = self.send_content(&mut state, to, &content, "text")?;
        let now = self.inner.world.lock().clock.now_ms();
        state
            .texts
            .insert(id.clone(), (Arc::clone(&to), text.to_owned()));
        state.ledger.note_sent(Sent {
            id: id.clone(),
            to: Arc::clone(&to),
            text: text.to_owned(),
            at_ms: now,
            receipts: Vec::new(),
        });
        Ok(id)
    }

    /// Sends a message of one kind. Returns its id, and to which account.
    pub(super) fn send_content(
        &self,
        state: &mut State,
        to: &str,
        content: &Message,
        kind: &str,
    ) -> Result<(String, Arc<str>), PhoneError> {
        let id = fresh_id(ID_PREFIX);
        let (to, devices) = self.recipients(to)?;
        let copy = Message {
            device_sent_message: Some(Box::new(DeviceSentMessage {
                destination_jid: Some(Jid::pn(&*to).to_string()),
                message: Some(Box::new(content.clone())),
                phash: None,
            })),
            ..Message::default()
        };
        let mut parts = Vec::with_capacity(devices.len());
        for device in devices {
            let content = match device.account == *self.number() {
                true => &copy,
                false => content,
            };
            let jid = Jid::pn(&*device.account).with_device(device.device);
            let encrypted = self.encrypt(state, &device, content)?;
            parts.push(
                Node::new("to")
                    .attr("jid", jid.to_string())
                    .child(encrypted),
            );
        }
        let message = Node::new("message")
            .attr("id", &id)
            .attr("to", Jid::pn(&*to).to_string())
            .attr("type", kind)
            .child(Node::new("participants").children(parts));
        self.hand_in(&message)?;
        Ok((id, to))
    }

    /// Marks received messages as read, and tells their sender.
    ///
    /// # Errors
    /// One of them was not received → [`PhoneError::UnknownMessage`].
    pub fn read(&self, ids: &[String]) -> Result<(), PhoneError> {
        let state = self.inner.state.lock();
        for id in ids {
            let known = state
                .ledger
                .received
                .iter()
                .rev()
                .find(|message| message.id == *id);
            let from = &known.ok_or(PhoneError::UnknownMessage)?.from;
            let mut world = self.inner.world.lock();
            let receipt = Node::new("receipt")
                .attr("id", id)
                .attr("to", Jid::pn(&*from.account).to_string())
                .attr("type", "read")
                .attr("t", world.clock.stamp().to_string());
            world.accept_receipt(&self.inner.id, &receipt);
        }
        Ok(())
    }

    /// Sends a message once more to a device that could not read it, in a fresh
    /// session.
    pub(super) fn send_again(
        &self,
        state: &mut State,
        to: &DeviceId,
        id: &str,
        count: &str,
    ) -> Result<(), PhoneError> {
        let (chat, content) = match (state.texts.get(id).cloned(), state.files.get(id).cloned()) {
            (Some((chat, text)), _) if chat.contains('@') => {
                return self.send_group_again(state, to, (&chat, &text), (id, count));
            }
            (Some((chat, text)), _) => (chat, text_message(state, &text)),
            (None, Some(file)) => file,
            (None, None) => return Err(PhoneError::UnknownMessage),
        };
        self.begin_session(state, to)?;
        let mut encrypted = self.encrypt(state, to, &content)?;
        encrypted = encrypted.attr("count", count);
        let mut message = Node::new("message")
            .attr("id", id)
            .attr(
                "to",
                Jid::pn(&*to.account).with_device(to.device).to_string(),
            )
            .attr("type", "text")
            .attr("device_fanout", "false")
            .child(encrypted);
        if to.account == *self.number() {
            message = message.attr("recipient", Jid::pn(&*chat).to_string());
        }
        self.hand_in(&message)
    }

    /// What a phone gives a new device of its account: the keys of the app state
    /// and what it remembers.
    pub(super) fn greet(&self, state: &mut State, device: u16) -> Result<(), PhoneError> {
        if !state.greeted.insert(device) {
            return Ok(());
        }
        self.share_app_state_key(state, device)?;
        self.give_all_history(state, device)
    }

    /// Gives a device of the account the app-state key.
    pub(super) fn share_app_state_key(
        &self,
        state: &mut State,
        device: u16,
    ) -> Result<(), PhoneError> {
        let now_ms = self.inner.world.lock().clock.now_ms();
        let share = AppStateSyncKeyShare {
            keys: vec![AppStateSyncKey {
                key_id: Some(AppStateSyncKeyId {
                    key_id: Some(state.app_state_key.id.to_vec()),
                }),
                key_data: Some(AppStateSyncKeyData {
                    key_data: Some(state.app_state_key.data.to_vec()),
                    fingerprint: Some(AppStateSyncKeyFingerprint {
                        raw_id: Some(state.raw_id),
                        current_index: Some(0),
                        device_indexes: vec![0],
                    }),
                    timestamp: i64::try_from(now_ms).ok(),
                }),
            }],
        };
        let message = ProtocolMessage {
            r#type: Some(Type::AppStateSyncKeyShare.into()),
            app_state_sync_key_share: Some(share),
            ..ProtocolMessage::default()
        };
        self.send_peer(state, device, message)
    }

    /// A message among the account's own devices.
    pub(super) fn send_peer(
        &self,
        state: &mut State,
        device: u16,
        content: ProtocolMessage,
    ) -> Result<(), PhoneError> {
        let content = Message {
            protocol_message: Some(Box::new(content)),
            ..Message::default()
        };
        let to = DeviceId {
            account: Arc::clone(self.number()),
            device,
        };
        let encrypted = self.encrypt(state, &to, &content)?;
        let message = Node::new("message")
            .attr("id", fresh_id(ID_PREFIX))
            .attr(
                "to",
                Jid::pn(&**self.number()).with_device(device).to_string(),
            )
            .attr("type", "protocol")
            .attr("category", "peer")
            .attr("push_priority", "high")
            .child(encrypted);
        self.hand_in(&message)
    }

    /// Begins a session with fresh keys of the device. What it wrote in an older
    /// one, and is on its way, can still be read.
    pub(super) fn begin_session(&self, state: &mut State, to: &DeviceId) -> Result<(), PhoneError> {
        let bundle: Option<Bundle> = self.inner.world.lock().take_bundle(to);
        let bundle = bundle
            .and_then(signal_bundle)
            .ok_or(SignalError::NoSession)?;
        state.signal.start_session(&to.to_string(), &bundle)?;
        Ok(())
    }

    /// `<enc>` for one device; begins a session if there is none.
    pub(super) fn encrypt(
        &self,
        state: &mut State,
        to: &DeviceId,
        content: &Message,
    ) -> Result<Node, PhoneError> {
        let address = to.to_string();
        if !state.signal.has_session(&address) {
            self.begin_session(state, to)?;
        }
        let padded = state.signal.pad(&content.encode_to_vec());
        let ciphertext = state.signal.encrypt(&address, &padded)?;
        Ok(Node::new("enc")
            .attr("v", "2")
            .attr("type", ciphertext.kind.as_str())
            .bytes(ciphertext.bytes))
    }

    /// The number with its account's name, and every device that gets a message.
    fn recipients(&self, to: &str) -> Result<(Arc<str>, Vec<DeviceId>), PhoneError> {
        let world = self.inner.world.lock();
        let theirs = world.devices(to).ok_or(PhoneError::UnknownNumber)?;
        let number = theirs
            .first()
            .map(|device| Arc::clone(&device.account))
            .ok_or(PhoneError::UnknownNumber)?;
        let mut all = theirs;
        if number != *self.number() {
            all.extend(world.devices(self.number()).unwrap_or_default());
        }
        all.retain(|device| *device != self.inner.id);
        Ok((number, all))
    }

    pub(super) fn hand_in(&self, message: &Node) -> Result<(), PhoneError> {
        match self
            .inner
            .world
            .lock()
            .accept_from_phone(&self.inner.id, message)
        {
            None => Ok(()),
            Some(code) => Err(PhoneError::Refused(code)),
        }
    }
}

pub(super) fn text_message(state: &mut State, text: &str) -> Message {
    let secret: [u8; 32] = state.rng.random();
    Message {
        conversation: Some(text.to_owned()),
        message_context_info: Some(MessageContextInfo {
            message_secret: Some(secret.to_vec()),
            ..MessageContextInfo::default()
        }),
        ..Message::default()
    }
}
