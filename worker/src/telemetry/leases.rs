//! What the coordinator tells, as metrics and as contexts of spans.

use coordinator_lib::observer::{LeaseEvent, Observer};
use tracing::Span;

use super::{metrics, propagation};

/// The process's observer of leases.
pub(super) struct Leases;

impl Observer for Leases {
    fn traceparent(&self) -> Option<String> {
        propagation::current()
    }

    fn link(&self, span: &Span, traceparent: &str) {
        propagation::links(span, Some(traceparent));
    }

    fn happened(&self, event: LeaseEvent) {
        match event {
            LeaseEvent::Claimed { reason, unowned } => metrics::claimed(reason, unowned),
            LeaseEvent::Renewed { took, margin } => metrics::renewed(took, margin),
            LeaseEvent::RenewFailed => metrics::renew_failed(),
            LeaseEvent::Released { reason } => metrics::released(reason),
            LeaseEvent::Lost { reason } => metrics::lost(reason),
            LeaseEvent::Sealed => metrics::sealed(),
            LeaseEvent::Frozen => metrics::frozen(),
            LeaseEvent::Fenced => metrics::fenced(),
            LeaseEvent::Beat { took, margin } => metrics::beat(took, margin),
            LeaseEvent::BeatFailed => metrics::beat_failed(),
        }
    }
}
