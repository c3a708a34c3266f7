//! What a phone computes when its owner types a linking code instead of
//! scanning a QR code.
//!
//! 1. The device drew an 8-letter code and sent its ephemeral key, wrapped
//!    under the code. The phone opens it: [`unwrap_key`].
//! 2. The phone sends an ephemeral key of its own, wrapped likewise
//!    ([`wrap_key`]), and its identity.
//! 3. The device sends a bundle under the secret of both ephemeral keys. It
//!    opens only if both used the same code; what is in it gives the secret that
//!    a QR code would have shown: [`open_bundle`].

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit as _};
use aes_gcm::aead::Aead;
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::CryptoRng;
use sha2::Sha256;

use super::Qr;
use crate::keys::KeyPair;

/// Rounds of PBKDF2.
const ROUNDS: u32 = 1 << 17;
const SALT_BYTES: usize = 32;
const IV_BYTES: usize = 16;
/// Salt, counter block and the encrypted key.
pub(crate) const WRAPPED_BYTES: usize = SALT_BYTES + IV_BYTES + 32;
const BUNDLE_KEY_INFO: &[u8] = b"link_code_pairing_key_bundle_encryption_key";
const ADV_SECRET_INFO: &[u8] = b"adv_secret";
const BUNDLE_NONCE_BYTES: usize = 12;

/// The code was typed wrongly, or the device does not know it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the code does not open what the device sent")]
pub struct WrongCode;

/// The key under which a code wraps: PBKDF2 with HMAC-SHA256 (RFC 8018).
fn code_key(code: &str, salt: &[u8]) -> [u8; 32] {
    let keyed =
        Hmac::<Sha256>::new_from_slice(code.as_bytes()).expect("HMAC takes keys of any length");
    let round = |input: &[&[u8]]| -> [u8; 32] {
        let mut mac = keyed.clone();
        for part in input {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    };
    let mut last = round(&[salt, &1_u32.to_be_bytes()]);
    let mut key = last;
    for _ in 1..ROUNDS {
        last = round(&[&last]);
        for (byte, with) in key.iter_mut().zip(last) {
            *byte ^= with;
        }
    }
    key
}

/// AES-256 in counter mode over two blocks, either way.
fn encrypt_key(code_key: &[u8; 32], iv: [u8; IV_BYTES], bytes: &mut [u8; 32]) {
    let cipher = Aes256::new(code_key.into());
    let counter = u128::from_be_bytes(iv);
    for (number, chunk) in bytes.chunks_mut(16).enumerate() {
        let counter = counter.wrapping_add(number as u128);
        let mut block = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        for (byte, with) in chunk.iter_mut().zip(block.iter()) {
            *byte ^= with;
        }
    }
}

/// Wraps a public key under a code.
pub(crate) fn wrap_key<R: CryptoRng + ?Sized>(
    code: &str,
    public: &[u8; 32],
    rng: &mut R,
) -> Vec<u8> {
    let mut salt = [0; SALT_BYTES];
    let mut iv = [0; IV_BYTES];
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut iv);
    let mut key = *public;
    encrypt_key(&code_key(code, &salt), iv, &mut key);
    [&salt[..], &iv, &key].concat()
}

/// Opens what a device wrapped; with another code it gives another key.
pub(crate) fn unwrap_key(code: &str, wrapped: &[u8; WRAPPED_BYTES]) -> [u8; 32] {
    let (salt, rest) = wrapped.split_at(SALT_BYTES);
    let (iv, key) = rest.split_at(IV_BYTES);
    let mut key: [u8; 32] = key.try_into().expect("what is left");
    let iv = iv.try_into().expect("as many as split off");
    encrypt_key(&code_key(code, salt), iv, &mut key);
    key
}

/// What the phone has at hand when the bundle comes.
pub(crate) struct Exchange<'a> {
    /// Its identity.
    pub(crate) account: &'a KeyPair,
    /// Its ephemeral key.
    pub(crate) ephemeral: &'a KeyPair,
    /// The device's, unwrapped.
    pub(crate) device_ephemeral: [u8; 32],
    /// The device's identity, as it said.
    pub(crate) device_identity: [u8; 32],
}

/// Opens the device's bundle: gives what a QR code of it would have said.
///
/// # Errors
/// [`WrongCode`], also for a bundle that is malformed.
pub(crate) fn open_bundle(
    exchange: &Exchange<'_>,
    bundle: &[u8],
    ref_: String,
    noise: [u8; 32],
) -> Result<Qr, WrongCode> {
    let shared = exchange
        .ephemeral
        .agree(&exchange.device_ephemeral)
        .ok_or(WrongCode)?;
    let (salt, rest) = bundle.split_at_checked(SALT_BYTES).ok_or(WrongCode)?;
    let (nonce, sealed) = rest.split_at_checked(BUNDLE_NONCE_BYTES).ok_or(WrongCode)?;
    let key = expand(&shared, Some(salt), BUNDLE_KEY_INFO);
    let nonce: [u8; BUNDLE_NONCE_BYTES] = nonce.try_into().map_err(|_| WrongCode)?;
    let opened = Aes256Gcm::new(&key.into())
        .decrypt(&Nonce::from(nonce), sealed)
        .map_err(|_| WrongCode)?;
    let (keys, random) = opened.split_at_checked(64).ok_or(WrongCode)?;
    let expected = [exchange.device_identity, *exchange.account.public()].concat();
    if keys != expected {
        return Err(WrongCode);
    }
    let identities = exchange
        .account
        .agree(&exchange.device_identity)
        .ok_or(WrongCode)?;
    let secret = [&shared[..], &identities, random].concat();
    let adv_secret = expand(&secret, None, ADV_SECRET_INFO);
    Ok(Qr::new(ref_, noise, exchange.device_identity, adv_secret))
}

fn expand(secret: &[u8], salt: Option<&[u8]>, info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(salt, secret)
        .expand(info, &mut key)
        .expect("32 bytes are not too many");
    key
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn the_code_key_is_pbkdf2() {
        // Computed with Python's hashlib.
        let key = code_key("ABCD1234", &[7; 32]);
        assert_eq!(hex::encode(key), VECTOR);
    }

    #[test]
    fn a_wrapped_key_opens_with_its_code_only() {
        let mut rng = StdRng::seed_from_u64(1);
        let wrapped = wrap_key("ABCD1234", &[9; 32], &mut rng);
        let wrapped: [u8; WRAPPED_BYTES] = wrapped.try_into().expect("its size");
        assert_eq!(unwrap_key("ABCD1234", &wrapped), [9; 32]);
        assert_ne!(unwrap_key("ABCD1235", &wrapped), [9; 32]);
    }

    const VECTOR: &str = "3c9fb561c662b502ca2b9133821b6312ee08f3f57ade2b5e4c15434344af0a36";
}
