//! The engine's storage, on the account's session files.
//!
//! An account has one owner, so all reads come from memory and only writes
//! cost anything. Every write passes the store gate first: it waits while the
//! gate is suspended and fails once it is closed. Then it changes memory, and
//! one of two things follows:
//!
//! - **Durable before it returns**, where what the engine does next must not
//!   happen without it: sessions and sender keys (a counter reservation must
//!   not be lost once a message that it covers has left), the device (its
//!   identity and the prekeys' watermarks), prekeys (before their upload), keys
//!   of the app state (before they are acknowledged).
//! - **Write-behind**, for all else: the session files' flusher makes it
//!   durable a moment later, or the next awaited flush does. What a crash can
//!   lose of it is derived again, asked for again, or harmless.
//!
//! Decrypted messages that nobody has stored yet ([`Kind::Pending`]) are
//! write-behind too. They go into the same commit as the ratchets that decrypted
//! them: so either both are durable, and a redelivered message is found here, or
//! neither, and it decrypts again. The one awaited write of a message is the
//! inbox's.
//!
//! A flush covers everything written before it, whoever wrote it; but messages
//! sent lately and secrets of messages go along five times a second at most. One
//! file an engine trait: [`signal`], [`app_sync`], [`protocol`], [`msg_secret`],
//! [`device`].

mod app_sync;
mod device;
mod msg_secret;
mod pending;
mod protocol;
mod signal;
mod tc_token;

use std::sync::Arc;

use bytes::Bytes;
use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::{Gate, GateClosed};
use coordinator_lib::mutation::{self, Mutation};
use prost::Message;
use session::{Kind, Record, RecordError, SessionError, SessionFiles};
use whatsapp_rust::store::error::StoreError;

use crate::redelivery::{Redelivery, RedeliveryError};

/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The engine's storage for one account, under one epoch.
#[derive(Clone)]
pub(crate) struct Backend {
    files: SessionFiles,
    gate: Gate,
    clock: SharedClock,
    /// Decides about what was decrypted before.
    redelivery: Option<Arc<Redelivery>>,
}

/// Why a write or a read failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    /// The account is no longer this worker's to write.
    #[error(transparent)]
    Gate(#[from] GateClosed),
    /// A record is not taken.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A flush failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A stored record cannot be read.
    #[error("a stored record of {0:?} is corrupt")]
    Corrupt(Kind),
    /// A part of a key holds a 0 byte, which separates parts.
    #[error("a key of {0:?} holds a 0 byte")]
    Key(Kind),
    /// A message must not be acknowledged.
    #[error(transparent)]
    Redelivery(#[from] RedeliveryError),
}

type Result<T> = std::result::Result<T, BackendError>;

impl From<BackendError> for StoreError {
    fn from(error: BackendError) -> Self {
        StoreError::Database(Box::new(error))
    }
}

impl Backend {
    pub(crate) fn new(files: SessionFiles, gate: Gate, clock: SharedClock) -> Self {
        if mutation::is_on(Mutation::ForgetPending) {
            files.retain(Kind::Pending, |_, _| false);
        }
        Self {
            files,
            gate,
            clock,
            redelivery: None,
        }
    }

    /// The same for an engine whose messages end in an inbox.
    pub(crate) fn with(self, redelivery: Arc<Redelivery>) -> Self {
        Self {
            redelivery: Some(redelivery),
            ..self
        }
    }

    /// Unix seconds.
    fn now(&self) -> i64 {
        self.clock.wall().timestamp()
    }

    fn get(&self, kind: Kind, key: &[u8]) -> Option<Bytes> {
        self.files.get(kind, key)
    }

    /// Reads a record that is stored as protobuf.
    fn get_message<M: Message + Default>(&self, kind: Kind, key: &[u8]) -> Result<Option<M>> {
        self.get(kind, key)
            .map(|bytes| decode(kind, &bytes))
            .transpose()
    }

    /// Reads all records of a kind that are stored as protobuf.
    fn scan_messages<M: Message + Default>(&self, kind: Kind) -> Result<Vec<M>> {
        let records = self.files.scan(kind, b"");
        records
            .into_iter()
            .map(|(_, record)| decode(kind, &record.value))
            .collect()
    }

    /// Changes memory, behind the gate. Durable some time later. What belongs
    /// together is changed in one [`SessionFiles::edit`], which no flush divides.
    async fn write<R>(&self, change: impl FnOnce(&SessionFiles) -> Result<R>) -> Result<R> {
        let _pass = self.gate.pass().await?;
        change(&self.files)
    }

    /// Changes memory, behind the gate, and returns once that is durable.
    async fn write_durably<R>(&self, change: impl FnOnce(&SessionFiles) -> Result<R>) -> Result<R> {
        let _pass = self.gate.pass().await?;
        let changed = change(&self.files)?;
        self.files.flush_urgent().await?;
        Ok(changed)
    }

    /// Writes one record, write-behind.
    async fn put(&self, kind: Kind, key: &[u8], record: impl Into<Record>) -> Result<()> {
        self.write(|files| Ok(files.put(kind, key, record)?)).await
    }

    /// Removes one record, write-behind.
    async fn remove(&self, kind: Kind, key: &[u8]) -> Result<()> {
        self.write(|files| {
            files.remove(kind, key);
            Ok(())
        })
        .await
    }

    /// Removes the records of a kind for which `expired` says so; how many.
    async fn sweep<M: Message + Default>(
        &self,
        kind: Kind,
        expired: impl Fn(&M) -> bool,
    ) -> Result<u32> {
        // What cannot be read is of no use to anybody.
        let is_kept = |value: &[u8]| M::decode(value).is_ok_and(|record| !expired(&record));
        let removed = self
            .write(|files| Ok(files.retain(kind, |_, record| is_kept(&record.value))))
            .await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}

fn decode<M: Message + Default>(kind: Kind, bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|_| BackendError::Corrupt(kind))
}

/// A key of several parts, joined by 0 bytes.
fn key(kind: Kind, parts: &[&str]) -> Result<Vec<u8>> {
    if parts.iter().any(|part| part.contains('\0')) {
        return Err(BackendError::Key(kind));
    }
    Ok(parts.join("\0").into_bytes())
}

/// What every key begins with whose first part this is.
fn key_prefix(kind: Kind, first: &str) -> Result<Vec<u8>> {
    let mut prefix = key(kind, &[first])?;
    prefix.push(0);
    Ok(prefix)
}

#[cfg(test)]
mod tests;
