//! Options of an account's connection: how long it waits, and for what.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use crate::account::AccountConfig;

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
        }
    }
}
