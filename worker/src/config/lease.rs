//! Options of worker sessions and of the leases on accounts.

use std::time::Duration;

use clap::Args;
use coordinator_lib::lease::LeaseConfig;

use super::duration::parse_duration;

/// Durations of leases and of the worker session.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Leases")]
pub struct LeaseOptions {
    /// An account's lease lasts this long unless it is renewed
    #[arg(long, env = "LEASEHOLD_LEASE_DURATION", value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub lease_duration: Duration,

    /// How often a lease is renewed; at most half its duration
    #[arg(long, env = "LEASEHOLD_LEASE_REFRESH", value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    pub lease_refresh: Duration,

    /// A worker that has not been heard of for so long is dead to the others
    #[arg(long, env = "LEASEHOLD_SESSION_TTL", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub session_ttl: Duration,

    /// How often a worker shows that it lives; at most about a quarter of --session-ttl
    #[arg(long, env = "LEASEHOLD_HEARTBEAT", value_name = "TIME", default_value = "2200ms", value_parser = parse_duration)]
    pub heartbeat: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        let lease = LeaseConfig::default();
        Self {
            lease_duration: lease.duration,
            lease_refresh: lease.refresh,
            session_ttl: lease.session_ttl,
            heartbeat: lease.heartbeat,
        }
    }
}

impl LeaseOptions {
    /// What the coordinator is told.
    pub fn lease(&self) -> LeaseConfig {
        LeaseConfig {
            duration: self.lease_duration,
            refresh: self.lease_refresh,
            session_ttl: self.session_ttl,
            heartbeat: self.heartbeat,
            ..LeaseConfig::default()
        }
    }
}
