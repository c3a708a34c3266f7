//! Documents that the journal wrote or read lately, with their versions.
//!
//! Saves the read before a conditional write. Never trusted: every write that
//! rests on it is on the condition that the version is still the same, and
//! after a lost race what was known is forgotten. Bounded: two generations, of
//! which the older is dropped when the younger is full.

use std::collections::HashMap;

use coordinator_lib::store::{Document, Path};

/// Documents of one generation.
const GENERATION_MAX: usize = 256;

/// What is known of documents: `None` where there is none.
#[derive(Debug, Default)]
pub struct Known {
    young: HashMap<Path, Option<Document>>,
    old: HashMap<Path, Option<Document>>,
}

impl Known {
    /// What is known of a document, if anything is.
    pub fn get(&mut self, path: &Path) -> Option<&Option<Document>> {
        if !self.young.contains_key(path) {
            let entry = self.old.remove(path)?;
            self.learn(path.clone(), entry);
        }
        self.young.get(path)
    }

    /// Remembers what a document is.
    pub fn learn(&mut self, path: Path, document: Option<Document>) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&path) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(path, document);
    }

    /// Forgets a document.
    pub fn forget(&mut self, path: &Path) {
        self.young.remove(path);
        self.old.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let path = |n: usize| Path::new(&format!("threads/t{n}")).unwrap();
        let mut known = Known::default();
        for n in 0..GENERATION_MAX * 3 {
            known.learn(path(n), None);
            assert!(known.get(&path(0)).is_some(), "used every time, at {n}");
        }
        assert!(known.get(&path(1)).is_none());
        assert!(known.young.len() + known.old.len() <= 2 * GENERATION_MAX);
    }

    #[test]
    fn what_is_forgotten_is_unknown() {
        let path = Path::new("threads/t1").unwrap();
        let mut known = Known::default();
        known.learn(path.clone(), None);
        known.forget(&path);
        assert!(known.get(&path).is_none());
    }
}
