//! The thread that brings spans, metrics and lines of the log to a collector.
//!
//! It has a runtime of its own, so that neither a busy worker starves it nor a
//! slow collector holds the worker up. Every export ends in its time limit; what
//! a collector does not take is given up and counted, never tried twice by us.
//! The first failure after a success is a line in the log, and so is the first
//! success after a failure.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio_util::sync::CancellationToken;

use super::TelemetryError;
use super::metrics::{self, Fate, Signal};
use super::queue::Batches;
use super::records::Queued;
use crate::config::{OtlpProtocol, TelemetryConfig};

/// What is exported, and how.
pub(super) struct Export {
    pub(super) config: TelemetryConfig,
    pub(super) resource: Resource,
    pub(super) spans: Batches<SpanData>,
    pub(super) records: Batches<Queued>,
    pub(super) metrics: Option<Arc<ManualReader>>,
}

/// The running thread.
pub(super) struct Exporter {
    stop: CancellationToken,
    done: std::sync::mpsc::Receiver<()>,
}

impl Exporter {
    /// Builds the exporters and starts their thread. Nothing is connected yet.
    pub(super) fn start(export: Export) -> Result<Self, TelemetryError> {
        // For HTTPS; another part of the program may have chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // Their clients' tasks belong to this runtime.
        let inside = runtime.enter();
        let exporters = Exporters::build(&export.config, &export.resource)?;
        drop(inside);

        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (ended, done) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || {
                runtime.block_on(exporters.run(export, &stopped));
                // Nobody may be waiting.
                let _ = ended.send(());
                // Connections are not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self { stop, done })
    }

    /// Exports what is queued, and ends; false if that takes longer.
    pub(super) fn end(self, limit: Duration) -> bool {
        self.stop.cancel();
        match self.done.recv_timeout(limit) {
            // Without a message the thread has ended, too.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        }
    }
}

/// An exporter for each signal that is exported.
struct Exporters {
    spans: Option<SpanExporter>,
    metrics: Option<MetricExporter>,
    records: Option<LogExporter>,
}

/// Builds the exporter of one signal: their builders have no trait in common.
macro_rules! exporter {
    ($Exporter:ident, $config:expr, $endpoint:expr) => {
        match $config.otlp_protocol {
            OtlpProtocol::Grpc => $Exporter::builder()
                .with_tonic()
                .with_endpoint($endpoint)
                .with_timeout($config.otlp_timeout)
                .build(),
            OtlpProtocol::Http => $Exporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint($endpoint)
                .with_timeout($config.otlp_timeout)
                .build(),
        }
    };
}

impl Exporters {
    fn build(config: &TelemetryConfig, resource: &Resource) -> Result<Self, ExporterBuildError> {
        let mut spans = match config.traces_endpoint() {
            Some(endpoint) if config.exports_traces() => {
                Some(exporter!(SpanExporter, config, endpoint)?)
            }
            Some(_) | None => None,
        };
        if let Some(exporter) = &mut spans {
            exporter.set_resource(resource);
        }
        let metrics = match config.metrics_endpoint() {
            Some(endpoint) if config.exports_metrics() => {
                Some(exporter!(MetricExporter, config, endpoint)?)
            }
            Some(_) | None => None,
        };
        let mut records = match config.logs_endpoint() {
            Some(endpoint) if config.exports_logs() => {
                Some(exporter!(LogExporter, config, endpoint)?)
            }
            Some(_) | None => None,
        };
        if let Some(exporter) = &mut records {
            exporter.set_resource(resource);
        }
        Ok(Self {
            spans,
            metrics,
            records,
        })
    }

    /// Exports until `stop`, and then what is left.
    async fn run(self, export: Export, stop: &CancellationToken) {
        let Export {
            config,
            spans: queued_spans,
            records: queued_records,
            metrics: reader,
            ..
        } = export;
        let Self {
            spans: to_spans,
            metrics: to_metrics,
            records: to_records,
        } = self;
        let config = &config;
        let timeout = config.otlp_timeout;
        let spans = async {
            if let Some(exporter) = to_spans {
                let send = async |batch| exporter.export(batch).await;
                let (signal, note) = (Signal::Traces, metrics::spans);
                export_queue(signal, queued_spans, timeout, stop, note, send).await;
            }
        };
        let records = async {
            if let Some(exporter) = to_records {
                let send = async |batch: Vec<Queued>| {
                    let lines: Vec<_> = batch.iter().map(|(line, scope)| (line, scope)).collect();
                    exporter.export(LogBatch::new(&lines)).await
                };
                let (signal, note) = (Signal::Logs, metrics::records);
                export_queue(signal, queued_records, timeout, stop, note, send).await;
            }
        };
        let metrics = async {
            if let (Some(exporter), Some(reader)) = (to_metrics, reader) {
                export_metrics(exporter, &reader, config, stop).await;
            }
        };
        tokio::join!(spans, records, metrics);
    }
}

/// Whether a collector takes what it is given, for the log.
struct Health {
    signal: Signal,
    is_failing: bool,
}

impl Health {
    fn of(signal: Signal) -> Self {
        Self {
            signal,
            is_failing: false,
        }
    }

    /// Notes what came of an export; says whether it was taken.
    fn note(&mut self, outcome: Result<OTelSdkResult, tokio::time::error::Elapsed>) -> bool {
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        metrics::export(self.signal, failure.is_none());
        match (&failure, self.is_failing) {
            (Some(error), false) => {
                tracing::warn!(
                    signal = self.signal.as_str(),
                    error,
                    "the collector does not take what it is given; that is dropped and counted"
                );
            }
            (None, true) => {
                tracing::info!(
                    signal = self.signal.as_str(),
                    "the collector takes it again"
                );
            }
            (Some(_), true) | (None, false) => {}
        }
        self.is_failing = failure.is_some();
        failure.is_none()
    }
}

/// Exports what is queued until the end; notes what became of it.
async fn export_queue<T>(
    signal: Signal,
    mut queue: Batches<T>,
    timeout: Duration,
    stop: &CancellationToken,
    note: fn(Fate, u64),
    export: impl AsyncFn(Vec<T>) -> OTelSdkResult,
) {
    let mut health = Health::of(signal);
    loop {
        let batch = queue.next(stop).await;
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let exported = tokio::time::timeout(timeout, export(batch));
        let fate = match health.note(exported.await) {
            true => Fate::Exported,
            false => Fate::Failed,
        };
        note(fate, count);
        if stop.is_cancelled() && health.is_failing {
            // The rest would fare no better, and somebody waits.
            note(Fate::Failed, queue.len() as u64);
            return;
        }
    }
}

async fn export_metrics(
    exporter: MetricExporter,
    reader: &ManualReader,
    config: &TelemetryConfig,
    stop: &CancellationToken,
) {
    let mut health = Health::of(Signal::Metrics);
    loop {
        let is_ending = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = tokio::time::sleep(config.metrics_interval) => false,
        };
        let mut collected = ResourceMetrics::default();
        if reader.collect(&mut collected).is_ok() {
            let export = exporter.export(&collected);
            health.note(tokio::time::timeout(config.otlp_timeout, export).await);
        }
        if is_ending {
            return;
        }
    }
}

/// A reader that the export and the meters share.
#[derive(Debug)]
pub(super) struct SharedReader(pub(super) Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
