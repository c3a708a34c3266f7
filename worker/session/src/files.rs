//! An account's session files: records in memory, encrypted files in the store.
//!
//! The owner of the account loads them once, right after its claim, and then
//! reads and changes records in memory; [`SessionFiles::flush`] makes durable
//! what changed. There is one owner, so memory is always right.
//!
//! # Durability
//! - Nothing is durable before a flush that began after the change has
//!   returned. The background flusher ([`SessionFiles::spawn_flusher`]) flushes
//!   what nobody waits for.
//! - All that is dirty of sessions, pending messages and prekeys goes into one
//!   commit; if that is too large for the store, pending messages go first.
//! - Records that every message adds to and that nothing waits for (messages sent
//!   lately, secrets of messages) are left out of an urgent flush
//!   ([`SessionFiles::flush_urgent`]) if they were stored within the last
//!   [`FLUSH_DELAY`].
//! - A record that is changed back before a flush costs no write: a pending
//!   message whose delivery was confirmed quickly is never written.
//!
//! # Order
//! Each file is written on the condition that it is the one that this owner
//! wrote last, and one commit is under way at a time. The fenced writer settles
//! commits of unknown outcome, and the next one begins only once it has: none
//! can land late and take anything back. For the same reason a file is never
//! removed in the epoch that created it: an attempt to create it that got lost
//! on the way would find it absent again, and land. It is retired instead,
//! which leaves it without records, and removed in a later epoch. A caller who
//! stops waiting leaves the commit to the next one.
//!
//! Not done here: ownership (the fenced writer proves it in every commit), and
//! what records mean (the engine's adapter knows).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::fence::FencedWriter;
use coordinator_lib::identity::AccountId;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Store, StoreTime};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::datakey::DataKey;
use crate::error::SessionError;
use crate::kind::Kind;
use crate::packed::{Sealer, Versions};
use crate::place::FileName;
use crate::record::{Record, RecordError};
use crate::table::{Extent, Table};

mod flush;
mod flusher;
mod load;

pub use flusher::{FLUSH_DELAY, Flusher};
pub(crate) use load::FileSet;
pub use load::files_collection;

/// What session files are made of.
#[derive(Clone)]
pub struct SessionParts {
    /// Whose they are.
    pub account: AccountId,
    /// Where they are read.
    pub store: Store,
    /// How they are written: under the claim that was just made.
    pub writer: FencedWriter,
    /// What they are sealed with.
    pub data_key: DataKey,
    /// For expiry and for the flusher's waits.
    pub clock: SharedClock,
    /// For nonces.
    pub rng: SharedRng,
}

impl SessionParts {
    fn sealer(&self) -> Sealer<'_> {
        Sealer {
            account: self.account.as_str(),
            data_key: &self.data_key,
            epoch: self.writer.epoch(),
        }
    }

    /// Unix seconds, by the wall clock: expiry needs no more.
    fn now(&self) -> i64 {
        self.clock.wall().timestamp()
    }
}

/// An account's session. Clones share it.
#[derive(Clone)]
pub struct SessionFiles {
    shared: Arc<Shared>,
}

struct Shared {
    parts: SessionParts,
    table: Mutex<Table>,
    /// Held during a flush: one at a time.
    ledger: tokio::sync::Mutex<Ledger>,
    /// Rounds of flushing that have begun.
    rounds: AtomicU64,
    /// Wakes the flusher.
    changed: Notify,
    stats: Mutex<FlushStats>,
}

/// What is known of the store.
struct Ledger {
    files: BTreeMap<FileName, StoredFile>,
    next_version: u64,
    /// Every change up to this number is stored.
    stored_through: u64,
    /// Every change up to this number is stored but for those that may wait.
    urgent_through: u64,
    /// When everything was last stored, what may wait with it.
    rest_stored_at: Option<Boottime>,
    in_flight: Option<flush::InFlight>,
    /// The last round, if it failed.
    failure: Option<flush::Failure>,
    /// Set once no flush can succeed any more.
    ended: Option<SessionError>,
}

#[derive(Clone, Copy)]
struct StoredFile {
    version: u64,
    update_time: StoreTime,
    /// Others hold its records now.
    is_retired: bool,
    /// This epoch created it, and so does not remove it.
    is_new: bool,
}

impl Ledger {
    fn versions(&self) -> Versions {
        self.files
            .iter()
            .map(|(name, file)| (*name, file.version))
            .collect()
    }
}

/// What flushing has done so far, for `/health` and `/debug`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushStats {
    /// Commits that were made.
    pub commits: u64,
    /// Files that they wrote.
    pub files_written: u64,
    /// Bytes that they wrote, sealed.
    pub bytes_written: u64,
    /// Rounds that failed, in a row, up to now.
    pub failures_in_a_row: u64,
    /// The version that the last commit gave its files.
    pub last_version: u64,
    /// When the last commit was made.
    pub last_commit: Option<StoreTime>,
}

impl SessionFiles {
    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.shared.parts.account
    }

    /// The epoch that they were loaded under.
    pub fn epoch(&self) -> i64 {
        self.shared.parts.writer.epoch()
    }

    /// A record's value.
    pub fn get(&self, kind: Kind, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.get_record(kind, key).map(|record| record.value)
    }

    /// A record with its expiry. A record that has expired is there until its
    /// file is written or loaded the next time.
    pub fn get_record(&self, kind: Kind, key: impl AsRef<[u8]>) -> Option<Record> {
        self.shared.table.lock().get(kind, key.as_ref()).cloned()
    }

    /// Whether there is such a record.
    pub fn contains(&self, kind: Kind, key: impl AsRef<[u8]>) -> bool {
        self.shared.table.lock().get(kind, key.as_ref()).is_some()
    }

    /// Puts a record, in the place of what was there.
    ///
    /// # Errors
    /// [`RecordError`] if it is too large; what was there stays.
    pub fn put(
        &self,
        kind: Kind,
        key: impl AsRef<[u8]>,
        record: impl Into<Record>,
    ) -> Result<(), RecordError> {
        self.edit(|edit| edit.put(kind, key, record))
    }

    /// Removes a record; whether there was one.
    pub fn remove(&self, kind: Kind, key: impl AsRef<[u8]>) -> bool {
        self.edit(|edit| edit.remove(kind, key))
    }

    /// Removes a record and gives it back.
    pub fn take(&self, kind: Kind, key: impl AsRef<[u8]>) -> Option<Record> {
        self.edit(|edit| edit.take(kind, key))
    }

    /// Changes a record in one step: from what is there (if anything) to what
    /// the function makes of it (`None`: nothing). The function must not call
    /// back into these session files.
    ///
    /// # Errors
    /// [`RecordError`] if the new record is too large; what was there stays.
    pub fn update(
        &self,
        kind: Kind,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(Option<Record>) -> Option<Record>,
    ) -> Result<(), RecordError> {
        self.edit(|edit| {
            let key = key.as_ref();
            match change(edit.get(kind, key)) {
                Some(record) => edit.put(kind, key, record),
                None => {
                    edit.remove(kind, key);
                    Ok(())
                }
            }
        })
    }

    /// The records of a kind whose keys begin so, sorted by key.
    pub fn scan(&self, kind: Kind, prefix: impl AsRef<[u8]>) -> Vec<(Bytes, Record)> {
        let mut found: Vec<(Bytes, Record)> = {
            let table = self.shared.table.lock();
            let records = table.scan(kind, prefix.as_ref());
            records
                .map(|(key, record)| (key.clone(), record.clone()))
                .collect()
        };
        found.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        found
    }

    /// Whether any record of a kind has a key that begins so.
    pub fn any(&self, kind: Kind, prefix: impl AsRef<[u8]>) -> bool {
        self.shared
            .table
            .lock()
            .scan(kind, prefix.as_ref())
            .next()
            .is_some()
    }

    /// Keeps those records of a kind for which this holds, and removes the
    /// others; how many. The function must not call back into these session
    /// files.
    pub fn retain(&self, kind: Kind, mut keep: impl FnMut(&Bytes, &Record) -> bool) -> usize {
        self.edit(|edit| {
            let refused: Vec<Bytes> = edit
                .table
                .scan(kind, &[])
                .filter(|(key, record)| !keep(key, record))
                .map(|(key, _)| key.clone())
                .collect();
            refused.iter().filter(|key| edit.remove(kind, key)).count()
        })
    }

    /// Removes records of a kind that have expired at `now` (unix seconds); how
    /// many.
    pub fn remove_expired(&self, kind: Kind, now: i64) -> usize {
        self.retain(kind, |_, record| !record.is_expired(now))
    }

    /// Makes several changes that no flush divides. The function must not call
    /// back into these session files.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Edit<'_>) -> T) -> T {
        let mut table = self.shared.table.lock();
        let before = table.number();
        let result = change(&mut Edit { table: &mut table });
        let is_changed = table.number() != before;
        drop(table);
        if is_changed {
            self.shared.changed.notify_one();
        }
        result
    }

    /// Whether anything is in memory that is not stored.
    pub fn is_dirty(&self) -> bool {
        self.shared.table.lock().is_dirty()
    }

    /// How many records there are, and about how many bytes they take.
    pub fn size(&self) -> (usize, usize) {
        let table = self.shared.table.lock();
        (table.count(), table.bytes())
    }

    /// What flushing has done so far.
    pub fn stats(&self) -> FlushStats {
        *self.shared.stats.lock()
    }

    /// Makes durable everything that was changed before the call. Calls that
    /// come together share the work.
    ///
    /// # Errors
    /// - another epoch owns the account → [`SessionError::Fenced`]
    /// - the engine instance has ended → [`SessionError::GateClosed`]
    /// - the store fails for too long → [`SessionError::Unavailable`]; what is
    ///   in memory stays, and the next flush tries again
    ///
    /// and see [`SessionError`]. Waits while the store gate is suspended.
    ///
    /// # Cancel safety
    /// A commit that was begun goes on; the next flush learns what became of it.
    pub async fn flush(&self) -> Result<(), SessionError> {
        self.flush_to(Extent::All).await
    }

    /// As [`SessionFiles::flush`], but for messages sent lately and secrets of
    /// messages: those go along once every [`FLUSH_DELAY`]. In a burst they would
    /// be most of what each flush writes.
    ///
    /// # Errors
    /// As for [`SessionFiles::flush`].
    ///
    /// # Cancel safety
    /// As for [`SessionFiles::flush`].
    pub async fn flush_urgent(&self) -> Result<(), SessionError> {
        self.flush_to(Extent::Urgent).await
    }

    async fn flush_to(&self, extent: Extent) -> Result<(), SessionError> {
        let target = self.shared.table.lock().number();
        let round_seen = self.shared.rounds.load(Ordering::Acquire);
        let mut ledger = self.shared.ledger.lock().await;
        let extent = self.shared.extent(&ledger, extent);
        let stored_through = match extent {
            Extent::All => ledger.stored_through,
            Extent::Urgent => ledger.urgent_through,
        };
        if stored_through >= target {
            return Ok(());
        }
        if let Some(failure) = &ledger.failure
            && failure.round > round_seen
        {
            // That round began after this call, so it tried what is asked for.
            return Err(failure.error.clone());
        }
        self.shared.round(&mut ledger, extent).await
    }
}

impl fmt::Debug for SessionFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, bytes) = self.size();
        formatter
            .debug_struct("SessionFiles")
            .field("account", self.account())
            .field("epoch", &self.shared.parts.writer.epoch())
            .field("records", &records)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// Several changes in one step; see [`SessionFiles::edit`].
pub struct Edit<'a> {
    table: &'a mut Table,
}

impl Edit<'_> {
    /// A record.
    pub fn get(&self, kind: Kind, key: impl AsRef<[u8]>) -> Option<Record> {
        self.table.get(kind, key.as_ref()).cloned()
    }

    /// Puts a record, in the place of what was there.
    ///
    /// # Errors
    /// [`RecordError`] if it is too large; what was there stays.
    pub fn put(
        &mut self,
        kind: Kind,
        key: impl AsRef<[u8]>,
        record: impl Into<Record>,
    ) -> Result<(), RecordError> {
        self.table.put(kind, key.as_ref(), record.into())
    }

    /// Removes a record; whether there was one.
    pub fn remove(&mut self, kind: Kind, key: impl AsRef<[u8]>) -> bool {
        self.table.remove(kind, key.as_ref())
    }

    /// Removes a record and gives it back.
    pub fn take(&mut self, kind: Kind, key: impl AsRef<[u8]>) -> Option<Record> {
        let key = key.as_ref();
        let record = self.get(kind, key)?;
        self.remove(kind, key);
        Some(record)
    }
}

impl fmt::Debug for Edit<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Edit")
    }
}
