//! Rings that are encrypted where they are kept, by a key that never leaves its
//! service.
//!
//! An encrypted ring is JSON, too: which key encrypted it, and the ciphertext of
//! the ring's JSON. So it fits wherever a ring in clear does, and who has it
//! without the key's name is told that.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// The one version of an encrypted ring's JSON.
const SCHEMA_VERSION: u32 = 1;

/// A key that rings are encrypted with, in a service of somebody else's.
///
/// Blocking calls, with a time limit of their own.
pub trait Envelope: Send + Sync {
    /// The key's name. It stands beside what the key encrypted.
    fn key(&self) -> &str;

    /// Encrypts.
    ///
    /// # Errors
    /// [`EnvelopeError`] says what to do, and quotes nothing.
    fn seal(&self, clear: &[u8]) -> Result<Vec<u8>, EnvelopeError>;

    /// Decrypts.
    ///
    /// # Errors
    /// [`EnvelopeError`] says what to do, and quotes nothing.
    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError>;
}

/// Why a ring was not encrypted or decrypted. Says what to do; holds nothing of
/// the ring, and nothing that the service said, which may quote a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Encrypted, and no key was named.
    #[error("it is encrypted by {key}: name that with --key-ring-kms")]
    Sealed {
        /// What encrypted it, as it says itself.
        key: String,
    },
    /// In clear, and a key was named.
    #[error(
        "it is not encrypted, and --key-ring-kms names a key: `worker keys seal` encrypts a file"
    )]
    Clear,
    /// Encrypted by another key than the one that was named.
    #[error("it is encrypted by {found}, and --key-ring-kms names {given}")]
    OtherKey {
        /// What encrypted it, as it says itself.
        found: String,
        /// What was named.
        given: String,
    },
    /// Says that it is encrypted, and is not of that shape.
    #[error("it is not an encrypted key ring's JSON: restore it from a copy")]
    Malformed,
    /// Encrypted by a newer program.
    #[error("its schema version is {found}, and this program reads {SCHEMA_VERSION}")]
    Schema {
        /// The version that it says.
        found: u32,
    },
    /// The key did not make this ciphertext.
    #[error(
        "{key} does not open it: it was altered, or encrypted by another key; restore it from a \
         copy, or name the key that encrypted it with --key-ring-kms"
    )]
    NotOpened {
        /// The key.
        key: String,
    },
    /// The caller may not use the key.
    #[error(
        "Google Cloud KMS does not let this program use {key}: give its service account \
         roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, and see that the project's KMS \
         API is on"
    )]
    Denied {
        /// The key.
        key: String,
    },
    /// There is no such key.
    #[error("Google Cloud KMS has no key {key}: check --key-ring-kms")]
    NoSuchKey {
        /// The key.
        key: String,
    },
    /// The key cannot be used as it is.
    #[error(
        "{key} is disabled or destroyed, or the version of it that is needed: enable or restore \
         it (`gcloud kms keys versions list`)"
    )]
    Disabled {
        /// The key.
        key: String,
    },
    /// Nothing to show the service who asks.
    #[error(
        "there are no credentials of Google Cloud: run with Workload Identity, or set \
         GOOGLE_APPLICATION_CREDENTIALS"
    )]
    NoCredentials,
    /// No answer: of the service, or of the one that has the credentials.
    #[error(
        "Google Cloud KMS was not reached, or did not answer in time: check the way to \
         cloudkms.googleapis.com and to the metadata server (outside of Google Cloud, set \
         GOOGLE_APPLICATION_CREDENTIALS), and try again"
    )]
    Unreachable,
    /// Too many requests.
    #[error("the project's quota of Google Cloud KMS is used up: try again later")]
    Quota,
    /// The answer does not match its checksums, or is none.
    #[error("what Google Cloud KMS and this program exchanged was damaged on the way: try again")]
    Damaged,
    /// Anything else that the service said, by its code.
    #[error("Google Cloud KMS refused with {code}")]
    Refused {
        /// The code's name, or the number of HTTP.
        code: String,
    },
}

/// An encrypted ring's JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SealedJson {
    schema_version: u32,
    sealed_by: String,
    ciphertext: String,
}

/// What tells an encrypted ring from one in clear, whatever else is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SealedMark {
    schema_version: u32,
    #[serde(default)]
    sealed_by: Option<IgnoredAny>,
}

impl SealedJson {
    /// None for what is not encrypted, and may be anything.
    fn read(text: &[u8]) -> Result<Option<Self>, EnvelopeError> {
        let Ok(mark) = serde_json::from_slice::<SealedMark>(text) else {
            return Ok(None);
        };
        if mark.sealed_by.is_none() {
            return Ok(None);
        }
        if mark.schema_version != SCHEMA_VERSION {
            return Err(EnvelopeError::Schema {
                found: mark.schema_version,
            });
        }
        serde_json::from_slice(text)
            .map(Some)
            .map_err(|_| EnvelopeError::Malformed)
    }
}

/// Between a place and its reader: the place has what the key encrypted, if there
/// is one, and the reader a ring in clear.
pub(super) struct Cover {
    envelope: Option<Arc<dyn Envelope>>,
    /// What was opened last, so that the service is asked about changes only.
    opened: Mutex<Option<Opened>>,
}

struct Opened {
    sealed: Zeroizing<Vec<u8>>,
    clear: Zeroizing<Vec<u8>>,
}

impl Cover {
    pub(super) fn new(envelope: Option<Arc<dyn Envelope>>) -> Self {
        Self {
            envelope,
            opened: Mutex::new(None),
        }
    }

    /// What the place is to hold for this ring.
    pub(super) fn seal(
        &self,
        clear: Zeroizing<String>,
    ) -> Result<Zeroizing<String>, EnvelopeError> {
        let Some(envelope) = &self.envelope else {
            return Ok(clear);
        };
        let json = SealedJson {
            schema_version: SCHEMA_VERSION,
            sealed_by: envelope.key().to_owned(),
            ciphertext: BASE64.encode(envelope.seal(clear.as_bytes())?),
        };
        let text = serde_json::to_string_pretty(&json).expect("strings and numbers are JSON");
        Ok(Zeroizing::new(text))
    }

    /// The ring in what the place holds.
    pub(super) fn open(
        &self,
        held: Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let (envelope, sealed) = match (&self.envelope, SealedJson::read(&held)?) {
            (None, None) => return Ok(held),
            (None, Some(sealed)) => {
                return Err(EnvelopeError::Sealed {
                    key: sealed.sealed_by,
                });
            }
            (Some(_), None) => return Err(EnvelopeError::Clear),
            (Some(envelope), Some(sealed)) => (envelope, sealed),
        };
        if sealed.sealed_by != envelope.key() {
            return Err(EnvelopeError::OtherKey {
                found: sealed.sealed_by,
                given: envelope.key().to_owned(),
            });
        }
        let mut opened = self.opened.lock();
        if let Some(last) = opened.as_ref().filter(|last| last.sealed == held) {
            return Ok(last.clear.clone());
        }
        let ciphertext = BASE64
            .decode(&sealed.ciphertext)
            .map_err(|_| EnvelopeError::Malformed)?;
        let clear = envelope.open(&ciphertext)?;
        *opened = Some(Opened {
            sealed: held,
            clear: clear.clone(),
        });
        Ok(clear)
    }
}
