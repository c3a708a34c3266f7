//! What all devices of an account have in common beside messages: collections
//! of encrypted patches, each with the number of those before it.
//!
//! The server numbers patches, keeps them all and gives each device those that
//! it does not have; like the real one it reads none. There are no snapshots.

use prost::Message as _;
use proto::whatsapp::{SyncdPatch, SyncdVersion};

use super::{account::DeviceId, world::World};
use crate::wire::{Node, jid::SERVER_PN};

/// Somebody else's patch came first.
const CONFLICT: &str = "409";

impl World {
    /// All patches of a collection, the first first.
    pub(crate) fn patches(&self, account: &str, collection: &str) -> &[Vec<u8>] {
        let account = self.account(account);
        account
            .and_then(|account| account.app_state.get(collection))
            .map_or(&[], Vec::as_slice)
    }

    /// Adds a device's patch, and tells the account's other linked devices.
    pub(crate) fn add_patch(&mut self, from: &DeviceId, collection: &str, patch: SyncdPatch) {
        let Some(account) = self.accounts.get_mut(&from.account) else {
            return;
        };
        let patches = account.app_state.entry(collection.to_owned()).or_default();
        let version = patches.len() as u64 + 1;
        let numbered = SyncdPatch {
            version: Some(SyncdVersion {
                version: Some(version),
            }),
            ..patch
        };
        patches.push(numbered.encode_to_vec());
        let mut others = self.devices(&from.account).unwrap_or_default();
        others.retain(|device| device.device != 0 && device != from);
        for device in others {
            let news = Node::new("collection")
                .attr("name", collection)
                .attr("version", version.to_string());
            self.notify(&device, "server_sync", SERVER_PN, news);
        }
        self.changed();
    }

    /// The answer to a device's `<sync>`.
    pub(super) fn answer_app_state(&mut self, from: &DeviceId, query: &Node) -> Node {
        let asked = query.find("sync").map(Node::kids).unwrap_or_default();
        let collections = asked.iter().map(|collection| self.sync(from, collection));
        Node::new("sync").children(collections.collect())
    }

    fn sync(&mut self, from: &DeviceId, asked: &Node) -> Node {
        let name = asked.get("name").unwrap_or_default();
        let known: usize = asked
            .get("version")
            .and_then(|version| version.parse().ok())
            .unwrap_or_default();
        let answer = Node::new("collection").attr("name", name);
        let version = self.patches(&from.account, name).len();
        let theirs = asked.find("patch");
        if theirs.is_some() && known < version {
            let error = Node::new("error").attr("code", CONFLICT);
            return answer
                .attr("version", version.to_string())
                .attr("type", "error")
                .children([vec![error], self.unknown(from, name, known)].concat());
        }
        if let Some(patch) = theirs.and_then(|patch| SyncdPatch::decode(patch.data()).ok()) {
            self.add_patch(from, name, patch);
            let version = self.patches(&from.account, name).len();
            return answer.attr("version", version.to_string());
        }
        answer
            .attr("version", version.to_string())
            .children(self.unknown(from, name, known))
    }

    /// The patches that a device does not have.
    fn unknown(&self, from: &DeviceId, name: &str, known: usize) -> Vec<Node> {
        let patches = self.patches(&from.account, name).iter().skip(known);
        let patches: Vec<Node> = patches
            .map(|patch| Node::new("patch").bytes(patch.clone()))
            .collect();
        match patches.is_empty() {
            true => Vec::new(),
            false => vec![Node::new("patches").children(patches)],
        }
    }
}
