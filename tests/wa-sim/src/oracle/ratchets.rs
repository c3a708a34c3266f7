//! Which message keys were used: every (sender, recipient, ratchet key, counter)
//! and every one-time prekey that began a session.
//!
//! The server cannot read ciphertexts, but their headers are in clear. Memory
//! grows with the messages, some twenty bytes each.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use crate::{server::DeviceId, signal::GroupHeader};

/// What a ciphertext's header says, and a fingerprint of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub ratchet_key: [u8; 32],
    pub counter: u32,
    /// The sender's base key, while it opens a session.
    pub base_key: Option<[u8; 32]>,
    /// The recipient's one-time prekey, while it opens a session with one.
    pub prekey: Option<u32>,
    /// The whole ciphertext.
    pub bytes: Vec<u8>,
}

/// What is wrong with a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Its key was used for another one before.
    CounterReused,
    /// It was sent before.
    CiphertextRepeated,
    /// It opens a session with a one-time prekey that opened another.
    PrekeyReused(u32),
}

type Chain = HashMap<u32, u64>;

/// See the module.
#[derive(Debug, Default)]
pub struct Ratchets {
    chains: HashMap<(DeviceId, DeviceId), HashMap<[u8; 32], Chain>>,
    /// By sender, group and the sender's chain.
    groups: HashMap<(DeviceId, String, u32), Chain>,
    /// Which base key a recipient's one-time prekey was used with.
    prekeys: HashMap<(DeviceId, u32), [u8; 32]>,
    seen: u64,
    fingerprints: RandomState,
}

impl Ratchets {
    /// Notes a ciphertext and says what is wrong with it.
    pub fn see(&mut self, from: &DeviceId, to: &DeviceId, sighting: &Sighting) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.seen += 1;
        let fingerprint = self.fingerprints.hash_one(&sighting.bytes);
        let known = self
            .chains
            .entry((from.clone(), to.clone()))
            .or_default()
            .entry(sighting.ratchet_key)
            .or_default()
            .insert(sighting.counter, fingerprint);
        match known {
            None => {}
            Some(before) if before == fingerprint => findings.push(Finding::CiphertextRepeated),
            Some(_) => findings.push(Finding::CounterReused),
        }
        if let (Some(prekey), Some(base_key)) = (sighting.prekey, sighting.base_key) {
            let first = self.prekeys.entry((to.clone(), prekey)).or_insert(base_key);
            if *first != base_key {
                findings.push(Finding::PrekeyReused(prekey));
            }
        }
        findings
    }

    /// Notes a group's ciphertext and says what is wrong with it.
    pub fn see_group(
        &mut self,
        from: &DeviceId,
        group: &str,
        header: GroupHeader,
        bytes: &[u8],
    ) -> Option<Finding> {
        self.seen += 1;
        let fingerprint = self.fingerprints.hash_one(bytes);
        let chain = (from.clone(), group.to_owned(), header.chain);
        let known = self.groups.entry(chain).or_default();
        let before = known.insert(header.iteration, fingerprint)?;
        Some(match before == fingerprint {
            true => Finding::CiphertextRepeated,
            false => Finding::CounterReused,
        })
    }

    /// How many ciphertexts passed.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(account: &str) -> DeviceId {
        DeviceId {
            account: account.into(),
            device: 1,
        }
    }

    fn sighting(ratchet: u8, counter: u32, bytes: &str) -> Sighting {
        Sighting {
            ratchet_key: [ratchet; 32],
            counter,
            base_key: None,
            prekey: None,
            bytes: bytes.into(),
        }
    }

    #[test]
    fn a_message_key_encrypts_one_thing_once() {
        let mut ratchets = Ratchets::default();
        let (a, b) = (device("1"), device("2"));
        assert!(ratchets.see(&a, &b, &sighting(1, 0, "x")).is_empty());
        assert!(ratchets.see(&a, &b, &sighting(1, 1, "y")).is_empty());
        assert!(ratchets.see(&a, &b, &sighting(2, 1, "z")).is_empty());
        assert!(ratchets.see(&b, &a, &sighting(1, 1, "y")).is_empty());
        assert_eq!(
            ratchets.see(&a, &b, &sighting(1, 1, "y")),
            [Finding::CiphertextRepeated]
        );
        assert_eq!(
            ratchets.see(&a, &b, &sighting(1, 0, "w")),
            [Finding::CounterReused]
        );
    }

    #[test]
    fn a_groups_key_encrypts_one_thing_once() {
        let mut ratchets = Ratchets::default();
        let ada = device("1");
        let header = |chain, iteration| GroupHeader { chain, iteration };
        let mut see = |header, bytes: &str| ratchets.see_group(&ada, "g", header, bytes.as_bytes());
        assert_eq!(see(header(1, 0), "x"), None);
        assert_eq!(see(header(1, 1), "y"), None);
        assert_eq!(see(header(2, 0), "z"), None);
        assert_eq!(see(header(1, 1), "y"), Some(Finding::CiphertextRepeated));
        assert_eq!(see(header(1, 0), "w"), Some(Finding::CounterReused));
    }

    #[test]
    fn a_prekey_opens_one_session() {
        let mut ratchets = Ratchets::default();
        let opening = |counter, base: u8, ratchet: u8| Sighting {
            base_key: Some([base; 32]),
            prekey: Some(7),
            ..sighting(ratchet, counter, &format!("{counter} {base}"))
        };
        let (a, b, c) = (device("1"), device("2"), device("3"));
        assert!(ratchets.see(&a, &c, &opening(0, 1, 1)).is_empty());
        assert!(ratchets.see(&a, &c, &opening(1, 1, 1)).is_empty());
        assert_eq!(
            ratchets.see(&b, &c, &opening(0, 2, 2)),
            [Finding::PrekeyReused(7)]
        );
    }
}
