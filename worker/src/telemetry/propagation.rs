//! Trace contexts, in and out of the process, as W3C `traceparent`s: in headers
//! of requests, in documents that others go on with, in events.
//!
//! Nothing else travels: no baggage, no vendor's state. What is not a context is
//! none, and a trace begins anew there.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header, and the name in documents.
pub const TRACEPARENT: &str = "traceparent";

/// The context of the present span, where that is traced.
pub fn current() -> Option<String> {
    of(&Span::current())
}

/// The context of a span, where that is traced.
pub fn of(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// What becomes of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// It is part of a trace that is exported.
    Kept,
    /// It is part of a trace that the sampler left out: exported if it fails.
    LeftOut,
    /// It is shown in the log at most.
    No,
}

/// What becomes of a span.
pub fn traced(span: &Span) -> Traced {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    match (context.is_valid(), context.is_sampled()) {
        (true, true) => Traced::Kept,
        (true, false) => Traced::LeftOut,
        (false, _) => Traced::No,
    }
}

/// Makes a span that has just been opened part of the trace of a `traceparent`.
pub fn continues(span: &Span, traceparent: Option<&str>) {
    let Some(context) = traceparent.and_then(parse) else {
        return;
    };
    if let Err(error) = span.set_parent(Context::new().with_remote_span_context(context)) {
        tracing::trace!(%error, "a span begins a trace of its own");
    }
}

/// Notes that a span goes on with what was done under a `traceparent`, in a
/// trace of its own.
pub fn links(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        span.add_link(context);
    }
}

/// The trace of a `traceparent`: 32 hexadecimal digits.
pub fn trace_id(traceparent: &str) -> Option<String> {
    parse(traceparent).map(|context| context.trace_id().to_string())
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_context_is_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(good).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        let trace = trace_id(good);
        assert_eq!(trace.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-zzf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_is_traced_without_a_layer() {
        assert_eq!(current(), None);
        assert_eq!(traced(&tracing::info_span!("x")), Traced::No);
    }
}
