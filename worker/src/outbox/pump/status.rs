//! What a pump is doing, for others to look at.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a pump is doing.
#[derive(Debug, Default)]
pub struct PumpStatus {
    /// Messages to be sent.
    pub queued: AtomicUsize,
    /// Messages under way.
    pub in_flight: AtomicUsize,
    /// Attempts made.
    pub attempts: AtomicU64,
    /// Acknowledged by the server.
    pub sent: AtomicU64,
    /// Given up.
    pub failed: AtomicU64,
    /// Attempts whose time was up without an answer and without any frame.
    pub unanswered: AtomicU64,
    /// Attempts whose time was up while frames flowed.
    pub hung: AtomicU64,
    /// As `hung`, since the last answer.
    pub hung_in_a_row: AtomicU64,
}

impl PumpStatus {
    /// An attempt's time was up.
    pub(super) fn timed_out(&self, frames_flowed: bool) {
        if frames_flowed {
            self.hung.fetch_add(1, Ordering::Relaxed);
            self.hung_in_a_row.fetch_add(1, Ordering::Relaxed);
        } else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}
