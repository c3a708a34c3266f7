//! The worker's configuration: one struct an area, read from the command line
//! and the environment, checked as a whole before anything is opened or bound.
//!
//! A bad configuration ends the program with one line and exit code 64.

mod account;
mod connects;
pub mod duration;
mod events;
mod history;
mod http;
mod inbox;
mod lease;
mod log;
mod media;
mod outbox;
pub mod secret;
mod store;
pub mod table;
mod telemetry;
mod webhooks;
mod whatsapp;
mod worker;

use std::time::Duration;

use clap::Args;
use thiserror::Error;

pub use self::account::AccountOptions;
pub use self::connects::ConnectsOptions;
use self::duration::format_duration;
pub use self::events::EventsOptions;
pub use self::history::HistoryOptions;
pub use self::http::HttpConfig;
pub use self::inbox::InboxOptions;
pub use self::lease::LeaseOptions;
pub use self::log::{LogConfig, LogFormat};
pub use self::media::MediaOptions;
pub use self::outbox::OutboxOptions;
pub use self::secret::Secret;
#[cfg(not(feature = "google-kms"))]
pub(crate) use self::store::KMS_NOT_BUILT_IN;
pub use self::store::{StoreConfig, StoreKind};
pub use self::telemetry::{OtlpProtocol, SignalExporter, TelemetryConfig, TraceSampler};
pub use self::webhooks::WebhookOptions;
pub use self::whatsapp::{ClientVersion, WhatsappConfig};
pub use self::worker::WorkerConfig;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Config {
    /// The API.
    #[command(flatten)]
    pub http: HttpConfig,
    /// The store and the keys.
    #[command(flatten)]
    pub store: StoreConfig,
    /// Name and size of this worker.
    #[command(flatten)]
    pub worker: WorkerConfig,
    /// The connection to WhatsApp.
    #[command(flatten)]
    pub whatsapp: WhatsappConfig,
    /// Connections of accounts.
    #[command(flatten)]
    pub account: AccountOptions,
    /// How fast they log in.
    #[command(flatten)]
    pub connects: ConnectsOptions,
    /// What arrives.
    #[command(flatten)]
    pub inbox: InboxOptions,
    /// The log of what happens, and its streams.
    #[command(flatten)]
    pub events: EventsOptions,
    /// Where events go.
    #[command(flatten)]
    pub webhooks: WebhookOptions,
    /// Files that are to be sent.
    #[command(flatten)]
    pub media: MediaOptions,
    /// What the phone gives.
    #[command(flatten)]
    pub history: HistoryOptions,
    /// What is sent.
    #[command(flatten)]
    pub outbox: OutboxOptions,
    /// Leases on accounts.
    #[command(flatten)]
    pub lease: LeaseOptions,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
    /// Traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// A configuration that cannot work, in one line that names the option.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn relation(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Config {
    /// Checks every option against its limits and against the others.
    ///
    /// # Errors
    /// The first relation that does not hold, with the option to change.
    pub fn validate(&self, simulation: bool) -> Result<(), ConfigError> {
        self.http.validate()?;
        self.store.validate()?;
        self.worker.validate()?;
        self.whatsapp.validate(simulation)?;
        let lease = self.lease.lease();
        lease.check().map_err(|error| {
            ConfigError::relation(format!(
                "--lease-duration, --lease-refresh, --session-ttl and --heartbeat: {error}"
            ))
        })?;
        self.account.validate(simulation)?;
        self.connects.validate()?;
        self.history
            .history()
            .check()
            .map_err(ConfigError::relation)?;
        self.outbox
            .outbox()
            .check()
            .map_err(ConfigError::relation)?;
        self.events.validate(simulation)?;
        self.webhooks.validate()?;
        self.media.validate(&self.store, simulation)?;
        self.log.validate()?;
        self.telemetry.validate()
    }
}

fn at_least(option: &str, value: Duration, least: Duration) -> Result<(), ConfigError> {
    if value >= least {
        return Ok(());
    }
    Err(ConfigError::relation(format!(
        "{option} must be at least {}, and is {}",
        format_duration(least),
        format_duration(value)
    )))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        config: Config,
    }

    fn parse(arguments: &[&str]) -> Config {
        Program::try_parse_from(std::iter::once(&"worker").chain(arguments))
            .unwrap()
            .config
    }

    #[track_caller]
    fn refused(arguments: &[&str], simulation: bool, names: &str) {
        let error = parse(arguments)
            .validate(simulation)
            .unwrap_err()
            .to_string();
        assert!(error.contains(names), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn no_arguments_give_the_default() {
        assert_eq!(parse(&[]), Config::default());
        assert_eq!(Config::default().validate(false), Ok(()));
    }

    #[test]
    fn this_machines_own_addresses_are_told_from_others() {
        for (address, is_local) in [
            ("127.0.0.1:8080", true),
            ("[::1]:0", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
        ] {
            assert_eq!(parse(&["--listen", address]).http.is_local(), is_local);
        }
    }

    #[test]
    fn the_simulation_stays_on_this_machine() {
        refused(&[], true, "worker-sim");
        let local = parse(&["--whatsapp-url", "ws://127.0.0.1:5222/ws/chat"]);
        assert_eq!(local.validate(true), Ok(()));
    }

    #[test]
    fn whatsapp_in_clear_text_is_refused() {
        refused(
            &["--whatsapp-url", "ws://web.whatsapp.com/ws/chat"],
            false,
            "wss://",
        );
    }

    #[test]
    fn limits_are_checked() {
        refused(&["--capacity", "0"], false, "--capacity");
        refused(&["--capacity", "1001"], false, "--capacity");
        refused(&["--grace", "10ms"], false, "--grace");
        refused(&["--request-timeout", "0s"], false, "--request-timeout");
        refused(&["--worker-id", "two words"], false, "--worker-id");
        refused(&["--prekeys", "3"], false, "--prekeys");
        refused(&["--device-name", ""], false, "--device-name");
        refused(&["--log", "worker=loud"], false, "--log");
        refused(
            &["--traces-sampler-arg", "2"],
            false,
            "--traces-sampler-arg",
        );
        refused(&["--span-batch", "0"], false, "--span-batch");
        refused(
            &["--otlp-endpoint", "collector:4317"],
            false,
            "--otlp-endpoint",
        );
        refused(&["--connect-rate=-1"], false, "--connect-rate");
        refused(&["--connect-rate", "NaN"], false, "--connect-rate");
        refused(&["--connect-burst", "0"], false, "--connect-burst");
        refused(&["--egress", "a/b"], false, "--egress");
        refused(&["--media-retention", "1m"], false, "--media-retention");
        refused(&["--keep-original", "1m"], false, "--keep-original");
        refused(&["--archive-retention", "1m"], false, "--archive-retention");
        refused(&["--media-bytes-max", "0"], false, "--media-bytes-max");
        refused(
            &["--keep-media-bytes-max", "0"],
            false,
            "--keep-media-bytes-max",
        );
        refused(&["--history-bytes-max", "1"], false, "--history-bytes-max");
        refused(
            &["--history-chat-messages", "10001"],
            false,
            "--history-chat-messages",
        );
    }

    #[test]
    fn files_are_kept_only_where_there_is_a_place_for_them() {
        assert_eq!(parse(&["--keep-media"]).validate(false), Ok(()));
        let cluster = [
            "--keep-media",
            "--store",
            "firestore",
            "--firestore-project",
            "p",
        ];
        refused(&cluster, false, "--media-store");
        let with_place = [&cluster[..], &["--media-store", "gs://files"]].concat();
        assert_eq!(parse(&with_place).validate(false), Ok(()));
    }

    #[test]
    fn two_key_rings_are_refused() {
        let mut config = parse(&["--key-ring", "ring.json"]);
        config.store.key_ring_json = Some(Secret::new("{}"));
        let error = config.validate(false).unwrap_err().to_string();
        assert!(error.contains("LEASEHOLD_KEY_RING_JSON"), "{error}");
    }

    #[test]
    fn debug_hides_the_key_ring() {
        let mut config = Config::default();
        config.store.key_ring_json = Some(Secret::new("canary-2210"));
        assert!(!format!("{config:?}").contains("2210"));
    }
}
