//! What a phone changes for all its devices: chats that it puts away, names in
//! its address book. Encrypted for them, in patches whose hash covers all that
//! came before.
//!
//! As Baileys and WhatsApp's web client compute it: five keys from one, a MAC
//! for each index and value, and a hash of all values (LTHash: values are added
//! and taken away as 64 numbers of 16 bits).

use std::collections::HashMap;

use aes::Aes256;
use aes::cipher::KeyInit as _;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use prost::Message as _;
use proto::whatsapp::{
    SyncActionData, SyncActionValue, SyncdIndex, SyncdKeyId, SyncdMutation, SyncdPatch,
    SyncdRecord, SyncdValue,
    sync_action_value::{ArchiveChatAction, ContactAction},
};
use rand::RngExt as _;
use sha2::{Sha256, Sha512};

use super::{Phone, State};

/// Collections, by what is in them.
const CHATS: &str = "regular_low";
const PEOPLE: &str = "critical_unblock_low";

/// Versions of the actions.
const ARCHIVE_VERSION: i32 = 3;
const CONTACT_VERSION: i32 = 2;

const MUTATION_KEYS: &[u8] = b"WhatsApp Mutation Keys";
const PATCH_INTEGRITY: &[u8] = b"WhatsApp Patch Integrity";
const HASH_BYTES: usize = 128;
const MAC_BYTES: usize = 32;
const IV_BYTES: usize = 16;
/// SET, as MACs have it.
const SET: u8 = 1;

impl Phone {
    /// Puts a chat away, or takes it out again, on all devices.
    pub fn archive(&self, chat: &str, archived: bool) {
        let value = SyncActionValue {
            archive_chat_action: Some(ArchiveChatAction {
                archived: Some(archived),
            }),
            ..SyncActionValue::default()
        };
        self.change(CHATS, &["archive", chat], value, ARCHIVE_VERSION);
    }

    /// Saves somebody's name in the address book.
    pub fn save_contact(&self, address: &str, lid: Option<&str>, name: &str) {
        let first = name.split(' ').next().unwrap_or(name);
        let value = SyncActionValue {
            contact_action: Some(ContactAction {
                full_name: Some(name.to_owned()),
                first_name: Some(first.to_owned()),
                lid_jid: lid.map(str::to_owned),
                save_on_primary_addressbook: Some(true),
                pn_jid: None,
            }),
            ..SyncActionValue::default()
        };
        self.change(PEOPLE, &["contact", address], value, CONTACT_VERSION);
    }

    fn change(&self, collection: &str, index: &[&str], value: SyncActionValue, version: i32) {
        let mut state = self.inner.state.lock();
        let mut world = self.inner.world.lock();
        let now = i64::try_from(world.clock.now_ms()).ok();
        let action = SyncActionData {
            index: Some(serde_json::to_vec(index).expect("texts have a form in JSON")),
            value: Some(SyncActionValue {
                timestamp: now,
                ..value
            }),
            padding: Some(Vec::new()),
            version: Some(version),
        };
        let before = world.patches(self.number(), collection);
        let patch = patch(&mut state, collection, before, &action);
        world.add_patch(&self.inner.id, collection, patch);
    }
}

/// The keys that are made from an app-state key.
struct Keys {
    index: [u8; 32],
    value: [u8; 32],
    value_mac: [u8; 32],
    snapshot_mac: [u8; 32],
    patch_mac: [u8; 32],
}

impl Keys {
    fn of(key: &[u8; 32]) -> Self {
        let mut all = [0; 160];
        Hkdf::<Sha256>::new(None, key)
            .expand(MUTATION_KEYS, &mut all)
            .expect("the output is not too long");
        let nth = |n: usize| {
            let mut key = [0; 32];
            key.copy_from_slice(&all[32 * n..32 * (n + 1)]);
            key
        };
        Self {
            index: nth(0),
            value: nth(1),
            value_mac: nth(2),
            snapshot_mac: nth(3),
            patch_mac: nth(4),
        }
    }
}

/// The patch that does something, after those that are there.
fn patch(
    state: &mut State,
    collection: &str,
    before: &[Vec<u8>],
    action: &SyncActionData,
) -> SyncdPatch {
    let keys = Keys::of(&state.app_state_key.data);
    let key_id = state.app_state_key.id.to_vec();
    let index = action.index.clone().unwrap_or_default();
    let index_mac = mac256(&keys.index, &[&index]);
    let iv: [u8; IV_BYTES] = state.rng.random();
    let cipher = cbc::Encryptor::<Aes256>::new(&keys.value.into(), &iv.into());
    let mut blob = iv.to_vec();
    blob.extend(cipher.encrypt_padded_vec::<Pkcs7>(&action.encode_to_vec()));
    let value_mac = content_mac(&keys.value_mac, &key_id, &blob);
    blob.extend(value_mac);

    let mut values = Values::default();
    for patch in before {
        let patch = SyncdPatch::decode(&**patch).unwrap_or_default();
        for mutation in &patch.mutations {
            values.apply(mutation);
        }
    }
    let mutation = SyncdMutation {
        operation: Some(0),
        record: Some(SyncdRecord {
            index: Some(SyncdIndex {
                blob: Some(index_mac),
            }),
            value: Some(SyncdValue { blob: Some(blob) }),
            key_id: Some(SyncdKeyId {
                id: Some(key_id.clone()),
            }),
        }),
    };
    values.apply(&mutation);
    let version = (before.len() as u64 + 1).to_be_bytes();
    let name = collection.as_bytes();
    let snapshot_mac = mac256(&keys.snapshot_mac, &[&values.hash, &version, name]);
    let patch_mac = mac256(
        &keys.patch_mac,
        &[&snapshot_mac, &value_mac, &version, name],
    );
    SyncdPatch {
        version: None,
        mutations: vec![mutation],
        snapshot_mac: Some(snapshot_mac),
        patch_mac: Some(patch_mac),
        key_id: Some(SyncdKeyId { id: Some(key_id) }),
        device_index: Some(0),
    }
}

/// The values of a collection, as far as their hash goes.
struct Values {
    hash: [u8; HASH_BYTES],
    /// MACs of values by those of their index.
    macs: HashMap<Vec<u8>, Vec<u8>>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            hash: [0; HASH_BYTES],
            macs: HashMap::new(),
        }
    }
}

impl Values {
    fn apply(&mut self, mutation: &SyncdMutation) {
        let record = mutation.record.as_ref();
        let index = record.and_then(|record| record.index.as_ref()?.blob.clone());
        let value = record.and_then(|record| record.value.as_ref()?.blob.as_ref());
        let (Some(index), Some(value)) = (index, value) else {
            return;
        };
        let mac = value[value.len().saturating_sub(MAC_BYTES)..].to_vec();
        let old = match mutation.operation {
            Some(1) => self.macs.remove(&index),
            Some(_) | None => {
                self.add(&mac, u16::wrapping_add);
                self.macs.insert(index, mac)
            }
        };
        if let Some(old) = old {
            self.add(&old, u16::wrapping_sub);
        }
    }

    fn add(&mut self, mac: &[u8], with: fn(u16, u16) -> u16) {
        let mut long = [0; HASH_BYTES];
        Hkdf::<Sha256>::new(None, mac)
            .expand(PATCH_INTEGRITY, &mut long)
            .expect("the output is not too long");
        for (place, add) in self.hash.chunks_exact_mut(2).zip(long.chunks_exact(2)) {
            let number = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
            let sum = with(number(place), number(add));
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn mac256(key: &[u8; 32], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The MAC of an encrypted value.
fn content_mac(key: &[u8; 32], key_id: &[u8], value: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    let mut length = [0; 8];
    length[7] = u8::try_from(key_id.len() + 1).unwrap_or_default();
    mac.update(&[SET]);
    mac.update(key_id);
    mac.update(value);
    mac.update(&length);
    let whole = mac.finalize().into_bytes();
    let mut half = [0; MAC_BYTES];
    half.copy_from_slice(&whole[..MAC_BYTES]);
    half
}
