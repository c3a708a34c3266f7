//! Limits, pacing and patience of the outbox.

use std::time::Duration;

/// How an account sends.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxConfig {
    /// Messages a second that an account sends in the long run. Modest, for
    /// numbers are banned for sending too fast. Zero does not pace.
    pub rate: f64,
    /// Messages that may leave at once after a pause.
    pub burst: u32,
    /// Messages a second that one recipient gets in the long run. Zero does not
    /// pace.
    pub chat_rate: f64,
    /// Messages that one recipient may get at once after a pause.
    pub chat_burst: u32,
    /// Chats that an account sends to at the same time.
    pub chats_parallel: usize,
    /// An attempt without the server's answer is over after this.
    pub ack_timeout: Duration,
    /// Attempts before a message is given up.
    pub attempts_max: u32,
    /// The first wait before another attempt.
    pub retry_base: Duration,
    /// The longest wait before another attempt.
    pub retry_max: Duration,
    /// How long an answer waits for the session to be durable after its chat's
    /// last inbound message.
    pub flush_timeout: Duration,
    /// What could not be sent for so long is not sent any more.
    pub expire_after: Duration,
    /// How long an idempotency key is remembered.
    pub idempotency_ttl: Duration,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            rate: 2.0,
            burst: 10,
            chat_rate: 1.0,
            chat_burst: 20,
            chats_parallel: 8,
            ack_timeout: Duration::from_secs(20),
            attempts_max: 10,
            retry_base: Duration::from_secs(2),
            retry_max: Duration::from_secs(120),
            flush_timeout: Duration::from_secs(5),
            expire_after: Duration::from_secs(7 * 24 * 3600),
            idempotency_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

impl OutboxConfig {
    /// What is wrong with it, if anything: one sentence that says what to do.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self) -> Result<(), String> {
        for (name, rate) in [("rate", self.rate), ("rate of a chat", self.chat_rate)] {
            if !rate.is_finite() || rate < 0.0 {
                return Err(format!(
                    "the outbox {name} must be a number of messages a second, or 0 for no pacing"
                ));
            }
        }
        for (name, count) in [
            ("burst", u64::from(self.burst)),
            ("burst of a chat", u64::from(self.chat_burst)),
            ("number of chats in parallel", self.chats_parallel as u64),
            ("number of attempts", u64::from(self.attempts_max)),
        ] {
            if count == 0 {
                return Err(format!("the outbox {name} must be at least 1"));
            }
        }
        for (name, duration) in [
            ("answer timeout", self.ack_timeout),
            ("retry wait", self.retry_base),
            ("flush timeout", self.flush_timeout),
            ("expiry", self.expire_after),
        ] {
            if duration.is_zero() {
                return Err(format!("the outbox {name} must be longer than zero"));
            }
        }
        if self.retry_base > self.retry_max {
            return Err("the outbox retry wait must not be longer than its maximum".to_owned());
        }
        Ok(())
    }
}
