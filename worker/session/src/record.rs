//! Records: the unit that is read and changed; and how large they may be.

use std::fmt;

use bytes::Bytes;

use crate::kind::Kind;

/// The largest value. Two of them, and everything around, fit the store's
/// largest document.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;
/// The longest key: three JIDs and a message id are far below.
pub const KEY_BYTES_MAX: usize = 2 * 1024;
/// All records of one account. What peers send must not fill the memory.
pub const ACCOUNT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a record takes besides its key and its value.
const OVERHEAD_BYTES: usize = 24;

/// A value, and until when it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Bytes,
    /// Unix seconds after which the record may be dropped; 0: never.
    pub expires_at: i64,
}

impl Record {
    /// A record that may be dropped after `expires_at` (unix seconds).
    pub fn until(value: impl Into<Bytes>, expires_at: i64) -> Self {
        Self {
            value: value.into(),
            expires_at,
        }
    }

    /// Whether the record may be dropped at `now` (unix seconds).
    pub fn is_expired(&self, now: i64) -> bool {
        self.kept_until() <= now
    }

    fn kept_until(&self) -> i64 {
        match self.expires_at {
            0 => i64::MAX,
            seconds => seconds,
        }
    }

    /// Of two records with one key, the one that counts: a young one, where the
    /// one in its place is kept for less long. That one had expired and was not
    /// known any more when the young one was put. Otherwise the one in its place:
    /// the young one was moved, and its removal was not stored any more.
    pub(crate) fn that_counts(in_place: Self, young: Self) -> Self {
        match young.kept_until() > in_place.kept_until() {
            true => young,
            false => in_place,
        }
    }
}

impl From<Bytes> for Record {
    fn from(value: Bytes) -> Self {
        Self {
            value,
            expires_at: 0,
        }
    }
}

impl From<Vec<u8>> for Record {
    fn from(value: Vec<u8>) -> Self {
        Self {
            value: value.into(),
            expires_at: 0,
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Record")
            .field("bytes", &self.value.len())
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// A record that is not taken. It names the kind, never the key: keys hold
/// phone numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The value is too large.
    #[error("a record of {kind:?} with {bytes} bytes is larger than {VALUE_BYTES_MAX}")]
    ValueTooLarge {
        /// The record's kind.
        kind: Kind,
        /// The value's size.
        bytes: usize,
    },
    /// The key is too long.
    #[error("a key of {kind:?} with {bytes} bytes is longer than {KEY_BYTES_MAX}")]
    KeyTooLong {
        /// The record's kind.
        kind: Kind,
        /// The key's length.
        bytes: usize,
    },
    /// The account's records would take more than [`ACCOUNT_BYTES_MAX`].
    #[error(
        "no room for a record of {kind:?} with {bytes} bytes: the account's session has its {ACCOUNT_BYTES_MAX} bytes"
    )]
    AccountFull {
        /// The record's kind.
        kind: Kind,
        /// The value's size.
        bytes: usize,
    },
}

pub(crate) fn check_size(kind: Kind, key: &[u8], record: &Record) -> Result<(), RecordError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(RecordError::KeyTooLong {
            kind,
            bytes: key.len(),
        });
    }
    if record.value.len() > VALUE_BYTES_MAX {
        return Err(RecordError::ValueTooLarge {
            kind,
            bytes: record.value.len(),
        });
    }
    Ok(())
}

/// What a record adds to its file, at most.
pub(crate) fn packed_bytes(key: &[u8], record: &Record) -> usize {
    key.len() + record.value.len() + OVERHEAD_BYTES
}
