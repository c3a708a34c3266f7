//! What a phone sent and received: the evidence that tests count from.
//!
//! A real phone drops what it has seen under the same id from the same sender;
//! the ledger notes it as a repeat. Everything is kept, texts included.

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde::Serialize;

use crate::server::DeviceId;

/// A message that this phone sent.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    pub id: String,
    /// The other's number, or a group's address.
    pub to: Arc<str>,
    pub text: String,
    pub at_ms: u64,
    pub receipts: Vec<ReceiptSeen>,
}

/// What a device of the other's said about a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptSeen {
    pub from: DeviceId,
    /// `delivered`, or the receipt's type: `inactive`, `read`, `retry`, …
    pub kind: String,
    pub at_ms: u64,
}

/// A message that came from someone else.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    pub id: String,
    /// The sender's number and device.
    pub from: DeviceId,
    /// The group's address, if it came in one.
    pub group: Option<String>,
    pub text: String,
    /// Its place among all that this phone received, from 0.
    pub seq: u64,
    pub at_ms: u64,
    /// The same, for what is measured in this process.
    #[serde(skip)]
    pub at: Instant,
    /// How often it came again under the same id.
    pub repeats: u32,
}

/// A message that another device of this account sent, as told to the phone.
#[derive(Clone, Debug, Serialize)]
pub struct Copied {
    pub id: String,
    pub device: u16,
    /// The chat: the other's number, or its address if nobody has that.
    pub to: String,
    pub text: String,
    pub at_ms: u64,
    pub repeats: u32,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    pub sent: Vec<Sent>,
    pub received: Vec<Received>,
    /// What the account's linked devices sent.
    pub copies: Vec<Copied>,
    #[serde(skip)]
    sent_by_id: HashMap<String, usize>,
    #[serde(skip)]
    received_by_id: HashMap<(DeviceAccount, String), usize>,
    #[serde(skip)]
    copies_by_id: HashMap<String, usize>,
}

type DeviceAccount = Arc<str>;

impl Ledger {
    pub(super) fn note_sent(&mut self, sent: Sent) {
        self.sent_by_id.insert(sent.id.clone(), self.sent.len());
        self.sent.push(sent);
    }

    /// False if it had been received before.
    #[allow(clippy::disallowed_methods, reason = "a test program")]
    pub(super) fn note_received(
        &mut self,
        id: &str,
        from: &DeviceId,
        group: Option<&str>,
        text: &str,
        at_ms: u64,
    ) -> bool {
        if self.note_repeat(id, from) {
            return false;
        }
        let key = (Arc::clone(&from.account), id.to_owned());
        self.received_by_id.insert(key, self.received.len());
        self.received.push(Received {
            id: id.to_owned(),
            from: from.clone(),
            group: group.map(str::to_owned),
            text: text.to_owned(),
            seq: self.received.len() as u64,
            at_ms,
            at: Instant::now(),
            repeats: 0,
        });
        true
    }

    pub(super) fn note_copy(&mut self, copy: Copied) {
        match self.copies_by_id.get(&copy.id) {
            Some(at) => self.copies[*at].repeats += 1,
            None => {
                self.copies_by_id.insert(copy.id.clone(), self.copies.len());
                self.copies.push(copy);
            }
        }
    }

    /// Whether a message was received before; it is counted as a repeat then.
    pub(super) fn note_repeat(&mut self, id: &str, from: &DeviceId) -> bool {
        let key = (Arc::clone(&from.account), id.to_owned());
        match self.received_by_id.get(&key) {
            Some(at) => {
                self.received[*at].repeats += 1;
                true
            }
            None => false,
        }
    }

    pub(super) fn note_receipt(&mut self, id: &str, receipt: ReceiptSeen) {
        if let Some(at) = self.sent_by_id.get(id) {
            self.sent[*at].receipts.push(receipt);
        }
    }

    /// A message of this phone's.
    pub fn sent(&self, id: &str) -> Option<&Sent> {
        self.sent.get(*self.sent_by_id.get(id)?)
    }

    /// Whether a device of the other's, phones and linked devices alike, said
    /// this about a message.
    pub fn has_receipt(&self, id: &str, device: &DeviceId, kind: &str) -> bool {
        self.sent(id).is_some_and(|sent| {
            sent.receipts
                .iter()
                .any(|receipt| receipt.from == *device && receipt.kind == kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_received_once_however_often_it_comes() {
        let device = |number: &str, device| DeviceId {
            account: number.into(),
            device,
        };
        let mut ledger = Ledger::default();
        assert!(ledger.note_received("a", &device("1", 1), None, "x", 0));
        assert!(!ledger.note_received("a", &device("1", 1), None, "x", 1));
        // The same id from another sender is another message.
        assert!(ledger.note_received("a", &device("2", 0), None, "y", 2));
        assert_eq!(ledger.received.len(), 2);
        assert_eq!((ledger.received[0].repeats, ledger.received[1].seq), (1, 1));
    }
}
