//! Who is online, and who is writing: told to whoever is connected right now,
//! and to nobody later.
//!
//! As with WhatsApp, somebody is told of another's presence after asking for it,
//! and of typing in chats with oneself unasked.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    account::DeviceId,
    session::{Command, Stage},
    world::World,
};
use crate::wire::{
    Jid, Node,
    jid::{SERVER_GROUP, SERVER_LID, SERVER_PN},
};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Presences {
    online: BTreeSet<Arc<str>>,
    /// Who asked for whose.
    watchers: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl World {
    /// `<presence>`: one's own, or a wish to be told of another's.
    pub(super) fn take_presence(&mut self, from: &DeviceId, node: &Node) {
        match node.get("type") {
            Some("subscribe") => {
                let target = node.get("to").and_then(|to| to.parse::<Jid>().ok());
                let target = target.and_then(|jid| self.device_id(&jid));
                let Some(DeviceId { account, .. }) = target else {
                    return;
                };
                let watchers = self.presences.watchers.entry(Arc::clone(&account));
                watchers.or_default().insert(Arc::clone(&from.account));
                let shown = self.presence_node(&account);
                self.tell_now(&from.account, &shown);
            }
            Some("unavailable") => self.set_online(&from.account, false),
            Some("available") | None => self.set_online(&from.account, true),
            Some(_) => {}
        }
    }

    /// Somebody comes or goes; whoever asked for it is told.
    pub(crate) fn set_online(&mut self, account: &Arc<str>, is_online: bool) {
        let has_changed = match is_online {
            true => self.presences.online.insert(Arc::clone(account)),
            false => self.presences.online.remove(account),
        };
        if !has_changed {
            return;
        }
        let watchers = self.presences.watchers.get(account).cloned();
        let shown = self.presence_node(account);
        for watcher in watchers.into_iter().flatten() {
            self.tell_now(&watcher, &shown);
        }
        self.changed();
    }

    /// Whether an account is shown as online.
    pub(crate) fn is_online(&self, number: &str) -> bool {
        self.presences.online.contains(number)
    }

    fn presence_node(&self, account: &Arc<str>) -> Node {
        let from = Jid::pn(&**account).to_string();
        let node = Node::new("presence").attr("from", from);
        match self.presences.online.contains(account) {
            true => node.attr("type", "available"),
            false => node
                .attr("type", "unavailable")
                .attr("last", self.clock.stamp().to_string()),
        }
    }

    /// `<chatstate>`: somebody writes in a chat, or no longer does.
    pub(crate) fn take_chat_state(&mut self, from: &DeviceId, node: &Node) {
        let Some(to) = node.get("to").and_then(|to| to.parse::<Jid>().ok()) else {
            return;
        };
        let own = |server| self.address_of(&from.clone(), server).bare().to_string();
        let shown = Node::new("chatstate").children(node.kids().to_vec());
        let (shown, told): (Node, Vec<Arc<str>>) = match &*to.server {
            SERVER_GROUP => {
                let members = self.groups.get(&to.user).map(|group| &group.members);
                let others = members.into_iter().flat_map(|members| members.keys());
                let others = others.filter(|member| **member != from.account);
                let shown = shown
                    .attr("from", to.to_string())
                    .attr("participant", own(SERVER_LID));
                (shown, others.cloned().collect())
            }
            server => {
                let server = if server == SERVER_LID {
                    SERVER_LID
                } else {
                    SERVER_PN
                };
                let other = self.device_id(&to).map(|device| device.account);
                (shown.attr("from", own(server)), other.into_iter().collect())
            }
        };
        for account in told {
            self.tell_now(&account, &shown);
        }
    }

    /// To every connection of an account's linked devices.
    fn tell_now(&self, account: &Arc<str>, node: &Node) {
        for session in self.sessions.values() {
            if let Stage::Online { device, .. } = &session.stage
                && device.account == *account
                && device.device != 0
            {
                // Too much waits there already: this is worth nothing later.
                let _ = session.commands.try_send(Command::Send(node.clone()));
            }
        }
    }
}
