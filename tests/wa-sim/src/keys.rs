//! Curve25519 key pairs, as Noise, Signal and device identities use them.
//!
//! A public key is 32 bytes here. Where Signal puts a type byte before it,
//! [`typed`] and [`untyped`] add and remove it.

use std::fmt;

use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};

/// Signal's type byte of a Curve25519 public key.
pub const KEY_TYPE: u8 = 5;

/// A private key and its public one. `Debug` shows neither.
#[derive(Clone)]
pub struct KeyPair {
    secret: StaticSecret,
    public: [u8; 32],
}

impl KeyPair {
    /// Draws a key pair.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::from_private(StaticSecret::random_from_rng(rng).to_bytes())
    }

    /// The pair of a given private key.
    pub fn from_private(private: [u8; 32]) -> Self {
        let secret = StaticSecret::from(private);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// The public key, without the type byte.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The private key, for signing.
    pub(crate) fn private(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    /// The shared secret with another's public key. None for the few public
    /// keys with which every secret is the same.
    pub fn agree(&self, theirs: &[u8; 32]) -> Option<[u8; 32]> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*theirs));
        shared.was_contributory().then(|| shared.to_bytes())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair")
    }
}

/// A public key with its type byte before it.
pub fn typed(public: &[u8; 32]) -> [u8; 33] {
    let mut bytes = [KEY_TYPE; 33];
    bytes[1..].copy_from_slice(public);
    bytes
}

/// A public key with or without its type byte; none if it is neither.
pub fn untyped(bytes: &[u8]) -> Option<[u8; 32]> {
    match bytes {
        [KEY_TYPE, key @ ..] if key.len() == 32 => key.try_into().ok(),
        key => key.try_into().ok(),
    }
}
