//! Until when one may act: shared by the gates that depend on it.
//!
//! A worker session has one deadline, and each account that it owns another.
//! Whoever proves something (a heartbeat, a renewal that was acknowledged)
//! moves a deadline ahead; a gate lets through only while *all* its deadlines
//! are ahead. So moving one, or closing it for good, is O(1) however many
//! gates depend on it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::clock::Boottime;
use crate::gate::CloseReason;

/// `Deadline::closed`: not closed. Otherwise one of [`CloseReason`]'s numbers.
const NOT_CLOSED: u8 = 0;

/// A deadline; shared behind an `Arc`.
#[derive(Debug)]
pub struct Deadline {
    /// [`Boottime`] in nanoseconds.
    at: AtomicU64,
    closed: AtomicU8,
    /// Wakes those who wait for it to move.
    pub(crate) moved: Notify,
    /// Wakes those who wait for it to be closed; apart from `moved`, which
    /// happens every few seconds.
    pub(crate) closing: Notify,
}

impl Deadline {
    /// A deadline at this time.
    pub fn new(at: Boottime) -> Self {
        Self {
            at: AtomicU64::new(at.as_nanos()),
            closed: AtomicU8::new(NOT_CLOSED),
            moved: Notify::new(),
            closing: Notify::new(),
        }
    }

    /// From when on calls wait.
    pub fn at(&self) -> Boottime {
        Boottime::from_nanos(self.at.load(Ordering::SeqCst))
    }

    /// Sets it, earlier or later than it was. One that moves ahead again lets
    /// waiting calls through.
    pub fn set(&self, at: Boottime) {
        self.at.store(at.as_nanos(), Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// Closes every gate that depends on it, for good. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        // An error says that it was closed already: the first reason stays.
        let _ = self.closed.compare_exchange(
            NOT_CLOSED,
            reason as u8,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        self.moved.notify_waiters();
        self.closing.notify_waiters();
    }

    /// Why it was closed, if it was.
    pub fn closed(&self) -> Option<CloseReason> {
        match self.closed.load(Ordering::SeqCst) {
            NOT_CLOSED => None,
            reason => Some(CloseReason::from_number(reason)),
        }
    }
}
