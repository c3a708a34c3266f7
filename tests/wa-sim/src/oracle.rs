//! The oracle: sees everything that passes the server and notes what no
//! correct client does.
//!
//! - [`ratchets`]: no message key twice (of pairs and of groups), no one-time prekey twice
//! - [`connections`]: who was connected when, and whether an older connection of
//!   a device went on sending after a newer one had logged in
//! - ciphertexts that a phone could not read
//!
//! It only watches: nothing is refused because of it. A test asserts at its end
//! that [`Report::violations`] is empty. Messages seen again under their own id
//! with a new counter are no violation; they are counted as resent.

pub mod connections;
pub mod ratchets;

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use self::{
    connections::{Connection, Connections},
    ratchets::{Finding, Ratchets, Sighting},
};
use crate::{server::DeviceId, signal::GroupHeader};

/// What a client did that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// A message key encrypted two different things.
    CounterReused,
    /// The very same ciphertext was sent again.
    CiphertextRepeated,
    /// Two sessions were begun with one one-time prekey.
    PrekeyReused,
    /// A phone could not read what was sent to it.
    Undecryptable,
    /// A connection sent a message after a newer one of its device logged in.
    StaleSender,
}

/// One breach. It names devices and message ids, no texts and no keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub kind: ViolationKind,
    /// Who did it.
    pub device: DeviceId,
    /// To whom, where it was to someone.
    pub peer: Option<DeviceId>,
    pub detail: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What happened so far, of everyone or of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Codes that a phone scanned.
    pub qr_scans: u64,
    /// Scans that led to a linked device.
    pub pairings: u64,
    /// `<success>`es.
    pub logins: u64,
    /// `<failure>`s, whether deserved or a fault's.
    pub logins_refused: u64,
    /// Connections that a newer one of their device put an end to.
    pub replaced: u64,
    /// Messages that the server took over, each id once. Phones' messages too.
    pub messages_accepted: u64,
    /// Messages that came again under an id that was already accepted.
    pub messages_resent: u64,
    /// Requests to encrypt a message anew.
    pub retry_receipts: u64,
    /// One-time prekeys of this account that were given away.
    pub prekeys_taken: u64,
    /// Messages to groups whose sender knew other devices than there are.
    pub group_hashes_refused: u64,
}

/// Everything the oracle knows, for tests and for `GET /oracle`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub violations: Vec<Violation>,
    pub counts: Counts,
    /// By phone number.
    pub accounts: BTreeMap<Arc<str>, Counts>,
    /// The most recent ones, oldest first.
    pub connections: Vec<Connection>,
    pub connections_total: u64,
    pub ciphertexts_seen: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    pub(crate) connections: Connections,
    ratchets: Ratchets,
    accounts: BTreeMap<Arc<str>, Counts>,
    violations: Vec<Violation>,
}

impl Oracle {
    /// The counters of an account, to be raised.
    pub(crate) fn count(&mut self, account: &Arc<str>) -> &mut Counts {
        self.accounts.entry(Arc::clone(account)).or_default()
    }

    /// Looks at a ciphertext on its way.
    pub(crate) fn see_ciphertext(
        &mut self,
        from: &DeviceId,
        to: &DeviceId,
        message: &str,
        sighting: &Sighting,
        at_ms: u64,
    ) {
        for finding in self.ratchets.see(from, to, sighting) {
            let (kind, detail) = match finding {
                Finding::CounterReused => (
                    ViolationKind::CounterReused,
                    format!("message {message}, counter {}", sighting.counter),
                ),
                Finding::CiphertextRepeated => (
                    ViolationKind::CiphertextRepeated,
                    format!("message {message}, counter {}", sighting.counter),
                ),
                Finding::PrekeyReused(id) => (
                    ViolationKind::PrekeyReused,
                    format!("message {message}, prekey {id}"),
                ),
            };
            self.accuse(kind, from.clone(), Some(to.clone()), detail, at_ms);
        }
    }

    /// Looks at a group's ciphertext on its way.
    pub(crate) fn see_group_ciphertext(
        &mut self,
        from: &DeviceId,
        group: &str,
        message: &str,
        header: GroupHeader,
        bytes: &[u8],
        at_ms: u64,
    ) {
        if let Some(finding) = self.ratchets.see_group(from, group, header, bytes) {
            let kind = match finding {
                Finding::CiphertextRepeated => ViolationKind::CiphertextRepeated,
                Finding::CounterReused | Finding::PrekeyReused(_) => ViolationKind::CounterReused,
            };
            let detail = format!(
                "message {message} to a group, iteration {}",
                header.iteration
            );
            self.accuse(kind, from.clone(), None, detail, at_ms);
        }
    }

    /// Notes a violation.
    pub(crate) fn accuse(
        &mut self,
        kind: ViolationKind,
        device: DeviceId,
        peer: Option<DeviceId>,
        detail: String,
        at_ms: u64,
    ) {
        tracing::warn!(?kind, "a violation");
        self.violations.push(Violation {
            kind,
            device,
            peer,
            detail,
            at_ms,
        });
    }

    /// A copy of everything.
    pub fn report(&self) -> Report {
        let mut counts = Counts::default();
        for account in self.accounts.values() {
            let Counts {
                qr_scans,
                pairings,
                logins,
                logins_refused,
                replaced,
                messages_accepted,
                messages_resent,
                retry_receipts,
                prekeys_taken,
                group_hashes_refused,
            } = *account;
            counts.qr_scans += qr_scans;
            counts.pairings += pairings;
            counts.logins += logins;
            counts.logins_refused += logins_refused;
            counts.replaced += replaced;
            counts.messages_accepted += messages_accepted;
            counts.messages_resent += messages_resent;
            counts.retry_receipts += retry_receipts;
            counts.prekeys_taken += prekeys_taken;
            counts.group_hashes_refused += group_hashes_refused;
        }
        Report {
            violations: self.violations.clone(),
            counts,
            accounts: self.accounts.clone(),
            connections: self.connections.recent().cloned().collect(),
            connections_total: self.connections.total(),
            ciphertexts_seen: self.ratchets.seen(),
        }
    }

    /// How many violations there are, cheaper than a report.
    pub fn violation_count(&self) -> usize {
        self.violations.len()
    }
}
