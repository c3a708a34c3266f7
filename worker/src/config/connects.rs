//! Options of the budget of connects that workers behind one address share.

use clap::Args;

use super::ConfigError;
use crate::supervisor::SupervisorConfig;
use crate::supervisor::budget::Budget;

/// More than WhatsApp would ever bear from one address.
const RATE_MAX: f64 = 1_000.0;
/// A burst of more is no pacing.
const BURST_MAX: u32 = 10_000;
/// Characters of an address's name.
const NAME_LENGTH_MAX: usize = 100;

/// How fast accounts log in.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Connects")]
pub struct ConnectsOptions {
    /// Connects a second that all workers behind one address make in the long run; 0 does not pace. WhatsApp throttles an address that logs in many accounts at once
    #[arg(
        long,
        env = "LEASEHOLD_CONNECT_RATE",
        value_name = "RATE",
        default_value_t = 5.0
    )]
    pub connect_rate: f64,

    /// Connects that they may make at once after a pause
    #[arg(
        long,
        env = "LEASEHOLD_CONNECT_BURST",
        value_name = "COUNT",
        default_value_t = 60
    )]
    pub connect_burst: u32,

    /// Name of the address that this worker's connections come from: workers with the same name share one budget
    #[arg(
        long,
        env = "LEASEHOLD_EGRESS",
        value_name = "NAME",
        default_value = "default"
    )]
    pub egress: String,
}

impl Default for ConnectsOptions {
    fn default() -> Self {
        let supervisor = SupervisorConfig::default();
        Self {
            connect_rate: supervisor.connects.rate,
            connect_burst: supervisor.connects.burst,
            egress: supervisor.egress,
        }
    }
}

impl ConnectsOptions {
    /// What the supervisor is told.
    pub fn supervisor(&self) -> SupervisorConfig {
        SupervisorConfig {
            connects: Budget {
                rate: self.connect_rate,
                burst: self.connect_burst,
            },
            egress: self.egress.clone(),
            ..SupervisorConfig::default()
        }
    }

    /// Checks these options against their limits.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(0.0..=RATE_MAX).contains(&self.connect_rate) {
            return Err(ConfigError::relation(format!(
                "--connect-rate must be from 0 to {RATE_MAX}, and is {}",
                self.connect_rate
            )));
        }
        if !(1..=BURST_MAX).contains(&self.connect_burst) {
            return Err(ConfigError::relation(format!(
                "--connect-burst must be from 1 to {BURST_MAX}, and is {}",
                self.connect_burst
            )));
        }
        let is_name = !self.egress.is_empty()
            && self.egress.len() <= NAME_LENGTH_MAX
            && self
                .egress
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name {
            return Err(ConfigError::relation(format!(
                "--egress must be 1 to {NAME_LENGTH_MAX} letters, digits, `-`, `_` or `.`"
            )));
        }
        Ok(())
    }
}
