//! An account's session: every secret that WhatsApp's protocol keeps between
//! connections, in encrypted files over the document store.
//!
//! - [`KeyRing`]: the cluster's keys; wraps each account's [`DataKey`]; kept by a
//!   [`KeyRingProvider`], there perhaps encrypted by an [`Envelope`];
//! - [`DataKey`]: seals the account's files, and single secrets in documents;
//! - [`SessionFiles`]: records in memory ([`Kind`], [`Record`]), made durable by
//!   flushes of few writes under the account's claim;
//! - [`SessionError`], [`RecordError`], [`KeyRingError`], [`UnwrapError`],
//!   [`OpenError`]: what can go wrong. No error, log line or `Debug` shows a
//!   key, a record's content or a record's key.
//!
//! Knows nothing of the engine: what a record means is its adapter's business.
//! The formats are described in `README.md` beside the manifest.
#![deny(missing_docs)]

mod datakey;
mod error;
mod files;
mod head;
mod keyring;
mod kind;
mod packed;
mod place;
mod plan;
mod record;
mod snapshot;
mod table;
#[cfg(test)]
mod testing;
mod trie;

pub use datakey::{Context, DataKey, OpenError};
pub use error::SessionError;
pub use files::{
    Edit, FLUSH_DELAY, FlushStats, Flusher, SessionFiles, SessionParts, files_collection,
};
pub use head::{HeadDoc, WRAPPED_KEYS_FIELD};
#[cfg(feature = "google-kms")]
pub use keyring::GoogleKms;
pub use keyring::{
    Envelope, EnvelopeError, EnvironmentProvider, FileProvider, Fingerprint, GoogleKmsKey,
    GoogleKmsKeyError, KeyRing, KeyRingError, KeyRingProvider, KeyState, KeyView, ParseError,
    ProviderError, RingChangeError, UnwrapError, WrappedKey, WrappedKeys,
};
pub use kind::{Family, Kind};
pub use packed::FileFault;
pub use record::{ACCOUNT_BYTES_MAX, KEY_BYTES_MAX, Record, RecordError, VALUE_BYTES_MAX};
pub use snapshot::SessionSnapshot;
