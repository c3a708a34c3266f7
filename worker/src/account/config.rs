//! Limits and waits of an account.

use std::time::Duration;

/// How long an account waits, and for what.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountConfig {
    /// An attempt that makes no progress for so long is given up (the
    /// predecessor's 60 s; its text is part of the contract).
    pub connecting_timeout: Duration,
    /// Backoff starts anew once a connection has lasted this long.
    pub stable_after: Duration,
    /// The first wait after a lost connection.
    pub backoff_base: Duration,
    /// The longest wait after a lost connection.
    pub backoff_max: Duration,
    /// A connection without a frame for so long is taken for dead: the engine
    /// pings more often than this, and some endings are silent.
    pub silence_limit: Duration,
    /// Limit for one engine's shutdown.
    pub shutdown_limit: Duration,
    /// The files of an import are removed once the account was well for so long.
    pub keep_original: Duration,
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self {
            connecting_timeout: Duration::from_secs(60),
            stable_after: Duration::from_secs(30),
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            silence_limit: Duration::from_secs(120),
            shutdown_limit: Duration::from_secs(10),
            keep_original: Duration::from_secs(24 * 3600),
        }
    }
}

impl AccountConfig {
    /// What is wrong with it, if anything: one sentence that says what to do.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("connecting timeout", self.connecting_timeout),
            ("stable-after", self.stable_after),
            ("backoff base", self.backoff_base),
            ("silence limit", self.silence_limit),
            ("shutdown limit", self.shutdown_limit),
        ];
        for (name, duration) in positive {
            if duration.is_zero() {
                return Err(format!("the account's {name} must be longer than zero"));
            }
        }
        if self.backoff_base > self.backoff_max {
            return Err(format!(
                "the account's backoff base ({:?}) must not be longer than its maximum ({:?})",
                self.backoff_base, self.backoff_max
            ));
        }
        Ok(())
    }
}
