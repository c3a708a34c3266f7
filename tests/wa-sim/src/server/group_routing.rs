//! Messages and receipts in groups.
//!
//! A message to a group has one ciphertext for all and, for the devices that do
//! not have its sender's key yet, one each that brings it. Every other device of
//! every member gets both; a message that names a participant is for that device
//! alone: somebody asked for it again.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{
    account::DeviceId,
    groups::{Group, GroupRefusal},
    routing::Part,
    world::World,
};
use crate::{
    signal::group_header,
    wire::{
        Jid, Node,
        jid::{SERVER_GROUP, SERVER_LID, SERVER_PN},
    },
};

/// The ciphertext for a whole group.
const FOR_ALL: &str = "skmsg";

impl World {
    /// Who gets which ciphertexts.
    ///
    /// # Errors
    /// The sender may not write there.
    pub(super) fn group_parts<'a>(
        &self,
        from: &DeviceId,
        chat: &Jid,
        message: &'a Node,
    ) -> Result<Vec<Part<'a>>, GroupRefusal> {
        let group = self.group_for(chat, &from.account)?;
        let is_admin = group
            .members
            .get(&from.account)
            .is_some_and(|rank| *rank != super::groups::Rank::Member);
        if group.is_announcement && !is_admin {
            return Err(GroupRefusal::Forbidden);
        }
        let all: Vec<&Node> = message.find_all("enc").collect();
        if let Some(participant) = message.get("participant") {
            let to = participant
                .parse()
                .ok()
                .and_then(|jid| self.device_id(&jid));
            let to = to.filter(|to| group.members.contains_key(&to.account));
            let part = to.map(|to| Part {
                to,
                ciphertexts: all,
            });
            return Ok(part.into_iter().collect());
        }
        let mut parts: Vec<Part<'a>> = self
            .group_devices(group)
            .into_iter()
            .filter(|device| device != from)
            .map(|to| Part {
                to,
                ciphertexts: Vec::new(),
            })
            .collect();
        let own = message.find("participants").map(Node::kids);
        for part in own.unwrap_or_default() {
            let to = part
                .get("jid")
                .and_then(|jid| self.device_id(&jid.parse().ok()?));
            if let Some(known) = parts.iter_mut().find(|part| Some(&part.to) == to.as_ref()) {
                known.ciphertexts.extend(part.find_all("enc"));
            }
        }
        for part in &mut parts {
            part.ciphertexts.extend(all.iter().copied());
        }
        Ok(parts)
    }

    /// Shows a group's ciphertext to the oracle, once for all who get it.
    pub(super) fn watch_group(&mut self, from: &DeviceId, chat: &Jid, message: &Node) {
        let now = self.clock.now_ms();
        let id = message.get("id").unwrap_or_default();
        for ciphertext in message.find_all("enc") {
            if ciphertext.get("type") != Some(FOR_ALL) {
                continue;
            }
            if let Ok(header) = group_header(ciphertext.data()) {
                let group = chat.to_string();
                self.oracle
                    .see_group_ciphertext(from, &group, id, header, ciphertext.data(), now);
            }
            self.overhear(chat, from, id, ciphertext.data());
        }
    }

    /// The hash over the group's devices, where the sender's is another one.
    pub(super) fn group_hash_if_other(&self, chat: &Jid, message: &Node) -> Option<String> {
        let theirs = message.get("phash")?;
        let ours = self.group_hash(self.groups.get(&chat.user)?);
        (ours != theirs).then_some(ours)
    }

    fn group_hash(&self, group: &Group) -> String {
        let mut names: Vec<String> = self
            .group_devices(group)
            .iter()
            .filter_map(|device| {
                let account = self.account(&device.account)?;
                Some(format!("{}.0:{}@{SERVER_LID}", account.lid, device.device))
            })
            .collect();
        names.sort_unstable();
        let hash = Sha256::digest(names.concat());
        format!("2:{}", BASE64_STANDARD_NO_PAD.encode(&hash[..6]))
    }

    /// Says of a message or receipt in which group it is, and who sent it.
    pub(super) fn with_group(&self, node: Node, group: &Jid, from: &DeviceId) -> Node {
        let node = node.attr("from", group.to_string());
        match self.account(&from.account) {
            Some(account) => node
                .attr(
                    "participant",
                    account.jid(from.device, SERVER_LID).to_string(),
                )
                .attr("participant_pn", account.jid(0, SERVER_PN).to_string())
                .attr("addressing_mode", "lid"),
            None => node,
        }
    }

    /// Whose message a receipt or an acknowledgement is about.
    pub(super) fn author(&self, node: &Node) -> Option<DeviceId> {
        let to: Jid = node.get("to")?.parse().ok()?;
        match &*to.server {
            SERVER_GROUP => self.device_id(&node.get("participant")?.parse().ok()?),
            _ => self.device_id(&to),
        }
    }

    /// The account that a settled stanza came from; none for the server's own.
    pub(super) fn settled_from(&self, ack: &Node) -> Option<Arc<str>> {
        let to: Jid = ack.get("to")?.parse().ok()?;
        if to.server == SERVER_GROUP && ack.get("class") == Some("notification") {
            return None;
        }
        Some(self.author(ack)?.account)
    }
}
