//! The instruments themselves: names, units, descriptions, boundaries.

use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::{ClaimReason, ReleaseReason};
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use prometheus::Registry;

use super::{FILE_RETRIED, Fate, RECEIVED, SendOutcome, label};
use crate::model::{KeptState, Status};

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

/// Every instrument, and where `/metrics` reads them.
pub(super) struct Instruments {
    pub(super) registry: Registry,
    pub(super) http_duration: Histogram<f64>,
    pub(super) http_active: UpDownCounter<i64>,
    pub(super) store_duration: Histogram<f64>,
    pub(super) claims: Counter<u64>,
    pub(super) releases: Counter<u64>,
    pub(super) losses: Counter<u64>,
    pub(super) unowned: Histogram<f64>,
    pub(super) renewals: Histogram<f64>,
    pub(super) renew_failures: Counter<u64>,
    pub(super) renew_margin: Histogram<f64>,
    pub(super) beats: Histogram<f64>,
    pub(super) beat_failures: Counter<u64>,
    pub(super) beat_margin: Histogram<f64>,
    pub(super) fenced_writes: Counter<u64>,
    pub(super) freezes: Counter<u64>,
    pub(super) seals: Counter<u64>,
    pub(super) connects: Counter<u64>,
    pub(super) connect_duration: Histogram<f64>,
    pub(super) disconnects: Counter<u64>,
    pub(super) received: Counter<u64>,
    pub(super) files: Counter<u64>,
    pub(super) file_bytes: Counter<u64>,
    pub(super) accepted: Counter<u64>,
    pub(super) sends: Counter<u64>,
    pub(super) send_duration: Histogram<f64>,
    pub(super) outbox_wait: Histogram<f64>,
    pub(super) receipts: Counter<u64>,
    pub(super) webhooks: Counter<u64>,
    pub(super) webhook_duration: Histogram<f64>,
    pub(super) dead_letters: Counter<u64>,
    pub(super) spans: Counter<u64>,
    pub(super) records: Counter<u64>,
    pub(super) exports: Counter<u64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter, registry: Registry) -> Self {
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
            files: count(
                "leasehold.media.received",
                "Attempts to keep received files, by outcome",
            ),
            file_bytes: count(
                "leasehold.media.received.bytes",
                "Bytes of received files that were put into the media store",
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
            dead_letters: count(
                "leasehold.webhook.dead_letters",
                "Events that were given up for a webhook",
            ),
            spans: count("leasehold.telemetry.spans", "Spans that ended, by fate"),
            records: count(
                "leasehold.telemetry.records",
                "Lines of the log for the collector, by fate",
            ),
            exports: count(
                "leasehold.telemetry.exports",
                "Exports to the collector, by signal and outcome",
            ),
        }
    }

    pub(super) fn begin_at_zero(&self) {
        for plain in [
            &self.renew_failures,
            &self.beat_failures,
            &self.fenced_writes,
            &self.freezes,
            &self.seals,
            &self.file_bytes,
            &self.accepted,
            &self.dead_letters,
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
        for state in KeptState::ALL {
            // Pending is no end of an attempt.
            if state != KeptState::Pending {
                self.files.add(0, &[label("outcome", state.as_str())]);
            }
        }
        self.files.add(0, &[label("outcome", FILE_RETRIED)]);
        for fate in Fate::ALL {
            self.spans.add(0, &[label("fate", fate.as_str())]);
            self.records.add(0, &[label("fate", fate.as_str())]);
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
