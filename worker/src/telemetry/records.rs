//! Lines as log records for a collector: the same lines as on standard error,
//! by the same filter, each with the ids of its trace.
//!
//! The queue is bounded and never waited for. Of the spans around a line only
//! the named fields go along: a span of the engine's may hold a number.

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LogRecord;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_appender_tracing::layer::{OpenTelemetryTracingBridge, TracingSpanAttributes};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use tracing::{Subscriber, dispatcher};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::logs::parse_filter;
use super::metrics::{self, Fate};
use super::queue::{Batches, Sender, bounded};
use crate::config::{LogConfig, TelemetryConfig};

/// Fields of spans that a record has, too: whose line it is.
const SPAN_FIELDS: [&str; 3] = ["account.id", "lease.epoch", "message.id"];

/// A record, and who made it.
pub(super) type Queued = (SdkLogRecord, InstrumentationScope);

/// The queue's two ends.
pub(super) fn queue(config: &TelemetryConfig) -> (RecordQueue, Batches<Queued>) {
    let (sender, batches) = bounded(config.log_queue, config.log_batch, config.log_delay);
    (RecordQueue(sender), batches)
}

/// The lines, as a layer with the filter of the log.
pub(super) fn layer<S>(
    provider: &SdkLoggerProvider,
    config: &LogConfig,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    // The text was validated with the configuration; a level is a safe rest.
    let filter = parse_filter(&config.log_filter).unwrap_or_else(|_| EnvFilter::new("worker=info"));
    OpenTelemetryTracingBridge::builder(provider)
        .with_tracing_span_attributes(TracingSpanAttributes::allowlist(SPAN_FIELDS))
        .build()
        .with_filter(filter)
        .boxed()
}

/// Queues records.
#[derive(Debug)]
pub(super) struct RecordQueue(Sender<Queued>);

impl LogProcessor for RecordQueue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        // The tracing span says which is current; nothing else knows.
        let context = dispatcher::get_default(|dispatch| {
            let span = dispatch.current_span();
            get_otel_context(span.id()?, dispatch)
        });
        if let Some(context) = context
            && context.span().span_context().is_valid()
        {
            let context = context.span().span_context().clone();
            record.set_trace_context(
                context.trace_id(),
                context.span_id(),
                Some(context.trace_flags()),
            );
        }
        if !self.0.offer((record.clone(), scope.clone()), 0) {
            metrics::records(Fate::Dropped, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // The exporter's end flushes; nobody is to wait for more.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::{AnyValue, Severity};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The records of some lines, of ours and of the engine's.
    fn recorded(filter: &str, places: usize) -> Vec<SdkLogRecord> {
        let config = TelemetryConfig {
            log_queue: places,
            ..TelemetryConfig::default()
        };
        let (queue, mut records) = queue(&config);
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(queue)
            .build();
        let log = LogConfig {
            log_filter: filter.to_owned(),
            ..LogConfig::default()
        };
        let subscriber = tracing_subscriber::registry().with(layer(&provider, &log));
        tracing::subscriber::with_default(subscriber, || {
            let account = tracing::info_span!(target: "worker::supervisor", "account", account.id = "a-1", pn = "491700000001");
            let _account = account.enter();
            tracing::info!(target: "worker::account::task", "ours");
            let engine = tracing::error_span!(target: "whatsapp_rust::client", "conn", message.id = "491700000001");
            engine.in_scope(|| tracing::warn!(target: "worker::app", "inside"));
            tracing::error!(target: "whatsapp_rust::pair", "canary 491700000001");
            tracing::debug!(target: "worker::app", "detail");
        });
        let records = records.now().into_iter();
        records.map(|(record, _)| record).collect()
    }

    #[test]
    fn a_record_is_a_line_with_its_accounts_id_and_nothing_of_the_engines() {
        let records = recorded("info", 16);
        let bodies: Vec<_> = records.iter().filter_map(SdkLogRecord::body).collect();
        let text = |text: &'static str| AnyValue::from(text);
        assert_eq!(bodies, [&text("ours"), &text("inside")]);
        assert_eq!(records[0].severity_number(), Some(Severity::Info));
        for record in &records {
            let is_of = record
                .attributes_iter()
                .any(|(key, value)| key.as_str() == "account.id" && *value == text("a-1"));
            assert!(is_of, "{record:?}");
            assert!(!format!("{record:?}").contains("49170"), "{record:?}");
        }
        assert_eq!(recorded("debug", 16).len(), 3);
    }

    #[test]
    fn a_full_queue_drops() {
        assert_eq!(recorded("debug", 1).len(), 1);
    }
}
