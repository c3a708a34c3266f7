//! A span as tests look at it: ids as hex, attributes as texts.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Wire;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// A span that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The worker that made it: `service.instance.id`.
    pub worker: String,
    /// Everything else that is known of the worker.
    pub resource: BTreeMap<String, String>,
    /// Its trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span above it; empty at the root.
    pub parent: String,
    /// What it is.
    pub name: String,
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
    /// Spans that it goes on from: trace and id.
    pub links: Vec<(String, String)>,
    /// It failed.
    pub is_error: bool,
    /// When it began, since 1970.
    pub began: Duration,
    /// How long it lasted.
    pub took: Duration,
}

impl Span {
    /// An attribute; empty where there is none.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

pub(crate) fn read(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in &request.resource_spans {
        let resource = group.resource.as_ref();
        let resource = attributes(resource.map_or(&[][..], |resource| &resource.attributes));
        for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
            spans.push(one(span, &resource));
        }
    }
    spans
}

fn one(span: &Wire, resource: &BTreeMap<String, String>) -> Span {
    let status = span.status.as_ref().map(|status| status.code);
    Span {
        worker: resource
            .get("service.instance.id")
            .cloned()
            .unwrap_or_default(),
        resource: resource.clone(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        attributes: attributes(&span.attributes),
        links: span
            .links
            .iter()
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        is_error: status == Some(StatusCode::Error as i32),
        began: Duration::from_nanos(span.start_time_unix_nano),
        took: Duration::from_nanos(
            span.end_time_unix_nano
                .saturating_sub(span.start_time_unix_nano),
        ),
    }
}

pub(crate) fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref())))
        .collect()
}

pub(crate) fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
