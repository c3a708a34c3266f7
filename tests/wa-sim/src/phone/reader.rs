//! What a phone does with its mail.

use std::sync::Arc;

use prost::Message as _;
use proto::whatsapp::{Message, message::protocol_message::Type};

use super::{Copied, Phone, ReceiptSeen, State, fresh_prekeys};
use crate::{
    oracle::ViolationKind,
    server::{DeviceId, three_bytes},
    signal::{CiphertextKind, PreKeyBundle, SignalError, unpad},
    wire::{Jid, Node, jid::SERVER_GROUP},
};

/// What became of a message's ciphertext.
enum Opened {
    Message(Box<Message>),
    /// Read before: it came twice.
    Repeated,
}

impl Phone {
    /// Deals with one stanza.
    pub(super) fn take(&self, node: &Node) {
        match node.tag.as_str() {
            "message" => self.take_message(node),
            "receipt" => self.take_receipt(node),
            "notification" => self.take_notification(node),
            _ => {}
        }
    }

    fn take_message(&self, node: &Node) {
        let id = node.get("id").unwrap_or_default();
        let Some(from) = self.sender(node) else {
            return;
        };
        let mut state = self.inner.state.lock();
        let mut echo = None;
        let group = group_of(node);
        for ciphertext in node.find_all("enc") {
            match open(&mut state, &from, group, ciphertext) {
                Ok(Opened::Message(message)) => {
                    learn_group_key(&mut state, &from, &message);
                    echo = self.note(&mut state, node, &from, &message);
                }
                Ok(Opened::Repeated) => {
                    state.ledger.note_repeat(id, &from);
                }
                Err(error) => return self.complain(&mut state, node, &from, &error),
            }
        }
        drop(state);
        self.send_receipt(node, &from);
        if let Some(text) = echo {
            let sent = self.send_text(&from.account, &text);
            if let Err(error) = sent {
                tracing::warn!(%error, "no echo");
            }
        }
    }

    /// Writes a message down. Returns the text to answer with, if that is wanted.
    fn note(
        &self,
        state: &mut State,
        node: &Node,
        from: &DeviceId,
        message: &Message,
    ) -> Option<String> {
        let id = node.get("id").unwrap_or_default();
        let now = self.inner.world.lock().clock.now_ms();
        let group = group_of(node);
        if from.account != *self.number() {
            let text = text_of(message)?;
            let is_new = state.ledger.note_received(id, from, group, text, now);
            if group.is_some() {
                return None;
            }
            let echo = state.echo.as_ref().filter(|_| is_new)?;
            return Some(format!("{echo}{text}"));
        }
        if let (Some(group), Some(text)) = (group, text_of(message)) {
            state.ledger.note_copy(Copied {
                id: id.to_owned(),
                device: from.device,
                to: group.to_owned(),
                text: text.to_owned(),
                at_ms: now,
                repeats: 0,
            });
        }
        if let Some(copy) = &message.device_sent_message {
            let text = copy.message.as_deref().and_then(text_of)?;
            let chat = copy.destination_jid.as_deref().unwrap_or_default();
            let chat = self
                .number_of(chat)
                .map_or(chat.to_owned(), |number| number.to_string());
            state.ledger.note_copy(Copied {
                id: id.to_owned(),
                device: from.device,
                to: chat,
                text: text.to_owned(),
                at_ms: now,
                repeats: 0,
            });
        }
        let wants_keys = message
            .protocol_message
            .as_ref()
            .is_some_and(|message| message.r#type == Some(Type::AppStateSyncKeyRequest.into()));
        if wants_keys && let Err(error) = self.share_app_state_key(state, from.device) {
            tracing::warn!(%error, "cannot share the app-state key");
        }
        None
    }

    /// Says that a message has arrived.
    fn send_receipt(&self, node: &Node, from: &DeviceId) {
        let mut receipt = Node::new("receipt")
            .attr("id", node.get("id").unwrap_or_default())
            .attr("to", node.get("from").unwrap_or_default());
        if group_of(node).is_some() {
            receipt = receipt.attr("participant", self.lid_of(from));
        }
        if from.account == *self.number() {
            receipt = match (node.get("category"), node.get("recipient")) {
                (None, Some(chat)) => receipt.attr("type", "sender").attr("recipient", chat),
                (Some(_), _) | (None, None) => receipt.attr("type", "peer_msg"),
            };
        }
        let mut world = self.inner.world.lock();
        world.accept_receipt(&self.inner.id, &receipt);
    }

    /// A message that cannot be read: a violation, and a request to send it
    /// again in a session begun with fresh keys.
    fn complain(&self, state: &mut State, node: &Node, from: &DeviceId, error: &SignalError) {
        let id = node.get("id").unwrap_or_default();
        let sender = node.get("from").unwrap_or_default();
        let bundle = state.signal.bundle();
        let participant = group_of(node).map(|_| self.lid_of(from));
        let mut world = self.inner.world.lock();
        let now = world.clock.now_ms();
        let stamp = world.clock.stamp().to_string();
        world.oracle.accuse(
            ViolationKind::Undecryptable,
            from.clone(),
            Some(self.inner.id.clone()),
            format!("message {id}: {error}"),
            now,
        );
        let addressed = |node: Node| match &participant {
            Some(participant) => node.attr("to", sender).attr("participant", participant),
            None => node.attr("to", sender),
        };
        let receipt = addressed(Node::new("receipt").attr("id", id))
            .attr("type", "retry")
            .attr("t", &stamp)
            .child(
                Node::new("retry")
                    .attr("count", "1")
                    .attr("id", id)
                    .attr("t", &stamp)
                    .attr("v", "1"),
            )
            .child(Node::new("registration").bytes(bundle.registration_id.to_be_bytes()))
            .child(keys_node(&bundle));
        world.accept_receipt(&self.inner.id, &receipt);
        let ack = Node::new("ack").attr("class", "message").attr("id", id);
        let ack = addressed(ack);
        world.accept_ack(&self.inner.id, &ack);
    }

    fn take_receipt(&self, node: &Node) {
        let Some(from) = self.sender(node) else {
            return;
        };
        let kind = node.get("type").unwrap_or("delivered");
        let listed = node.find("list").map(Node::kids).unwrap_or_default();
        let ids = listed
            .iter()
            .chain([node])
            .filter_map(|item| item.get("id"));
        let mut state = self.inner.state.lock();
        let now = self.inner.world.lock().clock.now_ms();
        for id in ids {
            let seen = ReceiptSeen {
                from: from.clone(),
                kind: kind.to_owned(),
                at_ms: now,
            };
            state.ledger.note_receipt(id, seen);
        }
        if kind == "retry" {
            let id = node.get("id").unwrap_or_default();
            let count = node.find("retry").and_then(|retry| retry.get("count"));
            let sent = self.send_again(&mut state, &from, id, count.unwrap_or("1"));
            if let Err(error) = sent {
                tracing::warn!(%error, "cannot send a message again");
            }
        }
        drop(state);
        self.acknowledge(node);
    }

    fn take_notification(&self, node: &Node) {
        match node.get("type") {
            Some("encrypt") => {
                let mut state = self.inner.state.lock();
                let keys = fresh_prekeys(&mut state.signal);
                self.inner.world.lock().replenish(&self.inner.id, keys);
            }
            Some("devices") => self.take_device_change(node),
            Some("w:gp2") if node.find("remove").is_some() => {
                self.forget_group_key(node.get("from").unwrap_or_default());
            }
            Some(_) | None => {}
        }
        self.acknowledge(node);
    }

    fn take_device_change(&self, node: &Node) {
        let is_own = self.sender(node).is_some_and(|from| from == self.inner.id);
        let added = node
            .find("add")
            .and_then(|change| change.find("device"))
            .and_then(|device| device.get("jid"))
            .and_then(|jid| jid.parse::<Jid>().ok());
        if let Some(jid) = added.filter(|_| is_own) {
            let mut state = self.inner.state.lock();
            if let Err(error) = self.greet(&mut state, jid.device) {
                tracing::warn!(%error, "cannot greet a new device");
            }
        }
    }

    fn acknowledge(&self, node: &Node) {
        let mut ack = Node::new("ack")
            .attr("class", &node.tag)
            .attr("id", node.get("id").unwrap_or_default())
            .attr("to", node.get("from").unwrap_or_default());
        for name in ["type", "participant"] {
            if let Some(value) = node.get(name) {
                ack = ack.attr(name, value);
            }
        }
        self.inner.world.lock().accept_ack(&self.inner.id, &ack);
    }

    fn sender(&self, node: &Node) -> Option<DeviceId> {
        let address = match group_of(node) {
            Some(_) => node.get("participant"),
            None => node.get("from"),
        };
        let jid: Jid = address?.parse().ok()?;
        self.inner.world.lock().device_id(&jid)
    }

    fn number_of(&self, jid: &str) -> Option<Arc<str>> {
        let jid: Jid = jid.parse().ok()?;
        Some(self.inner.world.lock().device_id(&jid)?.account)
    }
}

/// The group that a stanza comes from, if it does.
fn group_of(node: &Node) -> Option<&str> {
    let from = node.get("from")?;
    let (_, server) = from.split_once('@')?;
    (server == SERVER_GROUP).then_some(from)
}

/// Takes the key of a group that a message brings.
fn learn_group_key(state: &mut State, from: &DeviceId, message: &Message) {
    let Some(distribution) = &message.sender_key_distribution_message else {
        return;
    };
    let (Some(group), Some(bytes)) = (
        &distribution.group_id,
        &distribution.axolotl_sender_key_distribution_message,
    ) else {
        return;
    };
    if let Err(error) = state.sender_keys.learn(group, &from.to_string(), bytes) {
        tracing::warn!(%error, "a group's key is not one");
    }
}

fn open(
    state: &mut State,
    from: &DeviceId,
    group: Option<&str>,
    ciphertext: &Node,
) -> Result<Opened, SignalError> {
    let kind = ciphertext.get("type").unwrap_or_default();
    let (address, bytes) = (from.to_string(), ciphertext.data());
    let padded = match (kind, group) {
        ("skmsg", Some(group)) => state.sender_keys.decrypt(group, &address, bytes),
        ("skmsg", None) => Err(SignalError::Malformed),
        (kind, _) => {
            let kind: CiphertextKind = kind.parse()?;
            state.signal.decrypt(&address, kind, bytes)
        }
    };
    let padded = match padded {
        Ok(padded) => padded,
        Err(SignalError::Duplicate(_)) => return Ok(Opened::Repeated),
        Err(error) => return Err(error),
    };
    let message = Message::decode(unpad(&padded)?).map_err(|_| SignalError::Malformed)?;
    Ok(Opened::Message(Box::new(message)))
}

fn text_of(message: &Message) -> Option<&str> {
    let extended = message.extended_text_message.as_ref();
    message
        .conversation
        .as_deref()
        .or_else(|| extended?.text.as_deref())
}

/// A bundle as a retry receipt carries it.
fn keys_node(bundle: &PreKeyBundle) -> Node {
    let (id, value, signature) = &bundle.signed_prekey;
    let key = bundle.prekey.map(|(id, value)| {
        Node::new("key")
            .child(Node::new("id").bytes(three_bytes(id)))
            .child(Node::new("value").bytes(value))
    });
    let children = [
        Node::new("type").bytes([crate::keys::KEY_TYPE]),
        Node::new("identity").bytes(bundle.identity),
    ];
    let signed = Node::new("skey")
        .child(Node::new("id").bytes(three_bytes(*id)))
        .child(Node::new("value").bytes(*value))
        .child(Node::new("signature").bytes(*signature));
    Node::new("keys").children(children.into_iter().chain(key).chain([signed]).collect())
}
