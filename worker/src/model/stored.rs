//! Reading and writing typed documents, with their schema version.
//!
//! The version is a property of the type, not a field of the struct: it cannot
//! be forgotten in a literal, and a document read and written again carries the
//! version of the program that wrote it last.

use coordinator_lib::store::{self, Document, Fields, Path, StoreError, StoreTime, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The field that holds the version, in every document.
pub const SCHEMA_VERSION: &str = "schemaVersion";

/// A struct that is stored as one document.
pub trait Stored: Serialize + DeserializeOwned {
    /// The version this program writes; it reads this one and the one before.
    const VERSION: i64 = 1;

    /// All fields of the document, `schemaVersion` among them.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when a value has no form in the store.
    fn to_document(&self) -> Result<Fields, StoreError> {
        let mut fields = store::to_fields(self)?;
        fields.insert(SCHEMA_VERSION.to_owned(), Value::Int(Self::VERSION));
        Ok(fields)
    }

    /// Reads a document, or says that it is newer than this program.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a known version does not have its shape.
    fn read(document: &Document) -> Result<Read<Self>, StoreError> {
        match document.fields.get(SCHEMA_VERSION) {
            Some(Value::Int(version)) if *version > Self::VERSION => Ok(Read::Newer(*version)),
            Some(_) | None => Ok(Read::Known(Record {
                path: document.path.clone(),
                update_time: document.update_time,
                value: document.decode()?,
            })),
        }
    }

    /// [`Stored::read`], with what cannot be used (newer or corrupt) logged and
    /// left out. For lists, where one bad document must not hide the others.
    fn read_or_skip(document: &Document) -> Option<Record<Self>> {
        match Self::read(document) {
            Ok(Read::Known(record)) => Some(record),
            Ok(Read::Newer(version)) => {
                tracing::debug!(document.path = %document.path, schema.version = version, "newer document left alone");
                None
            }
            Err(error) => {
                tracing::error!(document.path = %document.path, %error, "document cannot be read");
                None
            }
        }
    }
}

/// A document with its place and version in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<T> {
    /// Where it is stored.
    pub path: Path,
    /// The version that was read: a write on the condition `Unchanged`.
    pub update_time: StoreTime,
    /// The document.
    pub value: T,
}

/// What [`Stored::read`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Read<T> {
    /// A version that this program knows.
    Known(Record<T>),
    /// A later one, to be left alone.
    Newer(i64),
}

impl<T> Read<T> {
    /// The record, when this program may use it.
    pub fn known(self) -> Option<Record<T>> {
        match self {
            Read::Known(record) => Some(record),
            Read::Newer(_) => None,
        }
    }
}
