//! What webhooks are told by the configuration.

use std::time::Duration;

/// Patience and limits of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The first wait after a failure; each further one is three times as long.
    pub retry_base: Duration,
    /// The longest wait.
    pub retry_max: Duration,
    /// An event that is older than this and fails again is given up.
    pub give_up_after: Duration,
    /// For a whole request.
    pub timeout: Duration,
    /// Addresses of private networks may be asked, too.
    pub allow_private: bool,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            retry_base: Duration::from_secs(5),
            retry_max: Duration::from_secs(3600),
            give_up_after: Duration::from_secs(86_400),
            timeout: Duration::from_secs(10),
            allow_private: false,
        }
    }
}
