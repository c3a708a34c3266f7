//! A line of a log as tests look at it: ids as hex, attributes as texts.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::span::{attributes, hex, text};

/// A line that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The worker that wrote it: `service.instance.id`.
    pub worker: String,
    /// `INFO`, `WARN`, …
    pub level: String,
    /// What it says.
    pub body: String,
    /// Its fields, and those of the spans around it that are exported.
    pub attributes: BTreeMap<String, String>,
    /// The trace that it belongs to; empty if to none.
    pub trace: String,
    /// The span.
    pub span: String,
}

pub(crate) fn read(request: &ExportLogsServiceRequest) -> Vec<Line> {
    let mut lines = Vec::new();
    for group in &request.resource_logs {
        let resource = group.resource.as_ref();
        let resource = attributes(resource.map_or(&[][..], |resource| &resource.attributes));
        let worker = resource.get("service.instance.id").cloned();
        let worker = worker.unwrap_or_default();
        for record in group.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            lines.push(one(record, &worker));
        }
    }
    lines
}

fn one(record: &LogRecord, worker: &str) -> Line {
    Line {
        worker: worker.to_owned(),
        level: record.severity_text.clone(),
        body: text(record.body.as_ref()),
        attributes: attributes(&record.attributes),
        trace: hex(&record.trace_id),
        span: hex(&record.span_id),
    }
}
