//! A session file: from records to a document's fields and back.
//!
//! The document has `schemaVersion`, `epoch`, `version` and `sealed`. Sealed is
//! a [`proto::session::SessionFile`], bound to account, file name, epoch and
//! version. The version is the number, within the account, of the commit that
//! wrote the file.
//!
//! Inside is also the list of all the account's files with their versions as of
//! that commit. So the newest file vouches for all others: one that was put
//! back from an older backup, removed or added does not match ([`check_set`]).
//! Only the whole session put back at once looks good, as a restored database
//! does.

use std::collections::BTreeMap;

use bytes::Bytes;
use coordinator_lib::rng::Rng;
use coordinator_lib::store::{Fields, Value};
use prost::Message as _;
use proto::session as pb;
use zeroize::Zeroizing;

use crate::datakey::{Context, DataKey, SEAL_OVERHEAD_BYTES};
use crate::kind::Kind;
use crate::place::{FileName, Hasher};
use crate::record::Record;
use crate::trie::Entries;

/// The version of the files that is written, and the newest that is read. In
/// version 1 there were no young families.
pub(crate) const SCHEMA_VERSION: i64 = 2;
/// The largest file, sealed: what the store takes in a document, less the
/// other fields and what a writer adds.
pub(crate) const SEALED_BYTES_MAX: usize = 1_040_000;

const FIELD_SCHEMA: &str = "schemaVersion";
const FIELD_EPOCH: &str = "epoch";
const FIELD_VERSION: &str = "version";
const FIELD_SEALED: &str = "sealed";

/// The versions of an account's files.
pub(crate) type Versions = BTreeMap<FileName, u64>;

/// Why a file is refused. No variant holds anything of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// The name is none of ours.
    #[error("its name is none that this program gives")]
    Name,
    /// A field is missing or of another type.
    #[error("its field {0} is missing or of the wrong type")]
    Field(&'static str),
    /// Written by a newer program.
    #[error(
        "its schema version is {found}, and this program reads up to {SCHEMA_VERSION}; use the program that wrote it or a newer one"
    )]
    Schema {
        /// The version that it says.
        found: i64,
    },
    /// Written by an epoch that has not been yet: another worker owns the account.
    #[error("it was written by epoch {found}, later than this worker's {own}")]
    Epoch {
        /// The epoch that it says.
        found: i64,
        /// The reader's epoch.
        own: i64,
    },
    /// Authentication failed.
    #[error(
        "it does not open: altered, truncated, moved from another account or file, or sealed with another key"
    )]
    Sealed,
    /// It opened, but what is inside is no session file.
    #[error("what is inside is no session file")]
    Content,
    /// An older version than the newest file vouches for.
    #[error(
        "it is version {found} where the newest file vouches for version {vouched}: an older file was put back"
    )]
    Replayed {
        /// The version that it has.
        found: u64,
        /// The version that it should have.
        vouched: u64,
    },
    /// The newest file does not know it.
    #[error("the newest file does not vouch for it: a removed file was put back")]
    Unvouched,
    /// The newest file vouches for it, but it is not there.
    #[error("it is missing, though the newest file vouches for it")]
    Missing,
    /// It holds what another file holds too.
    #[error("it overlaps with another file")]
    Overlap,
}

/// A file that opened.
pub(crate) struct OpenFile {
    pub(crate) version: u64,
    pub(crate) versions: Versions,
    pub(crate) content: Content,
}

/// What a file is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// It holds these records, and nobody else does, but while young ones move.
    Records(Entries),
    /// Others hold its records now.
    Retired,
}

/// Where and by whom files are written and read.
#[derive(Clone, Copy)]
pub(crate) struct Sealer<'a> {
    pub(crate) account: &'a str,
    pub(crate) data_key: &'a DataKey,
    pub(crate) epoch: i64,
}

impl Sealer<'_> {
    /// The document of a file.
    pub(crate) fn seal(
        &self,
        rng: &dyn Rng,
        name: FileName,
        versions: &Versions,
        version: u64,
        content: &Content,
    ) -> Result<Fields, TooLarge> {
        let plain = encode(versions, content);
        let bytes = plain.len() + SEAL_OVERHEAD_BYTES;
        if bytes > SEALED_BYTES_MAX {
            return Err(TooLarge { bytes });
        }
        let text = name.to_string();
        let context = Context {
            account: self.account,
            name: &text,
            epoch: self.epoch,
            version,
        };
        let sealed = self.data_key.seal(rng, &context, &plain);
        Ok(Fields::from([
            (FIELD_SCHEMA.to_owned(), Value::Int(SCHEMA_VERSION)),
            (FIELD_EPOCH.to_owned(), Value::Int(self.epoch)),
            // Versions count commits: 2⁶³ of them are out of reach.
            (
                FIELD_VERSION.to_owned(),
                Value::Int(i64::try_from(version).unwrap_or(i64::MAX)),
            ),
            (FIELD_SEALED.to_owned(), Value::Bytes(Bytes::from(sealed))),
        ]))
    }

    /// Opens a file's document.
    pub(crate) fn open(&self, name: FileName, fields: &Fields) -> Result<OpenFile, FileFault> {
        check_schema(fields)?;
        let epoch = int(fields, FIELD_EPOCH)?;
        if epoch > self.epoch {
            return Err(FileFault::Epoch {
                found: epoch,
                own: self.epoch,
            });
        }
        let version = u64::try_from(int(fields, FIELD_VERSION)?)
            .map_err(|_| FileFault::Field(FIELD_VERSION))?;
        let Some(Value::Bytes(sealed)) = fields.get(FIELD_SEALED) else {
            return Err(FileFault::Field(FIELD_SEALED));
        };
        let text = name.to_string();
        let context = Context {
            account: self.account,
            name: &text,
            epoch,
            version,
        };
        let plain = self
            .data_key
            .open(&context, sealed)
            .map_err(|_| FileFault::Sealed)?;
        let (versions, content) = decode(name, &self.data_key.hasher(), &plain)?;
        Ok(OpenFile {
            version,
            versions,
            content,
        })
    }
}

/// Whether this program reads files of this version.
pub(crate) fn check_schema(fields: &Fields) -> Result<(), FileFault> {
    match int(fields, FIELD_SCHEMA)? {
        1..=SCHEMA_VERSION => Ok(()),
        found => Err(FileFault::Schema { found }),
    }
}

/// A file that no store would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) bytes: usize,
}

/// Checks that the files are those that the newest of them vouches for, and
/// that no hash is held by two of them; `holds` says which hold records.
///
/// # Errors
/// The file that does not fit, and why.
pub(crate) fn check_set(
    found: &Versions,
    vouched: &Versions,
    holds: impl Fn(&FileName) -> bool,
) -> Result<(), (FileName, FileFault)> {
    for (name, version) in found {
        match vouched.get(name) {
            Some(vouched) if vouched == version => {}
            Some(vouched) => {
                return Err((
                    *name,
                    FileFault::Replayed {
                        found: *version,
                        vouched: *vouched,
                    },
                ));
            }
            None => return Err((*name, FileFault::Unvouched)),
        }
        let mut above = std::iter::successors(name.prefix.parent(), |prefix| prefix.parent());
        let is_held = |name: &FileName| found.contains_key(name) && holds(name);
        if holds(name) && above.any(|prefix| is_held(&FileName { prefix, ..*name })) {
            return Err((*name, FileFault::Overlap));
        }
    }
    match vouched.keys().find(|name| !found.contains_key(name)) {
        Some(name) => Err((*name, FileFault::Missing)),
        None => Ok(()),
    }
}

/// What the list of files adds to each of them, in bytes, at most.
pub(crate) fn versions_bytes(files: usize) -> usize {
    /// The longest family name with a digit for each of a few splits, the
    /// version and the message's own bytes; deeper files are few.
    const FILE_BYTES: usize = 48;
    /// The mark of a retired file.
    const MARK_BYTES: usize = 2;
    files * FILE_BYTES + MARK_BYTES
}

fn encode(versions: &Versions, content: &Content) -> Zeroizing<Vec<u8>> {
    let (entries, retired) = match content {
        Content::Records(entries) => (entries.as_slice(), false),
        Content::Retired => (&[][..], true),
    };
    let file = pb::SessionFile {
        files: versions
            .iter()
            .map(|(name, version)| pb::FileVersion {
                name: name.to_string(),
                version: *version,
            })
            .collect(),
        records: entries
            .iter()
            .map(|((kind, key), record)| pb::Record {
                kind: kind.number(),
                key: key.clone(),
                value: record.value.clone(),
                expires_at: record.expires_at,
            })
            .collect(),
        retired,
    };
    // Room from the start: growing would leave copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(file.encoded_len()));
    file.encode(&mut *plain).expect("a vector grows");
    plain
}

fn decode(name: FileName, hasher: &Hasher, plain: &[u8]) -> Result<(Versions, Content), FileFault> {
    let file = pb::SessionFile::decode(plain).map_err(|_| FileFault::Content)?;
    let mut versions = Versions::new();
    for pb::FileVersion { name, version } in file.files {
        let name = name.parse().map_err(|()| FileFault::Content)?;
        versions.insert(name, version);
    }
    if file.retired {
        let is_empty = file.records.is_empty();
        return if is_empty {
            Ok((versions, Content::Retired))
        } else {
            Err(FileFault::Content)
        };
    }
    let mut entries = Entries::with_capacity(file.records.len());
    for record in file.records {
        let kind = Kind::from_number(record.kind).ok_or(FileFault::Content)?;
        let in_place =
            name.family.holds(kind) && name.prefix.contains(hasher.hash(kind, &record.key));
        if !in_place {
            return Err(FileFault::Content);
        }
        let value = Record::until(record.value, record.expires_at);
        entries.push(((kind, record.key), value));
    }
    Ok((versions, Content::Records(entries)))
}

fn int(fields: &Fields, name: &'static str) -> Result<i64, FileFault> {
    match fields.get(name) {
        Some(Value::Int(value)) => Ok(*value),
        Some(_) | None => Err(FileFault::Field(name)),
    }
}

#[cfg(test)]
mod tests;
