//! The dictionaries: words that a node spells in one or two bytes.
//!
//! Version 3, as in the fourth byte of the connection's intro. `tokens.txt` has
//! a word a line: 236 single-byte words, the first of which is none, then four
//! dictionaries of 256 words each for two bytes. Source: the tables that public
//! clients carry, the same in those looked at.

use std::{collections::HashMap, sync::LazyLock};

/// The version that the tables belong to.
pub const DICTIONARY_VERSION: u8 = 3;

const SINGLES: usize = 236;
const DICTIONARIES: usize = 4;
const DICTIONARY_WORDS: usize = 256;

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let words: Vec<_> = include_str!("tokens.txt").lines().collect();
    assert_eq!(words.len(), SINGLES + DICTIONARIES * DICTIONARY_WORDS);
    words
});

static TOKENS: LazyLock<HashMap<&'static str, Token>> = LazyLock::new(|| {
    let token = |index: usize| match index.checked_sub(SINGLES) {
        None => Token::Single(index as u8),
        Some(rest) => Token::Double(
            (rest / DICTIONARY_WORDS) as u8,
            (rest % DICTIONARY_WORDS) as u8,
        ),
    };
    (1..WORDS.len())
        .map(|index| (WORDS[index], token(index)))
        .collect()
});

/// How a word is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The byte itself.
    Single(u8),
    /// Dictionary (0 to 3) and index.
    Double(u8, u8),
}

/// The token of a word, if it has one.
pub fn token(word: &str) -> Option<Token> {
    TOKENS.get(word).copied()
}

/// The word of a token, if there is one.
pub fn word(token: Token) -> Option<&'static str> {
    let index = match token {
        Token::Single(0) => return None,
        Token::Single(index) if usize::from(index) >= SINGLES => return None,
        Token::Single(index) => usize::from(index),
        Token::Double(dictionary, index) => {
            SINGLES + usize::from(dictionary) * DICTIONARY_WORDS + usize::from(index)
        }
    };
    WORDS.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_its_own_token() {
        assert_eq!(TOKENS.len(), WORDS.len() - 1);
        for known in WORDS.iter().skip(1) {
            let found = token(known);
            assert_eq!(found.and_then(word), Some(*known));
        }
    }

    #[test]
    fn tokens_outside_the_tables_are_none() {
        assert_eq!(word(Token::Single(0)), None);
        assert_eq!(word(Token::Single(236)), None);
        assert_eq!(word(Token::Double(4, 0)), None);
        assert_eq!(token(""), None);
    }
}
