//! Where documents lie: paths and collections, checked as Firestore would.
//!
//! A collection's own name (`accounts`, `files`) is one of the program's
//! words: a letter, then letters, digits, `_` or `-`. A document's id may be
//! any text without `/` that is not `.`, `..` or `__x__`; ids made from
//! outside text go through [`encode_id`].

use std::fmt;
use std::sync::Arc;

use super::StoreError;
use super::limits::{ID_BYTES_MAX, PATH_BYTES_MAX};

/// A collection: `accounts`, or `threads/t1/messages`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collection(Arc<str>);

/// A document's place: a collection and an id.
///
/// Paths are ordered by collection, then by id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    collection: Collection,
    id: Arc<str>,
}

impl Collection {
    /// Checks a collection's path: an odd number of segments.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(path: &str) -> Result<Self, StoreError> {
        check_length(path)?;
        let segments: Vec<&str> = path.split('/').collect();
        if segments.len().is_multiple_of(2) {
            return Err(refused(path, "a collection has an odd number of segments"));
        }
        for (index, segment) in segments.iter().enumerate() {
            if index % 2 == 0 {
                check_collection_id(segment)?;
            } else {
                check_document_id(segment)?;
            }
        }
        Ok(Self(path.into()))
    }

    /// The document with this id in this collection.
    ///
    /// # Errors
    /// `Invalid` for an id that Firestore would refuse.
    pub fn doc(&self, id: &str) -> Result<Path, StoreError> {
        check_document_id(id)?;
        if self.0.len() + 1 + id.len() > PATH_BYTES_MAX {
            return Err(refused(id, "the document's path is too long"));
        }
        Ok(Path {
            collection: self.clone(),
            id: id.into(),
        })
    }

    /// The whole path: `threads/t1/messages`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment, `messages`: what collections of the same kind share.
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// For names that were checked when they were stored.
    pub(crate) fn trusted(path: &str) -> Self {
        Self(path.into())
    }
}

impl Path {
    /// Checks a document's path: an even number of segments.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(path: &str) -> Result<Self, StoreError> {
        match path.rsplit_once('/') {
            Some((collection, id)) => Collection::new(collection)?.doc(id),
            None => Err(refused(path, "a document has an even number of segments")),
        }
    }

    /// The collection that it belongs to.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The last segment.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A collection below this document: `accounts/a1` → `accounts/a1/files`.
    ///
    /// # Errors
    /// `Invalid` for a name that no collection may have.
    pub fn collection_below(&self, name: &str) -> Result<Collection, StoreError> {
        check_collection_id(name)?;
        Collection::new(&format!("{self}/{name}"))
    }

    /// For names that were checked when they were stored.
    pub(crate) fn trusted(collection: Collection, id: &str) -> Self {
        Self {
            collection,
            id: id.into(),
        }
    }

    /// Length in bytes of the whole path.
    pub(crate) fn len(&self) -> usize {
        self.collection.0.len() + 1 + self.id.len()
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.collection, self.id)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Makes a document id of any text, reversibly and without collisions:
/// `%`, `/`, control characters and what would be reserved are percent-encoded.
///
/// The result may still be too long, which [`Collection::doc`] refuses.
pub fn encode_id(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '/') || character.is_control() {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                push_percent(&mut encoded, byte);
            }
        } else {
            encoded.push(character);
        }
    }
    // What stays reserved begins with `.` or `_`, or is empty.
    match encoded.as_str() {
        "" => "%".to_owned(),
        "." | ".." => encoded.replacen('.', "%2E", 1),
        reserved if is_reserved(reserved) => encoded.replacen('_', "%5F", 1),
        _ => encoded,
    }
}

fn push_percent(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn is_reserved(id: &str) -> bool {
    id.len() >= 4 && id.starts_with("__") && id.ends_with("__")
}

fn check_length(path: &str) -> Result<(), StoreError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(refused(path, "the path is too long"));
    }
    Ok(())
}

fn check_collection_id(id: &str) -> Result<(), StoreError> {
    let plain = id.starts_with(|first: char| first.is_ascii_alphabetic())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !plain || id.len() > ID_BYTES_MAX {
        return Err(refused(
            id,
            "a collection's name is a letter, then letters, digits, _ or -",
        ));
    }
    Ok(())
}

fn check_document_id(id: &str) -> Result<(), StoreError> {
    if id.is_empty() {
        return Err(refused(id, "a document id is not empty"));
    }
    if id.len() > ID_BYTES_MAX {
        return Err(refused(id, "a document id has at most 1,500 bytes"));
    }
    if id.contains('/') {
        return Err(refused(id, "a document id holds no slash"));
    }
    if id == "." || id == ".." || is_reserved(id) {
        return Err(refused(id, "a document id is not `.`, `..` or `__x__`"));
    }
    Ok(())
}

/// Names at most the first characters: an id may hold somebody's number.
fn refused(name: &str, why: &str) -> StoreError {
    let shown: String = name.chars().take(24).collect();
    StoreError::invalid(format!("path `{shown}`: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_lie_at_even_depths_and_collections_at_odd_ones() {
        assert_eq!(Path::new("accounts/a1").unwrap().id(), "a1");
        let nested = Path::new("threads/t1/messages/m1").unwrap();
        assert_eq!(nested.collection().as_str(), "threads/t1/messages");
        assert_eq!(nested.collection().id(), "messages");
        assert_eq!(nested.to_string(), "threads/t1/messages/m1");
        for bad in ["accounts", "accounts/a/b", "", "/", "a//b/c", "accounts/"] {
            assert!(Path::new(bad).is_err(), "{bad}");
        }
        for bad in ["accounts/a1", "", "1st", "a b", "it's", "ä"] {
            assert!(Collection::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_that_firestore_refuses_are_refused() {
        let accounts = Collection::new("accounts").unwrap();
        let long = "x".repeat(1_501);
        for bad in [".", "..", "__x__", "____", "a/b", "", long.as_str()] {
            assert!(accounts.doc(bad).is_err(), "{bad}");
        }
        for good in ["...", "__x", "_", "__", "___", "é", &"x".repeat(1_500)] {
            assert!(accounts.doc(good).is_ok(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn encoded_ids_are_accepted_and_never_collide(a in "\\PC{0,40}|[._/%]{0,6}", b in "\\PC{0,40}|[._/%]{0,6}") {
            let accounts = Collection::new("accounts").unwrap();
            prop_assert!(accounts.doc(&encode_id(&a)).is_ok());
            prop_assert_eq!(a == b, encode_id(&a) == encode_id(&b));
        }
    }
}
