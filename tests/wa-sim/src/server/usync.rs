//! Who is who and has which devices (`xmlns="usync"`).
//!
//! Answered are the protocols `devices`, `lid` and `contact`; others are left
//! out of the answer.

use std::sync::Arc;

use super::{
    account::{Account, DeviceId},
    stanza::{error, result},
    world::World,
};
use crate::wire::{
    Jid, Node,
    jid::{SERVER_LID, SERVER_PN},
};

impl World {
    /// Answers a query, and remembers who asked: they hear of changes.
    pub(super) fn answer_usync(&mut self, from: &DeviceId, query: &Node) -> Node {
        let Some(usync) = query.find("usync") else {
            return error(query, 400, "bad-request");
        };
        let wanted = usync.find("query").map(Node::kids).unwrap_or_default();
        let wants = |protocol: &str| wanted.iter().any(|node| node.tag == protocol);
        let asked = usync.find("list").map(Node::kids).unwrap_or_default();

        let mut users = Vec::with_capacity(asked.len());
        for user in asked {
            let Some(jid) = asked_jid(user) else {
                continue;
            };
            let Some(number) = self
                .account_of(&jid)
                .map(|account| Arc::clone(&account.number))
            else {
                users.push(unknown(&jid, wants("contact")));
                continue;
            };
            let Some(account) = self.accounts.get_mut(&number) else {
                continue;
            };
            let mut children = Vec::new();
            if wants("devices") {
                children.push(devices(account));
                if account.number != from.account {
                    account.known_to.insert(Arc::clone(&from.account));
                }
            }
            if wants("lid") && jid.server == SERVER_PN {
                let lid = account.jid(0, SERVER_LID).to_string();
                children.push(Node::new("lid").attr("val", lid));
            }
            if wants("contact") {
                children.push(Node::new("contact").attr("type", "in"));
            }
            users.push(
                Node::new("user")
                    .attr("jid", jid.to_string())
                    .attr("pn_jid", account.jid(0, SERVER_PN).to_string())
                    .children(children),
            );
        }
        result(query).child(
            Node::new("usync")
                .attr("sid", usync.get("sid").unwrap_or_default())
                .attr("index", "0")
                .attr("last", "true")
                .attr("mode", usync.get("mode").unwrap_or("query"))
                .attr("context", usync.get("context").unwrap_or("message"))
                .child(Node::new("list").children(users)),
        )
    }
}

/// Whom a `<user>` means: by address, or by phone number.
fn asked_jid(user: &Node) -> Option<Jid> {
    if let Some(jid) = user.get("jid") {
        return Some(jid.parse::<Jid>().ok()?.bare());
    }
    let number = std::str::from_utf8(user.find("contact")?.data()).ok()?;
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| Jid::pn(digits))
}

fn unknown(jid: &Jid, wants_contact: bool) -> Node {
    let user = Node::new("user").attr("jid", jid.to_string());
    match wants_contact {
        true => user.child(Node::new("contact").attr("type", "out")),
        false => user,
    }
}

/// The phone and the linked devices. Clients send to a linked device only with
/// its key index, and only believe it with the signed list.
fn devices(account: &Account) -> Node {
    let list = account.devices.iter().map(|(id, device)| {
        let node = Node::new("device").attr("id", id.to_string());
        match id {
            0 => node,
            _ => node.attr("key-index", device.key_index.to_string()),
        }
    });
    let devices = Node::new("devices").child(Node::new("device-list").children(list.collect()));
    match &account.key_index_list {
        Some((signed, time)) => devices.child(
            Node::new("key-index-list")
                .attr("ts", time.to_string())
                .bytes(signed.clone()),
        ),
        None => devices,
    }
}
