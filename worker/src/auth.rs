//! Who may do what: API keys.
//!
//! A key is shown once, when it is made; the store has a hash of it. What a key
//! may do is decided by its [`Scope`]s and, if it is limited to some, its
//! accounts. Any worker knows any key: they are documents, read through
//! [`KeyBook`].
//!
//! As long as there is no key at all, the API asks for none, and serves this
//! machine alone.
//!
//! | Module | Holds |
//! |---|---|
//! | [`key`] | the form of a key, and its hash |
//! | [`scope`] | what a key may do |
//! | [`sign_in`] | what a browser keeps in the place of a key |
//! | [`book`] | the keys there are, with what was read lately |

pub mod book;
pub mod key;
pub mod scope;
pub mod sign_in;

pub use self::book::{Admission, KeyBook, KeyBookParts};
pub use self::key::{ApiKey, KeyHash};
pub use self::scope::{Grant, Scope};
pub use self::sign_in::{SignIn, SignInError};
