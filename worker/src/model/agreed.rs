//! Documents of `config`: what the whole cluster agrees on.
//!
//! Whoever changes one says which version it has seen, and sees whether another
//! worker was faster.

use std::marker::PhantomData;

use coordinator_lib::store::{CommitOutcome, Precondition, Store, StoreError, StoreTime, Write};

use super::collections;
use super::stored::{Read, Stored};

/// One document of `config`; as long as nobody has written it, it is the default.
pub struct Agreed<T> {
    store: Store,
    name: &'static str,
    kind: PhantomData<fn() -> T>,
}

/// What was read of one.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    /// The document.
    pub value: T,
    /// That it is still as it was read.
    pub unchanged: Precondition,
    /// The store's time of the reading.
    pub at: StoreTime,
}

impl<T: Stored + Default> Agreed<T> {
    /// The document `config/{name}`.
    pub fn new(store: Store, name: &'static str) -> Self {
        Self {
            store,
            name,
            kind: PhantomData,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if a newer worker wrote it; the store's.
    pub async fn read(&self) -> Result<Seen<T>, StoreError> {
        let path = collections::config(self.name)?;
        let snapshot = self.store.get(&[path]).await?;
        let at = snapshot.read_time;
        let Some(document) = snapshot.documents.into_iter().flatten().next() else {
            return Ok(Seen {
                value: T::default(),
                unchanged: Precondition::Absent,
                at,
            });
        };
        match T::read(&document)? {
            Read::Known(record) => Ok(Seen {
                value: record.value,
                unchanged: Precondition::Unchanged(record.update_time),
                at,
            }),
            Read::Newer(version) => Err(StoreError::Invalid {
                reason: format!("config/{} has schema version {version}", self.name),
            }),
        }
    }

    /// Writes it, on a condition.
    ///
    /// # Errors
    /// The store's.
    pub async fn write(
        &self,
        value: &T,
        precondition: Precondition,
    ) -> Result<CommitOutcome, StoreError> {
        let write = Write::Set {
            path: collections::config(self.name)?,
            fields: value.to_document()?,
            precondition,
        };
        self.store.commit(vec![write]).await
    }
}
