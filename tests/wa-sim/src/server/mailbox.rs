//! What waits for a device: stanzas in order, kept until the device settles
//! them.
//!
//! An item is sent at most once a session. A new session begins with
//! everything unsettled, in order, marked with `offline`. Pure: the caller
//! wakes the connection.

use std::{collections::VecDeque, sync::Arc};

use crate::wire::Node;

/// What a device must settle: which answer counts for which stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Message,
    Receipt,
    Notification,
}

impl Class {
    /// The tag of the stanza, which is also the `class` of its `<ack>`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "receipt" => Some(Self::Receipt),
            "notification" => Some(Self::Notification),
            _ => None,
        }
    }
}

/// What is known of a settled or waiting stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) class: Class,
    pub(crate) id: String,
    /// The account it came from; none for the server itself.
    pub(crate) from: Option<Arc<str>>,
}

#[derive(Debug)]
struct Item {
    address: Address,
    node: Node,
    /// How often it goes out in this session or sending; then once in each: a fault
    /// may say 2, or 0.
    copies: u8,
    /// It was there when the session began.
    offline: bool,
}

/// How many of each kind wait, for the preview at the beginning of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) messages: usize,
    pub(crate) receipts: usize,
    pub(crate) notifications: usize,
}

impl Waiting {
    pub(crate) fn total(self) -> usize {
        self.messages + self.receipts + self.notifications
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    items: VecDeque<Item>,
    /// Items before this one were sent in the current session.
    sent: usize,
}

impl Mailbox {
    /// Puts a stanza at the end.
    pub(crate) fn push(&mut self, address: Address, node: Node, copies: u8) {
        self.items.push_back(Item {
            address,
            node,
            copies,
            offline: false,
        });
    }

    /// Begins a session: everything is to be sent (again).
    pub(crate) fn begin_session(&mut self) -> Waiting {
        self.sent = 0;
        let mut waiting = Waiting::default();
        for item in &mut self.items {
            item.offline = true;
            match item.address.class {
                Class::Message => waiting.messages += 1,
                Class::Receipt => waiting.receipts += 1,
                Class::Notification => waiting.notifications += 1,
            }
        }
        waiting
    }

    /// Takes up to `limit` unsent stanzas, of those from before the session if
    /// `offline_only`.
    pub(crate) fn take(&mut self, limit: usize, offline_only: bool) -> Vec<Node> {
        let mut nodes = Vec::new();
        while nodes.len() < limit
            && let Some(item) = self.items.get_mut(self.sent)
            && (item.offline || !offline_only)
        {
            for _ in 0..item.copies {
                let node = item.node.clone();
                nodes.push(match item.offline {
                    true => node.attr("offline", "0"),
                    false => node,
                });
            }
            item.copies = 1;
            self.sent += 1;
        }
        nodes
    }

    /// Forgets a stanza that the device has dealt with; false if none such waits.
    pub(crate) fn settle(&mut self, address: &Address) -> bool {
        let Some(at) = self.items.iter().position(|item| item.address == *address) else {
            return false;
        };
        self.items.remove(at);
        if at < self.sent {
            self.sent -= 1;
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Address {
        Address {
            class: Class::Message,
            id: id.to_owned(),
            from: None,
        }
    }

    fn mailbox(ids: &[&str]) -> Mailbox {
        let mut mailbox = Mailbox::default();
        for id in ids {
            mailbox.push(message(id), Node::new("message").attr("id", *id), 1);
        }
        mailbox
    }

    fn ids(nodes: &[Node]) -> Vec<&str> {
        nodes.iter().filter_map(|node| node.get("id")).collect()
    }

    #[test]
    fn a_stanza_is_sent_once_a_session_and_again_until_settled() {
        let mut mailbox = mailbox(&["a", "b", "c"]);
        assert_eq!(ids(&mailbox.take(2, false)), ["a", "b"]);
        assert_eq!(ids(&mailbox.take(2, false)), ["c"]);
        assert!(mailbox.settle(&message("b")) && !mailbox.settle(&message("b")));
        mailbox.push(message("d"), Node::new("message").attr("id", "d"), 1);
        assert_eq!(ids(&mailbox.take(9, false)), ["d"]);

        assert_eq!(mailbox.begin_session().messages, 3);
        let again = mailbox.take(9, true);
        assert_eq!(ids(&again), ["a", "c", "d"]);
        assert!(again.iter().all(|node| node.get("offline").is_some()));
    }

    #[test]
    fn what_comes_during_the_replay_waits_behind_it() {
        let mut mailbox = mailbox(&["a"]);
        mailbox.begin_session();
        mailbox.push(message("b"), Node::new("message").attr("id", "b"), 1);
        assert_eq!(ids(&mailbox.take(9, true)), ["a"]);
        assert!(mailbox.take(9, true).is_empty());
        let live = mailbox.take(9, false);
        assert_eq!(ids(&live), ["b"]);
        assert_eq!(live[0].get("offline"), None);
        assert!(mailbox.take(9, false).is_empty());
    }

    #[test]
    fn a_duplicated_stanza_goes_out_twice_and_is_settled_once() {
        let mut mailbox = Mailbox::default();
        mailbox.push(message("a"), Node::new("message").attr("id", "a"), 2);
        assert_eq!(ids(&mailbox.take(9, false)), ["a", "a"]);
        assert!(mailbox.settle(&message("a")));
        assert_eq!(mailbox.len(), 0);
    }

    #[test]
    fn what_is_held_back_comes_with_the_next_session() {
        let mut mailbox = Mailbox::default();
        mailbox.push(message("a"), Node::new("message").attr("id", "a"), 0);
        mailbox.push(message("b"), Node::new("message").attr("id", "b"), 1);
        assert_eq!(ids(&mailbox.take(9, false)), ["b"]);
        assert!(mailbox.settle(&message("b")));
        mailbox.begin_session();
        assert_eq!(ids(&mailbox.take(9, true)), ["a"]);
    }
}
