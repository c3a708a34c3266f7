//! An attempt to connect, as a span and as a metric: from the engine's start to
//! the status that follows. The first one after a claim is part of its trace.

use coordinator_lib::clock::Boottime;
use tracing::field::Empty;
use tracing::{Span, info_span};

use super::Driver;
use crate::model::Status;
use crate::telemetry::{metrics, propagation, spans};

/// An attempt that is under way.
pub(super) struct ConnectAttempt {
    span: Span,
    begun: Boottime,
}

impl Driver {
    /// An engine is about to start. It does not run inside the span, which would
    /// last as long as the engine then.
    pub(super) fn begin_attempt(&mut self) {
        let span = info_span!(
            parent: None,
            "account.connect",
            otel.kind = "client",
            otel.status_code = Empty,
            account.id = %self.term.account,
            account.status = Empty,
            account.reason = Empty,
            account.stage = Empty,
            lease.epoch = self.term.epoch(),
            connect.attempt = self.record.doc().attempt,
        );
        propagation::continues(&span, self.claim_trace.take().as_deref());
        self.attempt = Some(ConnectAttempt {
            span,
            begun: self.term.clock().boottime(),
        });
    }

    /// The status may say that the attempt has come to its end.
    pub(super) fn note_attempt(&mut self, status: Status, reason: &str) {
        if status == Status::Connecting {
            return;
        }
        let Some(ConnectAttempt { span, begun }) = self.attempt.take() else {
            return;
        };
        span.record("account.status", status.as_str());
        span.record("account.reason", reason);
        span.record(
            "account.stage",
            self.machine.stage().map(|stage| stage.name()),
        );
        if is_failure(status) {
            spans::failed(&span);
        }
        metrics::connect_ended(status, self.term.clock().boottime() - begun);
    }
}

/// Whether an attempt that led there has failed: a code to be scanned is no
/// failure, and neither is an end that somebody asked for.
fn is_failure(status: Status) -> bool {
    match status {
        Status::Connected
        | Status::Connecting
        | Status::Idle
        | Status::QrReady
        | Status::NeedsQr
        | Status::Pairing
        | Status::Stopped => false,
        Status::Disconnected
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::Degraded
        | Status::NeedsImport
        | Status::LoggedOut
        | Status::Failed => true,
    }
}
