//! Loading: every file of the account, in one paged query, checked as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{Collection, Document, Path, Query};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{FlushStats, Ledger, SessionFiles, SessionParts, Shared, StoredFile};
use crate::error::SessionError;
use crate::packed::{Content, FileFault, OpenFile, Sealer, Versions, check_schema, check_set};
use crate::place::FileName;
use crate::table::Table;

/// Files of one account: many times what its records can fill.
const FILES_MAX: usize = 4_096;
/// Files asked for at once; the store ends a page earlier if they are large.
const PAGE_FILES: u32 = 200;

impl SessionFiles {
    /// Loads the files of an account that was just claimed. An account without
    /// files has an empty session.
    ///
    /// To be called once for a claim, and after it: a commit of an earlier
    /// claim can no longer land, one of the same claim could.
    ///
    /// # Errors
    /// - the store fails → [`SessionError::Read`]
    /// - a file is altered, old, missing, another account's or another key's →
    ///   [`SessionError::Refused`]
    /// - more files than an account can have → [`SessionError::TooMany`]
    pub async fn load(parts: SessionParts) -> Result<Self, SessionError> {
        let account = &parts.account;
        let now = parts.now();
        let mut table = Table::new(&parts.data_key.hasher());
        let mut set = FileSet::default();
        let mut query = Query::new(files_collection(account)).limit(PAGE_FILES);
        loop {
            let page = parts
                .store
                .query(&query)
                .await
                .map_err(|source| SessionError::Read {
                    account: account.clone(),
                    source,
                })?;
            for document in &page.documents {
                let (name, content) = set.add(account, &parts.sealer(), document)?;
                if let Content::Records(entries) = content {
                    table.restore(name, entries, now);
                }
            }
            match page.next {
                Some(cursor) => query = query.start_after(cursor),
                None => break,
            }
        }
        let newest_version = set.check(account)?;
        let files = set.files;
        let stored_through = table.number();
        table.drop_doubled();
        let changed = Notify::new();
        if table.is_dirty() {
            changed.notify_one();
        }
        Ok(Self {
            shared: Arc::new(Shared {
                table: Mutex::new(table),
                ledger: tokio::sync::Mutex::new(Ledger {
                    files,
                    next_version: newest_version + 1,
                    stored_through,
                    urgent_through: stored_through,
                    rest_stored_at: None,
                    in_flight: None,
                    failure: None,
                    ended: None,
                }),
                rounds: AtomicU64::new(0),
                changed,
                stats: Mutex::new(FlushStats {
                    last_version: newest_version,
                    ..FlushStats::default()
                }),
                parts,
            }),
        })
    }
}

/// The files of an account, as far as they were read.
#[derive(Default)]
pub(crate) struct FileSet {
    files: BTreeMap<FileName, StoredFile>,
    /// The list of files of the newest one, by its version.
    newest: (u64, Versions),
}

impl FileSet {
    /// Opens a file and notes it.
    pub(crate) fn add(
        &mut self,
        account: &AccountId,
        sealer: &Sealer<'_>,
        document: &Document,
    ) -> Result<(FileName, Content), SessionError> {
        let id = document.path.id();
        let refuse = |fault| refused(account, id.to_owned(), fault);
        // A newer program's files are told from broken ones, whatever their names.
        check_schema(&document.fields).map_err(refuse)?;
        let name: FileName = id.parse().map_err(|()| refuse(FileFault::Name))?;
        let file: OpenFile = sealer.open(name, &document.fields).map_err(refuse)?;
        if self.newest.0 < file.version {
            self.newest = (file.version, file.versions);
        }
        let stored = StoredFile {
            version: file.version,
            update_time: document.update_time,
            is_retired: file.content == Content::Retired,
            is_new: false,
        };
        self.files.insert(name, stored);
        if self.files.len() > FILES_MAX {
            return Err(SessionError::TooMany {
                account: account.clone(),
                max: FILES_MAX,
            });
        }
        Ok((name, file.content))
    }

    /// Checks that the newest file vouches for all of them; its version.
    pub(crate) fn check(&self, account: &AccountId) -> Result<u64, SessionError> {
        let (newest_version, vouched) = &self.newest;
        let found = self
            .files
            .iter()
            .map(|(name, file)| (*name, file.version))
            .collect();
        let holds = |name: &FileName| self.files.get(name).is_some_and(|file| !file.is_retired);
        check_set(&found, vouched, holds)
            .map_err(|(name, fault)| refused(account, name.to_string(), fault))?;
        Ok(*newest_version)
    }
}

fn refused(account: &AccountId, file: String, fault: FileFault) -> SessionError {
    SessionError::Refused {
        account: account.clone(),
        file,
        fault,
    }
}

/// The collection of an account's session files: `wa_sessions/{id}/files`.
pub fn files_collection(account: &AccountId) -> Collection {
    account
        .head_path()
        .collection_below("files")
        .expect("an account id leaves room for this collection")
}

pub(super) fn file_path(account: &AccountId, name: FileName) -> Path {
    files_collection(account)
        .doc(&name.to_string())
        .expect("a file's name is a short document id")
}
