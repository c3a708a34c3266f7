//! Who owns and what is owned: worker, worker session, account.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::store::{Collection, Path, StoreError, encode_id};

/// An account's id: a document id, unchanged in `accounts` and `wa_sessions`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Checks an account's id.
    ///
    /// # Errors
    /// `Invalid` for a text that is no document id.
    pub fn new(id: impl Into<String>) -> Result<Self, StoreError> {
        let id = id.into();
        account_collection().doc(&id)?;
        // A collection lies below it, whose path has to fit too.
        head_collection().doc(&id)?.collection_below("files")?;
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its account document: `accounts/{id}`.
    pub fn account_path(&self) -> Path {
        account_collection()
            .doc(&self.0)
            .expect("an account id is a document id")
    }

    /// Its head, which is the fence: `wa_sessions/{id}`.
    pub fn head_path(&self) -> Path {
        head_collection()
            .doc(&self.0)
            .expect("an account id is a document id")
    }
}

/// The collection of account documents: `accounts`.
pub fn account_collection() -> Collection {
    static ACCOUNTS: LazyLock<Collection> = LazyLock::new(|| {
        Collection::new("accounts").expect("a constant that is a collection's name")
    });
    ACCOUNTS.clone()
}

/// The collection of heads: `wa_sessions`.
pub fn head_collection() -> Collection {
    static HEADS: LazyLock<Collection> = LazyLock::new(|| {
        Collection::new("wa_sessions").expect("a constant that is a collection's name")
    });
    HEADS.clone()
}

impl TryFrom<String> for AccountId {
    type Error = StoreError;

    fn try_from(id: String) -> Result<Self, StoreError> {
        Self::new(id)
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> String {
        id.as_str().to_owned()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// One boot of a worker: fresh at every start, never used again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerSessionId(Arc<str>);

impl WorkerSessionId {
    /// A fresh one: a random UUID.
    pub fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        Self(
            uuid::Builder::from_random_bytes(bytes)
                .into_uuid()
                .to_string()
                .into(),
        )
    }

    /// One that was written down before.
    pub fn from_text(text: &str) -> Self {
        Self(encode_id(text).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerSessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for WorkerSessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A worker as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerIdentity {
    /// A label for people; the same after a restart.
    pub name: String,
    /// This boot of it.
    pub session_id: WorkerSessionId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn an_account_has_a_document_and_a_head() {
        let account = AccountId::new("a1").unwrap();
        assert_eq!(account.account_path().to_string(), "accounts/a1");
        assert_eq!(account.head_path().to_string(), "wa_sessions/a1");
        for bad in ["", "a/b", "..", "__x__"] {
            assert!(AccountId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn worker_sessions_are_uuids_and_differ() {
        let rng = SeededRng::new(1);
        let first = WorkerSessionId::generate(&rng);
        assert_eq!(first.as_str().len(), 36);
        assert_ne!(first, WorkerSessionId::generate(&rng));
    }
}
