//! Options of webhooks: how patiently, and where to.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use super::{ConfigError, at_least};
use crate::webhooks::WebhookConfig;

/// Patience of deliveries; more at [`WebhookConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookOptions {
    /// First wait before an event is sent again; it grows threefold each time, up to an hour
    #[arg(long, env = "LEASEHOLD_WEBHOOK_RETRY_WAIT", value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub webhook_retry_wait: Duration,

    /// The longest wait before an event is sent again
    #[arg(long, env = "LEASEHOLD_WEBHOOK_RETRY_WAIT_MAX", value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub webhook_retry_wait_max: Duration,

    /// An event that is older and fails again is given up: it becomes a dead letter, and those
    /// behind it go on
    #[arg(long, env = "LEASEHOLD_WEBHOOK_GIVE_UP_AFTER", value_name = "TIME", default_value = "1d", value_parser = parse_duration)]
    pub webhook_give_up_after: Duration,

    /// A receiver that has not answered by then has failed
    #[arg(long, env = "LEASEHOLD_WEBHOOK_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub webhook_timeout: Duration,

    /// Lets webhooks lead to private, local and link-local addresses, too
    #[arg(long, env = "LEASEHOLD_WEBHOOK_ALLOW_PRIVATE")]
    pub webhook_allow_private: bool,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        let config = WebhookConfig::default();
        Self {
            webhook_retry_wait: config.retry_base,
            webhook_retry_wait_max: config.retry_max,
            webhook_give_up_after: config.give_up_after,
            webhook_timeout: config.timeout,
            webhook_allow_private: config.allow_private,
        }
    }
}

impl WebhookOptions {
    /// What deliveries are told.
    pub fn webhooks(&self) -> WebhookConfig {
        WebhookConfig {
            retry_base: self.webhook_retry_wait,
            retry_max: self.webhook_retry_wait_max,
            give_up_after: self.webhook_give_up_after,
            timeout: self.webhook_timeout,
            allow_private: self.webhook_allow_private,
        }
    }

    /// Checks these options.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let least = Duration::from_millis(50);
        at_least("--webhook-retry-wait", self.webhook_retry_wait, least)?;
        at_least(
            "--webhook-retry-wait-max",
            self.webhook_retry_wait_max,
            self.webhook_retry_wait,
        )?;
        at_least("--webhook-timeout", self.webhook_timeout, least)
    }
}
