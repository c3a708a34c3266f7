//! Options of what arrives.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use crate::messages::inbox::InboxConfig;

/// What another worker has accepted may be seen for so long after its time; what
/// came in is removed when it is due. Each look is a read.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// What is kept of what arrives.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Inbox")]
pub struct InboxOptions {
    /// Keeps the status updates of contacts, which are left out otherwise
    #[arg(long, env = "LEASEHOLD_STATUS_UPDATES")]
    pub status_updates: bool,

    /// How often messages that disappear are looked for at least
    #[arg(
        long,
        env = "LEASEHOLD_EXPIRY_INTERVAL",
        value_name = "TIME",
        default_value = "10m",
        value_parser = parse_duration
    )]
    pub expiry_interval: Duration,

    /// Refuses calls at once; they are events in any case
    #[arg(long, env = "LEASEHOLD_REJECT_CALLS")]
    pub reject_calls: bool,
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            status_updates: false,
            expiry_interval: EXPIRY_INTERVAL,
            reject_calls: false,
        }
    }
}

impl InboxOptions {
    /// What an account's inbox is told.
    pub fn inbox(&self) -> InboxConfig {
        InboxConfig {
            status_updates: self.status_updates,
            expiry_interval: self.expiry_interval,
            reject_calls: self.reject_calls,
            ..InboxConfig::default()
        }
    }
}
