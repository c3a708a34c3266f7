//! Options of the connection to WhatsApp.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use clap::Args;
use whatsapp::{Endpoint, EngineConfig, WHATSAPP_VERSION_URL};

use super::duration::parse_duration;
use super::{ConfigError, at_least};

/// A client version as the server reads it, such as `2.3000.1035194821`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientVersion(pub u32, pub u32, pub u32);

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for ClientVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "write three numbers with dots, such as 2.3000.1035194821";
        let mut parts = text
            .split('.')
            .map(|part| part.parse::<u32>().map_err(|_| EXPECTED));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(major), Some(minor), Some(patch), None) => Ok(Self(major?, minor?, patch?)),
            (_, _, _, _) => Err(EXPECTED),
        }
    }
}

/// Where WhatsApp is, and as what this client presents itself.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "WhatsApp")]
pub struct WhatsappConfig {
    /// Address of WhatsApp's WebSocket
    #[arg(
        long,
        env = "LEASEHOLD_WHATSAPP_URL",
        value_name = "URL",
        default_value = "wss://web.whatsapp.com/ws/chat"
    )]
    pub whatsapp_url: Endpoint,

    /// The `Origin` header sent there
    #[arg(
        long,
        env = "LEASEHOLD_WHATSAPP_ORIGIN",
        value_name = "URL",
        default_value = "https://web.whatsapp.com"
    )]
    pub whatsapp_origin: String,

    /// Client version to announce; WhatsApp refuses old ones (reason 405)
    #[arg(
        long,
        env = "LEASEHOLD_WHATSAPP_VERSION",
        value_name = "VERSION",
        default_value = "2.3000.1035194821"
    )]
    pub whatsapp_version: ClientVersion,

    /// Page that names WhatsApp's current client version, read when it refuses ours
    #[arg(
        long,
        env = "LEASEHOLD_WHATSAPP_VERSION_URL",
        value_name = "URL",
        default_value = WHATSAPP_VERSION_URL
    )]
    pub whatsapp_version_url: String,

    /// Name under "Linked devices" on the phone
    #[arg(
        long,
        env = "LEASEHOLD_DEVICE_NAME",
        value_name = "NAME",
        default_value = "Leasehold"
    )]
    pub device_name: String,

    /// One-time keys to keep on the server for each account
    #[arg(
        long,
        env = "LEASEHOLD_PREKEYS",
        value_name = "COUNT",
        default_value_t = 100
    )]
    pub prekeys: usize,

    /// Limit for finding, reaching and greeting WhatsApp's server
    #[arg(long, env = "LEASEHOLD_WHATSAPP_CONNECT_TIMEOUT", value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub whatsapp_connect_timeout: Duration,

    /// A frame that has not left after this time counts as not sent
    #[arg(long, env = "LEASEHOLD_SEND_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub send_timeout: Duration,
}

impl Default for WhatsappConfig {
    fn default() -> Self {
        let engine = EngineConfig::default();
        let (major, minor, patch) = engine.version;
        Self {
            whatsapp_url: engine.endpoint,
            whatsapp_origin: engine.origin,
            whatsapp_version: ClientVersion(major, minor, patch),
            whatsapp_version_url: WHATSAPP_VERSION_URL.to_owned(),
            device_name: engine.device_name,
            prekeys: engine.prekeys_wanted,
            whatsapp_connect_timeout: engine.connect_timeout,
            send_timeout: engine.send_timeout,
        }
    }
}

impl WhatsappConfig {
    /// The client version, part by part.
    pub fn version(&self) -> (u32, u32, u32) {
        let ClientVersion(major, minor, patch) = self.whatsapp_version;
        (major, minor, patch)
    }

    /// What an engine is told.
    pub fn engine(&self) -> EngineConfig {
        EngineConfig {
            endpoint: self.whatsapp_url.clone(),
            origin: self.whatsapp_origin.clone(),
            version: self.version(),
            device_name: self.device_name.clone(),
            prekeys_wanted: self.prekeys,
            connect_timeout: self.whatsapp_connect_timeout,
            send_timeout: self.send_timeout,
            ..EngineConfig::default()
        }
    }

    /// Checks the relations between these options. `simulation` tells whether
    /// this program accepts forged certificates.
    pub(super) fn validate(&self, simulation: bool) -> Result<(), ConfigError> {
        if simulation && !self.whatsapp_url.is_loopback() {
            return Err(ConfigError::relation(format!(
                "--whatsapp-url {} is not on this machine, and this program is built for the \
                 simulated WhatsApp (it accepts forged certificates): name a loopback address \
                 such as ws://127.0.0.1:5222/ws/chat, or run `worker` instead of `worker-sim`",
                self.whatsapp_url
            )));
        }
        if !self.whatsapp_url.is_encrypted() && !self.whatsapp_url.is_loopback() {
            return Err(ConfigError::relation(format!(
                "--whatsapp-url {} is not encrypted: use wss:// for another machine",
                self.whatsapp_url
            )));
        }
        let origin = self.whatsapp_origin.parse::<Uri>();
        if origin.is_err() || self.whatsapp_origin.chars().any(char::is_control) {
            return Err(ConfigError::relation(
                "--whatsapp-origin must be an address",
            ));
        }
        if self.whatsapp_version_url.parse::<Uri>().is_err() {
            return Err(ConfigError::relation(
                "--whatsapp-version-url must be an address",
            ));
        }
        let name_length = self.device_name.chars().count();
        if name_length == 0 || name_length > 50 || self.device_name.chars().any(char::is_control) {
            return Err(ConfigError::relation(
                "--device-name must have 1 to 50 characters, none of them control characters",
            ));
        }
        // The engine uploads 812 at most, and refills when 5 are left.
        if !(10..=812).contains(&self.prekeys) {
            return Err(ConfigError::relation(format!(
                "--prekeys must be from 10 to 812, and is {}",
                self.prekeys
            )));
        }
        at_least(
            "--whatsapp-connect-timeout",
            self.whatsapp_connect_timeout,
            Duration::from_millis(100),
        )?;
        at_least("--send-timeout", self.send_timeout, Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_has_three_numbers() {
        assert_eq!("2.3000.17".parse(), Ok(ClientVersion(2, 3000, 17)));
        for text in [
            "",
            "2.3000",
            "2.3000.1.2",
            "2.3000.x",
            "2.3000.-1",
            "2.3000.99999999999",
        ] {
            assert!(text.parse::<ClientVersion>().is_err(), "{text}");
        }
    }
}
