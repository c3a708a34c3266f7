//! Options of what is sent: how fast, how patiently.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use crate::outbox::OutboxConfig;

/// Pace and patience of an account's outbox; more at [`OutboxConfig`].
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Outbox")]
pub struct OutboxOptions {
    /// Messages a second that an account sends in the long run; 0 does not
    /// pace. Numbers are banned for sending too fast
    #[arg(
        long,
        env = "LEASEHOLD_SEND_RATE",
        value_name = "RATE",
        default_value_t = 2.0
    )]
    pub send_rate: f64,

    /// Messages that an account may send at once after a pause
    #[arg(
        long,
        env = "LEASEHOLD_SEND_BURST",
        value_name = "COUNT",
        default_value_t = 10
    )]
    pub send_burst: u32,

    /// Messages a second that one recipient gets in the long run; 0 does not pace
    #[arg(
        long,
        env = "LEASEHOLD_SEND_CHAT_RATE",
        value_name = "RATE",
        default_value_t = 1.0
    )]
    pub send_chat_rate: f64,

    /// Messages that one recipient may get at once after a pause
    #[arg(
        long,
        env = "LEASEHOLD_SEND_CHAT_BURST",
        value_name = "COUNT",
        default_value_t = 20
    )]
    pub send_chat_burst: u32,

    /// Attempts before a message is given up
    #[arg(
        long,
        env = "LEASEHOLD_SEND_ATTEMPTS",
        value_name = "COUNT",
        default_value_t = 10
    )]
    pub send_attempts: u32,

    /// An attempt without WhatsApp's answer is over after this time
    #[arg(long, env = "LEASEHOLD_ACK_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub ack_timeout: Duration,

    /// First wait before another attempt; it doubles each time, up to two minutes
    #[arg(long, env = "LEASEHOLD_SEND_RETRY_WAIT", value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub send_retry_wait: Duration,

    /// What could not be sent for this long expires
    #[arg(long, env = "LEASEHOLD_MESSAGE_EXPIRY", value_name = "TIME", default_value = "7d", value_parser = parse_duration)]
    pub message_expiry: Duration,

    /// How long an Idempotency-Key is remembered
    #[arg(long, env = "LEASEHOLD_IDEMPOTENCY_TTL", value_name = "TIME", default_value = "1d", value_parser = parse_duration)]
    pub idempotency_ttl: Duration,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        let outbox = OutboxConfig::default();
        Self {
            send_rate: outbox.rate,
            send_burst: outbox.burst,
            send_chat_rate: outbox.chat_rate,
            send_chat_burst: outbox.chat_burst,
            send_attempts: outbox.attempts_max,
            ack_timeout: outbox.ack_timeout,
            send_retry_wait: outbox.retry_base,
            message_expiry: outbox.expire_after,
            idempotency_ttl: outbox.idempotency_ttl,
        }
    }
}

impl OutboxOptions {
    /// What an account's outbox is told.
    pub fn outbox(&self) -> OutboxConfig {
        OutboxConfig {
            rate: self.send_rate,
            burst: self.send_burst,
            chat_rate: self.send_chat_rate,
            chat_burst: self.send_chat_burst,
            attempts_max: self.send_attempts,
            ack_timeout: self.ack_timeout,
            retry_base: self.send_retry_wait,
            expire_after: self.message_expiry,
            idempotency_ttl: self.idempotency_ttl,
            ..OutboxConfig::default()
        }
    }
}
