//! One device: its keys, and its sessions by address.
//!
//! Addresses are whatever text the owner likes; each has a current session and
//! older ones for stragglers. All is in memory: a phone does not restart.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
};

use rand::{CryptoRng, RngExt as _, SeedableRng, rngs::StdRng};

use super::{
    SignalError,
    message::{self, CiphertextKind, PreKeyHeader},
    pad,
    ratchet::Session,
    x3dh::{self, PreKeyBundle},
    xeddsa,
};
use crate::keys::{KeyPair, typed};

/// Sessions kept for an address; as in public implementations.
pub const SESSIONS_MAX: usize = 40;

/// One-time prekeys that were given out and not used yet; the oldest go first.
pub const PREKEYS_MAX: usize = 4_096;

/// Registration ids are 1 to this.
const REGISTRATION_ID_MAX: u32 = 16_380;

const SIGNED_PREKEY_ID: u32 = 1;

/// An encrypted message, ready for `<enc>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    pub kind: CiphertextKind,
    pub bytes: Vec<u8>,
}

/// A device's whole state.
pub struct SignalDevice {
    identity: KeyPair,
    registration_id: u32,
    signed_prekey: KeyPair,
    signed_prekey_signature: [u8; 64],
    prekeys: BTreeMap<u32, KeyPair>,
    prekey_id_next: u32,
    /// The current session first.
    sessions: HashMap<String, VecDeque<Stored>>,
    rng: StdRng,
}

struct Stored {
    /// The initiator's: names the session.
    base_key: [u8; 32],
    session: Session,
    /// Goes before each message until the other side has answered.
    unanswered: Option<PreKeyHeader>,
}

impl SignalDevice {
    /// A new device with keys of its own.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let identity = KeyPair::generate(rng);
        Self::with_identity(identity, rng)
    }

    /// A new device of a given identity.
    pub fn with_identity<R: CryptoRng + ?Sized>(identity: KeyPair, rng: &mut R) -> Self {
        let signed_prekey = KeyPair::generate(rng);
        let signature = xeddsa::sign(&identity, &typed(signed_prekey.public()), rng);
        Self {
            identity,
            registration_id: rng.random_range(1..=REGISTRATION_ID_MAX),
            signed_prekey,
            signed_prekey_signature: signature,
            prekeys: BTreeMap::new(),
            prekey_id_next: 1,
            sessions: HashMap::new(),
            rng: StdRng::from_rng(rng),
        }
    }

    /// A device of given keys, for vectors made elsewhere.
    #[cfg(test)]
    pub(super) fn with_keys(
        identity: KeyPair,
        signed_prekey: KeyPair,
        signed_prekey_signature: [u8; 64],
        prekey: (u32, KeyPair),
        rng: &mut StdRng,
    ) -> Self {
        Self {
            signed_prekey,
            signed_prekey_signature,
            prekeys: BTreeMap::from([prekey]),
            ..Self::with_identity(identity, rng)
        }
    }

    /// The identity's key pair: of a phone, also the account's.
    pub fn identity(&self) -> &KeyPair {
        &self.identity
    }

    pub fn registration_id(&self) -> u32 {
        self.registration_id
    }

    /// A bundle with a one-time prekey of its own.
    pub fn bundle(&mut self) -> PreKeyBundle {
        let id = self.prekey_id_next;
        self.prekey_id_next += 1;
        let prekey = KeyPair::generate(&mut self.rng);
        let public = *prekey.public();
        self.prekeys.insert(id, prekey);
        if self.prekeys.len() > PREKEYS_MAX {
            self.prekeys.pop_first();
        }
        PreKeyBundle {
            registration_id: self.registration_id,
            identity: *self.identity.public(),
            signed_prekey: (
                SIGNED_PREKEY_ID,
                *self.signed_prekey.public(),
                self.signed_prekey_signature,
            ),
            prekey: Some((id, public)),
        }
    }

    /// Whether something can be encrypted for the address.
    pub fn has_session(&self, address: &str) -> bool {
        self.sessions.contains_key(address)
    }

    /// The identity key of the current session with the address.
    pub fn remote_identity(&self, address: &str) -> Option<&[u8; 32]> {
        self.sessions
            .get(address)?
            .front()
            .map(|stored| stored.session.their_identity())
    }

    /// Forgets every session with the address: the next message to it needs a
    /// bundle, the next from it must bring one.
    pub fn forget(&mut self, address: &str) {
        self.sessions.remove(address);
    }

    /// Begins a session; older ones stay for messages on their way.
    ///
    /// # Errors
    /// [`SignalError::BadSignature`], [`SignalError::BadKey`].
    pub fn start_session(
        &mut self,
        address: &str,
        bundle: &PreKeyBundle,
    ) -> Result<(), SignalError> {
        bundle.verify()?;
        let base = KeyPair::generate(&mut self.rng);
        let root = x3dh::initiate(&self.identity, &base, bundle)?;
        let (signed_prekey_id, signed_prekey, _) = &bundle.signed_prekey;
        let session = Session::initiate(
            root,
            *self.identity.public(),
            bundle.identity,
            signed_prekey,
            &mut self.rng,
        )?;
        let unanswered = PreKeyHeader {
            registration_id: self.registration_id,
            prekey_id: bundle.prekey.map(|(id, _)| id),
            signed_prekey_id: *signed_prekey_id,
            base_key: *base.public(),
            identity_key: *self.identity.public(),
        };
        self.make_current(
            address,
            Stored {
                base_key: *base.public(),
                session,
                unanswered: Some(unanswered),
            },
        );
        Ok(())
    }

    /// Appends WhatsApp's padding, with the device's own randomness.
    pub fn pad(&mut self, plain: &[u8]) -> Vec<u8> {
        pad(plain, &mut self.rng)
    }

    /// Encrypts a padded plaintext for the address.
    ///
    /// # Errors
    /// [`SignalError::NoSession`]
    pub fn encrypt(&mut self, address: &str, padded: &[u8]) -> Result<Ciphertext, SignalError> {
        let stored = self
            .sessions
            .get_mut(address)
            .and_then(VecDeque::front_mut)
            .ok_or(SignalError::NoSession)?;
        let bytes = stored.session.encrypt(padded)?;
        Ok(match &stored.unanswered {
            Some(header) => Ciphertext {
                kind: CiphertextKind::PreKeyMsg,
                bytes: message::encode_prekey(header, bytes),
            },
            None => Ciphertext {
                kind: CiphertextKind::Msg,
                bytes,
            },
        })
    }

    /// Decrypts a message from the address; the plaintext is still padded.
    ///
    /// The session that fitted becomes the current one. A one-time prekey is
    /// gone once a message that named it was decrypted.
    ///
    /// # Errors
    /// Decrypted before → [`SignalError::Duplicate`]; see [`SignalError`]. The
    /// device is then as it was.
    pub fn decrypt(
        &mut self,
        address: &str,
        kind: CiphertextKind,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SignalError> {
        match kind {
            CiphertextKind::Msg => self.decrypt_known(address, bytes),
            CiphertextKind::PreKeyMsg => {
                let (header, inner) = message::parse_prekey(bytes)?;
                self.decrypt_first(address, &header, &inner)
            }
        }
    }

    fn decrypt_known(&mut self, address: &str, bytes: &[u8]) -> Result<Vec<u8>, SignalError> {
        let sessions = self
            .sessions
            .get_mut(address)
            .ok_or(SignalError::NoSession)?;
        let mut failure = SignalError::NoSession;
        for (at, stored) in sessions.iter_mut().enumerate() {
            match stored.session.decrypt(bytes, &mut self.rng) {
                Ok(plain) => {
                    stored.unanswered = None;
                    promote(sessions, at);
                    return Ok(plain);
                }
                // Only the session it belongs to recognises a duplicate.
                Err(duplicate @ SignalError::Duplicate(_)) => return Err(duplicate),
                Err(error) if at == 0 => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// A message that may begin a session, or belong to one it began before.
    fn decrypt_first(
        &mut self,
        address: &str,
        header: &PreKeyHeader,
        inner: &[u8],
    ) -> Result<Vec<u8>, SignalError> {
        if let Some(sessions) = self.sessions.get_mut(address) {
            let known = sessions
                .iter()
                .position(|stored| stored.base_key == header.base_key);
            if let Some(at) = known {
                let plain = sessions[at].session.decrypt(inner, &mut self.rng)?;
                promote(sessions, at);
                return Ok(plain);
            }
        }
        if header.signed_prekey_id != SIGNED_PREKEY_ID {
            return Err(SignalError::UnknownSignedPreKey(header.signed_prekey_id));
        }
        let prekey = match header.prekey_id {
            Some(id) => Some(
                self.prekeys
                    .get(&id)
                    .ok_or(SignalError::UnknownPreKey(id))?,
            ),
            None => None,
        };
        let root = x3dh::respond(
            &self.identity,
            &self.signed_prekey,
            prekey,
            &header.identity_key,
            &header.base_key,
        )?;
        let mut session = Session::respond(
            root,
            *self.identity.public(),
            header.identity_key,
            self.signed_prekey.clone(),
        );
        let plain = session.decrypt(inner, &mut self.rng)?;
        if let Some(id) = header.prekey_id {
            self.prekeys.remove(&id);
        }
        self.make_current(
            address,
            Stored {
                base_key: header.base_key,
                session,
                unanswered: None,
            },
        );
        Ok(plain)
    }

    fn make_current(&mut self, address: &str, stored: Stored) {
        let sessions = self.sessions.entry(address.to_owned()).or_default();
        sessions.truncate(SESSIONS_MAX - 1);
        sessions.push_front(stored);
    }
}

fn promote(sessions: &mut VecDeque<Stored>, at: usize) {
    if let Some(stored) = sessions.remove(at) {
        sessions.push_front(stored);
    }
}

impl fmt::Debug for SignalDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalDevice")
            .field("sessions", &self.sessions.len())
            .field("prekeys", &self.prekeys.len())
            .finish_non_exhaustive()
    }
}
