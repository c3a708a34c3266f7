//! The handshake's running state: transcript hash, chaining key, cipher key.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// `CipherState` and `SymmetricState` of the Noise specification in one, for
/// AES-256-GCM and SHA-256.
pub(super) struct Symmetric {
    hash: [u8; 32],
    chaining_key: [u8; 32],
    /// None until the first secret is mixed in.
    cipher: Option<Aes256Gcm>,
    nonce: u32,
}

impl Symmetric {
    pub(super) fn new(protocol: &str, prologue: &[u8]) -> Self {
        let mut hash = [0; 32];
        match protocol.len() {
            0..=32 => hash[..protocol.len()].copy_from_slice(protocol.as_bytes()),
            _ => hash = Sha256::digest(protocol).into(),
        }
        let mut state = Self {
            hash,
            chaining_key: hash,
            cipher: None,
            nonce: 0,
        };
        state.mix_hash(prologue);
        state
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new()
            .chain_update(self.hash)
            .chain_update(data)
            .finalize()
            .into();
    }

    pub(super) fn mix_key(&mut self, secret: &[u8; 32]) {
        let (chaining_key, key) = self.derive(secret);
        self.chaining_key = chaining_key;
        self.cipher = Some(Aes256Gcm::new(&key.into()));
        self.nonce = 0;
    }

    /// # Panics
    /// Before the first [`Self::mix_key`].
    pub(super) fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let payload = Payload {
            msg: plain,
            aad: &self.hash,
        };
        let sealed = self
            .cipher()
            .encrypt(&nonce(self.nonce).into(), payload)
            .expect("a handshake message is short");
        self.nonce += 1;
        self.mix_hash(&sealed);
        sealed
    }

    /// None if it was not encrypted by the other side in this state; the state
    /// is then of no more use.
    ///
    /// # Panics
    /// Before the first [`Self::mix_key`].
    pub(super) fn decrypt(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: sealed,
            aad: &self.hash,
        };
        let plain = self
            .cipher()
            .decrypt(&nonce(self.nonce).into(), payload)
            .ok()?;
        self.nonce += 1;
        self.mix_hash(sealed);
        Some(plain)
    }

    /// The transport keys: what the client writes with, what the server does.
    pub(super) fn split(self) -> ([u8; 32], [u8; 32]) {
        self.derive(&[])
    }

    fn cipher(&self) -> &Aes256Gcm {
        self.cipher.as_ref().expect("a secret was mixed in before")
    }

    fn derive(&self, secret: &[u8]) -> ([u8; 32], [u8; 32]) {
        let mut keys = [0; 64];
        Hkdf::<Sha256>::new(Some(&self.chaining_key), secret)
            .expand(&[], &mut keys)
            .expect("64 bytes are fewer than HKDF's limit");
        let (first, second) = keys.split_at(32);
        (
            first.try_into().expect("half of 64 bytes"),
            second.try_into().expect("half of 64 bytes"),
        )
    }
}

/// The counter's last four bytes are all that ever count.
pub(super) fn nonce(counter: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&counter.to_be_bytes());
    nonce
}
