//! The phones' end-to-end encryption: Signal, written here and for them alone.
//!
//! One-to-one sessions of protocol version 3: X3DH from a prekey bundle, the
//! double ratchet, messages of kinds `pkmsg` and `msg`. What a device knows is
//! a [`SignalDevice`]; the rest is pure.
//!
//! - [`x3dh`]: the first shared secret
//! - [`ratchet`]: one session
//! - [`store`]: one device, with its keys and sessions
//! - [`group`]: sender keys, for groups
//! - [`message`]: the wire messages, readable without keys up to the ciphertext
//! - [`xeddsa`][]: signatures
//!
//! Phones trust every identity they are shown.

pub mod group;
pub mod message;
pub mod ratchet;
pub mod store;
#[cfg(test)]
mod tests;
pub mod x3dh;
pub mod xeddsa;

use rand::{Rng, RngExt as _};

pub use self::{
    group::{GroupHeader, SenderKeys, group_header},
    message::{CiphertextHeader, CiphertextKind, PreKeyHeader, header},
    store::{Ciphertext, SignalDevice},
    x3dh::PreKeyBundle,
};

/// Paddings are 1 to this many bytes long.
const PADDING_BYTES_MAX: u8 = 16;

/// Why something was not encrypted or decrypted. No variant names a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignalError {
    #[error("no session with this address")]
    NoSession,
    #[error("not a message of version 3")]
    Malformed,
    #[error("a public key that cannot be used")]
    BadKey,
    #[error("the bundle's signed prekey is not signed by its identity")]
    BadSignature,
    #[error("one-time prekey {0} is unknown or was used before")]
    UnknownPreKey(u32),
    #[error("signed prekey {0} is unknown")]
    UnknownSignedPreKey(u32),
    /// The same counter of the same chain was decrypted before.
    #[error("message {0} of its chain was decrypted before")]
    Duplicate(u32),
    #[error("message {0} is too far ahead in its chain")]
    TooFarAhead(u32),
    #[error("no session fits: wrong MAC")]
    BadMac,
    #[error("the plaintext is not padded")]
    BadPadding,
}

/// Appends WhatsApp's padding: 1 to 16 bytes, each their number.
pub fn pad<R: Rng + ?Sized>(plain: &[u8], rng: &mut R) -> Vec<u8> {
    let count = rng.random_range(1..=PADDING_BYTES_MAX);
    let mut padded = plain.to_vec();
    padded.resize(plain.len() + usize::from(count), count);
    padded
}

/// Takes WhatsApp's padding off.
///
/// # Errors
/// The last bytes are no padding → [`SignalError::BadPadding`].
pub fn unpad(padded: &[u8]) -> Result<&[u8], SignalError> {
    let count = *padded.last().ok_or(SignalError::BadPadding)?;
    let at = padded
        .len()
        .checked_sub(usize::from(count))
        .filter(|_| (1..=PADDING_BYTES_MAX).contains(&count))
        .ok_or(SignalError::BadPadding)?;
    let (plain, padding) = padded.split_at(at);
    match padding.iter().all(|byte| *byte == count) {
        true => Ok(plain),
        false => Err(SignalError::BadPadding),
    }
}
