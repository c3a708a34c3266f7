//! Options of the event log: how long it is kept, how it is streamed.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use super::{ConfigError, at_least};
use crate::events::StreamsConfig;

/// A client that is away for less is not behind.
const RETENTION_MIN: Duration = Duration::from_secs(3600);

/// In a simulation nobody waits for so long.
const RETENTION_MIN_SIMULATED: Duration = Duration::from_secs(2);

/// How long events are kept, and how they are streamed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Events")]
pub struct EventsOptions {
    /// How long events are kept, and with them the log of webhooks' deliveries
    #[arg(long, env = "LEASEHOLD_EVENT_RETENTION", value_name = "TIME", default_value = "7d", value_parser = parse_duration)]
    pub event_retention: Duration,

    /// How long the audit log is kept
    #[arg(long, env = "LEASEHOLD_AUDIT_RETENTION", value_name = "TIME", default_value = "90d", value_parser = parse_duration)]
    pub audit_retention: Duration,

    /// Streams of events that one API key has open on a worker
    #[arg(
        long,
        env = "LEASEHOLD_STREAMS_PER_KEY",
        value_name = "COUNT",
        default_value_t = StreamsConfig::default().per_key_max
    )]
    pub streams_per_key: usize,

    /// The longest silence on a stream, after which a heartbeat shows that it lives
    #[arg(long, env = "LEASEHOLD_STREAM_HEARTBEAT", value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub stream_heartbeat: Duration,
}

impl Default for EventsOptions {
    fn default() -> Self {
        let streams = StreamsConfig::default();
        Self {
            event_retention: streams.retention,
            audit_retention: Duration::from_secs(90 * 86_400),
            streams_per_key: streams.per_key_max,
            stream_heartbeat: streams.heartbeat,
        }
    }
}

impl EventsOptions {
    /// What streams are told.
    pub fn streams(&self) -> StreamsConfig {
        StreamsConfig {
            retention: self.event_retention,
            per_key_max: self.streams_per_key,
            heartbeat: self.stream_heartbeat,
        }
    }

    /// Checks these options.
    pub(super) fn validate(&self, simulation: bool) -> Result<(), ConfigError> {
        let least = match simulation {
            true => RETENTION_MIN_SIMULATED,
            false => RETENTION_MIN,
        };
        at_least("--event-retention", self.event_retention, least)?;
        at_least("--audit-retention", self.audit_retention, least)?;
        at_least(
            "--stream-heartbeat",
            self.stream_heartbeat,
            Duration::from_millis(100),
        )?;
        if self.streams_per_key == 0 {
            return Err(ConfigError::relation(
                "--streams-per-key must be at least 1",
            ));
        }
        Ok(())
    }
}
