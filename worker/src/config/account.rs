//! Options of an account's connection: how long it waits, and for what.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use super::{ConfigError, at_least};
use crate::account::AccountConfig;

/// What is kept for less may be gone before anybody looks for it.
const KEPT_MIN: Duration = Duration::from_secs(3600);

/// In a simulation nobody waits for so long.
const KEPT_MIN_SIMULATED: Duration = Duration::from_secs(1);

/// Waits of an account; each is explained at [`AccountConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Account")]
pub struct AccountOptions {
    /// A connection attempt without progress is given up after this time
    #[arg(long, env = "LEASEHOLD_CONNECTING_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub connecting_timeout: Duration,

    /// A connection that lasted this long makes the next wait short again
    #[arg(long, env = "LEASEHOLD_STABLE_AFTER", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub stable_after: Duration,

    /// First wait after a lost connection; it doubles each time
    #[arg(long, env = "LEASEHOLD_RECONNECT_WAIT", value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub reconnect_wait: Duration,

    /// Longest wait after a lost connection
    #[arg(long, env = "LEASEHOLD_RECONNECT_WAIT_MAX", value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub reconnect_wait_max: Duration,

    /// A connection without any frame for this long counts as lost
    #[arg(long, env = "LEASEHOLD_SILENCE_LIMIT", value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub silence_limit: Duration,

    /// Time for one account's engine to shut down
    #[arg(long, env = "LEASEHOLD_ENGINE_SHUTDOWN_LIMIT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub engine_shutdown_limit: Duration,

    /// The files of an import are kept until the account was connected for so long in all, without
    /// a message that could not be decrypted
    #[arg(long, env = "LEASEHOLD_KEEP_ORIGINAL", value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    pub keep_original: Duration,

    /// How long a session is kept that ended with a logout
    #[arg(long, env = "LEASEHOLD_ARCHIVE_RETENTION", value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
    pub archive_retention: Duration,
}

impl Default for AccountOptions {
    fn default() -> Self {
        let account = AccountConfig::default();
        Self {
            connecting_timeout: account.connecting_timeout,
            stable_after: account.stable_after,
            reconnect_wait: account.backoff_base,
            reconnect_wait_max: account.backoff_max,
            silence_limit: account.silence_limit,
            engine_shutdown_limit: account.shutdown_limit,
            keep_original: account.keep_original,
            archive_retention: Duration::from_secs(30 * 86_400),
        }
    }
}

impl AccountOptions {
    /// What an account's task is told; `renew_interval` is the lease's.
    pub fn account(&self) -> AccountConfig {
        AccountConfig {
            connecting_timeout: self.connecting_timeout,
            stable_after: self.stable_after,
            backoff_base: self.reconnect_wait,
            backoff_max: self.reconnect_wait_max,
            silence_limit: self.silence_limit,
            shutdown_limit: self.engine_shutdown_limit,
            keep_original: self.keep_original,
        }
    }

    /// Checks these options.
    pub(super) fn validate(&self, simulation: bool) -> Result<(), ConfigError> {
        let least = match simulation {
            true => KEPT_MIN_SIMULATED,
            false => KEPT_MIN,
        };
        at_least("--keep-original", self.keep_original, least)?;
        at_least("--archive-retention", self.archive_retention, least)?;
        self.account().check().map_err(ConfigError::relation)
    }
}
