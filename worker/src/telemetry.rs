//! What the worker tells of itself: logs, traces and metrics.
//!
//! | Module | Holds |
//! |---|---|
//! | [`logs`] | lines on standard error, with the ids of their trace |
//! | [`resource`] | who tells it: the worker, its process, its pod |
//! | [`records`] | the same lines as records for a collector |
//! | [`spans`] | which spans are exported: sampling, errors, what is kept for them |
//! | [`queue`] | a bounded queue, read in batches |
//! | [`export`] | the thread that brings what is queued to a collector |
//! | [`propagation`] | trace contexts, in and out of the process |
//! | [`leases`] | what the coordinator tells |
//! | [`store`] | every call of the store, timed |
//! | [`metrics`] | the instruments, one function for each thing that happens |
//! | [`gauges`] | what is looked at when somebody reads the metrics |
//! | [`process`] | memory, time, files and threads of this process |
//!
//! Nothing here holds the work up: what cannot be queued is dropped and counted,
//! export has a thread, a runtime and time limits of its own, and without a
//! collector there is no queue at all. Names of spans and metrics are listed in
//! `k8s/observability/README.md`.
//!
//! No span, metric or line carries a message text, a phone number or a key, and
//! no metric an account's id: there may be many.

pub mod export;
pub mod gauges;
pub mod leases;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod propagation;
mod queue;
pub mod records;
pub mod resource;
pub mod spans;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use self::export::{Export, Exporter, SharedReader};
pub use self::logs::parse_filter;
use crate::config::{LogConfig, TelemetryConfig};

/// What is still queued at the end has this long to reach the collector.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// The name under which spans and metrics are made.
const SCOPE: &str = "leasehold";

/// Why there is no telemetry as it was asked for.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The exporter cannot be built from the options.
    #[error("OpenTelemetry export: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The metrics cannot be shown.
    #[error("metrics: {0}")]
    Metrics(String),
    /// The machine has no thread for the export.
    #[error("no thread for the export: {0}")]
    Thread(#[from] std::io::Error),
}

/// The process's telemetry, as long as it is held.
pub struct Telemetry {
    exporter: Option<Exporter>,
    // They end what they provide when they are dropped.
    _traces: Option<SdkTracerProvider>,
    _logs: Option<SdkLoggerProvider>,
    _metrics: SdkMeterProvider,
}

/// Installs logs, traces and metrics for the whole process; what a first call
/// has installed a second one does not change.
///
/// # Errors
/// [`TelemetryError`]; a collector that does not answer is none.
pub fn install(
    log: &LogConfig,
    config: &TelemetryConfig,
    worker: &str,
) -> Result<Telemetry, TelemetryError> {
    let resource = resource::detect(config, worker);
    let reader = Arc::new(opentelemetry_sdk::metrics::ManualReader::default());
    let (prometheus, registry) =
        metrics::prometheus_reader().map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    let mut meters = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(prometheus);
    if config.exports_metrics() {
        meters = meters.with_reader(SharedReader(Arc::clone(&reader)));
    }
    let meters = meters.build();
    metrics::install(&meters, registry);

    let (queue, spans) = spans::queue(config);
    let (lines, records) = records::queue(config);
    let exporter = if config.is_exporting() {
        Some(Exporter::start(Export {
            config: config.clone(),
            resource: resource.clone(),
            spans,
            records,
            metrics: config.exports_metrics().then_some(reader),
        })?)
    } else {
        None
    };
    let traces = config.exports_traces().then(|| {
        SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(spans::KeepErrors::new(config.sampler()))
            .with_span_processor(queue)
            .build()
    });
    let traced = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            // The tracing span says which is current; nothing else asks.
            .with_context_activation(false)
            .with_filter(spans::ours())
            .boxed()
    });
    let logs = config.exports_logs().then(|| {
        SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(lines)
            .build()
    });
    let recorded = logs.as_ref().map(|provider| records::layer(provider, log));
    let subscriber = subscriber([traced, Some(logs::layer(log)), recorded]);
    // `try_init` would bring in the `log` facade, which the engine writes to.
    if set_global_default(subscriber).is_err() {
        tracing::debug!("a subscriber is already installed");
    }
    coordinator_lib::observer::install(leases::Leases);
    Ok(Telemetry {
        exporter,
        _traces: traces,
        _logs: logs,
        _metrics: meters,
    })
}

/// The layers that there are. One that is missing must not be a layer, too: it
/// would have no filter, and each span of the engine's would be made for it.
fn subscriber(
    layers: [Option<Box<dyn Layer<Registry> + Send + Sync>>; 3],
) -> impl Subscriber + Send + Sync {
    let layers: Vec<_> = layers.into_iter().flatten().collect();
    Registry::default().with(layers)
}

impl Telemetry {
    /// Ends the export: what is queued is sent, if that is possible soon.
    pub fn end(self) {
        if let Some(exporter) = self.exporter
            && !exporter.end(FLUSH_LIMIT)
        {
            tracing::debug!("not everything reached the collector");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_nobody_asked_for_is_not_made() {
        let provider = SdkTracerProvider::default();
        let traced = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SCOPE))
            .with_filter(spans::ours())
            .boxed();
        let lines = || Some(logs::layer(&LogConfig::default()));
        for layers in [[None, lines(), None], [Some(traced), lines(), None]] {
            tracing::subscriber::with_default(subscriber(layers), || {
                let ours = tracing::info_span!(target: "worker::http", "request");
                let engines = tracing::info_span!(target: "whatsapp_rust::client", "conn");
                let detail = tracing::debug_span!(target: "whatsapp_rust::client", "frame");
                assert!(!ours.is_disabled());
                assert!(engines.is_disabled() && detail.is_disabled());
            });
        }
    }
}
