//! A whole session from documents that lie somewhere else than in the store: in
//! a backup.
//!
//! The same checks as for an owner's files: each opens at its own place only,
//! and the newest vouches for all others. Pure.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::Document;

use crate::datakey::DataKey;
use crate::error::SessionError;
use crate::files::FileSet;
use crate::kind::{Family, Kind};
use crate::packed::{Content, Sealer};
use crate::record::Record;

/// A session, as a set of files held it.
pub struct SessionSnapshot {
    /// The number of the commit that wrote its newest file; 0 without files.
    pub version: u64,
    /// All records, those that have expired among them.
    pub records: Vec<(Kind, Bytes, Record)>,
}

impl SessionSnapshot {
    /// Opens all files of an account. `epoch` is the one that its head named.
    ///
    /// # Errors
    /// As `SessionFiles::load`, but for the store's.
    pub fn open(
        account: &AccountId,
        data_key: &DataKey,
        epoch: i64,
        documents: &[Document],
    ) -> Result<Self, SessionError> {
        let sealer = Sealer {
            account: account.as_str(),
            data_key,
            epoch,
        };
        let mut set = FileSet::default();
        let (mut young, mut records) = (BTreeMap::new(), BTreeMap::new());
        for document in documents {
            let (name, content) = set.add(account, &sealer, document)?;
            if let Content::Records(entries) = content {
                let is_young = Family::ALL.map(Family::young).contains(&Some(name.family));
                if is_young { &mut young } else { &mut records }.extend(entries);
            }
        }
        let version = set.check(account)?;
        // What is in its place, too, is the same there or newer.
        for (key, record) in young {
            records.entry(key).or_insert(record);
        }
        let records = records.into_iter();
        let records = records.map(|((kind, key), record)| (kind, key, record));
        Ok(Self {
            version,
            records: records.collect(),
        })
    }
}

/// Records hold keys, so they are only counted.
impl fmt::Debug for SessionSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionSnapshot")
            .field("version", &self.version)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}
