//! Moves a chain of keys ahead: each step derives the next chain key and throws
//! the last away, so that no counter below can be used again.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a chain key is put through for the next one.
const CHAIN_SEED: [u8; 1] = [2];

/// The chain key so many steps on.
pub(crate) fn ahead(key: &[u8; 32], steps: u32) -> [u8; 32] {
    let mut key = *key;
    for _ in 0..steps {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes a key of any length");
        mac.update(&CHAIN_SEED);
        key = mac.finalize().into_bytes().into();
    }
    key
}
