//! Options of history: how much of what a phone gives is kept.

use clap::Args;

use crate::messages::history::HistoryConfig;

/// How much of a phone's history is kept; more at [`HistoryConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "History")]
pub struct HistoryOptions {
    /// Keeps nothing of the history that a phone gives when it is linked
    #[arg(long, env = "LEASEHOLD_NO_HISTORY")]
    pub no_history: bool,

    /// Messages older than so many days are left out
    #[arg(long, env = "LEASEHOLD_HISTORY_DAYS", value_name = "DAYS", default_value_t = HistoryConfig::default().days)]
    pub history_days: u32,

    /// Messages of one conversation that are kept, the newest first
    #[arg(long, env = "LEASEHOLD_HISTORY_CHAT_MESSAGES", value_name = "COUNT", default_value_t = HistoryConfig::default().chat_messages_max)]
    pub history_chat_messages: u32,

    /// Messages of one account that are kept
    #[arg(long, env = "LEASEHOLD_HISTORY_MESSAGES", value_name = "COUNT", default_value_t = HistoryConfig::default().messages_max)]
    pub history_messages: u32,

    /// Largest piece of history that is fetched, in bytes; it may become eight
    /// times as large when it is unpacked
    #[arg(long, env = "LEASEHOLD_HISTORY_BYTES_MAX", value_name = "BYTES", default_value_t = HistoryConfig::default().piece_bytes_max)]
    pub history_bytes_max: u64,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        let history = HistoryConfig::default();
        Self {
            no_history: !history.keep,
            history_days: history.days,
            history_chat_messages: history.chat_messages_max,
            history_messages: history.messages_max,
            history_bytes_max: history.piece_bytes_max,
        }
    }
}

impl HistoryOptions {
    /// What an account's inbox is told.
    pub fn history(&self) -> HistoryConfig {
        HistoryConfig {
            keep: !self.no_history,
            days: self.history_days,
            chat_messages_max: self.history_chat_messages,
            messages_max: self.history_messages,
            piece_bytes_max: self.history_bytes_max,
        }
    }

    /// What an engine is told: the largest piece that it fetches, if any.
    pub fn fetched_bytes_max(&self) -> Option<u64> {
        (!self.no_history).then_some(self.history_bytes_max)
    }
}
