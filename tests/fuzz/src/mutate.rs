//! Alters bytes and sets of files, from a seed.

use std::collections::BTreeMap;

use coordinator_lib::rng::{Rng as _, SeededRng};

/// Texts that parsers stumble over.
const TOKENS: [&str; 12] = [
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "{\"data\":",
    "\\u0000",
    "\"type\":\"Buffer\"",
    "[[[[[[[[",
    "../",
];

/// A source of decisions.
pub struct Mutator {
    rng: SeededRng,
}

impl Mutator {
    /// Decisions of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SeededRng::new(seed),
        }
    }

    /// A number below this one; 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.rng.fill(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(number % limit).unwrap_or_default()
    }

    /// Alters bytes, up to a few times.
    pub fn bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len() + 1);
            match self.below(7) {
                0 => bytes.truncate(place),
                1 => {
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                2 => {
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte = u8::try_from(self.below(256)).unwrap_or_default();
                    }
                }
                3 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    bytes.splice(place..place, token.bytes());
                }
                4 => {
                    // A stretch that is there twice.
                    let end = (place + self.below(64)).min(bytes.len());
                    let stretch = bytes[place..end].to_vec();
                    bytes.splice(place..place, stretch);
                }
                5 => {
                    let end = (place + self.below(64)).min(bytes.len());
                    bytes.drain(place..end);
                }
                _ => bytes.reverse(),
            }
        }
    }

    /// Alters a set of files: their content, their names, who has which.
    pub fn files(&mut self, files: &mut BTreeMap<String, Vec<u8>>) {
        for _ in 0..=self.below(6) {
            let names: Vec<String> = files.keys().cloned().collect();
            let Some(name) = names.get(self.below(names.len())) else {
                return;
            };
            match self.below(5) {
                0..=2 => {
                    if let Some(bytes) = files.get_mut(name) {
                        self.bytes(bytes);
                    }
                }
                3 => {
                    // One file in another's place.
                    let other = files[&names[self.below(names.len())]].clone();
                    files.insert(name.clone(), other);
                }
                _ => {
                    let Some(content) = files.remove(name) else {
                        continue;
                    };
                    let mut altered = name.clone().into_bytes();
                    self.bytes(&mut altered);
                    files.insert(String::from_utf8_lossy(&altered).into_owned(), content);
                }
            }
        }
    }
}
