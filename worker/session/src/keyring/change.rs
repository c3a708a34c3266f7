//! Changes of a ring: a key more, one retired, one removed, recipients.
//!
//! Each makes a new ring and leaves the old one as it is. In the order of a
//! rotation: the new key is added and active; once everybody has that ring and
//! every data key is wrapped for it, the old one is retired; once no data key is
//! wrapped for the old one, it is removed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use coordinator_lib::rng::Rng;
use x25519_dalek::PublicKey;

use super::{Fingerprint, KEYS_MAX, KeyRing, Recipient, Ring, RingKey, decode_public};

/// What a key is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The newest.
    Active,
    /// An older one that data keys are wrapped for.
    Valid,
    /// Opens what was wrapped for it before; nothing is wrapped for it any more.
    Retired,
    /// A public key; its secret lies elsewhere.
    Recipient,
}

impl KeyState {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Valid => "valid",
            KeyState::Retired => "retired",
            KeyState::Recipient => "recipient",
        }
    }
}

/// A key as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its name.
    pub fingerprint: Fingerprint,
    /// What it is there for.
    pub state: KeyState,
    /// Its public half in base64: no secret.
    pub public: String,
}

/// Why a ring cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingChangeError {
    /// It has no such key.
    #[error("the ring has no key {0}")]
    Unknown(String),
    /// The active key cannot go.
    #[error("{0} is the active key: add another one first (`worker keys rotate`)")]
    Active(Fingerprint),
    /// A key in use cannot be removed.
    #[error("{0} is not retired: retire it first, so that every session is wrapped without it")]
    InUse(Fingerprint),
    /// There is one like it.
    #[error("the ring has {0} already")]
    Twice(Fingerprint),
    /// Not a public key.
    #[error("a public key is 32 bytes in base64, as `worker keys show` prints it")]
    Public,
    /// Too many.
    #[error("a ring holds {KEYS_MAX} keys at most: remove retired ones")]
    Full,
}

impl KeyRing {
    /// All its keys and recipients.
    pub fn views(&self) -> Vec<KeyView> {
        let ring = self.ring.read();
        let keys = ring.keys.iter().map(|key| KeyView {
            fingerprint: key.fingerprint.clone(),
            state: if key.retired {
                KeyState::Retired
            } else if key.fingerprint == ring.active {
                KeyState::Active
            } else {
                KeyState::Valid
            },
            public: BASE64.encode(PublicKey::from(&key.secret).as_bytes()),
        });
        let recipients = ring.recipients.iter().map(|one| KeyView {
            fingerprint: one.fingerprint.clone(),
            state: KeyState::Recipient,
            public: BASE64.encode(one.public.as_bytes()),
        });
        keys.chain(recipients).collect()
    }

    /// With a new key, which is active from then on.
    ///
    /// # Errors
    /// [`RingChangeError::Full`].
    pub fn with_new_key(&self, rng: &dyn Rng) -> Result<Self, RingChangeError> {
        let mut ring = self.ring.read().clone();
        check_room(ring.keys.len())?;
        let key = RingKey::draw(rng);
        ring.active = key.fingerprint.clone();
        ring.keys.push(key);
        Ok(Self::of(ring))
    }

    /// With a key that nothing is wrapped for any more.
    ///
    /// # Errors
    /// [`RingChangeError`]: it is the active one, or unknown.
    pub fn with_retired(&self, fingerprint: &str) -> Result<Self, RingChangeError> {
        let mut ring = self.ring.read().clone();
        let active = ring.active.clone();
        let key = find(&mut ring, fingerprint)?;
        if key.fingerprint == active {
            return Err(RingChangeError::Active(active));
        }
        key.retired = true;
        Ok(Self::of(ring))
    }

    /// Without a retired key: what was wrapped for it alone is lost. Or without
    /// a recipient.
    ///
    /// # Errors
    /// [`RingChangeError`]: it is in use, or unknown.
    pub fn without(&self, fingerprint: &str) -> Result<Self, RingChangeError> {
        let mut ring = self.ring.read().clone();
        let before = ring.recipients.len();
        ring.recipients
            .retain(|one| one.fingerprint.as_str() != fingerprint);
        if ring.recipients.len() == before {
            let key = find(&mut ring, fingerprint)?;
            if !key.retired {
                return Err(RingChangeError::InUse(key.fingerprint.clone()));
            }
            ring.keys
                .retain(|key| key.fingerprint.as_str() != fingerprint);
        }
        Ok(Self::of(ring))
    }

    /// With a recipient, given by its public key in base64.
    ///
    /// # Errors
    /// [`RingChangeError`].
    pub fn with_recipient(&self, public: &str) -> Result<Self, RingChangeError> {
        let public = decode_public(public).ok_or(RingChangeError::Public)?;
        let fingerprint = Fingerprint::of(&public);
        let mut ring = self.ring.read().clone();
        check_room(ring.recipients.len())?;
        let is_there = ring
            .recipients
            .iter()
            .any(|one| one.fingerprint == fingerprint)
            || ring.keys.iter().any(|key| key.fingerprint == fingerprint);
        if is_there {
            return Err(RingChangeError::Twice(fingerprint));
        }
        ring.recipients.push(Recipient {
            fingerprint,
            public,
        });
        Ok(Self::of(ring))
    }
}

fn find<'a>(ring: &'a mut Ring, fingerprint: &str) -> Result<&'a mut RingKey, RingChangeError> {
    ring.keys
        .iter_mut()
        .find(|key| key.fingerprint.as_str() == fingerprint)
        .ok_or_else(|| RingChangeError::Unknown(fingerprint.chars().take(64).collect()))
}

fn check_room(count: usize) -> Result<(), RingChangeError> {
    if count >= KEYS_MAX {
        return Err(RingChangeError::Full);
    }
    Ok(())
}
