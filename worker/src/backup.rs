//! Backups of accounts, in one encrypted file; and the way back.
//!
//! A backup holds what [`crate::purge::belongings`] says: the session, whose
//! files stay encrypted as they lie in the store, and the conversations. It opens
//! with a key of the ring, or with a recipient's (`worker keys add-recipient`),
//! and with nothing else.
//!
//! **A restored session is an old one.** Whatever was sent after the backup was
//! made it does not know. So nothing is restored while somebody owns the account,
//! or over a session that went on since (unless that is forced); every chain that
//! sends is moved ahead ([`whatsapp::stale`]), and so is the epoch. What has to
//! be known beside: the same session must not run anywhere else, now or later.
//!
//! | Module | Holds |
//! |---|---|
//! | [`archive`] | the file: sealed frames, written and read within limits |
//! | [`collect`] | from the store into an archive |
//! | [`contents`] | an archive's accounts, checked as a whole before anything is written |
//! | [`verdict`] | whether a backup may take the place of what is stored: pure |
//! | [`restore`] | from an archive into the store |

pub mod archive;
pub mod collect;
pub mod contents;
pub mod restore;
pub mod verdict;

/// Counters that sending chains are moved ahead by: receivers refuse a gap of
/// two thousand.
pub const AHEAD: u32 = 1_000;
/// Epochs and event numbers go on so far above those of the backup.
pub const NUMBERS_AHEAD: i64 = 1_000;

#[cfg(test)]
mod tests;
