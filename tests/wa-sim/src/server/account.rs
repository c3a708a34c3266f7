//! Accounts and their devices, as the server knows them.
//!
//! Public keys only. Device 0 of an account is its phone; the others are linked
//! devices, which the phone vouches for with its signature.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    fmt,
    sync::Arc,
};

use serde::{Serialize, Serializer};

use super::{mailbox::Mailbox, session::SessionId};
use crate::wire::{
    Jid,
    jid::{SERVER_LID, SERVER_PN},
};

/// A device of an account, however it is addressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// The phone number's digits.
    pub account: Arc<str>,
    /// 0 is the phone.
    pub device: u16,
}

impl DeviceId {
    /// The phone of an account.
    pub fn phone(account: &Arc<str>) -> Self {
        Self {
            account: Arc::clone(account),
            device: 0,
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.account, self.device)
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A phone number with everything that hangs on it.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) number: Arc<str>,
    pub(crate) lid: String,
    pub(crate) name: String,
    pub(crate) devices: BTreeMap<u16, Device>,
    /// The signed list of the linked devices' key indexes, and its time.
    pub(crate) key_index_list: Option<(Vec<u8>, u64)>,
    /// Never used twice, as with WhatsApp.
    pub(crate) device_next: u16,
    /// Accounts that asked for its devices: they hear when those change.
    pub(crate) known_to: BTreeSet<Arc<str>>,
    /// Ids of accepted messages, to tell what was sent again.
    pub(crate) sent_ids: HashSet<String>,
    /// Encoded patches of the app state, by collection.
    pub(crate) app_state: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Account {
    pub(crate) fn new(number: &str, name: &str) -> Self {
        Self {
            number: number.into(),
            lid: lid_of(number),
            name: name.to_owned(),
            devices: BTreeMap::new(),
            key_index_list: None,
            device_next: 1,
            known_to: BTreeSet::new(),
            sent_ids: HashSet::new(),
            app_state: BTreeMap::new(),
        }
    }

    /// A device's address with the phone number or with the hidden identity.
    pub(crate) fn jid(&self, device: u16, server: &str) -> Jid {
        match server {
            SERVER_LID => Jid::lid(&self.lid),
            _ => Jid::pn(&*self.number),
        }
        .with_device(device)
    }

    /// The same account at the other of the two servers, without a device.
    pub(crate) fn other_jid(&self, server: &str) -> Jid {
        match server {
            SERVER_LID => self.jid(0, SERVER_PN),
            _ => self.jid(0, SERVER_LID),
        }
    }
}

/// The hidden identity of a phone number: always the same, 15 digits, and the
/// number cannot be read from it (tests look for numbers where none may be).
fn lid_of(number: &str) -> String {
    const RANGE: u64 = 100_000_000_000_000;
    // Coprime to the range: different numbers get different identities.
    const FACTOR: u64 = 48_271_003;
    let digits = number.parse::<u64>().unwrap_or_default() % RANGE;
    let mixed = u128::from(digits) * u128::from(FACTOR) % u128::from(RANGE);
    format!("{}", u128::from(RANGE) + mixed)
}

/// One device's public side, and what waits for it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) key_index: u32,
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed_prekey: SignedPreKey,
    /// Not handed out yet; each goes out once.
    pub(crate) prekeys: VecDeque<PreKey>,
    /// The phone's and the device's signatures. Phones have none.
    pub(crate) device_identity: Option<Vec<u8>>,
    /// The static key it must log in with. Phones have none.
    pub(crate) noise_key: Option<[u8; 32]>,
    pub(crate) mailbox: Mailbox,
    pub(crate) live: Option<SessionId>,
}

impl Device {
    /// A phone, with the keys that it brings.
    pub(crate) fn phone(registration: u32, identity: [u8; 32], signed: SignedPreKey) -> Self {
        Self {
            key_index: 0,
            registration,
            identity,
            signed_prekey: signed,
            prekeys: VecDeque::new(),
            device_identity: None,
            noise_key: None,
            mailbox: Mailbox::default(),
            live: None,
        }
    }
}

/// A one-time prekey.
#[derive(Clone, Debug)]
pub(crate) struct PreKey {
    pub(crate) id: u32,
    pub(crate) value: [u8; 32],
}

/// The prekey that serves when there is no one-time prekey.
#[derive(Clone, Debug)]
pub(crate) struct SignedPreKey {
    pub(crate) id: u32,
    pub(crate) value: [u8; 32],
    pub(crate) signature: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_identities_differ_and_hide_the_number() {
        let all: HashSet<_> = (0..2000)
            .map(|n| lid_of(&format!("1555000{n:04}")))
            .collect();
        assert_eq!(all.len(), 2000);
        assert!(
            all.iter()
                .all(|lid| lid.len() == 15 && !lid.contains("1555000"))
        );
    }

    #[test]
    fn an_account_has_two_addresses() {
        let account = Account::new("15550001", "Ada");
        assert_eq!(
            account.jid(3, SERVER_PN).to_string(),
            "15550001:3@s.whatsapp.net"
        );
        assert_eq!(account.other_jid(SERVER_LID), Jid::pn("15550001"));
        assert_eq!(account.other_jid(SERVER_PN).server, SERVER_LID);
    }
}
