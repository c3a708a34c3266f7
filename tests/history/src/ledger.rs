//! The counts, from ledgers and not from a worker's own metrics.
//!
//! Four ledgers are joined ([`Ledgers`]): what the API accepted with a 202,
//! what phones were told that the server took over, what arrived at phones, and
//! what workers stored. Each message is planted with a text of its own, so the
//! text tells which message it is, whatever id it travels under.
//!
//! [`Counts`] says what each number means. [`Counts::faults`] names those that
//! must be 0 and are not.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A message that the API accepted with a 202.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The account that sends it, by its id at the worker.
    pub account: String,
    /// Who shall have it, by phone number.
    pub to: String,
    /// The text, unlike all others.
    pub text: String,
}

/// A message that arrived at a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The phone, by number.
    pub phone: String,
    /// The id that it travelled under.
    pub wa_id: String,
    /// Its text.
    pub text: String,
    /// How often it came again under the same id.
    pub repeats: usize,
}

/// A message that a phone sent to an account, and that the server took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneSent {
    /// The account that shall store it, by its id at the worker.
    pub account: String,
    /// The text, unlike all others.
    pub text: String,
}

/// An incoming message as the worker's API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Whose conversation.
    pub account: String,
    /// The id that it travelled under.
    pub wa_id: String,
    /// Its text.
    pub text: String,
}

/// Everything that the counts are made from. Each list is in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledgers {
    /// The clients' ledger.
    pub accepted: Vec<Accepted>,
    /// The phones' ledger of what came.
    pub arrived: Vec<Arrival>,
    /// The phones' ledger of what they sent.
    pub phone_sent: Vec<PhoneSent>,
    /// The workers' ledger.
    pub stored: Vec<Stored>,
    /// The oracle's violations.
    pub violations: usize,
    /// The oracle's QR scans since the restart.
    pub qr_after_restart: u64,
}

/// The closing table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages that the API accepted with a 202.
    pub sent: usize,
    /// Of these, the ones that arrived at their phone, each counted once.
    pub delivered: usize,
    /// Messages from phones to accounts that the server took over.
    pub received: usize,
    /// Of these, the ones that a worker stored, each counted once.
    pub stored: usize,
    /// Accepted or taken over, and never seen at the other end. Must be 0.
    pub lost: usize,
    /// Seen at the other end once more under another id. Must be 0.
    pub duplicated: usize,
    /// Arrived once more under the same id: a phone drops these unseen, so they
    /// do no harm; shown all the same.
    pub resent: usize,
    /// Seen at one end and never sent at the other. Must be 0.
    pub unknown: usize,
    /// Arrived before a message that was accepted earlier for the same chat.
    /// Must be 0.
    pub out_of_order: usize,
    /// What the oracle saw that no correct client does. Must be 0.
    pub violations: usize,
    /// QR codes scanned after the restart. Must be 0.
    pub qr_after_restart: u64,
}

impl Counts {
    /// Those that are shown, with their names in a table.
    pub fn shown(&self) -> [(&'static str, usize); 9] {
        [
            ("sent", self.sent),
            ("  delivered", self.delivered),
            ("received", self.received),
            ("  stored", self.stored),
            ("resent", self.resent),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
            ("violations", self.violations),
        ]
    }

    /// The counts that must be 0 and are not.
    pub fn faults(&self) -> Vec<(&'static str, u64)> {
        let count = |number: usize| number as u64;
        [
            ("lost", count(self.lost)),
            ("duplicated", count(self.duplicated)),
            ("unknown", count(self.unknown)),
            ("out_of_order", count(self.out_of_order)),
            ("violations", count(self.violations)),
            ("qr_after_restart", self.qr_after_restart),
        ]
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .collect()
    }
}

impl Ledgers {
    /// Joins the ledgers.
    pub fn count(&self) -> Counts {
        let arrivals = seen(
            self.arrived
                .iter()
                .map(|a| (&*a.phone, &*a.text, &*a.wa_id)),
        );
        let outgoing = compare(
            self.accepted
                .iter()
                .map(|message| (&*message.to, &*message.text)),
            &arrivals,
        );
        let stored = seen(
            self.stored
                .iter()
                .map(|s| (&*s.account, &*s.text, &*s.wa_id)),
        );
        let incoming = compare(
            self.phone_sent.iter().map(|m| (&*m.account, &*m.text)),
            &stored,
        );
        Counts {
            sent: outgoing.sent,
            delivered: outgoing.seen,
            received: incoming.sent,
            stored: incoming.seen,
            lost: outgoing.lost + incoming.lost,
            duplicated: outgoing.duplicated + incoming.duplicated,
            resent: self.arrived.iter().map(|arrival| arrival.repeats).sum(),
            unknown: outgoing.unknown + incoming.unknown,
            out_of_order: self.out_of_order(),
            violations: self.violations,
            qr_after_restart: self.qr_after_restart,
        }
    }

    /// How often, in one chat, a message arrived after one that was accepted later.
    fn out_of_order(&self) -> usize {
        let accepted: BTreeMap<(&str, &str), (usize, &str)> = self
            .accepted
            .iter()
            .enumerate()
            .map(|(at, message)| ((&*message.to, &*message.text), (at, &*message.account)))
            .collect();
        let mut arrived = BTreeSet::new();
        let mut latest: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut count = 0;
        for arrival in &self.arrived {
            let key = (&*arrival.phone, &*arrival.text);
            let Some(&(at, account)) = accepted.get(&key) else {
                continue;
            };
            // Under another id: a duplicate, counted as such.
            if !arrived.insert(key) {
                continue;
            }
            let latest = latest.entry((account, key.0)).or_default();
            if at < *latest {
                count += 1;
            }
            *latest = at.max(*latest);
        }
        count
    }
}

/// Who saw which text, under which ids.
type Seen<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>>;

fn seen<'a>(ledger: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Seen<'a> {
    let mut seen = Seen::new();
    for (who, text, id) in ledger {
        seen.entry((who, text)).or_default().insert(id);
    }
    seen
}

/// One direction.
#[derive(Debug, Default)]
struct Compared {
    sent: usize,
    seen: usize,
    lost: usize,
    duplicated: usize,
    unknown: usize,
}

fn compare<'a>(sent: impl Iterator<Item = (&'a str, &'a str)>, seen: &Seen<'_>) -> Compared {
    let sent: Vec<(&str, &str)> = sent.collect();
    let known: BTreeSet<_> = sent.iter().copied().collect();
    let mut compared = Compared {
        sent: sent.len(),
        ..Compared::default()
    };
    for key in &known {
        match seen.get(key) {
            Some(ids) => {
                compared.seen += 1;
                compared.duplicated += ids.len() - 1;
            }
            None => compared.lost += 1,
        }
    }
    compared.unknown = seen.keys().filter(|key| !known.contains(*key)).count();
    compared
}

#[cfg(test)]
mod tests;
