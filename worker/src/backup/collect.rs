//! From the store into an archive, while accounts run.
//!
//! A session's files are read in pages, and their owner may write in between.
//! That is noticed: the newest file vouches for the versions of all others, so a
//! set that was read half before and half after a flush does not fit, and is read
//! again. What goes into the archive has been opened once.

use std::io::Write;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::{EPOCH_FIELD, LEASE_EPOCH_FIELD};
use coordinator_lib::spread::SPREAD_FIELD;
use coordinator_lib::store::{Document, Fields, Query, Store, StoreError, Value, query_all};
use session::{HeadDoc, KeyRing, SessionError, SessionSnapshot, UnwrapError, WRAPPED_KEYS_FIELD};

use super::archive::{ArchiveError, Writer};
use crate::model::stored::SCHEMA_VERSION;
use crate::model::{EventDoc, Stored as _, queries};
use crate::purge::belongings::{BELONGINGS, Belonging, InBackup, own_name};
use crate::purge::purged_at;

/// Files of one session, at most.
const FILES_MAX: usize = 4_096;
/// Documents that are read at a time.
const BATCH: u32 = 200;
/// A session that is written all the time is read so often, at most.
const ATTEMPTS_MAX: usize = 20;
/// Between them.
const ATTEMPT_WAIT: Duration = Duration::from_millis(150);
/// The account's fields that are its own: not its lease, nor how it is.
const ACCOUNT_FIELDS: [&str; 12] = [
    SCHEMA_VERSION,
    "name",
    "phone",
    "proxy",
    "available",
    SPREAD_FIELD,
    "createdAt",
    "jid",
    "lid",
    "pushName",
    "pairedAt",
    LEASE_EPOCH_FIELD,
];
/// The head's.
const HEAD_FIELDS: [&str; 3] = [SCHEMA_VERSION, WRAPPED_KEYS_FIELD, EPOCH_FIELD];
/// The account's event numbers go on from here.
const EVENT_SEQ: &str = "eventSeq";

/// Where a backup comes from.
pub struct Source<'a> {
    /// The documents.
    pub store: &'a Store,
    /// Opens data keys.
    pub keys: &'a KeyRing,
    /// Time.
    pub clock: &'a SharedClock,
}

/// Why an account is not in a backup.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is no such account.
    #[error("there is no such account")]
    Missing,
    /// It was erased.
    #[error("it was purged")]
    Purged,
    /// The predecessor's.
    #[error("it was never imported")]
    NotOurs,
    /// Its key does not open.
    #[error("{0}")]
    Keys(#[from] UnwrapError),
    /// Its session cannot be read.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// The archive was not written.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
}

impl Source<'_> {
    /// Writes an account into an archive. Nothing is written of one whose
    /// session does not open.
    ///
    /// # Errors
    /// [`CollectError`]; after one of the archive or the store an account may be
    /// there in part, and the archive is worth nothing.
    pub async fn account<W: Write>(
        &self,
        account: &AccountId,
        out: &mut Writer<'_, W>,
    ) -> Result<(), CollectError> {
        let (document, head, files) = self.session(account).await?;
        let mut own = picked(&document.fields, &ACCOUNT_FIELDS);
        let seq = self.last_event(account, &document.fields).await?;
        own.insert(EVENT_SEQ.to_owned(), Value::Int(seq));
        out.add(&document.path, &own)?;
        out.add(&head.path, &picked(&head.fields, &HEAD_FIELDS))?;
        for file in &files {
            out.add(&file.path, &file.fields)?;
        }
        for (name, belonging, kept) in BELONGINGS {
            if *kept == InBackup::Conversations {
                self.conversations(account, name, *belonging, out).await?;
            }
        }
        Ok(())
    }

    /// The account, its head and its files, which fit together.
    async fn session(
        &self,
        account: &AccountId,
    ) -> Result<(Document, Document, Vec<Document>), CollectError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (document, head) = self.roots(account).await?;
            let query = Query::new(session::files_collection(account));
            let files = query_all(self.store.as_ref(), &query, FILES_MAX).await?;
            let doc: HeadDoc = head.decode()?;
            let data_key = self.keys.unwrap(&doc.wrapped_keys, account.as_str())?;
            // Read before the files: an owner of a later epoch may have written.
            match SessionSnapshot::open(account, &data_key, i64::MAX, &files) {
                Ok(_) => return Ok((document, head, files)),
                Err(error) if attempt >= ATTEMPTS_MAX => return Err(error.into()),
                Err(_) => self.clock.sleep(ATTEMPT_WAIT).await,
            }
        }
    }

    async fn roots(&self, account: &AccountId) -> Result<(Document, Document), CollectError> {
        let paths = [account.account_path(), account.head_path()];
        let mut found = self.store.get(&paths).await?.documents.into_iter();
        let document = found.next().flatten().ok_or(CollectError::Missing)?;
        if purged_at(&document.fields).is_some() {
            return Err(CollectError::Purged);
        }
        let head = found.next().flatten().ok_or(CollectError::NotOurs)?;
        Ok((document, head))
    }

    async fn last_event(&self, account: &AccountId, own: &Fields) -> Result<i64, StoreError> {
        let query = queries::event_last(account.as_str())?;
        let page = self.store.query(&query).await?;
        let last = page.documents.first().and_then(EventDoc::read_or_skip);
        let floor = match own.get(EVENT_SEQ) {
            Some(Value::Int(floor)) => *floor,
            Some(_) | None => 0,
        };
        Ok(last.map_or(0, |record| record.value.seq).max(floor))
    }

    async fn conversations<W: Write>(
        &self,
        account: &AccountId,
        name: &str,
        belonging: Belonging,
        out: &mut Writer<'_, W>,
    ) -> Result<(), CollectError> {
        match belonging {
            Belonging::ByAccount => {
                let query = queries::of_account(name, account.as_str())?;
                self.all(query, out).await
            }
            Belonging::Below(parent) => {
                let mut query = queries::of_account(parent, account.as_str())?.limit(BATCH);
                loop {
                    let page = self.store.query(&query).await?;
                    for document in &page.documents {
                        let below = document.path.collection_below(own_name(name))?;
                        self.all(Query::new(below), out).await?;
                    }
                    match page.next {
                        Some(cursor) => query = query.start_after(cursor),
                        None => return Ok(()),
                    }
                }
            }
            // The table's test says that there is none of these.
            Belonging::Root
            | Belonging::BelowRoot
            | Belonging::ById
            | Belonging::ByUse
            | Belonging::Listed
            | Belonging::Named
            | Belonging::Nobodys(_) => Ok(()),
        }
    }

    async fn all<W: Write>(
        &self,
        query: Query,
        out: &mut Writer<'_, W>,
    ) -> Result<(), CollectError> {
        let mut query = query.limit(BATCH);
        loop {
            let page = self.store.query(&query).await?;
            for document in &page.documents {
                out.add(&document.path, &document.fields)?;
            }
            match page.next {
                Some(cursor) => query = query.start_after(cursor),
                None => return Ok(()),
            }
        }
    }
}

fn picked(fields: &Fields, names: &[&str]) -> Fields {
    fields
        .iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
