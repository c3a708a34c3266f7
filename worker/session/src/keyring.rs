//! The cluster's key ring: the X25519 keys that accounts' data keys are wrapped
//! for.
//!
//! A key is named by its *fingerprint*, 16 hexadecimal digits of a hash of the
//! public key. A data key is wrapped for every key of the ring that is not
//! retired, so that a key can be added first and dropped later, and for the
//! ring's *recipients*: public keys whose secrets lie elsewhere, as in a safe.
//! Wrapping: a fresh ephemeral X25519 key for each, HKDF-SHA256 over the shared
//! secret (salted with both public keys), AES-256-GCM with the account and the
//! recipient as associated data.
//!
//! A worker's ring may be replaced while it runs ([`KeyRing::replace`]); clones
//! are the same ring.
//!
//! Losing the ring loses every session: nothing else opens a data key.
//!
//! Where a ring is kept is [`provider`]'s business, its file [`file`]'s, a key of
//! somebody else's that it is encrypted with there [`envelope`]'s, and changes of a
//! ring [`change`]'s.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use coordinator_lib::rng::Rng;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::datakey::{DataKey, KEY_BYTES, derive, open, push_text, seal};

mod change;
mod envelope;
mod file;
mod google_kms;
mod provider;
mod voucher;
mod wrapped;

pub use change::{KeyState, KeyView, RingChangeError};
pub use envelope::{Envelope, EnvelopeError};
pub use file::KeyRingError;
#[cfg(feature = "google-kms")]
pub use google_kms::GoogleKms;
pub use google_kms::{GoogleKmsKey, GoogleKmsKeyError};
pub use provider::{EnvironmentProvider, FileProvider, KeyRingProvider, ProviderError};
pub use wrapped::{WrappedKey, WrappedKeys};

/// The newest version of the ring's JSON that is read. A ring without retired
/// keys and recipients is written as version 1, which older programs read.
const SCHEMA_VERSION: u32 = 2;
/// More than any rotation needs; a ring with more is a mistake.
const KEYS_MAX: usize = 32;
const WRAP_INFO: &[u8] = b"leasehold/wrap/v1";

/// Names a key of the ring without telling anything about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    fn of(public: &PublicKey) -> Self {
        let digest = Sha256::new()
            .chain_update(b"leasehold/fingerprint/v1")
            .chain_update(public.as_bytes())
            .finalize();
        Self(hex::encode(&digest[..8]))
    }

    /// The 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is wrong with the text of a key ring. Never quotes the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not JSON, or not of the ring's shape.
    #[error("it is not a key ring's JSON (line {line}, column {column})")]
    Json {
        /// Where the reader gave up.
        line: usize,
        /// Where the reader gave up.
        column: usize,
    },
    /// Written by a newer program.
    #[error("its schema version is {found}, and this program reads up to {SCHEMA_VERSION}")]
    Schema {
        /// The version that it says.
        found: u32,
    },
    /// No key, or more than a ring may hold.
    #[error("it holds {found} keys, not 1 to {KEYS_MAX}")]
    Count {
        /// How many it holds.
        found: usize,
    },
    /// A secret is not 32 bytes of base64.
    #[error("the secret of key number {position} is not 32 bytes in base64")]
    Secret {
        /// Counted from 1.
        position: usize,
    },
    /// A key's id is not its fingerprint: id or secret were altered.
    #[error("the id of key number {position} is not the fingerprint of its secret ({actual})")]
    Id {
        /// Counted from 1.
        position: usize,
        /// What the id should be.
        actual: Fingerprint,
    },
    /// Twice the same key.
    #[error("it holds the key {0} twice")]
    Twice(Fingerprint),
    /// `active` names none of the keys, or a retired one.
    #[error("its active key is not among its keys, or is retired")]
    Active,
    /// A recipient's public key is not 32 bytes of base64.
    #[error("the public key of recipient number {position} is not 32 bytes in base64")]
    Public {
        /// Counted from 1.
        position: usize,
    },
}

/// No key of the ring opens these wrapped keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// The data key was wrapped for other rings.
    #[error(
        "the key ring of this worker lacks the key for account {account}: it is wrapped for {}, the ring holds {}; \
         give this worker the key ring that the account was created with",
        list(.wanted), list(.held)
    )]
    MissingKey {
        /// The account.
        account: String,
        /// Whom the data key is wrapped for.
        wanted: Vec<Fingerprint>,
        /// What the ring holds.
        held: Vec<Fingerprint>,
    },
    /// Wrapped for a key of this ring, but altered, or moved from another account.
    #[error(
        "the wrapped data key of account {account} does not open with key {recipient}: it was altered, or belongs to another account"
    )]
    Altered {
        /// The account.
        account: String,
        /// The key that should open it.
        recipient: Fingerprint,
    },
}

fn list(fingerprints: &[Fingerprint]) -> String {
    let texts: Vec<&str> = fingerprints.iter().map(Fingerprint::as_str).collect();
    if texts.is_empty() {
        "nobody".to_owned()
    } else {
        texts.join(", ")
    }
}

/// The keys that data keys are wrapped for. Clones are the same ring.
#[derive(Clone)]
pub struct KeyRing {
    ring: Arc<RwLock<Ring>>,
    opened: Arc<Mutex<Opened>>,
    /// Counts its replacements.
    revision: watch::Sender<u64>,
}

/// Data keys that the ring has opened lately, by account and by what was opened.
/// Each message to be sent needs its account's, on whichever worker it arrives, and
/// opening one costs more than everything else that is done with it.
type Opened = HashMap<(String, WrappedKey), DataKey>;

/// Data keys that are kept open; then they are opened anew.
const OPENED_MAX: usize = 4_096;

/// A ring as it is at some time.
#[derive(Clone, PartialEq)]
struct Ring {
    keys: Vec<RingKey>,
    recipients: Vec<Recipient>,
    active: Fingerprint,
}

#[derive(Clone)]
struct RingKey {
    fingerprint: Fingerprint,
    secret: StaticSecret,
    /// Opens, but nothing is wrapped for it any more.
    retired: bool,
}

impl PartialEq for RingKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.retired == other.retired
    }
}

/// A key whose secret lies elsewhere.
#[derive(Clone, PartialEq)]
struct Recipient {
    fingerprint: Fingerprint,
    public: PublicKey,
}

impl RingKey {
    fn new(secret: StaticSecret) -> Self {
        Self {
            fingerprint: Fingerprint::of(&PublicKey::from(&secret)),
            secret,
            retired: false,
        }
    }

    fn draw(rng: &dyn Rng) -> Self {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        rng.fill(secret.as_mut());
        Self::new(StaticSecret::from(*secret))
    }
}

impl Ring {
    /// Whom data keys are wrapped for.
    fn targets(&self) -> impl Iterator<Item = (&Fingerprint, PublicKey)> {
        let keys = self.keys.iter().filter(|key| !key.retired);
        let keys = keys.map(|key| (&key.fingerprint, PublicKey::from(&key.secret)));
        let recipients = self.recipients.iter();
        keys.chain(recipients.map(|one| (&one.fingerprint, one.public)))
    }
}

/// The ring's JSON. Private, since it is the one form that shows secrets.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RingJson {
    schema_version: u32,
    keys: Vec<KeyJson>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<RecipientJson>,
    active: Fingerprint,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyJson {
    id: String,
    secret: String,
    #[serde(default, skip_serializing_if = "is_false")]
    retired: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecipientJson {
    id: String,
    public: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Read before the rest, which a newer program may have shaped otherwise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaJson {
    schema_version: u32,
}

impl KeyRing {
    /// Draws a ring of one key.
    pub fn generate(rng: &dyn Rng) -> Self {
        let key = RingKey::draw(rng);
        Self::of(Ring {
            active: key.fingerprint.clone(),
            keys: vec![key],
            recipients: Vec::new(),
        })
    }

    fn of(ring: Ring) -> Self {
        Self {
            ring: Arc::new(RwLock::new(ring)),
            opened: Arc::default(),
            revision: watch::Sender::new(0),
        }
    }

    /// Reads a ring from its JSON, as from a mounted secret.
    ///
    /// # Errors
    /// [`ParseError`] says what is wrong, without quoting.
    pub fn from_json(text: &str) -> Result<Self, ParseError> {
        let malformed = |error: serde_json::Error| ParseError::Json {
            line: error.line(),
            column: error.column(),
        };
        let SchemaJson { schema_version } = serde_json::from_str(text).map_err(malformed)?;
        if !(1..=SCHEMA_VERSION).contains(&schema_version) {
            return Err(ParseError::Schema {
                found: schema_version,
            });
        }
        let ring: RingJson = serde_json::from_str(text).map_err(malformed)?;
        if !(1..=KEYS_MAX).contains(&ring.keys.len()) {
            return Err(ParseError::Count {
                found: ring.keys.len(),
            });
        }
        let mut keys: Vec<RingKey> = Vec::with_capacity(ring.keys.len());
        for (index, json) in ring.keys.iter().enumerate() {
            let position = index + 1;
            let secret = decode_secret(&json.secret).ok_or(ParseError::Secret { position })?;
            let key = RingKey {
                retired: json.retired,
                ..RingKey::new(secret)
            };
            if key.fingerprint.as_str() != json.id {
                return Err(ParseError::Id {
                    position,
                    actual: key.fingerprint,
                });
            }
            if keys
                .iter()
                .any(|other| other.fingerprint == key.fingerprint)
            {
                return Err(ParseError::Twice(key.fingerprint));
            }
            keys.push(key);
        }
        let is_active = |key: &RingKey| key.fingerprint == ring.active && !key.retired;
        if !keys.iter().any(is_active) {
            return Err(ParseError::Active);
        }
        Ok(Self::of(Ring {
            recipients: read_recipients(&ring.recipients)?,
            keys,
            active: ring.active,
        }))
    }

    /// The ring's JSON: shows every secret.
    pub(crate) fn to_json(&self) -> Zeroizing<String> {
        let ring = self.ring.read();
        let is_plain = ring.recipients.is_empty() && ring.keys.iter().all(|key| !key.retired);
        let json = RingJson {
            schema_version: if is_plain { 1 } else { SCHEMA_VERSION },
            keys: ring
                .keys
                .iter()
                .map(|key| KeyJson {
                    id: key.fingerprint.0.clone(),
                    secret: BASE64.encode(key.secret.as_bytes()),
                    retired: key.retired,
                })
                .collect(),
            recipients: ring
                .recipients
                .iter()
                .map(|one| RecipientJson {
                    id: one.fingerprint.0.clone(),
                    public: BASE64.encode(one.public.as_bytes()),
                })
                .collect(),
            active: ring.active.clone(),
        };
        Zeroizing::new(serde_json::to_string_pretty(&json).expect("strings and numbers are JSON"))
    }

    /// The fingerprints of all keys that open.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let ring = self.ring.read();
        ring.keys
            .iter()
            .map(|key| key.fingerprint.clone())
            .collect()
    }

    /// The fingerprint of the newest key.
    pub fn active(&self) -> Fingerprint {
        self.ring.read().active.clone()
    }

    /// Whether a data key that is wrapped so is due for wrapping again.
    pub fn is_due(&self, wrapped: &WrappedKeys) -> bool {
        let mut has = wrapped.recipients();
        let mut wants: Vec<Fingerprint> = {
            let ring = self.ring.read();
            ring.targets().map(|(one, _)| one.clone()).collect()
        };
        has.sort_unstable();
        wants.sort_unstable();
        has != wants
    }

    /// Puts another ring in the place of this one, in all clones; false if it is
    /// the same.
    pub fn replace(&self, other: &KeyRing) -> bool {
        let new = other.ring.read().clone();
        let mut ring = self.ring.write();
        if *ring == new {
            return false;
        }
        *ring = new;
        // With the ring in hand: nobody adds what only the old one opens.
        self.opened.lock().clear();
        drop(ring);
        self.revision.send_modify(|revision| *revision += 1);
        true
    }

    /// Changes whenever the ring is replaced.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Wraps a data key for every key of the ring that is not retired, and for
    /// its recipients.
    pub fn wrap(&self, rng: &dyn Rng, data_key: &DataKey, account: &str) -> WrappedKeys {
        let ring = self.ring.read();
        let wrap_one = |(fingerprint, recipient): (&Fingerprint, PublicKey)| {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            rng.fill(bytes.as_mut());
            let ephemeral = StaticSecret::from(*bytes);
            let public = PublicKey::from(&ephemeral);
            let shared = ephemeral.diffie_hellman(&recipient);
            WrappedKey {
                recipient: fingerprint.clone(),
                ephemeral: public.to_bytes().to_vec().into(),
                sealed: seal(
                    &wrapping_key(&shared, &public, &recipient),
                    rng,
                    &wrapping_data(account, fingerprint),
                    data_key.root(),
                )
                .into(),
            }
        };
        WrappedKeys::from_keys(ring.targets().map(wrap_one).collect())
    }

    /// Opens an account's data key.
    ///
    /// # Errors
    /// - none of the recipients is in the ring → [`UnwrapError::MissingKey`]
    /// - one is, but the bytes are not its → [`UnwrapError::Altered`]
    pub fn unwrap(&self, wrapped: &WrappedKeys, account: &str) -> Result<DataKey, UnwrapError> {
        let ring = self.ring.read();
        let pair = wrapped.iter().find_map(|entry| {
            let key = ring
                .keys
                .iter()
                .find(|key| key.fingerprint == entry.recipient)?;
            Some((entry, key))
        });
        let Some((entry, key)) = pair else {
            return Err(UnwrapError::MissingKey {
                account: account.to_owned(),
                wanted: wrapped.recipients(),
                held: ring
                    .keys
                    .iter()
                    .map(|key| key.fingerprint.clone())
                    .collect(),
            });
        };
        let place = (account.to_owned(), entry.clone());
        if let Some(known) = self.opened.lock().get(&place) {
            return Ok(known.clone());
        }
        let data_key = open_entry(entry, key, account).ok_or_else(|| UnwrapError::Altered {
            account: account.to_owned(),
            recipient: key.fingerprint.clone(),
        })?;
        let mut opened = self.opened.lock();
        if opened.len() >= OPENED_MAX {
            opened.clear();
        }
        opened.insert(place, data_key.clone());
        Ok(data_key)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyRing")
            .field("fingerprints", &self.fingerprints())
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}

fn open_entry(entry: &WrappedKey, key: &RingKey, account: &str) -> Option<DataKey> {
    let ephemeral = PublicKey::from(<[u8; KEY_BYTES]>::try_from(&*entry.ephemeral).ok()?);
    let shared = key.secret.diffie_hellman(&ephemeral);
    // A low-order point would make a shared secret that anybody knows.
    if !shared.was_contributory() {
        return None;
    }
    let wrapping = wrapping_key(&shared, &ephemeral, &PublicKey::from(&key.secret));
    let root = open(
        &wrapping,
        &wrapping_data(account, &key.fingerprint),
        &entry.sealed,
    )
    .ok()?;
    let root = <[u8; KEY_BYTES]>::try_from(root.as_slice()).ok()?;
    Some(DataKey::from_root(Zeroizing::new(root)))
}

fn wrapping_key(
    shared: &SharedSecret,
    ephemeral: &PublicKey,
    recipient: &PublicKey,
) -> Zeroizing<[u8; KEY_BYTES]> {
    let salt = [ephemeral.to_bytes(), recipient.to_bytes()].concat();
    derive(shared.as_bytes(), &salt, &[WRAP_INFO])
}

fn wrapping_data(account: &str, recipient: &Fingerprint) -> Vec<u8> {
    let mut data = Vec::with_capacity(64);
    push_text(&mut data, "leasehold/wrapped-key/v1");
    push_text(&mut data, account);
    push_text(&mut data, recipient.as_str());
    data
}

fn decode_secret(text: &str) -> Option<StaticSecret> {
    let bytes = Zeroizing::new(BASE64.decode(text).ok()?);
    let secret = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok()?);
    Some(StaticSecret::from(*secret))
}

fn read_recipients(json: &[RecipientJson]) -> Result<Vec<Recipient>, ParseError> {
    if json.len() > KEYS_MAX {
        return Err(ParseError::Count { found: json.len() });
    }
    let mut recipients: Vec<Recipient> = Vec::with_capacity(json.len());
    for (index, json) in json.iter().enumerate() {
        let position = index + 1;
        let public = decode_public(&json.public).ok_or(ParseError::Public { position })?;
        let fingerprint = Fingerprint::of(&public);
        if fingerprint.as_str() != json.id {
            return Err(ParseError::Id {
                position,
                actual: fingerprint,
            });
        }
        if recipients.iter().any(|one| one.fingerprint == fingerprint) {
            return Err(ParseError::Twice(fingerprint));
        }
        recipients.push(Recipient {
            fingerprint,
            public,
        });
    }
    Ok(recipients)
}

fn decode_public(text: &str) -> Option<PublicKey> {
    let bytes: [u8; KEY_BYTES] = BASE64.decode(text.trim()).ok()?.try_into().ok()?;
    Some(PublicKey::from(bytes))
}

#[cfg(test)]
mod tests;
