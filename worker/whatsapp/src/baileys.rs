//! Sessions of Baileys, the library that the predecessor was built on: its
//! records to the engine's, and back.
//!
//! Pure: files in, records and a report out. Who reads the files, where they
//! come from and who writes the records is the worker's business.
//!
//! A session is a set of [`Files`] as `useMultiFileAuthState` keeps them: one
//! JSON file a record, `creds.json` among them. [`import()`] turns them into
//! records of session files; [`export()`] turns those back, for the way back.
//!
//! # What holds
//! - Everything is checked before it counts: key pairs match, signatures hold,
//!   addresses are addresses. Wrong credentials refuse the whole; any other
//!   record that is wrong is left out, and the report says which and why.
//! - **No counter is used twice.** The files may be older than the last message
//!   that was sent with them, so each chain that sends is moved ahead
//!   ([`ImportOptions::ahead`]); prekeys get new numbers far above the old.
//! - No error and no report holds a key. File names, which hold phone numbers,
//!   are for the person who imports; they belong in no log.
//! - Everything has a limit: files, bytes, states, skipped keys.
//!
//! # What is not taken along
//! App state versions, device lists and the list of who has our sender keys:
//! the engine asks for them anew.

mod address;
pub(crate) mod creds;
mod entry;
mod export;
mod fault;
mod import;
mod others;
mod report;
pub(crate) mod sender_keys;
pub(crate) mod sessions;
mod value;

use std::collections::BTreeMap;

pub use self::export::{ExportError, Exported, Generation, export};
pub use self::fault::Fault;
pub use self::import::{ImportError, ImportOptions, Imported, OwnAddresses, Records, import};
pub use self::report::{Part, PartReport, Problem, Report};

/// The files of one session, by their names without `.json`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Counters that each sending chain is moved ahead by, unless told otherwise:
/// more than anybody sends in one turn of a conversation.
pub const AHEAD_DEFAULT: u32 = 64;
/// At most: receivers refuse a gap of two thousand.
pub const AHEAD_MAX: u32 = 1_000;
/// Files of one session: twenty thousand contacts have fewer.
pub const FILES_MAX: usize = 200_000;
/// One file: a sender key with all that it may hold is smaller.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// All files of a session.
pub const TOTAL_BYTES_MAX: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests;
