//! Which spans are exported: sampling, errors, and the queue between.
//!
//! A trace that the sampler leaves out is recorded all the same, so that a span
//! of it that failed can be exported: [`KeepErrors`] records, [`SpanQueue`]
//! decides when the span has ended. (All other spans of such a trace are the
//! business of the collector's tail sampling.)
//!
//! The queue is bounded and never waited for. Its last part is for errors only:
//! in a flood they are what is worth keeping.

use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, Status, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, ShouldSample, Span, SpanData, SpanProcessor,
};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::Filter;

use super::logs::OWN_TARGETS;
use super::metrics::{self, Fate};
use super::queue::{Batches, Sender, bounded};
use crate::config::TelemetryConfig;

/// One part in so many of the queue is kept for errors.
const ERROR_SHARE: usize = 8;

/// The account's span, which lasts as long as it is owned: it names the account
/// in lines, and would hold every trace below it open.
const LASTING: &str = "account";

/// Spans and events of this project's crates. The engine's carry numbers.
pub(super) fn ours<S: Subscriber>() -> impl Filter<S> + Send + Sync {
    FilterFn::new(|metadata: &Metadata<'_>| {
        let is_lasting = metadata.is_span() && metadata.name() == LASTING;
        *metadata.level() <= Level::INFO && is_own(metadata.target()) && !is_lasting
    })
    // The engine's many spans of lower levels are then not even asked about.
    .with_max_level_hint(LevelFilter::INFO)
}

fn is_own(target: &str) -> bool {
    OWN_TARGETS.iter().any(|own| {
        target
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

/// Notes that what a span stands for has failed, in its field
/// `otel.status_code`: it is exported whatever the sampler says.
pub fn failed(span: &tracing::Span) {
    span.record("otel.status_code", "ERROR");
}

/// Records what another sampler leaves out, unsampled.
#[derive(Debug, Clone)]
pub struct KeepErrors(Sampler);

impl KeepErrors {
    /// Around the sampler in force.
    pub fn new(sampler: Sampler) -> Self {
        Self(sampler)
    }
}

impl ShouldSample for KeepErrors {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self
            .0
            .should_sample(parent, trace, name, kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}

/// The queue's two ends.
pub(super) fn queue(config: &TelemetryConfig) -> (SpanQueue, Batches<SpanData>) {
    let (sender, batches) = bounded(config.span_queue, config.span_batch, config.span_delay);
    let reserve = config.span_queue / ERROR_SHARE;
    (SpanQueue { sender, reserve }, batches)
}

/// Queues spans that have ended.
#[derive(Debug)]
pub struct SpanQueue {
    sender: Sender<SpanData>,
    /// Places for errors only.
    reserve: usize,
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {
        // Nothing is known of it yet.
    }

    fn on_end(&self, span: SpanData) {
        let is_error = matches!(span.status, Status::Error { .. });
        if !is_error && !span.span_context.is_sampled() {
            return;
        }
        let kept = if is_error { 0 } else { self.reserve };
        if !self.sender.offer(span, kept) {
            metrics::spans(Fate::Dropped, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // The exporter's end flushes; nobody is to wait for more.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
fn provider(
    sampler: Sampler,
    config: &TelemetryConfig,
) -> (
    opentelemetry_sdk::trace::SdkTracerProvider,
    Batches<SpanData>,
) {
    let (queue, spans) = queue(config);
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_sampler(KeepErrors::new(sampler))
        .with_span_processor(queue)
        .build();
    (provider, spans)
}

/// For tests: what a thread would export, as long as this is held.
#[cfg(test)]
pub(crate) struct Exported {
    spans: Batches<SpanData>,
    _default: tracing::subscriber::DefaultGuard,
}

#[cfg(test)]
impl Exported {
    pub(crate) fn by(sampler: Sampler) -> Self {
        use opentelemetry::trace::TracerProvider as _;
        use tracing_subscriber::Layer as _;
        use tracing_subscriber::layer::SubscriberExt as _;

        let (provider, spans) = provider(sampler, &TelemetryConfig::default());
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("test"))
            .with_filter(ours());
        let subscriber = tracing_subscriber::registry().with(layer);
        Self {
            spans,
            _default: tracing::subscriber::set_default(subscriber),
        }
    }

    /// What was exported since the last time: names, with `!` where it failed.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let spans = self.spans.now().into_iter();
        spans
            .map(|span| match span.status {
                Status::Error { .. } => format!("{}!", span.name),
                Status::Ok | Status::Unset => span.name.into_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    fn world(sampler: Sampler, places: usize) -> (SdkTracerProvider, Batches<SpanData>) {
        let config = TelemetryConfig {
            span_queue: places,
            ..TelemetryConfig::default()
        };
        provider(sampler, &config)
    }

    fn end(provider: &SdkTracerProvider, name: &'static str, status: Status) {
        let mut span = provider.tracer("test").start(name);
        span.set_status(status);
        span.end();
    }

    fn queued(spans: &mut Batches<SpanData>) -> Vec<String> {
        spans
            .now()
            .into_iter()
            .map(|span| span.name.into_owned())
            .collect()
    }

    #[test]
    fn what_is_not_sampled_is_exported_if_it_failed() {
        let (provider, mut spans) = world(Sampler::AlwaysOff, 64);
        end(&provider, "good", Status::Ok);
        end(&provider, "bad", Status::error("broken"));
        assert_eq!(queued(&mut spans), ["bad"]);
    }

    #[test]
    fn a_full_queue_drops_and_its_last_places_are_for_errors() {
        let (provider, mut spans) = world(Sampler::AlwaysOn, 16);
        for _ in 0..100 {
            end(&provider, "good", Status::Ok);
        }
        for _ in 0..100 {
            end(&provider, "bad", Status::error("broken"));
        }
        let names = queued(&mut spans);
        assert_eq!(names.iter().filter(|name| *name == "good").count(), 14);
        assert_eq!(names.iter().filter(|name| *name == "bad").count(), 2);
    }

    #[test]
    fn only_our_own_targets_are_traced() {
        for own in ["worker", "worker::http", "whatsapp::engine"] {
            assert!(is_own(own), "{own}");
        }
        for other in ["whatsapp_rust::client", "workers", "h2", ""] {
            assert!(!is_own(other), "{other}");
        }
    }
}
