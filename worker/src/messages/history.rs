//! History: what an account's phone gave it when it was linked.
//!
//! | Module | Holds |
//! |---|---|
//! | [`intake`] | makes a piece durable as it came, so that nothing is lost |
//! | [`unpacking`] | reads durable pieces in peace, one of them at a time |
//! | [`past`] | messages of the past become documents |
//!
//! A piece is durable before it is read, so whoever owns the account next goes
//! on where the last one stopped: it reads the piece from its beginning, and
//! what is stored already is found by its id. Messages of the past are not
//! news: they have no events, count nothing as unread and wake nobody.

pub mod intake;
pub mod past;
pub mod unpacking;

use std::time::Duration;

use coordinator_lib::store::StoreTime;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How much larger than it came a piece may become when it is unpacked. Texts
/// become three or four times as large.
const UNPACKED_TIMES: u64 = 8;

/// How much of a phone's history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Any at all.
    pub keep: bool,
    /// Messages older than so many days are left out.
    pub days: u32,
    /// Messages of one conversation, the newest first.
    pub chat_messages_max: u32,
    /// Messages of an account.
    pub messages_max: u32,
    /// The largest piece, in bytes as it comes.
    pub piece_bytes_max: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            keep: true,
            days: 90,
            chat_messages_max: 500,
            messages_max: 20_000,
            piece_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl HistoryConfig {
    /// What is wrong with it, if anything: one sentence that says what to do.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self) -> Result<(), String> {
        if !(64 * 1024..=64 * 1024 * 1024).contains(&self.piece_bytes_max) {
            return Err(format!(
                "--history-bytes-max must be from 64 KiB to 64 MiB, and is {} bytes",
                self.piece_bytes_max
            ));
        }
        if self.chat_messages_max > 10_000 {
            return Err(format!(
                "--history-chat-messages must be at most 10000, and is {}",
                self.chat_messages_max
            ));
        }
        Ok(())
    }

    /// Messages from before this are left out.
    fn since(&self, now: StoreTime) -> StoreTime {
        let micros = (DAY * self.days).as_micros();
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        StoreTime::from_micros(now.as_micros().saturating_sub(micros))
    }
}

#[cfg(test)]
mod tests;
