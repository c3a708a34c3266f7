//! A data key, wrapped for each key of a ring: the form in which an account's
//! head keeps it. Nothing in it is secret to those who lack the ring.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Fingerprint;

/// A data key, wrapped for several recipients. In a document: a list of maps
/// with the text `recipient` and the bytes `ephemeral` and `sealed`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrappedKeys(Vec<WrappedKey>);

impl WrappedKeys {
    pub(super) fn from_keys(keys: Vec<WrappedKey>) -> Self {
        Self(keys)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &WrappedKey> {
        self.0.iter()
    }

    /// Whom the data key is wrapped for.
    pub fn recipients(&self) -> Vec<Fingerprint> {
        self.0.iter().map(|key| key.recipient.clone()).collect()
    }
}

impl fmt::Debug for WrappedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("WrappedKeys")
            .field(&self.recipients())
            .finish()
    }
}

/// A data key, wrapped for one recipient.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrappedKey {
    /// The ring's key that opens it.
    pub recipient: Fingerprint,
    /// The public half of the key that was drawn for this wrapping, 32 bytes.
    pub(super) ephemeral: Bytes,
    /// The sealed data key.
    pub(super) sealed: Bytes,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WrappedKey")
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}
