//! Options of traces, metrics and logs: the standard `OTEL_*` variables, as far as
//! they concern this program. The exporter itself reads those of headers,
//! compression and certificates.

use std::time::Duration;

use clap::{Args, ValueEnum};
use opentelemetry_sdk::trace::Sampler;
use url::Url;

use super::ConfigError;
use super::duration::parse_duration;

/// Stands for a trace's id in `--trace-url`.
const TRACE_PLACE: &str = "{trace}";
/// Stands for an account's id in `--account-traces-url`.
const ACCOUNT_PLACE: &str = "{account}";
/// Characters of an address with such a place.
const TEMPLATE_CHARS_MAX: usize = 2_000;

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC, usually on port 4317.
    #[default]
    #[value(name = "grpc")]
    Grpc,
    /// HTTP with protobuf bodies, usually on port 4318.
    #[value(name = "http/protobuf")]
    Http,
}

/// Where a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SignalExporter {
    /// To the collector, if there is one.
    #[default]
    Otlp,
    /// Nowhere; `/metrics` is served all the same.
    #[value(alias = "prometheus")]
    None,
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum TraceSampler {
    /// All.
    AlwaysOn,
    /// None but errors.
    AlwaysOff,
    /// A share of all.
    #[value(name = "traceidratio")]
    Ratio,
    /// Those that the caller kept; without a caller, all.
    #[default]
    #[value(name = "parentbased_always_on")]
    ParentOn,
    /// Those that the caller kept.
    #[value(name = "parentbased_always_off")]
    ParentOff,
    /// Those that the caller kept; without a caller, a share.
    #[value(name = "parentbased_traceidratio")]
    ParentRatio,
}

/// What is told about the worker, and to whom.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryConfig {
    /// Address of an OpenTelemetry collector, such as http://127.0.0.1:4317; without one nothing is exported
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Where traces go instead, taken as it is written
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub otlp_traces_endpoint: Option<String>,

    /// Where metrics go instead, taken as it is written
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", value_name = "URL")]
    pub otlp_metrics_endpoint: Option<String>,

    /// Where lines of the log go instead, taken as it is written
    #[arg(long, env = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", value_name = "URL")]
    pub otlp_logs_endpoint: Option<String>,

    /// How the collector is spoken to
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        value_name = "PROTOCOL",
        value_enum,
        default_value = "grpc"
    )]
    pub otlp_protocol: OtlpProtocol,

    /// An export that takes longer is given up; a bare number is milliseconds
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_otel_duration)]
    pub otlp_timeout: Duration,

    /// Whether traces are exported
    #[arg(
        long,
        env = "OTEL_TRACES_EXPORTER",
        value_name = "EXPORTER",
        value_enum,
        default_value = "otlp"
    )]
    pub traces_exporter: SignalExporter,

    /// Whether metrics are exported
    #[arg(
        long,
        env = "OTEL_METRICS_EXPORTER",
        value_name = "EXPORTER",
        value_enum,
        default_value = "otlp"
    )]
    pub metrics_exporter: SignalExporter,

    /// Whether lines of the log are exported, too; they are on standard error in any case
    #[arg(
        long,
        env = "OTEL_LOGS_EXPORTER",
        value_name = "EXPORTER",
        value_enum,
        default_value = "none"
    )]
    pub logs_exporter: SignalExporter,

    /// Which traces are kept; a span that failed is exported in any case
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        value_name = "SAMPLER",
        value_enum,
        default_value = "parentbased_always_on"
    )]
    pub traces_sampler: TraceSampler,

    /// The share of traces that a `traceidratio` sampler keeps, from 0 to 1
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER_ARG",
        value_name = "SHARE",
        default_value_t = 1.0
    )]
    pub traces_sampler_arg: f64,

    /// Spans that wait for their export; more are dropped and counted
    #[arg(
        long,
        env = "OTEL_BSP_MAX_QUEUE_SIZE",
        value_name = "COUNT",
        default_value_t = 2048
    )]
    pub span_queue: usize,

    /// Spans of one export
    #[arg(
        long,
        env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        value_name = "COUNT",
        default_value_t = 512
    )]
    pub span_batch: usize,

    /// How long spans are gathered for one export; a bare number is milliseconds
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", value_name = "TIME", default_value = "5s", value_parser = parse_otel_duration)]
    pub span_delay: Duration,

    /// Lines of the log that wait for their export; more are dropped and counted
    #[arg(
        long,
        env = "OTEL_BLRP_MAX_QUEUE_SIZE",
        value_name = "COUNT",
        default_value_t = 2048
    )]
    pub log_queue: usize,

    /// Lines of one export
    #[arg(
        long,
        env = "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        value_name = "COUNT",
        default_value_t = 512
    )]
    pub log_batch: usize,

    /// How long lines are gathered for one export; a bare number is milliseconds
    #[arg(long, env = "OTEL_BLRP_SCHEDULE_DELAY", value_name = "TIME", default_value = "1s", value_parser = parse_otel_duration)]
    pub log_delay: Duration,

    /// How often metrics are exported; a bare number is milliseconds
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", value_name = "TIME", default_value = "1m", value_parser = parse_otel_duration)]
    pub metrics_interval: Duration,

    /// Name of the service in traces and metrics
    #[arg(
        long,
        env = "OTEL_SERVICE_NAME",
        value_name = "NAME",
        default_value = "leasehold"
    )]
    pub service_name: String,

    /// Exports nothing at all
    #[arg(long, env = "OTEL_SDK_DISABLED")]
    pub no_export: bool,

    /// Where one trace is shown to people, with {trace} in the place of its id; the dashboard links to it
    #[arg(long, env = "LEASEHOLD_TRACE_URL", value_name = "URL")]
    pub trace_url: Option<String>,

    /// Where an account's traces are shown to people, with {account} in the place of its id; the dashboard links to it
    #[arg(long, env = "LEASEHOLD_ACCOUNT_TRACES_URL", value_name = "URL")]
    pub account_traces_url: Option<String>,

    /// Shows /metrics to everybody who reaches the port, instead of only to keys with the right `read`
    #[arg(long, env = "LEASEHOLD_METRICS_PUBLIC")]
    pub metrics_public: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_traces_endpoint: None,
            otlp_metrics_endpoint: None,
            otlp_logs_endpoint: None,
            otlp_protocol: OtlpProtocol::default(),
            otlp_timeout: Duration::from_secs(10),
            traces_exporter: SignalExporter::default(),
            metrics_exporter: SignalExporter::default(),
            logs_exporter: SignalExporter::None,
            traces_sampler: TraceSampler::default(),
            traces_sampler_arg: 1.0,
            span_queue: 2048,
            span_batch: 512,
            span_delay: Duration::from_secs(5),
            log_queue: 2048,
            log_batch: 512,
            log_delay: Duration::from_secs(1),
            metrics_interval: Duration::from_secs(60),
            service_name: "leasehold".to_owned(),
            no_export: false,
            trace_url: None,
            account_traces_url: None,
            metrics_public: false,
        }
    }
}

impl TelemetryConfig {
    /// Checks the options against their limits.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.traces_sampler_arg) {
            return Err(ConfigError::relation(
                "--traces-sampler-arg (OTEL_TRACES_SAMPLER_ARG) is a share from 0 to 1",
            ));
        }
        if !is_queue(self.span_batch, self.span_queue) {
            return Err(ConfigError::relation(
                "--span-batch is at least 1 and at most --span-queue, which is at most 1000000",
            ));
        }
        if !is_queue(self.log_batch, self.log_queue) {
            return Err(ConfigError::relation(
                "--log-batch is at least 1 and at most --log-queue, which is at most 1000000",
            ));
        }
        for (option, time) in [
            ("--span-delay", self.span_delay),
            ("--log-delay", self.log_delay),
            ("--metrics-interval", self.metrics_interval),
            ("--otlp-timeout", self.otlp_timeout),
        ] {
            super::at_least(option, time, Duration::from_millis(10))?;
        }
        let endpoints = [
            &self.otlp_endpoint,
            &self.otlp_traces_endpoint,
            &self.otlp_metrics_endpoint,
            &self.otlp_logs_endpoint,
        ];
        for endpoint in endpoints.into_iter().filter_map(given) {
            if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
                return Err(ConfigError::relation(format!(
                    "--otlp-endpoint must begin with http:// or https://, and is {endpoint:?}"
                )));
            }
        }
        if let Some(template) = self.trace_url() {
            check_template("--trace-url (LEASEHOLD_TRACE_URL)", template, TRACE_PLACE)?;
        }
        if let Some(template) = self.account_traces_url() {
            let option = "--account-traces-url (LEASEHOLD_ACCOUNT_TRACES_URL)";
            check_template(option, template, ACCOUNT_PLACE)?;
        }
        Ok(())
    }

    /// Where one trace is shown, with `{trace}` in it.
    pub fn trace_url(&self) -> Option<&str> {
        given(&self.trace_url)
    }

    /// Where an account's traces are shown, with `{account}` in it.
    pub fn account_traces_url(&self) -> Option<&str> {
        given(&self.account_traces_url)
    }

    /// Whether anything is exported.
    pub fn is_exporting(&self) -> bool {
        self.exports_traces() || self.exports_metrics() || self.exports_logs()
    }

    /// Whether there is where traces go.
    pub fn exports_traces(&self) -> bool {
        !self.no_export
            && self.traces_exporter == SignalExporter::Otlp
            && self.traces_endpoint().is_some()
    }

    /// Whether there is where metrics go.
    pub fn exports_metrics(&self) -> bool {
        !self.no_export
            && self.metrics_exporter == SignalExporter::Otlp
            && self.metrics_endpoint().is_some()
    }

    /// Whether there is where lines of the log go, and they are to go there.
    pub fn exports_logs(&self) -> bool {
        !self.no_export
            && self.logs_exporter == SignalExporter::Otlp
            && self.logs_endpoint().is_some()
    }

    /// Where traces go.
    pub fn traces_endpoint(&self) -> Option<String> {
        self.endpoint(&self.otlp_traces_endpoint, "/v1/traces")
    }

    /// Where metrics go.
    pub fn metrics_endpoint(&self) -> Option<String> {
        self.endpoint(&self.otlp_metrics_endpoint, "/v1/metrics")
    }

    /// Where lines of the log go.
    pub fn logs_endpoint(&self) -> Option<String> {
        self.endpoint(&self.otlp_logs_endpoint, "/v1/logs")
    }

    fn endpoint(&self, own: &Option<String>, path: &str) -> Option<String> {
        let shared = || given(&self.otlp_endpoint);
        match (given(own), self.otlp_protocol) {
            (Some(own), _) => Some(own.to_owned()),
            (None, OtlpProtocol::Grpc) => shared().map(str::to_owned),
            (None, OtlpProtocol::Http) => {
                shared().map(|shared| format!("{}{path}", shared.trim_end_matches('/')))
            }
        }
    }

    /// The sampler in force.
    pub fn sampler(&self) -> Sampler {
        let ratio = || Sampler::TraceIdRatioBased(self.traces_sampler_arg);
        match self.traces_sampler {
            TraceSampler::AlwaysOn => Sampler::AlwaysOn,
            TraceSampler::AlwaysOff => Sampler::AlwaysOff,
            TraceSampler::Ratio => ratio(),
            TraceSampler::ParentOn => Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
            TraceSampler::ParentOff => Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
            TraceSampler::ParentRatio => Sampler::ParentBased(Box::new(ratio())),
        }
    }
}

/// Whether a batch fits into its queue, and the queue into the memory.
fn is_queue(batch: usize, queue: usize) -> bool {
    (1..=queue).contains(&batch) && queue <= 1_000_000
}

/// A template becomes a link of the dashboard: a page of the web, on a host that
/// no id changes, and without a password, since everybody who looks sees it.
fn check_template(option: &str, template: &str, place: &str) -> Result<(), ConfigError> {
    let address = |id: &str| Url::parse(&template.replace(place, id)).ok();
    let is_link = match (address("a"), address("b")) {
        (Some(one), Some(other)) => {
            matches!(one.scheme(), "http" | "https")
                && one != other
                && one.origin() == other.origin()
                && one.username().is_empty()
                && one.password().is_none()
        }
        (Some(_) | None, Some(_) | None) => false,
    };
    if is_link && template.chars().count() <= TEMPLATE_CHARS_MAX {
        return Ok(());
    }
    Err(ConfigError::relation(format!(
        "{option} must be an http:// or https:// address with {place} after the host, without a \
         password and of at most {TEMPLATE_CHARS_MAX} characters, such as \
         http://127.0.0.1:16686/trace/{place}"
    )))
}

/// An empty variable is as good as none.
fn given(endpoint: &Option<String>) -> Option<&str> {
    endpoint
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// OpenTelemetry's variables are bare milliseconds.
fn parse_otel_duration(text: &str) -> Result<Duration, super::duration::ParseDurationError> {
    match text.trim().parse::<u32>() {
        Ok(milliseconds) => Ok(Duration::from_millis(u64::from(milliseconds))),
        Err(_) => parse_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_gets_the_signals_path_and_an_own_endpoint_is_taken_as_it_is() {
        let mut config = TelemetryConfig {
            otlp_endpoint: Some("http://collector:4318/".to_owned()),
            otlp_protocol: OtlpProtocol::Http,
            ..TelemetryConfig::default()
        };
        let traces = config.traces_endpoint();
        assert_eq!(traces.as_deref(), Some("http://collector:4318/v1/traces"));
        config.otlp_traces_endpoint = Some("http://other/x".to_owned());
        assert_eq!(config.traces_endpoint().as_deref(), Some("http://other/x"));
        config.otlp_protocol = OtlpProtocol::Grpc;
        let metrics = config.metrics_endpoint();
        assert_eq!(metrics.as_deref(), Some("http://collector:4318/"));
    }

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        let mut config = TelemetryConfig::default();
        assert!(!config.is_exporting());
        config.otlp_endpoint = Some(" ".to_owned());
        assert!(!config.is_exporting());
        config.otlp_endpoint = Some("http://127.0.0.1:4317".to_owned());
        assert!(config.exports_traces() && config.exports_metrics());
        config.metrics_exporter = SignalExporter::None;
        assert!(config.exports_traces() && !config.exports_metrics());
        assert!(!config.exports_logs(), "they are exported on demand only");
        config.logs_exporter = SignalExporter::Otlp;
        assert!(config.exports_logs());
        config.no_export = true;
        assert!(!config.is_exporting());
    }

    #[test]
    fn links_to_traces_are_pages_of_the_web_on_a_host_that_no_id_changes() {
        let check = |template: &str| {
            let config = TelemetryConfig {
                trace_url: Some(template.to_owned()),
                ..TelemetryConfig::default()
            };
            config.validate().map_err(|error| error.to_string())
        };
        for good in [
            "",
            "http://127.0.0.1:16686/trace/{trace}",
            "https://grafana.example/explore?left={\"traceId\":\"{trace}\"}",
            "https://traces.example/#/{trace}",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "traces.example/{trace}",
            "javascript:alert('{trace}')",
            "https://traces.example/",
            "https://traces.example/{account}",
            "https://{trace}.example/",
            "https://{trace}@traces.example/",
            "https://me:secret@traces.example/{trace}",
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains("--trace-url"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let long = format!("https://traces.example/{{trace}}{}", "x".repeat(2_000));
        assert!(check(&long).is_err());
    }

    #[test]
    fn bare_numbers_are_milliseconds() {
        assert_eq!(parse_otel_duration("250"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_otel_duration("2s"), Ok(Duration::from_secs(2)));
        assert!(parse_otel_duration("soon").is_err());
    }
}
