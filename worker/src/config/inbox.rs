//! Options of what arrives.

use clap::Args;

use crate::messages::inbox::InboxConfig;

/// What is kept of what arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Inbox")]
pub struct InboxOptions {
    /// Keeps the status updates of contacts, which are left out otherwise
    #[arg(long, env = "LEASEHOLD_STATUS_UPDATES")]
    pub status_updates: bool,

    /// Refuses calls at once; they are events in any case
    #[arg(long, env = "LEASEHOLD_REJECT_CALLS")]
    pub reject_calls: bool,
}

impl InboxOptions {
    /// What an account's inbox is told.
    pub fn inbox(&self) -> InboxConfig {
        InboxConfig {
            status_updates: self.status_updates,
            reject_calls: self.reject_calls,
            ..InboxConfig::default()
        }
    }
}
