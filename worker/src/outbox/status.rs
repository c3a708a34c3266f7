//! What a pump is doing, for others to look at.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use coordinator_lib::store::StoreTime;
use tokio::sync::Notify;

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
    /// When the oldest message was accepted, in microseconds; 0 if there is none.
    oldest: AtomicI64,
    /// Wakes whoever judges the connection.
    timeouts: Notify,
}

impl PumpStatus {
    /// When the oldest message that waits or is under way was accepted.
    pub fn oldest(&self) -> Option<StoreTime> {
        let micros = self.oldest.load(Ordering::Relaxed);
        (micros != 0).then(|| StoreTime::from_micros(micros))
    }

    pub(super) fn waits_since(&self, oldest: Option<StoreTime>) {
        let micros = oldest.map_or(0, StoreTime::as_micros);
        self.oldest.store(micros, Ordering::Relaxed);
    }

    /// Waits until the time of an attempt is up, at once if one's was meanwhile.
    pub async fn timeout(&self) {
        self.timeouts.notified().await;
    }

    /// An attempt's time was up.
    pub(super) fn timed_out(&self, frames_flowed: bool) {
        if frames_flowed {
            self.hung.fetch_add(1, Ordering::Relaxed);
            self.hung_in_a_row.fetch_add(1, Ordering::Relaxed);
        } else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        self.timeouts.notify_one();
    }
}
