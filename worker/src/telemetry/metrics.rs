//! The instruments: one function for each thing that happens.
//!
//! Where nothing is installed, as in tests, nothing is counted. Labels are few
//! and bounded: names of this program's own making, never an account. Counters
//! begin at zero for every label that is known, so that an alert on the first
//! one sees it rise.
//!
//! The names here are OpenTelemetry's; Prometheus sees `leasehold_store_call_duration_seconds`
//! for `leasehold.store.call.duration`.

use std::sync::OnceLock;
use std::time::Duration;

use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::{ClaimReason, ReleaseReason};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider, UpDownCounter};
use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;

use super::SCOPE;
use crate::model::Status;

/// Seconds: answers of a store, of a peer, of this worker.
const CALL_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Seconds: what may take a while, such as a takeover or a message's way out.
const WAIT_SECONDS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 1800.0,
];
/// Seconds that were left before a deadline.
const MARGIN_SECONDS: [f64; 9] = [0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 60.0, 240.0];

/// A signal that is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        }
    }
}

/// What became of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanFate {
    /// A collector has it.
    Exported,
    /// The queue was full.
    Dropped,
    /// The collector did not take it.
    Failed,
}

impl SpanFate {
    const ALL: [SpanFate; 3] = [SpanFate::Exported, SpanFate::Dropped, SpanFate::Failed];

    fn as_str(self) -> &'static str {
        match self {
            SpanFate::Exported => "exported",
            SpanFate::Dropped => "dropped",
            SpanFate::Failed => "failed",
        }
    }
}

/// What became of one attempt to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// The server has it.
    Sent,
    /// It is tried again.
    Retried,
    /// It is given up.
    Failed,
}

impl SendOutcome {
    const ALL: [SendOutcome; 3] = [SendOutcome::Sent, SendOutcome::Retried, SendOutcome::Failed];

    /// The name in traces and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SendOutcome::Sent => "sent",
            SendOutcome::Retried => "retried",
            SendOutcome::Failed => "failed",
        }
    }
}

/// What became of an inbound message.
pub const RECEIVED: [&str; 4] = ["stored", "repeated", "changed", "left_out"];

struct Instruments {
    registry: Registry,
    http_duration: Histogram<f64>,
    http_active: UpDownCounter<i64>,
    store_duration: Histogram<f64>,
    claims: Counter<u64>,
    releases: Counter<u64>,
    losses: Counter<u64>,
    unowned: Histogram<f64>,
    renewals: Histogram<f64>,
    renew_failures: Counter<u64>,
    renew_margin: Histogram<f64>,
    beats: Histogram<f64>,
    beat_failures: Counter<u64>,
    beat_margin: Histogram<f64>,
    fenced_writes: Counter<u64>,
    freezes: Counter<u64>,
    seals: Counter<u64>,
    connects: Counter<u64>,
    connect_duration: Histogram<f64>,
    disconnects: Counter<u64>,
    received: Counter<u64>,
    accepted: Counter<u64>,
    sends: Counter<u64>,
    send_duration: Histogram<f64>,
    outbox_wait: Histogram<f64>,
    receipts: Counter<u64>,
    webhooks: Counter<u64>,
    webhook_duration: Histogram<f64>,
    spans: Counter<u64>,
    exports: Counter<u64>,
}

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// A reader for `/metrics`, and where it shows what it reads.
pub(super) fn prometheus_reader() -> Result<(PrometheusExporter, Registry), OTelSdkError> {
    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        // There is one.
        .scope_info_enabled(false)
        .build()?;
    Ok((reader, registry))
}

/// Makes the instruments; a second call changes nothing.
pub(super) fn install(provider: &SdkMeterProvider, registry: Registry) {
    let made = Instruments::new(&provider.meter(SCOPE), registry);
    if INSTRUMENTS.set(made).is_ok()
        && let Some(instruments) = INSTRUMENTS.get()
    {
        instruments.begin_at_zero();
        super::process::observe(&provider.meter(SCOPE));
        super::gauges::observe(&provider.meter(SCOPE));
    }
}

/// All metrics in Prometheus' text format; empty where nothing is installed.
pub fn text() -> String {
    let families = INSTRUMENTS
        .get()
        .map(|instruments| instruments.registry.gather());
    let encoder = prometheus::TextEncoder::new();
    encoder
        .encode_to_string(&families.unwrap_or_default())
        .unwrap_or_default()
}

impl Instruments {
    fn new(meter: &Meter, registry: Registry) -> Self {
        let count = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        let time = |name: &'static str, what: &'static str, bounds: &[f64]| {
            meter
                .f64_histogram(name)
                .with_description(what)
                .with_unit("s")
                .with_boundaries(bounds.to_vec())
                .build()
        };
        Self {
            registry,
            http_duration: time(
                "http.server.request.duration",
                "Requests to the API, by route and status",
                &CALL_SECONDS,
            ),
            http_active: meter
                .i64_up_down_counter("http.server.active_requests")
                .with_description("Requests under way")
                .build(),
            store_duration: time(
                "leasehold.store.call.duration",
                "Calls of the store, by operation and outcome",
                &CALL_SECONDS,
            ),
            claims: count("leasehold.lease.claims", "Accounts claimed, by reason"),
            releases: count("leasehold.lease.releases", "Accounts given back, by reason"),
            losses: count("leasehold.lease.losses", "Accounts lost, by reason"),
            unowned: time(
                "leasehold.lease.unowned",
                "How long claimed accounts had no owner that could act: the failover time",
                &WAIT_SECONDS,
            ),
            renewals: time(
                "leasehold.lease.renew.duration",
                "Renewals of leases",
                &CALL_SECONDS,
            ),
            renew_failures: count("leasehold.lease.renew.failures", "Renewals that failed"),
            renew_margin: time(
                "leasehold.lease.renew.margin",
                "What was left of a lease when it was renewed",
                &MARGIN_SECONDS,
            ),
            beats: time(
                "leasehold.heartbeat.duration",
                "Heartbeats of the worker session",
                &CALL_SECONDS,
            ),
            beat_failures: count("leasehold.heartbeat.failures", "Heartbeats that failed"),
            beat_margin: time(
                "leasehold.heartbeat.margin",
                "What was left of the session when a heartbeat was acknowledged",
                &MARGIN_SECONDS,
            ),
            fenced_writes: count(
                "leasehold.lease.fenced_writes",
                "Writes refused because another epoch owns the account",
            ),
            freezes: count(
                "leasehold.session.freezes",
                "Times that this worker's session was ended by another",
            ),
            seals: count(
                "leasehold.session.seals",
                "Dead sessions of others that this worker sealed",
            ),
            connects: count(
                "leasehold.connects",
                "Attempts to connect an account, by what came of them",
            ),
            connect_duration: time(
                "leasehold.connect.duration",
                "From an attempt's begin to the connection",
                &WAIT_SECONDS,
            ),
            disconnects: count("leasehold.disconnects", "Ends of connections, by reason"),
            received: count(
                "leasehold.messages.received",
                "Inbound messages, by what was done with them",
            ),
            accepted: count(
                "leasehold.messages.accepted",
                "Messages accepted for sending",
            ),
            sends: count("leasehold.messages.sends", "Attempts to send, by outcome"),
            send_duration: time(
                "leasehold.message.send.duration",
                "One attempt to send, from the first commit to the last",
                &CALL_SECONDS,
            ),
            outbox_wait: time(
                "leasehold.outbox.wait",
                "From the acceptance of a message to the server's acknowledgement",
                &WAIT_SECONDS,
            ),
            receipts: count("leasehold.receipts", "Receipts applied, by state"),
            webhooks: count(
                "leasehold.webhook.deliveries",
                "Attempts to deliver to a webhook, by outcome",
            ),
            webhook_duration: time(
                "leasehold.webhook.delivery.duration",
                "Attempts to deliver to a webhook",
                &CALL_SECONDS,
            ),
            spans: count("leasehold.telemetry.spans", "Spans that ended, by fate"),
            exports: count(
                "leasehold.telemetry.exports",
                "Exports to the collector, by signal and outcome",
            ),
        }
    }

    fn begin_at_zero(&self) {
        for plain in [
            &self.renew_failures,
            &self.beat_failures,
            &self.fenced_writes,
            &self.freezes,
            &self.seals,
            &self.accepted,
        ] {
            plain.add(0, &[]);
        }
        for reason in ClaimReason::ALL {
            self.claims.add(0, &[label("reason", reason.as_str())]);
        }
        for reason in ReleaseReason::ALL {
            self.releases.add(0, &[label("reason", reason.as_str())]);
        }
        for reason in CloseReason::ALL {
            self.losses.add(0, &[label("reason", reason.as_str())]);
        }
        for outcome in SendOutcome::ALL {
            self.sends.add(0, &[label("outcome", outcome.as_str())]);
        }
        for outcome in RECEIVED {
            self.received.add(0, &[label("outcome", outcome)]);
        }
        for fate in SpanFate::ALL {
            self.spans.add(0, &[label("fate", fate.as_str())]);
        }
        for state in ["delivered", "read", "played"] {
            self.receipts.add(0, &[label("state", state)]);
        }
        self.connects
            .add(0, &[label("outcome", Status::Connected.as_str())]);
        for outcome in ["delivered", "failed"] {
            self.webhooks.add(0, &[label("outcome", outcome)]);
        }
    }
}

fn label(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(key, value)
}

fn with(record: impl FnOnce(&Instruments)) {
    if let Some(instruments) = INSTRUMENTS.get() {
        record(instruments);
    }
}

/// A request began.
pub fn http_began() {
    with(|known| known.http_active.add(1, &[]));
}

/// A request was answered.
pub fn http_answered(method: &'static str, route: &str, status: u16, took: Duration) {
    with(|known| {
        known.http_active.add(-1, &[]);
        let labels = [
            label("http.request.method", method),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        known.http_duration.record(took.as_secs_f64(), &labels);
    });
}

/// A request's client went away before the answer.
pub fn http_left() {
    with(|known| known.http_active.add(-1, &[]));
}

/// The store was called.
pub fn store_called(operation: &'static str, outcome: &'static str, took: Duration) {
    with(|known| {
        let labels = [label("operation", operation), label("outcome", outcome)];
        known.store_duration.record(took.as_secs_f64(), &labels);
    });
}

/// An account was claimed.
pub fn claimed(reason: ClaimReason, unowned: Option<Duration>) {
    with(|known| {
        let labels = [label("reason", reason.as_str())];
        known.claims.add(1, &labels);
        if let Some(unowned) = unowned {
            known.unowned.record(unowned.as_secs_f64(), &labels);
        }
    });
}

/// An account was given back.
pub fn released(reason: ReleaseReason) {
    with(|known| {
        known.releases.add(1, &[label("reason", reason.as_str())]);
    });
}

/// An account was lost.
pub fn lost(reason: CloseReason) {
    with(|known| known.losses.add(1, &[label("reason", reason.as_str())]));
}

/// A lease was renewed.
pub fn renewed(took: Duration, margin: Duration) {
    with(|known| {
        known.renewals.record(took.as_secs_f64(), &[]);
        known.renew_margin.record(margin.as_secs_f64(), &[]);
    });
}

/// A renewal failed.
pub fn renew_failed() {
    with(|known| known.renew_failures.add(1, &[]));
}

/// A heartbeat was acknowledged.
pub fn beat(took: Duration, margin: Duration) {
    with(|known| {
        known.beats.record(took.as_secs_f64(), &[]);
        known.beat_margin.record(margin.as_secs_f64(), &[]);
    });
}

/// A heartbeat failed.
pub fn beat_failed() {
    with(|known| known.beat_failures.add(1, &[]));
}

/// A write was fenced.
pub fn fenced() {
    with(|known| known.fenced_writes.add(1, &[]));
}

/// This worker's session was ended by another.
pub fn frozen() {
    with(|known| known.freezes.add(1, &[]));
}

/// This worker sealed a dead session.
pub fn sealed() {
    with(|known| known.seals.add(1, &[]));
}

/// An attempt to connect came to an end: the status that followed.
pub fn connect_ended(status: Status, took: Duration) {
    with(|known| {
        let labels = [label("outcome", status.as_str())];
        known.connects.add(1, &labels);
        if status == Status::Connected {
            known.connect_duration.record(took.as_secs_f64(), &[]);
        }
    });
}

/// A connection ended.
pub fn disconnected(reason: &'static str) {
    with(|known| known.disconnects.add(1, &[label("reason", reason)]));
}

/// An inbound message was dealt with; `outcome` is one of [`RECEIVED`].
pub fn received(outcome: &'static str) {
    with(|known| known.received.add(1, &[label("outcome", outcome)]));
}

/// A message was accepted.
pub fn accepted() {
    with(|known| known.accepted.add(1, &[]));
}

/// An attempt to send ended.
pub fn sent(outcome: SendOutcome, took: Duration) {
    with(|known| {
        let labels = [label("outcome", outcome.as_str())];
        known.sends.add(1, &labels);
        known.send_duration.record(took.as_secs_f64(), &labels);
    });
}

/// The server acknowledged a message that was accepted so long ago.
pub fn acknowledged(after: Duration) {
    with(|known| known.outbox_wait.record(after.as_secs_f64(), &[]));
}

/// A receipt was applied.
pub fn receipt(state: &'static str) {
    with(|known| known.receipts.add(1, &[label("state", state)]));
}

/// An attempt to deliver to a webhook ended.
pub fn webhook_delivered(is_delivered: bool, took: Duration) {
    with(|known| {
        let outcome = if is_delivered { "delivered" } else { "failed" };
        let labels = [label("outcome", outcome)];
        known.webhooks.add(1, &labels);
        known.webhook_duration.record(took.as_secs_f64(), &labels);
    });
}

/// Spans came to an end.
pub fn spans(fate: SpanFate, count: u64) {
    with(|known| known.spans.add(count, &[label("fate", fate.as_str())]));
}

/// An export came to an end.
pub fn export(signal: Signal, is_taken: bool) {
    with(|known| {
        let outcome = if is_taken { "taken" } else { "failed" };
        let labels = [label("signal", signal.as_str()), label("outcome", outcome)];
        known.exports.add(1, &labels);
    });
}
