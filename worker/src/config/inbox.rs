//! Options of what arrives.

use clap::Args;

use crate::messages::inbox::InboxConfig;

/// WhatsApp's clients take files of 64 MiB in most kinds, documents up to 2 GiB.
const MEDIA_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is kept of what arrives.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Inbox")]
pub struct InboxOptions {
    /// Keeps the status updates of contacts, which are left out otherwise
    #[arg(long, env = "LEASEHOLD_STATUS_UPDATES")]
    pub status_updates: bool,

    /// Largest file that is sent or fetched, in bytes
    #[arg(
        long,
        env = "LEASEHOLD_MEDIA_BYTES_MAX",
        value_name = "BYTES",
        default_value_t = MEDIA_BYTES_MAX
    )]
    pub media_bytes_max: u64,

    /// Refuses calls at once; they are events in any case
    #[arg(long, env = "LEASEHOLD_REJECT_CALLS")]
    pub reject_calls: bool,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            status_updates: false,
            media_bytes_max: MEDIA_BYTES_MAX,
            reject_calls: false,
        }
    }
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
