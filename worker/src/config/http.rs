//! Options of the HTTP API: where it listens and how long it bears with a request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::duration::parse_duration;
use super::{ConfigError, at_least};

/// A busy client, and what stays of a worker for others.
const API_RATE: f64 = 50.0;
const API_BURST: u32 = 200;

/// How the API is served.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "HTTP API")]
pub struct HttpConfig {
    /// Address and port of the API and the page; port 0 takes a free one
    #[arg(
        long,
        env = "LEASEHOLD_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Serves everybody who can reach the port, without any key: also on an
    /// address that is not this machine's own
    #[arg(long, env = "LEASEHOLD_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,

    /// Requests of one API key a second, in the long run; 0 does not limit
    #[arg(long, env = "LEASEHOLD_API_RATE", value_name = "NUMBER", default_value_t = API_RATE)]
    pub api_rate: f64,

    /// Requests of one API key at once
    #[arg(long, env = "LEASEHOLD_API_BURST", value_name = "NUMBER", default_value_t = API_BURST)]
    pub api_burst: u32,

    /// Serves the calls of WAHA that are used most, under /compat/waha/api
    #[arg(long, env = "LEASEHOLD_WAHA_COMPAT")]
    pub waha_compat: bool,

    /// How long a browser stays signed in to the dashboard
    #[arg(long, env = "LEASEHOLD_SIGN_IN_TIME", value_name = "TIME", default_value = "12h", value_parser = parse_duration)]
    pub sign_in_time: Duration,

    /// A request that takes longer is given up
    #[arg(long, env = "LEASEHOLD_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub request_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            insecure_no_auth: false,
            api_rate: API_RATE,
            api_burst: API_BURST,
            waha_compat: false,
            sign_in_time: Duration::from_secs(12 * 60 * 60),
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl HttpConfig {
    /// True if only programs on this machine can reach the API.
    pub fn is_local(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// Checks the relations between these options.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        at_least("--sign-in-time", self.sign_in_time, Duration::from_secs(1))?;
        at_least(
            "--request-timeout",
            self.request_timeout,
            Duration::from_secs(1),
        )?;
        if !self.api_rate.is_finite() || self.api_rate < 0.0 {
            return Err(ConfigError::relation(
                "--api-rate is a number of requests, or 0".to_owned(),
            ));
        }
        Ok(())
    }
}
