//! Messages and receipts on their way from device to device.
//!
//! A message is accepted when it lies in its recipients' mailboxes; the sender's
//! `<ack>` says so. It leaves a mailbox when the recipient's receipt or ack
//! comes. Ids are the senders': the same id may come again, and is delivered
//! again.

use std::{str::FromStr as _, sync::Arc};

use super::{
    account::{Account, DeviceId},
    mailbox::{Address, Class},
    session::Reply,
    stanza::SERVER,
    world::World,
};
use crate::{
    fault::{Disconnect, MessagePoint},
    oracle::ratchets::Sighting,
    signal::{self, CiphertextKind},
    wire::{
        Content, Jid, Node,
        jid::{SERVER_GROUP, SERVER_LID, SERVER_PN},
    },
};

/// Attributes of a message that its recipients see as they were sent.
const KEPT_ATTRS: [&str; 4] = ["type", "category", "push_priority", "edit"];

/// Children of a message that everyone gets, next to the ciphertext.
const KEPT_CHILDREN: [&str; 2] = ["device-identity", "meta"];

/// Receipts that say that the device has dealt with the messages they name. A
/// request to send a message again does not.
fn settles(kind: Option<&str>) -> bool {
    kind != Some("retry") && kind != Some("enc_rekey_retry")
}

/// One recipient's part of a message.
pub(super) struct Part<'a> {
    pub(super) to: DeviceId,
    pub(super) ciphertexts: Vec<&'a Node>,
}

impl World {
    /// Takes a message over, or breaks the connection if a fault says so.
    pub(crate) fn accept_message(&mut self, from: &DeviceId, message: &Node) -> Vec<Reply> {
        let id = message.get("id").unwrap_or_default();
        let to = message.get("to").unwrap_or_default();
        let ack = Node::new("ack")
            .attr("class", "message")
            .attr("id", id)
            .attr("from", to)
            .attr("t", self.clock.stamp().to_string());
        let refused = |code: &str| vec![Reply::Send(ack.clone().attr("error", code))];
        let Ok(chat) = Jid::from_str(to) else {
            return refused("400");
        };
        if id.is_empty() {
            return refused("400");
        }
        let is_group = chat.server == SERVER_GROUP;
        let parts = if is_group {
            match self.group_parts(from, &chat, message) {
                Ok(parts) => parts,
                Err(refusal) => return refused(&refusal.code().to_string()),
            }
        } else if self.account_of(&chat).is_none() {
            return refused("404");
        } else {
            self.parts(&chat, message)
        };
        let drop_at = self.faults.drops_on_message(&from.account);
        if drop_at == Some(MessagePoint::BeforeAccept) {
            return vec![Reply::End(Disconnect::Drop)];
        }

        if is_group {
            self.watch_group(from, &chat, message);
        }
        let mut full = false;
        for part in parts {
            self.watch(from, &part, id);
            let mut node = self.delivery(from, &part, &chat, message);
            if part.to.device != 0 && self.faults.corrupts(&part.to.account) {
                corrupt(&mut node);
            }
            let address = Address {
                class: Class::Message,
                id: id.to_owned(),
                from: Some(Arc::clone(&from.account)),
            };
            // A device that is gone by now is passed over.
            full |= self.device(&part.to).is_some() && !self.post(&part.to, address, node);
        }
        if full {
            return refused("503");
        }
        self.count_message(from, id);
        self.changed();

        if drop_at == Some(MessagePoint::BeforeAck) {
            return vec![Reply::End(Disconnect::Drop)];
        }
        let mut replies = Vec::new();
        if !self.faults.withholds_ack(&from.account) {
            let ack = match self
                .group_hash_if_other(&chat, message)
                .filter(|_| is_group)
            {
                Some(hash) => {
                    self.oracle.count(&from.account).group_hashes_refused += 1;
                    ack.attr("phash", hash)
                }
                None => ack,
            };
            replies.push(Reply::Send(ack));
        }
        if drop_at == Some(MessagePoint::AfterAck) {
            replies.push(Reply::End(Disconnect::Drop));
        }
        replies
    }

    /// A phone's message; the error's code if it is refused.
    pub(crate) fn accept_from_phone(&mut self, phone: &DeviceId, message: &Node) -> Option<String> {
        self.accept_message(phone, message)
            .into_iter()
            .find_map(|reply| match reply {
                Reply::Send(ack) => ack.get("error").map(str::to_owned),
                // A phone has no connection to lose.
                Reply::End(_) => None,
            })
    }

    /// Who gets which ciphertexts: the listed devices, or the one it is to.
    fn parts<'a>(&self, chat: &Jid, message: &'a Node) -> Vec<Part<'a>> {
        let Some(participants) = message.find("participants") else {
            let to = self.device_id(chat);
            return to
                .map(|to| Part {
                    to,
                    ciphertexts: message.find_all("enc").collect(),
                })
                .into_iter()
                .collect();
        };
        participants
            .find_all("to")
            .filter_map(|part| {
                let jid = part.get("jid")?.parse().ok()?;
                Some(Part {
                    to: self.device_id(&jid)?,
                    ciphertexts: part.find_all("enc").collect(),
                })
            })
            .collect()
    }

    /// Shows a part's ciphertexts to the oracle.
    fn watch(&mut self, from: &DeviceId, part: &Part<'_>, id: &str) {
        let now = self.clock.now_ms();
        for ciphertext in &part.ciphertexts {
            let kind = ciphertext.get("type").unwrap_or_default();
            let Ok(kind) = kind.parse::<CiphertextKind>() else {
                continue;
            };
            // What has no readable header will not be decrypted either.
            let Ok(header) = signal::header(kind, ciphertext.data()) else {
                continue;
            };
            let sighting = Sighting {
                ratchet_key: header.ratchet_key,
                counter: header.counter,
                base_key: header.prekey.as_ref().map(|prekey| prekey.base_key),
                prekey: header.prekey.and_then(|prekey| prekey.prekey_id),
                bytes: ciphertext.data().to_vec(),
            };
            self.oracle
                .see_ciphertext(from, &part.to, id, &sighting, now);
        }
    }

    /// The message as one recipient gets it.
    fn delivery(&self, from: &DeviceId, part: &Part<'_>, chat: &Jid, message: &Node) -> Node {
        let mut node = Node::new("message")
            .attr("id", message.get("id").unwrap_or_default())
            .attr("t", self.clock.stamp().to_string());
        for name in KEPT_ATTRS {
            if let Some(value) = message.get(name) {
                node = node.attr(name, value);
            }
        }
        let ciphertexts = part.ciphertexts.iter().copied();
        let kept = message
            .kids()
            .iter()
            .filter(|child| KEPT_CHILDREN.contains(&child.tag.as_str()));
        let children = ciphertexts.chain(kept).cloned().collect();
        let sender = self.account(&from.account);
        if chat.server == SERVER_GROUP {
            if let Some(sender) = sender {
                node = node.attr("notify", &sender.name);
            }
            return self.with_group(node, chat, from).children(children);
        }
        if let Some(sender) = sender {
            let jid = sender.jid(from.device, &chat.server);
            node = node
                .attr("from", jid.to_string())
                .attr("notify", &sender.name);
        }
        let is_copy = part.to.account == from.account && message.get("category").is_none();
        node = match is_copy {
            // A copy for the sender's own devices says in which chat it belongs.
            true => {
                let recipient = message.get("recipient").map(str::to_owned);
                let recipient = recipient.unwrap_or_else(|| chat.bare().to_string());
                let other = self.account_of(chat);
                with_other_jid(
                    node.attr("recipient", recipient),
                    "peer_recipient",
                    other,
                    chat,
                )
            }
            false => with_other_jid(node, "sender", sender, chat),
        };
        node.children(children)
    }

    fn count_message(&mut self, from: &DeviceId, id: &str) {
        let is_new = self
            .accounts
            .get_mut(&from.account)
            .is_some_and(|account| account.sent_ids.insert(id.to_owned()));
        let counts = self.oracle.count(&from.account);
        match is_new {
            true => counts.messages_accepted += 1,
            false => counts.messages_resent += 1,
        }
    }

    /// Passes a receipt on, and forgets the messages it settles.
    pub(crate) fn accept_receipt(&mut self, from: &DeviceId, receipt: &Node) -> Vec<Reply> {
        let kind = receipt.get("type");
        let id = receipt.get("id").unwrap_or_default();
        let to = receipt.get("to").unwrap_or_default();
        let stamp = self.clock.stamp().to_string();
        let mut ack = Node::new("ack")
            .attr("class", "receipt")
            .attr("id", id)
            .attr("from", to)
            .attr("t", &stamp);
        if let Some(kind) = kind {
            ack = ack.attr("type", kind);
        }
        let replies = vec![Reply::Send(ack)];
        let Some(to) = Jid::from_str(to).ok() else {
            return replies;
        };
        let Some(target) = self.author(receipt) else {
            return replies;
        };

        if settles(kind) {
            let listed = receipt.find("list").map(Node::kids).unwrap_or_default();
            let ids = listed.iter().filter_map(|item| item.get("id")).chain([id]);
            for id in ids {
                self.settle(from, Class::Message, id, Some(&target.account));
            }
        } else {
            self.oracle.count(&from.account).retry_receipts += 1;
        }

        let node = self.forwarded_receipt(from, &to, receipt, &stamp);
        for to in self.receipt_targets(from, &target, kind) {
            let address = Address {
                class: Class::Receipt,
                id: id.to_owned(),
                from: Some(Arc::clone(&from.account)),
            };
            self.post(&to, address, node.clone());
        }
        self.changed();
        replies
    }

    /// Who hears of a receipt: all of the other account's devices; a request
    /// goes to the one it is for. What devices of one account tell each other
    /// of their copies is for the server only.
    fn receipt_targets(
        &self,
        from: &DeviceId,
        target: &DeviceId,
        kind: Option<&str>,
    ) -> Vec<DeviceId> {
        if !settles(kind) {
            return vec![target.clone()];
        }
        let account = match kind {
            // "Read, but do not tell."
            Some("read-self" | "played-self") => &from.account,
            Some(_) | None if target.account == from.account => return Vec::new(),
            Some(_) | None => &target.account,
        };
        let devices = self.account(account).map(|account| account.devices.keys());
        devices
            .into_iter()
            .flatten()
            .map(|device| DeviceId {
                account: Arc::clone(account),
                device: *device,
            })
            .filter(|device| device != from)
            .collect()
    }

    fn forwarded_receipt(&self, from: &DeviceId, to: &Jid, receipt: &Node, stamp: &str) -> Node {
        if to.server == SERVER_GROUP {
            let mut node = Node::new("receipt")
                .attr("id", receipt.get("id").unwrap_or_default())
                .attr("t", receipt.get("t").unwrap_or(stamp));
            if let Some(kind) = receipt.get("type") {
                node = node.attr("type", kind);
            }
            node.content = receipt.content.clone();
            return self.with_group(node, to, from);
        }
        let server = match to.server.as_str() {
            SERVER_LID => SERVER_LID,
            _ => SERVER_PN,
        };
        let sender = self
            .account(&from.account)
            .map(|account| account.jid(from.device, server).to_string());
        let mut node = Node::new("receipt")
            .attr("from", sender.unwrap_or_else(|| SERVER.to_owned()))
            .attr("id", receipt.get("id").unwrap_or_default())
            .attr("t", receipt.get("t").unwrap_or(stamp));
        for name in ["type", "recipient", "participant"] {
            if let Some(value) = receipt.get(name) {
                node = node.attr(name, value);
            }
        }
        if receipt
            .get("type")
            .is_some_and(|kind| kind.ends_with("-self"))
        {
            node = node.attr("recipient", to.bare().to_string());
        }
        node.content = receipt.content.clone();
        node
    }

    /// A device has dealt with a stanza.
    pub(crate) fn accept_ack(&mut self, from: &DeviceId, ack: &Node) {
        let Some(class) = ack.get("class").and_then(Class::of) else {
            return;
        };
        let sender = self.settled_from(ack);
        let id = ack.get("id").unwrap_or_default();
        self.settle(from, class, id, sender.as_ref());
        self.changed();
    }

    fn settle(&mut self, device: &DeviceId, class: Class, id: &str, from: Option<&Arc<str>>) {
        let address = Address {
            class,
            id: id.to_owned(),
            from: from.cloned(),
        };
        if let Some(device) = self.device_mut(device) {
            device.mailbox.settle(&address);
        }
    }
}

/// Adds an account's address at the server that the chat is not at, so that
/// clients learn which number and which hidden identity belong together.
fn with_other_jid(node: Node, whose: &str, account: Option<&Account>, chat: &Jid) -> Node {
    let Some(account) = account else {
        return node;
    };
    let kind = match &*chat.server {
        SERVER_LID => "pn",
        _ => "lid",
    };
    node.attr(
        format!("{whose}_{kind}"),
        account.other_jid(&chat.server).to_string(),
    )
}

/// Breaks the ciphertexts of a message.
fn corrupt(message: &mut Node) {
    /// In the ciphertext or in the MAC; what opens a session has a few bytes
    /// behind those, which a client may never look at.
    const FROM_END: usize = 12;
    let Content::Children(children) = &mut message.content else {
        return;
    };
    for child in children.iter_mut().filter(|child| child.tag == "enc") {
        if let Content::Bytes(bytes) = &mut child.content
            && let Some(byte) = bytes.iter_mut().nth_back(FROM_END)
        {
            *byte ^= 1;
        }
    }
}
