//! Points at which a test ends this process, as if somebody had killed it there.
//!
//! Nothing is more telling about a durable outbox than the death of its worker
//! in the worst moment, and a signal from outside hits that moment by luck
//! only. The switch exists with the cargo feature `simulation` alone, which no
//! shipped binary has; without it [`reach`] does nothing.

/// A point on a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KillPoint {
    /// A request is committed; its client has no answer yet.
    AfterAccept = 0,
    /// `sending` is committed; nothing has left.
    AfterSending,
    /// The frame has left; WhatsApp has not answered.
    AfterWire,
    /// WhatsApp has answered; that is not committed.
    BeforeAck,
    /// `sent` is committed.
    AfterAck,
    /// A message came and is decrypted; it is not stored.
    InsideHook,
    /// It is stored; WhatsApp has no acknowledgement.
    AfterHook,
}

impl KillPoint {
    /// All of them, in the order of a message's way out, then in.
    pub const ALL: [KillPoint; 7] = [
        KillPoint::AfterAccept,
        KillPoint::AfterSending,
        KillPoint::AfterWire,
        KillPoint::BeforeAck,
        KillPoint::AfterAck,
        KillPoint::InsideHook,
        KillPoint::AfterHook,
    ];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            KillPoint::AfterAccept => "after-accept",
            KillPoint::AfterSending => "after-sending",
            KillPoint::AfterWire => "after-wire",
            KillPoint::BeforeAck => "before-ack",
            KillPoint::AfterAck => "after-ack",
            KillPoint::InsideHook => "inside-hook",
            KillPoint::AfterHook => "after-hook",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

#[cfg(feature = "simulation")]
mod armed {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::KillPoint;

    /// The point, and how often it is passed before: `point + 1` in the lowest
    /// byte, so that 0 is none.
    static ARMED: AtomicU64 = AtomicU64::new(0);

    /// Ends the process at this point, when it is reached for the `nth` time.
    pub fn arm(point: KillPoint, nth: u32) {
        let passes = u64::from(nth.saturating_sub(1));
        ARMED.store((passes << 8) | (point as u64 + 1), Ordering::SeqCst);
    }

    /// A point is reached: does not return if it is the one.
    pub fn reach(point: KillPoint) {
        let here = point as u64 + 1;
        let before = ARMED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |armed| {
            (armed & 0xff == here).then(|| armed.saturating_sub(1 << 8).max(here))
        });
        if before == Ok(here) {
            die();
        }
    }

    fn die() -> ! {
        // SIGKILL and not an exit: nothing is flushed, nothing is said.
        let me = rustix::process::getpid();
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        std::process::abort()
    }
}

#[cfg(feature = "simulation")]
pub use armed::{arm, reach};

/// A point is reached: nothing happens, in this build.
#[cfg(not(feature = "simulation"))]
#[inline]
pub const fn reach(_point: KillPoint) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_found_by_its_name() {
        for point in KillPoint::ALL {
            assert_eq!(KillPoint::named(point.name()), Some(point));
        }
        assert_eq!(KillPoint::named("somewhere"), None);
    }
}
