//! Options of the worker itself: its name, its room, its end.

use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use super::{ConfigError, at_least};

/// More accounts in one process have never been measured.
const CAPACITY_MAX: u32 = 1_000;
/// A Kubernetes pod name may have 253 characters; a longer one is a mistake.
const NAME_LENGTH_MAX: usize = 253;

/// Identity and size of this worker.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerConfig {
    /// Name of this worker, unlike that of every other live one [default: HOSTNAME, else generated]
    #[arg(long, env = "WORKER_ID", value_name = "NAME")]
    pub worker_id: Option<String>,

    /// Shown on /health as `deploymentId` [default: the worker's name]
    #[arg(long, env = "DEPLOYMENT_ID", value_name = "ID")]
    pub deployment_id: Option<String>,

    /// Most accounts that this worker owns at once
    #[arg(
        long,
        env = "LEASEHOLD_CAPACITY",
        value_name = "COUNT",
        default_value_t = 18
    )]
    pub capacity: u32,

    /// Time for handing everything off after SIGTERM or SIGINT
    #[arg(long, env = "LEASEHOLD_GRACE", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub grace: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            worker_id: None,
            deployment_id: None,
            capacity: 18,
            grace: Duration::from_secs(30),
        }
    }
}

impl WorkerConfig {
    /// The name to go by: the option's, else the host's, else one made from a
    /// random text.
    pub fn name(&self, hostname: Option<&str>, random: &str) -> String {
        let given = self
            .worker_id
            .as_deref()
            .or(hostname)
            .filter(|name| is_name(name));
        given.map_or_else(
            || format!("worker-{}", random.chars().take(8).collect::<String>()),
            ToOwned::to_owned,
        )
    }

    /// Checks the relations between these options.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (option, value) in [
            ("--worker-id", &self.worker_id),
            ("--deployment-id", &self.deployment_id),
        ] {
            if value.as_deref().is_some_and(|value| !is_name(value)) {
                return Err(ConfigError::relation(format!(
                    "{option} must be 1 to {NAME_LENGTH_MAX} letters, digits, `-`, `_` or `.`"
                )));
            }
        }
        if self.capacity == 0 || self.capacity > CAPACITY_MAX {
            return Err(ConfigError::relation(format!(
                "--capacity must be from 1 to {CAPACITY_MAX}, and is {}",
                self.capacity
            )));
        }
        at_least("--grace", self.grace, Duration::from_secs(1))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LENGTH_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_the_options_then_the_hosts_then_generated() {
        let session = "0b54ac72-93d1-4b7e-8f10-000000000000";
        let named = WorkerConfig {
            worker_id: Some("alice".into()),
            ..WorkerConfig::default()
        };
        assert_eq!(named.name(Some("host-1"), session), "alice");
        let unnamed = WorkerConfig::default();
        assert_eq!(unnamed.name(Some("host-1"), session), "host-1");
        assert_eq!(unnamed.name(None, session), "worker-0b54ac72");
        assert_eq!(unnamed.name(Some("no name"), session), "worker-0b54ac72");
    }
}
