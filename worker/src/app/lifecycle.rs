//! How far the worker as a whole has come, for `/readyz`, `/health` and the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use coordinator_lib::coordinator::Standing;

/// A phase of a worker's life. Later phases never go back to earlier ones,
/// except between `Active` and `Suspended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Opening the store, starting accounts.
    Starting = 0,
    /// At work.
    Active = 1,
    /// Without proof that it still owns its accounts; nothing leaves.
    Suspended = 2,
    /// Found out that it no longer owns its accounts.
    Frozen = 3,
    /// Stopping accounts and handing them off.
    Draining = 4,
    /// Everything is stopped.
    Closed = 5,
}

impl Phase {
    const ALL: [Phase; 6] = [
        Phase::Starting,
        Phase::Active,
        Phase::Suspended,
        Phase::Frozen,
        Phase::Draining,
        Phase::Closed,
    ];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Active => "active",
            Phase::Suspended => "suspended",
            Phase::Frozen => "frozen",
            Phase::Draining => "draining",
            Phase::Closed => "closed",
        }
    }

    /// The phase that others see: an active worker may do no more than its
    /// worker session.
    pub fn with(self, standing: Standing) -> Self {
        match (self, standing) {
            (Phase::Active, Standing::Suspended) => Phase::Suspended,
            (Phase::Active, Standing::Frozen) => Phase::Frozen,
            (Phase::Active, Standing::Draining) => Phase::Draining,
            (Phase::Active, Standing::Active | Standing::Closed)
            | (
                Phase::Starting
                | Phase::Suspended
                | Phase::Frozen
                | Phase::Draining
                | Phase::Closed,
                _,
            ) => self,
        }
    }

    /// Whether a load balancer should send requests here.
    pub fn is_ready(self) -> bool {
        match self {
            Phase::Active => true,
            Phase::Starting
            | Phase::Suspended
            | Phase::Frozen
            | Phase::Draining
            | Phase::Closed => false,
        }
    }
}

/// The current phase, shared. Cheap to clone and to read.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle(Arc<AtomicU8>);

impl Lifecycle {
    /// The current phase.
    pub fn get(&self) -> Phase {
        let stored = self.0.load(Ordering::Acquire);
        Phase::ALL
            .into_iter()
            .find(|phase| *phase as u8 == stored)
            .expect("only `set` writes here, and it writes a phase")
    }

    /// Moves on to `phase`.
    pub fn set(&self, phase: Phase) {
        let before = self.get();
        self.0.store(phase as u8, Ordering::Release);
        if before != phase {
            tracing::info!(
                from = before.as_str(),
                to = phase.as_str(),
                "worker phase changed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_active_worker_is_ready() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.get(), Phase::Starting);
        for phase in Phase::ALL {
            lifecycle.set(phase);
            assert_eq!(lifecycle.get(), phase);
            assert_eq!(lifecycle.get().is_ready(), phase == Phase::Active);
        }
    }
}
