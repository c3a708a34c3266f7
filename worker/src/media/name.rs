//! Names of files in the media store.
//!
//! | Name | File |
//! |---|---|
//! | `med_…` | one that a client gave, to be sent |
//! | `received/{account}/rec_…` | one that came with a message of an account |
//!
//! What came lies below one prefix for each account, so that all of it can be
//! removed at once. Pure.

use coordinator_lib::store::{self, StoreError};
use object_store::path::Path;

use super::MediaStoreError;
use crate::model::collections;

/// Below this are the files that came.
pub(super) const RECEIVED: &str = "received";

/// What the last part of a name begins with.
const GIVEN_PREFIX: &str = "med_";
const RECEIVED_PREFIX: &str = "rec_";

/// The name of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// Below the store's own prefix.
    path: Path,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Given,
    Received,
}

impl FileName {
    /// A file that a client gave.
    ///
    /// # Errors
    /// [`MediaStoreError::Unavailable`] for an id that is none of ours.
    pub fn given(id: &str) -> Result<Self, MediaStoreError> {
        match is_id(id, GIVEN_PREFIX) {
            true => Ok(Self {
                path: Path::from_iter([id]),
                kind: Kind::Given,
            }),
            false => Err(not_ours()),
        }
    }

    /// A file that came with a message of this account.
    ///
    /// # Errors
    /// [`MediaStoreError::Unavailable`] for an id that is none of ours.
    pub fn received(account: &str, id: &str) -> Result<Self, MediaStoreError> {
        match is_id(id, RECEIVED_PREFIX) && !account.is_empty() {
            true => Ok(Self {
                path: account_prefix(account).join(id),
                kind: Kind::Received,
            }),
            false => Err(not_ours()),
        }
    }

    /// The name of what lies there, below the store's prefix; nothing, if it is
    /// none of our files.
    pub(super) fn of(path: Path) -> Option<Self> {
        let parts: Vec<_> = path.parts().collect();
        let kind = match &parts[..] {
            [id] if is_id(id.as_ref(), GIVEN_PREFIX) => Kind::Given,
            [received, _, id]
                if received.as_ref() == RECEIVED && is_id(id.as_ref(), RECEIVED_PREFIX) =>
            {
                Kind::Received
            }
            _ => return None,
        };
        Some(Self { path, kind })
    }

    /// Whether a client gave it. What it did not give came, and is bounded by
    /// whoever fetched it.
    pub(super) fn is_given(&self) -> bool {
        self.kind == Kind::Given
    }

    /// Where it lies below this prefix.
    pub(super) fn below(&self, prefix: &Path) -> Path {
        prefix.parts().chain(self.path.parts()).collect()
    }

    /// The document without which it is nobody's.
    pub(super) fn document(&self) -> Result<store::Path, StoreError> {
        let id = self.path.filename().unwrap_or_default();
        match self.kind {
            Kind::Given => collections::media(id),
            Kind::Received => collections::received_media(id),
        }
    }
}

/// Where the files are that came to an account. What no name of a file may hold
/// is escaped in it.
pub(super) fn account_prefix(account: &str) -> Path {
    Path::from_iter([RECEIVED, account])
}

/// Whether the name of a file in a folder is one that is not whole yet: the
/// local store adds a number to it.
pub(super) fn is_unfinished(name: &str) -> bool {
    let id = name.split_once('#').map(|(id, _)| id);
    id.is_some_and(|id| is_id(id, GIVEN_PREFIX) || is_id(id, RECEIVED_PREFIX))
}

fn is_id(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn not_ours() -> MediaStoreError {
    MediaStoreError::Unavailable("not the name of a file".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leads_out_of_the_place() {
        for id in [
            "", "med_", "..", "../x", "med_a/b", "med_a.b", "x_1", "rec_1",
        ] {
            assert!(FileName::given(id).is_err(), "{id}");
        }
        for id in ["", "rec_", "..", "rec_a/b", "rec_a.b", "med_1"] {
            assert!(FileName::received("a1", id).is_err(), "{id}");
        }
        let prefix = Path::from("some/where");
        for account in ["..", "a/b", "a%2Fb", "a b#1"] {
            let name = FileName::received(account, "rec_1").unwrap();
            let path = name.below(&prefix);
            assert_eq!(path.parts().count(), 5, "{path}");
            assert!(path.as_ref().starts_with("some/where/received/"), "{path}");
        }
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let names = [
            FileName::given("med_1").unwrap(),
            FileName::received("a1", "rec_1").unwrap(),
            FileName::received("a/b %c", "rec_1").unwrap(),
        ];
        for name in names {
            assert_eq!(FileName::of(name.path.clone()), Some(name));
        }
        for other in [
            "leasehold-cluster",
            "rec_1",
            "received/med_1",
            "received/a1/med_1",
            "x/a1/rec_1",
            "a/med_1",
        ] {
            assert_eq!(FileName::of(Path::from(other)), None, "{other}");
        }
    }

    #[test]
    fn each_kind_has_its_document() {
        let document = |name: Result<FileName, _>| {
            let name: FileName = name.unwrap_or_else(|_| panic!("a name"));
            name.document().unwrap().to_string()
        };
        assert_eq!(document(FileName::given("med_1")), "media/med_1");
        let received = FileName::received("a1", "rec_1");
        assert_eq!(document(received), "received_media/rec_1");
    }
}
