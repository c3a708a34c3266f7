//! An OTLP receiver for tests: the real services over gRPC and HTTP, on free
//! ports, that remember what they were given.
//!
//! | Module | Holds |
//! |---|---|
//! | [`span`] | a span as tests look at it |
//! | [`line`] | a line of the log as tests look at it |
//! | [`tree`] | the spans of one trace, as a tree for people |
//! | `service` | the two ways in |
//!
//! A collector can also be rude: [`Manner`] says how.

pub mod line;
mod service;
pub mod span;
pub mod tree;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::line::Line;
use self::span::Span;

/// How a collector behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// It takes everything.
    #[default]
    Taking,
    /// It refuses everything.
    Refusing,
    /// It never answers.
    Silent,
}

/// A running collector; dropped, it is gone.
pub struct Collector {
    grpc: SocketAddr,
    http: SocketAddr,
    received: Arc<Received>,
    // They end with it.
    _tasks: JoinSet<()>,
}

/// What was received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    manner: Mutex<Manner>,
    spans: Mutex<Vec<Span>>,
    lines: Mutex<Vec<Line>>,
    /// Points by the metric's name.
    metrics: Mutex<BTreeMap<String, u64>>,
    /// Everything, as text, to search in.
    text: Mutex<String>,
    calls: AtomicU64,
}

impl Collector {
    /// Starts one that takes everything.
    ///
    /// # Errors
    /// No port.
    pub async fn start() -> Result<Self> {
        Self::with_manner(Manner::Taking).await
    }

    /// Starts one that behaves so.
    ///
    /// # Errors
    /// No port.
    pub async fn with_manner(manner: Manner) -> Result<Self> {
        let received = Arc::new(Received::default());
        *received.manner.lock() = manner;
        let grpc = TcpListener::bind("127.0.0.1:0").await?;
        let http = TcpListener::bind("127.0.0.1:0").await?;
        let addresses = (grpc.local_addr()?, http.local_addr()?);
        let mut tasks = JoinSet::new();
        tasks.spawn(service::grpc(grpc, Arc::clone(&received)));
        tasks.spawn(service::http(http, Arc::clone(&received)));
        Ok(Self {
            grpc: addresses.0,
            http: addresses.1,
            received,
            _tasks: tasks,
        })
    }

    /// The endpoint for gRPC.
    pub fn grpc(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The endpoint for HTTP.
    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Behaves otherwise from now on.
    pub fn behave(&self, manner: Manner) {
        *self.received.manner.lock() = manner;
    }

    /// All spans, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().clone()
    }

    /// All lines of logs, in the order in which they came.
    pub fn lines(&self) -> Vec<Line> {
        self.received.lines.lock().clone()
    }

    /// How many points there were, by the metric's name.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.received.metrics.lock().clone()
    }

    /// Everything that came, as text.
    pub fn text(&self) -> String {
        self.received.text.lock().clone()
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.received.calls.load(Ordering::Relaxed)
    }
}

impl Received {
    /// Notes a call; says how to behave.
    fn called(&self) -> Manner {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *self.manner.lock()
    }

    fn take_spans(&self, request: &ExportTraceServiceRequest) {
        self.note(&format!("{request:?}"));
        self.spans.lock().extend(span::read(request));
    }

    fn take_lines(&self, request: &ExportLogsServiceRequest) {
        self.note(&format!("{request:?}"));
        self.lines.lock().extend(line::read(request));
    }

    fn take_metrics(&self, request: &ExportMetricsServiceRequest) {
        self.note(&format!("{request:?}"));
        let mut metrics = self.metrics.lock();
        for resource in &request.resource_metrics {
            for scope in &resource.scope_metrics {
                for metric in &scope.metrics {
                    *metrics.entry(metric.name.clone()).or_default() += points(metric);
                }
            }
        }
    }

    fn note(&self, text: &str) {
        let mut all = self.text.lock();
        all.push_str(text);
        all.push('\n');
    }
}

/// The series of a metric.
fn points(metric: &opentelemetry_proto::tonic::metrics::v1::Metric) -> u64 {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let count = match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    count as u64
}
