//! Short texts that the cluster itself wrote and any of its workers recognises:
//! what a browser keeps of a sign-in.
//!
//! A voucher names the key that made it and carries a tag: HKDF-SHA256 over
//! that key's secret, with the purpose and the text in its label. Any worker
//! with the same ring checks it, retired keys included, so that a rotation
//! signs nobody out; a key that was removed from the ring vouches no more.

use subtle::ConstantTimeEq as _;

use super::KeyRing;
use crate::datakey::derive;

const SALT: &[u8] = b"leasehold/voucher/v1";

impl KeyRing {
    /// Vouches for `text`, for this purpose alone: the fingerprint of the key
    /// and the tag, with a dot between them.
    pub fn vouch(&self, purpose: &str, text: &str) -> String {
        let ring = self.ring.read();
        let active = ring.keys.iter().find(|key| key.fingerprint == ring.active);
        let key = active.expect("a ring's active key is one of its keys");
        let tag = derive(
            key.secret.as_bytes(),
            SALT,
            &[purpose.as_bytes(), text.as_bytes()],
        );
        format!("{}.{}", key.fingerprint, hex::encode(tag.as_slice()))
    }

    /// Whether a key of this ring vouched for `text` and this purpose. Takes as
    /// long for a wrong tag as for the right one.
    pub fn is_vouched(&self, purpose: &str, text: &str, voucher: &str) -> bool {
        let Some((fingerprint, tag)) = voucher.split_once('.') else {
            return false;
        };
        let mut given = [0; 32];
        if hex::decode_to_slice(tag, &mut given).is_err() {
            return false;
        }
        let ring = self.ring.read();
        let Some(key) = (ring.keys.iter()).find(|key| key.fingerprint.as_str() == fingerprint)
        else {
            return false;
        };
        let parts = [purpose.as_bytes(), text.as_bytes()];
        let tag = derive(key.secret.as_bytes(), SALT, &parts);
        tag.as_slice().ct_eq(&given).into()
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::SeededRng;

    use super::*;

    fn ring(seed: u64) -> KeyRing {
        KeyRing::generate(&*SeededRng::shared(seed))
    }

    #[test]
    fn a_ring_knows_what_it_vouched_for_and_nothing_else() {
        let one = ring(1);
        let voucher = one.vouch("purpose", "text");
        assert!(one.is_vouched("purpose", "text", &voucher));
        assert!(one.clone().is_vouched("purpose", "text", &voucher));
        assert!(!one.is_vouched("purpose", "texts", &voucher));
        assert!(!one.is_vouched("purposes", "text", &voucher));
        // The border between the two is part of it.
        assert!(!one.is_vouched("purposet", "ext", &voucher));
        assert!(!ring(2).is_vouched("purpose", "text", &voucher));
    }

    #[test]
    fn an_altered_voucher_is_none() {
        let one = ring(1);
        let voucher = one.vouch("purpose", "text");
        let last = if voucher.ends_with('0') { '1' } else { '0' };
        let altered = format!("{}{last}", &voucher[..voucher.len() - 1]);
        for voucher in ["", ".", "x.y", &altered, &voucher[..voucher.len() - 2]] {
            assert!(!one.is_vouched("purpose", "text", voucher), "{voucher}");
        }
    }
}
