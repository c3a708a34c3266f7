//! Who is told of what happens to leases: for metrics and traces.
//!
//! Like a logger, there is one for the process, installed once; without one
//! nothing happens. This library itself only opens `tracing` spans: how a span's
//! context is written down for other workers, and how it is read back, is the
//! observer's business. An observer must return at once.

use std::sync::OnceLock;
use std::time::Duration;

use tracing::Span;

use crate::gate::CloseReason;
use crate::history::{ClaimReason, ReleaseReason};

/// Something that happened to a lease or to the worker session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEvent {
    /// An account was claimed.
    Claimed {
        /// Why it could be.
        reason: ClaimReason,
        /// How long it had been without an owner that could act, where that is
        /// known: counted from the last proof that its owner lived, or from when it
        /// was given back.
        unowned: Option<Duration>,
    },
    /// A lease was renewed.
    Renewed {
        /// How long that took.
        took: Duration,
        /// What was left until the deadline when the answer came.
        margin: Duration,
    },
    /// A renewal failed; the lease stands as it was.
    RenewFailed,
    /// An account was given back.
    Released {
        /// Why.
        reason: ReleaseReason,
    },
    /// An account is not this worker's any more, and was not given back.
    Lost {
        /// Why its gates were closed.
        reason: CloseReason,
    },
    /// A dead worker session was sealed by this worker.
    Sealed,
    /// This worker's session was ended by another: everything is frozen.
    Frozen,
    /// A write was refused because another epoch owns the account.
    Fenced,
    /// A heartbeat was acknowledged.
    Beat {
        /// How long that took.
        took: Duration,
        /// What was left until the session's deadline when the answer came.
        margin: Duration,
    },
    /// A heartbeat was not acknowledged.
    BeatFailed,
}

/// Is told what happens.
pub trait Observer: Send + Sync + 'static {
    /// The context of the present span as a W3C `traceparent`, if it is traced.
    fn traceparent(&self) -> Option<String>;

    /// A span goes on with what was done under a context of
    /// [`Observer::traceparent`], maybe by another worker.
    fn link(&self, span: &Span, traceparent: &str);

    /// Something happened.
    fn happened(&self, event: LeaseEvent);
}

static OBSERVER: OnceLock<Box<dyn Observer>> = OnceLock::new();

/// Installs the process's observer; false if there is one already.
pub fn install(observer: impl Observer) -> bool {
    OBSERVER.set(Box::new(observer)).is_ok()
}

/// The context of the present span, to be stored where others find it.
pub(crate) fn traceparent() -> Option<String> {
    OBSERVER.get().and_then(|observer| observer.traceparent())
}

pub(crate) fn link(span: &Span, traceparent: Option<&str>) {
    if let (Some(observer), Some(traceparent)) = (OBSERVER.get(), traceparent) {
        observer.link(span, traceparent);
    }
}

pub(crate) fn happened(event: LeaseEvent) {
    if let Some(observer) = OBSERVER.get() {
        observer.happened(event);
    }
}
