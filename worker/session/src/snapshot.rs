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
use crate::kind::Kind;
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
        let (mut records, mut young) = (BTreeMap::new(), BTreeMap::new());
        for document in documents {
            let (name, content) = set.add(account, &sealer, document)?;
            if let Content::Records(entries) = content {
                match name.family.is_young() {
                    true => young.extend(entries),
                    false => records.extend(entries),
                }
            }
        }
        let version = set.check(account)?;
        for (key, record) in young {
            let counts = match records.remove(&key) {
                Some(in_place) => Record::that_counts(in_place, record),
                None => record,
            };
            records.insert(key, counts);
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
