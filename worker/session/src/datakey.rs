//! An account's data key: what every secret of the account is sealed with.
//!
//! One random 256-bit key an account. Keys are derived from it for session files
//! and for single secrets in documents, so that neither can be passed off as the
//! other, and one for hashes. Sealing is AES-256-GCM under a random 96-bit nonce; what is
//! sealed is bound to its place ([`Context`], or account and purpose) as
//! associated data, so it opens nowhere else.
//!
//! Sealed bytes are `nonce (12) ‖ ciphertext ‖ tag (16)`.
//!
//! Not done here: wrapping the key for the key ring ([`crate::keyring`]), and
//! noticing that an older file was put back ([`crate::packed`]).

use std::fmt;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit as _, Nonce};
use coordinator_lib::rng::Rng;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::place::Hasher;

/// Bytes of every symmetric key here.
pub(crate) const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What sealing adds to a plaintext, in bytes.
pub(crate) const SEAL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

const FILE_KEY_INFO: &[u8] = b"leasehold/file-key/v1";
const SECRET_KEY_INFO: &[u8] = b"leasehold/secret-key/v1";
const PLACE_KEY_INFO: &[u8] = b"leasehold/place-key/v1";

/// The place that a session file's ciphertext belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// The account.
    pub account: &'a str,
    /// The file's name.
    pub name: &'a str,
    /// The epoch that wrote it.
    pub epoch: i64,
    /// The number of the commit that wrote it; grows within the account.
    pub version: u64,
}

impl Context<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(64);
        push_text(&mut data, "leasehold/file/v1");
        push_text(&mut data, self.account);
        push_text(&mut data, self.name);
        data.extend_from_slice(&self.epoch.to_be_bytes());
        data.extend_from_slice(&self.version.to_be_bytes());
        data
    }
}

/// The sealed bytes are not what was sealed with this key for this place:
/// altered, truncated, moved, or another key's. Which of these cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed data does not open: altered, moved from elsewhere, or sealed with another key")]
pub struct OpenError;

/// An account's data key.
#[derive(Clone)]
pub struct DataKey {
    root: Zeroizing<[u8; KEY_BYTES]>,
    file: Zeroizing<[u8; KEY_BYTES]>,
    secret: Zeroizing<[u8; KEY_BYTES]>,
    place: Zeroizing<[u8; KEY_BYTES]>,
}

impl DataKey {
    /// Draws a new key.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut root = Zeroizing::new([0; KEY_BYTES]);
        rng.fill(root.as_mut());
        Self::from_root(root)
    }

    pub(crate) fn from_root(root: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let file = derive(root.as_ref(), &[], &[FILE_KEY_INFO]);
        let secret = derive(root.as_ref(), &[], &[SECRET_KEY_INFO]);
        let place = derive(root.as_ref(), &[], &[PLACE_KEY_INFO]);
        Self {
            root,
            file,
            secret,
            place,
        }
    }

    /// Says in which file of its family a record lies.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher::new(&self.place)
    }

    /// Whether both are the same key.
    pub fn is_same(&self, other: &Self) -> bool {
        // The keys for hashes: nothing that is compared here seals anything.
        self.place == other.place
    }

    pub(crate) fn root(&self) -> &[u8; KEY_BYTES] {
        &self.root
    }

    /// Seals a session file's content for its place.
    pub fn seal(&self, rng: &dyn Rng, context: &Context<'_>, plain: &[u8]) -> Vec<u8> {
        seal(&self.file, rng, &context.associated_data(), plain)
    }

    /// Opens a session file's content.
    ///
    /// # Errors
    /// [`OpenError`] unless it was sealed with this key for this very place.
    pub fn open(
        &self,
        context: &Context<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        open(&self.file, &context.associated_data(), sealed)
    }

    /// Seals a secret that stands in a document: a QR code in flight, a queued
    /// message. `purpose` names the field, and the document if the secret must
    /// not be moved to another.
    pub fn seal_secret(
        &self,
        rng: &dyn Rng,
        account: &str,
        purpose: &str,
        plain: &[u8],
    ) -> Vec<u8> {
        seal(&self.secret, rng, &secret_data(account, purpose), plain)
    }

    /// Opens what [`DataKey::seal_secret`] sealed.
    ///
    /// # Errors
    /// [`OpenError`] unless it was sealed with this key for this account and
    /// purpose.
    pub fn open_secret(
        &self,
        account: &str,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        open(&self.secret, &secret_data(account, purpose), sealed)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey(..)")
    }
}

/// HKDF-SHA256 to a key. The parts of `info` are told apart by their lengths.
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut labelled = Vec::with_capacity(64);
    for part in info {
        push_bytes(&mut labelled, part);
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand(&labelled, key.as_mut())
        .expect("32 bytes are within what HKDF-SHA256 can give");
    key
}

/// AES-256-GCM under a fresh random nonce.
pub(crate) fn seal(key: &[u8; KEY_BYTES], rng: &dyn Rng, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill(&mut nonce);
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD_BYTES);
    sealed.extend_from_slice(&nonce);
    let ciphertext = cipher(key)
        .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad })
        .expect("AES-GCM takes up to 64 GiB");
    sealed.extend_from_slice(&ciphertext);
    sealed
}

pub(crate) fn open(
    key: &[u8; KEY_BYTES],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
    cipher(key)
        .decrypt(&Nonce::from(*nonce), Payload { msg, aad })
        .map(Zeroizing::new)
        .map_err(|_| OpenError)
}

fn cipher(key: &[u8; KEY_BYTES]) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
}

fn secret_data(account: &str, purpose: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(64);
    push_text(&mut data, "leasehold/secret/v1");
    push_text(&mut data, account);
    push_text(&mut data, purpose);
    data
}

/// Length first: no two lists of texts make the same bytes.
pub(crate) fn push_text(data: &mut Vec<u8>, text: &str) {
    push_bytes(data, text.as_bytes());
}

fn push_bytes(data: &mut Vec<u8>, bytes: &[u8]) {
    data.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    data.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::SeededRng;

    use super::*;

    const PLACE: Context<'static> = Context {
        account: "account_1",
        name: "peers.1",
        epoch: 4,
        version: 9,
    };

    fn key_and_rng() -> (DataKey, SeededRng) {
        let rng = SeededRng::new(1);
        (DataKey::generate(&rng), rng)
    }

    #[test]
    fn a_file_opens_at_its_own_place_only() {
        let (key, rng) = key_and_rng();
        let sealed = key.seal(&rng, &PLACE, b"ratchet");
        assert_eq!(key.open(&PLACE, &sealed).unwrap().as_slice(), b"ratchet");
        for other in [
            Context {
                account: "account_2",
                ..PLACE
            },
            Context {
                name: "peers.2",
                ..PLACE
            },
            Context { epoch: 3, ..PLACE },
            Context {
                version: 8,
                ..PLACE
            },
        ] {
            assert_eq!(key.open(&other, &sealed), Err(OpenError), "{other:?}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let (key, rng) = key_and_rng();
        let sealed = key.seal(&rng, &PLACE, b"ratchet");
        for index in 0..sealed.len() {
            assert_eq!(key.open(&PLACE, &sealed[..index]), Err(OpenError));
            for bit in 0..8 {
                let mut altered = sealed.clone();
                altered[index] ^= 1 << bit;
                assert_eq!(key.open(&PLACE, &altered), Err(OpenError));
            }
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let (key, rng) = key_and_rng();
        let sealed = key.seal(&rng, &PLACE, b"ratchet");
        assert_eq!(
            DataKey::generate(&rng).open(&PLACE, &sealed),
            Err(OpenError)
        );
    }

    #[test]
    fn a_secret_opens_for_its_account_and_purpose_only_and_never_as_a_file() {
        let (key, rng) = key_and_rng();
        let sealed = key.seal_secret(&rng, "account_1", "qr", b"code");
        assert_eq!(
            key.open_secret("account_1", "qr", &sealed)
                .unwrap()
                .as_slice(),
            b"code"
        );
        assert_eq!(key.open_secret("account_2", "qr", &sealed), Err(OpenError));
        assert_eq!(
            key.open_secret("account_1", "proxy", &sealed),
            Err(OpenError)
        );
        // The same characters, divided elsewhere.
        assert_eq!(key.open_secret("account_", "1qr", &sealed), Err(OpenError));
        assert_eq!(key.open(&PLACE, &sealed), Err(OpenError));
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        let (key, rng) = key_and_rng();
        assert_ne!(
            key.seal(&rng, &PLACE, b"same"),
            key.seal(&rng, &PLACE, b"same")
        );
    }
}
