//! Trace contexts, in and out of the process, as W3C `traceparent`s: in headers
//! of requests, in documents that others go on with, in events.
//!
//! Nothing else travels: no baggage, no vendor's state. What is not a context is
//! none, and a trace begins anew there.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header, and the name in documents.
pub const TRACEPARENT: &str = "traceparent";

/// The context of the present span as a `traceparent`, where that is traced.
pub fn current() -> Option<String> {
    of(&Span::current())
}

/// The context of a span as a `traceparent`, where that is traced.
pub fn of(span: &Span) -> Option<String> {
    traceparent(&context(span))
}

/// The context of a span; an invalid one where that is not traced.
pub fn context(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

/// A valid context as a `traceparent`.
pub fn traceparent(context: &SpanContext) -> Option<String> {
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    context
        .is_valid()
        .then(|| format!("00-{trace}-{span}-{flags:02x}"))
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

/// What becomes of the span of a context.
pub fn traced(context: &SpanContext) -> Traced {
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
    let context = TraceContextPropagator::new().extract(&Read(traceparent));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// A carrier of one `traceparent`.
struct Read<'a>(&'a str);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_context_is_none() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse(good).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(traceparent(&context).as_deref(), Some(good));
        let left_out = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let context = parse(left_out).unwrap();
        assert_eq!(traceparent(&context).as_deref(), Some(left_out));
        assert_eq!(traced(&context), Traced::LeftOut);
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
        let context = context(&tracing::info_span!("x"));
        assert_eq!(traced(&context), Traced::No);
        assert_eq!(traceparent(&context), None);
    }
}
