//! The server's clock: the machine's time, moved by a fault's offset.
//!
//! Only the `t` attributes that clients read are moved. What the oracle and the
//! ledgers note is the machine's time, in milliseconds since the Unix epoch.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time, and lets it be wrong.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
}

impl Clock {
    /// The machine's time, milliseconds since the Unix epoch.
    #[allow(
        clippy::disallowed_methods,
        reason = "a test program: this is its one place that reads a clock"
    )]
    pub(crate) fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// What the server tells its clients, seconds since the Unix epoch.
    pub(crate) fn stamp(&self) -> u64 {
        (self.now_ms() / 1000).saturating_add_signed(self.offset_seconds.load(Ordering::Relaxed))
    }

    /// Moves [`Clock::stamp`]; 0 puts it right again.
    pub(crate) fn set_offset(&self, seconds: i64) {
        self.offset_seconds.store(seconds, Ordering::Relaxed);
    }
}
