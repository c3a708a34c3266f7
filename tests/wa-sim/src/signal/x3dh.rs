//! X3DH: the first shared secret of two devices, one of which may be offline.
//!
//! After Signal's specification, as version 3 messages use it: the secrets of
//! three or four key agreements after 32 bytes of 0xff, through HKDF.

use hkdf::Hkdf;
use sha2::Sha256;

use super::{SignalError, xeddsa};
use crate::keys::{KeyPair, typed};

/// What a device leaves at the server, so that others can write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreKeyBundle {
    pub registration_id: u32,
    pub identity: [u8; 32],
    /// Id, public key, the identity's signature over the key with its type byte.
    pub signed_prekey: (u32, [u8; 32], [u8; 64]),
    /// Id and public key; none when the server has run out of them.
    pub prekey: Option<(u32, [u8; 32])>,
}

impl PreKeyBundle {
    /// Checks that the owner of the identity signed the prekey.
    ///
    /// # Errors
    /// [`SignalError::BadSignature`]
    pub fn verify(&self) -> Result<(), SignalError> {
        let (_, key, signature) = &self.signed_prekey;
        match xeddsa::verify(&self.identity, &typed(key), signature) {
            true => Ok(()),
            false => Err(SignalError::BadSignature),
        }
    }
}

/// The secret of who begins the session.
///
/// # Errors
/// One of the bundle's keys is degenerate → [`SignalError::BadKey`].
pub(super) fn initiate(
    identity: &KeyPair,
    base: &KeyPair,
    bundle: &PreKeyBundle,
) -> Result<[u8; 32], SignalError> {
    let (_, signed_prekey, _) = &bundle.signed_prekey;
    let prekey = bundle.prekey.as_ref().map(|(_, key)| (base, key));
    root_of([
        Some((identity, signed_prekey)),
        Some((base, &bundle.identity)),
        Some((base, signed_prekey)),
        prekey,
    ])
}

/// The same secret for who is written to.
///
/// # Errors
/// One of the sender's keys is degenerate → [`SignalError::BadKey`].
pub(super) fn respond(
    identity: &KeyPair,
    signed_prekey: &KeyPair,
    prekey: Option<&KeyPair>,
    their_identity: &[u8; 32],
    their_base: &[u8; 32],
) -> Result<[u8; 32], SignalError> {
    root_of([
        Some((signed_prekey, their_identity)),
        Some((identity, their_base)),
        Some((signed_prekey, their_base)),
        prekey.map(|prekey| (prekey, their_base)),
    ])
}

fn root_of(agreements: [Option<(&KeyPair, &[u8; 32])>; 4]) -> Result<[u8; 32], SignalError> {
    let mut secrets = vec![0xff; 32];
    for (ours, theirs) in agreements.into_iter().flatten() {
        secrets.extend(ours.agree(theirs).ok_or(SignalError::BadKey)?);
    }
    // The second half would be the first chain key. Nothing is ever sent on
    // that chain: both sides take a ratchet step first.
    let mut root = [0; 32];
    Hkdf::<Sha256>::new(None, &secrets)
        .expand(b"WhisperText", &mut root)
        .expect("32 bytes are fewer than HKDF's limit");
    Ok(root)
}
