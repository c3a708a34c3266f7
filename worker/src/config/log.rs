//! Options of the log.

use clap::{Args, ValueEnum};

use super::ConfigError;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people, in colour on a terminal.
    #[default]
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// Form of the log; with `json`, one line on standard output says where the API listens
    #[arg(
        long,
        env = "LEASEHOLD_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "pretty"
    )]
    pub log_format: LogFormat,

    /// What is logged: a level for this program's own lines, or levels by target such as
    /// `info,worker::outbox=debug`. Lines of the WhatsApp engine (`whatsapp_rust`) show phone numbers
    #[arg(
        long = "log",
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log_filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::default(),
            log_filter: "info".to_owned(),
        }
    }
}

impl LogConfig {
    /// Checks that the filter can be read.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        crate::telemetry::parse_filter(&self.log_filter)
            .map(drop)
            .map_err(|error| {
                ConfigError::relation(format!("--log {:?} is no filter: {error}", self.log_filter))
            })
    }
}
