//! An archive's accounts, one after another, each checked before it counts.
//!
//! Whoever knows the ring's public keys can make an archive that opens. So
//! nothing in it is believed: a document must be of an account that was begun, at
//! a place where such an account has documents, and say so itself.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;

use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::{EPOCH_FIELD, LEASE_EPOCH_FIELD};
use coordinator_lib::store::{Document, Fields, Path, StoreError, StoreTime, Value, from_fields};
use session::{
    ACCOUNT_BYTES_MAX, DataKey, HeadDoc, KeyRing, SessionError, SessionSnapshot, UnwrapError,
};

use super::archive::{ArchiveError, Entry, Reader};
use crate::model::{AccountDoc, Read as Known, Stored as _, collections};
use crate::purge::belongings::{BELONGINGS, InBackup, pattern};

/// Files of one session, at most.
const FILES_MAX: usize = 4_096;
/// All files of a session, sealed.
const FILES_BYTES_MAX: usize = 2 * ACCOUNT_BYTES_MAX;

/// Why an archive's content is refused.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The file.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// A document that has no business there.
    #[error("the backup is not one that this program makes: {0}")]
    Wrong(&'static str),
    /// A newer program's account.
    #[error("account {account} was written by a newer worker (schema version {version})")]
    Newer {
        /// Which.
        account: AccountId,
        /// Its version.
        version: i64,
    },
    /// A document that cannot be read.
    #[error("a document of the backup cannot be read: {0}")]
    Document(#[from] StoreError),
    /// Its data key does not open.
    #[error("{0}")]
    Keys(#[from] UnwrapError),
    /// Its session is not whole.
    #[error("{0}")]
    Session(#[from] SessionError),
}

/// An account's session, as it was saved.
pub struct SavedSession {
    /// Whose.
    pub account: AccountId,
    /// The account's own fields.
    pub doc: AccountDoc,
    /// The last epoch that it had seen.
    pub epoch: i64,
    head: HeadDoc,
    files: Vec<Document>,
}

impl SavedSession {
    /// Opens it.
    ///
    /// # Errors
    /// [`ContentsError::Keys`], [`ContentsError::Session`].
    pub fn open(&self, ring: &KeyRing) -> Result<(DataKey, SessionSnapshot), ContentsError> {
        let data_key = ring.unwrap(&self.head.wrapped_keys, self.account.as_str())?;
        let snapshot = SessionSnapshot::open(&self.account, &data_key, i64::MAX, &self.files)?;
        Ok((data_key, snapshot))
    }
}

/// What comes next in an archive.
pub enum Part {
    /// An account begins.
    Session(Box<SavedSession>),
    /// More of its conversations: some of its documents.
    Conversations(Vec<Entry>),
}

/// Reads an archive, part by part.
pub struct Contents<R> {
    reader: Reader<R>,
    waiting: VecDeque<Entry>,
    seen: BTreeSet<AccountId>,
    current: Option<AccountId>,
    is_over: bool,
}

impl<R: Read> Contents<R> {
    /// Of an archive that was just opened.
    pub fn new(reader: Reader<R>) -> Self {
        Self {
            reader,
            waiting: VecDeque::new(),
            seen: BTreeSet::new(),
            current: None,
            is_over: false,
        }
    }

    /// When the backup was begun.
    pub fn made_at(&self) -> StoreTime {
        self.reader.made_at()
    }

    /// The next part; `None` once the end was there and right.
    ///
    /// # Errors
    /// [`ContentsError`]; what was read before is not to be trusted to be whole.
    pub fn part(&mut self) -> Result<Option<Part>, ContentsError> {
        let Some(first) = self.entry()? else {
            return Ok(None);
        };
        if is_in(&first.path, collections::ACCOUNTS) {
            let saved = self.session(first)?;
            return Ok(Some(Part::Session(Box::new(saved))));
        }
        let Some(account) = self.current.clone() else {
            return Err(ContentsError::Wrong("it begins with no account"));
        };
        let mut entries = vec![first];
        // What lies in memory already; the rest is another part.
        while let Some(next) = self.waiting.pop_front() {
            if is_in(&next.path, collections::ACCOUNTS) {
                self.waiting.push_front(next);
                break;
            }
            entries.push(next);
        }
        for entry in &entries {
            check_conversation(&account, entry)?;
        }
        Ok(Some(Part::Conversations(entries)))
    }

    fn entry(&mut self) -> Result<Option<Entry>, ContentsError> {
        while self.waiting.is_empty() && !self.is_over {
            match self.reader.frame()? {
                Some(entries) => self.waiting.extend(entries),
                None => self.is_over = true,
            }
        }
        Ok(self.waiting.pop_front())
    }

    fn session(&mut self, first: Entry) -> Result<SavedSession, ContentsError> {
        let account = AccountId::new(first.path.id())?;
        if !self.seen.insert(account.clone()) {
            return Err(ContentsError::Wrong("it has an account twice"));
        }
        let doc = account_doc(&account, &first)?;
        let head = match self.entry()? {
            Some(head) if head.path == account.head_path() => head,
            Some(_) | None => return Err(ContentsError::Wrong("an account has no head")),
        };
        let epoch = int(&first.fields, LEASE_EPOCH_FIELD).max(int(&head.fields, EPOCH_FIELD));
        let files = self.files(&account)?;
        self.current = Some(account.clone());
        Ok(SavedSession {
            account,
            doc,
            epoch,
            head: from_fields(&head.fields)?,
            files,
        })
    }

    fn files(&mut self, account: &AccountId) -> Result<Vec<Document>, ContentsError> {
        let collection = session::files_collection(account);
        let mut files = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = self.entry()? {
            if *entry.path.collection() != collection {
                self.waiting.push_front(entry);
                break;
            }
            bytes += coordinator_lib::store::fields_to_bytes(&entry.fields).len();
            if files.len() == FILES_MAX || bytes > FILES_BYTES_MAX {
                return Err(ContentsError::Wrong("a session is larger than any"));
            }
            files.push(Document {
                path: entry.path,
                fields: entry.fields,
                update_time: StoreTime::from_micros(0),
            });
        }
        Ok(files)
    }
}

fn account_doc(account: &AccountId, entry: &Entry) -> Result<AccountDoc, ContentsError> {
    let document = Document {
        path: entry.path.clone(),
        fields: entry.fields.clone(),
        update_time: StoreTime::from_micros(0),
    };
    match AccountDoc::read(&document)? {
        Known::Known(record) => Ok(record.value),
        Known::Newer(version) => Err(ContentsError::Newer {
            account: account.clone(),
            version,
        }),
    }
}

fn check_conversation(account: &AccountId, entry: &Entry) -> Result<(), ContentsError> {
    let place = pattern(&entry.path.collection().to_string());
    let is_known = BELONGINGS
        .iter()
        .any(|(name, _, kept)| *kept == InBackup::Conversations && *name == place);
    if !is_known {
        return Err(ContentsError::Wrong("a document lies where none may"));
    }
    if entry.fields.get("accountId").and_then(Value::as_text) != Some(account.as_str()) {
        return Err(ContentsError::Wrong("a document is another account's"));
    }
    Ok(())
}

fn is_in(path: &Path, collection: &str) -> bool {
    path.collection().to_string() == collection
}

fn int(fields: &Fields, name: &str) -> i64 {
    match fields.get(name) {
        Some(Value::Int(number)) => *number,
        Some(_) | None => 0,
    }
}
