//! Options of the worker itself: its name, its room, its end.

use std::time::Duration;

use clap::Args;

use super::duration::{format_duration, parse_duration};
use super::{ConfigError, at_least};

/// More accounts in one process have never been measured.
const CAPACITY_MAX: u32 = 1_000;
/// For handing everything off, where nothing kills the worker.
const GRACE: Duration = Duration::from_secs(30);
/// Less than this is no drain.
const GRACE_MIN: Duration = Duration::from_secs(1);
/// From the end of a drain to the end of the process: the session is closed and
/// the store, which may be slow. `k8s/checks/relations.py` knows it, too.
const END_MARGIN: Duration = Duration::from_secs(5);
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

    /// Time for handing everything off after SIGTERM or SIGINT [default: 30s, or what
    /// --termination-grace leaves]
    #[arg(long, env = "LEASEHOLD_GRACE", value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<Duration>,

    /// When the worker is killed, counted from the announcement of its end: a pod's
    /// `terminationGracePeriodSeconds`. The drain ends 5 s before that
    #[arg(long, env = "LEASEHOLD_TERMINATION_GRACE", value_name = "TIME", value_parser = parse_duration)]
    pub termination_grace: Option<Duration>,

    /// How much of --termination-grace is over when SIGTERM comes: a pod's `preStop`
    #[arg(long, env = "LEASEHOLD_PRE_STOP", value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub pre_stop: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            worker_id: None,
            deployment_id: None,
            capacity: 18,
            grace: None,
            termination_grace: None,
            pre_stop: Duration::ZERO,
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

    /// The limit of a drain: the option's, else what is left before the worker is
    /// killed, else a default.
    pub fn drain_limit(&self) -> Duration {
        self.grace.or(self.before_the_kill()).unwrap_or(GRACE)
    }

    /// From SIGTERM until a drain must be over, if something kills the worker.
    fn before_the_kill(&self) -> Option<Duration> {
        let spent = self.pre_stop + END_MARGIN;
        Some(self.termination_grace?.saturating_sub(spent))
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
        if let Some(left) = self.before_the_kill() {
            let needed = self.grace.unwrap_or(GRACE_MIN);
            if left < needed {
                return Err(ConfigError::relation(format!(
                    "--termination-grace must be at least {}: --pre-stop {}, {} for the drain and \
                     {} for the end",
                    format_duration(self.pre_stop + needed + END_MARGIN),
                    format_duration(self.pre_stop),
                    format_duration(needed),
                    format_duration(END_MARGIN),
                )));
            }
        }
        at_least("--grace", self.drain_limit(), GRACE_MIN)
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

    fn ending(grace: Option<u64>, termination: Option<u64>, pre_stop: u64) -> WorkerConfig {
        WorkerConfig {
            grace: grace.map(Duration::from_secs),
            termination_grace: termination.map(Duration::from_secs),
            pre_stop: Duration::from_secs(pre_stop),
            ..WorkerConfig::default()
        }
    }

    #[test]
    fn a_drain_has_what_is_left_before_the_worker_is_killed() {
        for (config, seconds) in [
            (ending(None, None, 0), 30),
            (ending(Some(12), None, 0), 12),
            (ending(None, Some(60), 5), 50),
            (ending(Some(20), Some(60), 5), 20),
            (ending(None, Some(11), 5), 1),
        ] {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
            assert_eq!(config.drain_limit(), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_worker_that_would_be_killed_in_its_drain_is_refused() {
        for config in [
            ending(None, Some(10), 5),
            ending(None, Some(5), 0),
            ending(None, Some(30), 60),
            ending(Some(51), Some(60), 5),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains("--termination-grace"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

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
