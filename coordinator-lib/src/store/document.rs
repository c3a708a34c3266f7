//! Documents as they are read.

use serde::de::DeserializeOwned;

use super::{Cursor, Fields, Path, StoreError, StoreTime};

/// A document as the store holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it lies.
    pub path: Path,
    /// What it holds; never [`super::Value::CommitTime`].
    pub fields: Fields,
    /// When it last changed: its version, for [`super::Precondition::Unchanged`].
    pub update_time: StoreTime,
}

impl Document {
    /// Reads the fields into a struct.
    ///
    /// # Errors
    /// `Corrupt`, with the path and the field's name, where they do not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        super::from_fields(&self.fields).map_err(|error| StoreError::Corrupt {
            path: self.path.to_string(),
            reason: error.to_string(),
        })
    }
}

/// Several documents at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// One for each path that was asked for, in order; `None` where there is
    /// no document.
    pub documents: Vec<Option<Document>>,
    /// The store's time of the reading.
    pub read_time: StoreTime,
}

/// A part of a query's documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The documents, in the query's order.
    pub documents: Vec<Document>,
    /// The store's time of the reading.
    pub read_time: StoreTime,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}
