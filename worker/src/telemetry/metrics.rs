//! The instruments: one function for each thing that happens.
//!
//! Where nothing is installed, as in tests, nothing is counted. Labels are few
//! and bounded: names of this program's own making, never an account. Counters
//! begin at zero for every label that is known, so that an alert on the first
//! one sees it rise.
//!
//! The names here are OpenTelemetry's; Prometheus sees `leasehold_store_call_duration_seconds`
//! for `leasehold.store.call.duration`.

mod instruments;

use std::sync::OnceLock;
use std::time::Duration;

use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::{ClaimReason, ReleaseReason};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;

use self::instruments::Instruments;
use super::SCOPE;
use crate::model::{KeptState, Status};

/// A signal that is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Lines of the log.
    Logs,
}

impl Signal {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

/// What became of a span or a line on its way to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A collector has it.
    Exported,
    /// The queue was full.
    Dropped,
    /// The collector did not take it.
    Failed,
}

impl Fate {
    const ALL: [Fate; 3] = [Fate::Exported, Fate::Dropped, Fate::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Fate::Exported => "exported",
            Fate::Dropped => "dropped",
            Fate::Failed => "failed",
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

/// The outcome of an attempt to keep a received file that is made again; the
/// others are [`KeptState`]s.
const FILE_RETRIED: &str = "retried";

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

/// It is decided what becomes of a received file, which has so many bytes in
/// the media store.
pub fn file_settled(state: KeptState, bytes: u64) {
    with(|known| {
        known.files.add(1, &[label("outcome", state.as_str())]);
        if state == KeptState::Kept {
            known.file_bytes.add(bytes, &[]);
        }
    });
}

/// An attempt to keep a received file came to nothing, and is made again.
pub fn file_retried() {
    with(|known| known.files.add(1, &[label("outcome", FILE_RETRIED)]));
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

/// An event was given up for a webhook.
pub fn webhook_gave_up() {
    with(|known| known.dead_letters.add(1, &[]));
}

/// Spans came to an end.
pub fn spans(fate: Fate, count: u64) {
    with(|known| known.spans.add(count, &[label("fate", fate.as_str())]));
}

/// Lines of the log that are exported came to an end.
pub fn records(fate: Fate, count: u64) {
    with(|known| known.records.add(count, &[label("fate", fate.as_str())]));
}

/// An export came to an end.
pub fn export(signal: Signal, is_taken: bool) {
    with(|known| {
        let outcome = if is_taken { "taken" } else { "failed" };
        let labels = [label("signal", signal.as_str()), label("outcome", outcome)];
        known.exports.add(1, &labels);
    });
}
