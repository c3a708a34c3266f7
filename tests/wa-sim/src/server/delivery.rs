//! From the mailboxes to the connections: first what waited, then everything as
//! it comes.

use std::sync::Arc;

use super::{
    account::DeviceId,
    mailbox::{Address, Class},
    session::{Flow, Session, SessionId, Stage},
    stanza::{SERVER, fresh_id},
    world::World,
};
use crate::wire::Node;

/// Stanzas that one fetch from a mailbox brings.
pub(crate) const MAIL_BATCH_MAX: usize = 64;

/// Stanzas that may wait for one device; a message beyond is refused.
pub(crate) const MAILBOX_MAX: usize = 500_000;

impl World {
    /// Begins the replay: the client has asked to be active.
    pub(super) fn activate(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Stage::Online { flow, .. } = &mut session.stage else {
            return;
        };
        *flow = match flow {
            Flow::Passive => Flow::Replay {
                announced: false,
                total: 0,
            },
            Flow::Replay { .. } | Flow::Live | Flow::Mute => *flow,
        };
        session.mail.notify_one();
    }

    /// What is to be written to a connection now; empty when nothing is.
    pub(crate) fn fetch(&mut self, id: SessionId) -> Vec<Node> {
        let Some(Session {
            stage: Stage::Online { device, flow },
            ..
        }) = self.sessions.get_mut(&id)
        else {
            return Vec::new();
        };
        let Some(mailbox) = self
            .accounts
            .get_mut(&device.account)
            .and_then(|account| account.devices.get_mut(&device.device))
            .map(|device| &mut device.mailbox)
        else {
            return Vec::new();
        };
        match flow {
            Flow::Passive | Flow::Mute => Vec::new(),
            Flow::Live => mailbox.take(MAIL_BATCH_MAX, false),
            Flow::Replay { announced, total } => {
                let mut nodes = Vec::new();
                if !*announced {
                    let waiting = mailbox.begin_session();
                    *announced = true;
                    *total = waiting.total();
                    nodes.push(
                        Node::new("ib").attr("from", SERVER).child(
                            Node::new("offline_preview")
                                .attr("count", waiting.total().to_string())
                                .attr("message", waiting.messages.to_string())
                                .attr("receipt", waiting.receipts.to_string())
                                .attr("notification", waiting.notifications.to_string()),
                        ),
                    );
                }
                let replayed = mailbox.take(MAIL_BATCH_MAX, true);
                let finished = replayed.len() < MAIL_BATCH_MAX;
                nodes.extend(replayed);
                if finished {
                    nodes.push(
                        Node::new("ib")
                            .attr("from", SERVER)
                            .child(Node::new("offline").attr("count", total.to_string())),
                    );
                    *flow = Flow::Live;
                    self.changed();
                }
                nodes
            }
        }
    }

    /// Puts a stanza into a device's mailbox. False if there is no such device
    /// or no more room.
    pub(super) fn post(&mut self, to: &DeviceId, address: Address, node: Node) -> bool {
        let is_for_linked = address.class == Class::Message && to.device != 0;
        let copies = if is_for_linked && self.faults.holds(&to.account) {
            0
        } else if is_for_linked && self.faults.duplicates(&to.account) {
            2
        } else {
            1
        };
        let Some(device) = self.device_mut(to) else {
            return false;
        };
        if device.mailbox.len() >= MAILBOX_MAX {
            return false;
        }
        device.mailbox.push(address, node, copies);
        if let Some(session) = device.live.and_then(|live| self.sessions.get(&live)) {
            session.mail.notify_one();
        }
        true
    }

    /// A notification of the server's own.
    pub(super) fn notify(&mut self, to: &DeviceId, kind: &str, from: &str, content: Node) {
        let id = fresh_id("");
        let node = Node::new("notification")
            .attr("from", from)
            .attr("type", kind)
            .attr("id", &id)
            .attr("t", self.clock.stamp().to_string())
            .child(content);
        let from = from
            .parse()
            .ok()
            .and_then(|jid| self.device_id(&jid))
            .map(|device| device.account);
        let address = Address {
            class: Class::Notification,
            id,
            from,
        };
        self.post(to, address, node);
    }

    /// How late stanzas to this connection are, if a fault says so.
    pub(crate) fn delay_ms(&mut self, id: SessionId) -> Option<u64> {
        if self.faults.list().is_empty() {
            return None;
        }
        let account = self
            .sessions
            .get(&id)
            .and_then(Session::device)
            .map(|device| Arc::clone(&device.account));
        self.faults.delays_ms(account.as_deref())
    }
}
