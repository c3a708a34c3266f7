//! The fields of a document.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Value;

/// A document's fields, or a map within them, in the order of their names.
///
/// A copy is shared with what it was made from until one of the two is changed:
/// documents are handed to whoever watches, kept for the next change, and kept
/// until a commit's outcome is known, and hardly ever changed there.
#[derive(Clone, Default, PartialEq)]
pub struct Fields(Arc<BTreeMap<String, Value>>);

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Deref for Fields {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<BTreeMap<String, Value>> for Fields {
    fn from(fields: BTreeMap<String, Value>) -> Self {
        Self(Arc::new(fields))
    }
}

impl<const N: usize> From<[(String, Value); N]> for Fields {
    fn from(fields: [(String, Value); N]) -> Self {
        BTreeMap::from(fields).into()
    }
}

impl FromIterator<(String, Value)> for Fields {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(fields: T) -> Self {
        fields.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl IntoIterator for Fields {
    type Item = (String, Value);
    type IntoIter = btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a String, &'a Value);
    type IntoIter = btree_map::Iter<'a, String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_its_own() {
        let first = Fields::from([("name".to_owned(), "anna".into())]);
        let mut second = first.clone();
        assert!(Arc::ptr_eq(&first.0, &second.0));
        second.insert("name".to_owned(), "ben".into());
        assert_eq!(first["name"], "anna".into());
        assert_eq!(second["name"], "ben".into());
    }
}
