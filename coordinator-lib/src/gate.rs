//! Gates: what stands between an account's work and the world.
//!
//! Two stand in every account's way: the *wire* gate before each byte sent and
//! each connect, and the *store* gate before each commit. A gate is
//! - **open**: calls pass;
//! - **suspended**: calls wait. Asked for, or because the gate's *deadline* is
//!   behind: without proof that the lease is still ours nothing may leave;
//! - **closed**: calls fail, for good. The first reason given stays.
//!
//! Invariants:
//! - Changing a gate is O(1) and never waits for those who pass.
//! - After [`Gate::close`] has returned no call passes any more, and once
//!   [`Gate::in_flight`] is 0 none of those that had passed is unfinished.
//! - A closed gate never opens again: gates belong to one engine instance,
//!   and a restart makes new ones.
//! - A gate lets through only while it is open *and* before all its deadlines
//!   ([`Deadline`]), whichever task looks first.
//!
//! A gate does not decide anything: the coordinator, the fence and the account
//! task open, suspend and close it.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use futures::future::{Either, pending, select, select_all};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::{Boottime, SharedClock};
use crate::deadline::Deadline;
use crate::mutation::{self, Mutation};

/// One gate; clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

/// A gate that may be gone.
pub(crate) struct WeakGate(Weak<Shared>);

impl WeakGate {
    pub(crate) fn upgrade(&self) -> Option<Gate> {
        self.0.upgrade().map(|shared| Gate { shared })
    }
}

/// The two gates of one engine instance.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Before each send and each connect.
    pub wire: Gate,
    /// Before each commit.
    pub store: Gate,
}

/// Permission to go through, held while the call is under way.
#[derive(Debug)]
#[must_use = "the call counts as finished once its pass is dropped"]
pub struct Pass {
    shared: Arc<Shared>,
}

/// Why a gate was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// Another epoch owns the account: a commit on the head was rejected.
    Fenced = 1,
    /// The worker session was sealed by another worker.
    Sealed,
    /// WhatsApp says that another connection took this one's place.
    Replaced,
    /// The lease was lost, or could not be renewed in time.
    LeaseLost,
    /// The account was stopped, logged out, or restarted.
    Stopped,
    /// The account is being handed to another worker.
    Released,
    /// The store was out of reach for too long.
    Outage,
}

/// The call came to a closed gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the gate is closed: {reason}")]
pub struct GateClosed {
    /// Why it was closed.
    pub reason: CloseReason,
}

/// The call cannot go through now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotOpen {
    /// It may go through later.
    #[error("the gate is suspended")]
    Suspended,
    /// It will never go through.
    #[error(transparent)]
    Closed(#[from] GateClosed),
}

/// What a gate does with calls right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// Calls pass.
    Open,
    /// Calls wait.
    Suspended,
    /// Calls fail.
    Closed(CloseReason),
}

/// `Shared::state`: suspended, open, or one of [`CloseReason`]'s numbers.
const SUSPENDED: u8 = 0;
const OPEN: u8 = u8::MAX;

struct Shared {
    clock: SharedClock,
    state: AtomicU8,
    /// All of them must be ahead, and none closed.
    deadlines: Vec<Arc<Deadline>>,
    in_flight: AtomicUsize,
    /// Wakes those who wait for the state or the deadline.
    changed: Notify,
    /// Wakes those who wait for `in_flight` to be 0. Not `changed`: whoever is
    /// turned away leaves too, and would wake all who wait to be turned away.
    emptied: Notify,
}

// Orderings are all SeqCst: a call announces itself in `in_flight` and then
// looks at `state`, while a closer writes `state` and then looks at
// `in_flight`. One total order makes at least one of the two see the other.
impl Shared {
    fn state(&self) -> GateState {
        let own = self.state.load(Ordering::SeqCst);
        if !matches!(own, SUSPENDED | OPEN) {
            return GateState::Closed(CloseReason::from_number(own));
        }
        let mut closings = self.deadlines.iter().filter_map(|one| one.closed());
        if let Some(reason) = closings.find(|reason| reason.is_obeyed()) {
            return GateState::Closed(reason);
        }
        if own == OPEN && (self.is_timely() || mutation::is_on(Mutation::SkipGate)) {
            GateState::Open
        } else {
            GateState::Suspended
        }
    }

    fn is_timely(&self) -> bool {
        self.clock.boottime() < self.deadline()
    }

    fn deadline(&self) -> Boottime {
        let ends = self.deadlines.iter().map(|one| one.at());
        ends.min().unwrap_or(Boottime::FAR_FUTURE)
    }

    /// Waits for the gate's own change, or for something at a deadline. To be
    /// made *before* looking, so that nothing between is missed.
    async fn change<'a>(own: Notified<'a>, others: Vec<Notified<'a>>) {
        let others = async {
            if others.is_empty() {
                pending().await
            } else {
                select_all(others.into_iter().map(Box::pin)).await;
            }
        };
        match select(pin!(own), pin!(others)).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// Moves between suspended and open; a closed gate stays closed.
    fn turn(&self, to: u8) -> Result<(), GateClosed> {
        // An error says that it was closed already, which `state` tells.
        let _ = self
            .state
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
                matches!(state, SUSPENDED | OPEN).then_some(to)
            });
        self.changed.notify_waiters();
        match self.state() {
            GateState::Closed(reason) => Err(GateClosed { reason }),
            GateState::Open | GateState::Suspended => Ok(()),
        }
    }
}

impl Gate {
    /// An open gate without a deadline.
    pub fn new(clock: SharedClock) -> Self {
        Self::under(clock, Vec::new())
    }

    /// An open gate that depends on these deadlines.
    pub fn under(clock: SharedClock, deadlines: Vec<Arc<Deadline>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                state: AtomicU8::new(OPEN),
                deadlines,
                in_flight: AtomicUsize::new(0),
                changed: Notify::new(),
                emptied: Notify::new(),
            }),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakGate {
        WeakGate(Arc::downgrade(&self.shared))
    }

    /// Waits while the gate is suspended, then goes through.
    ///
    /// # Errors
    /// The gate is closed, or is closed while this waits.
    ///
    /// # Cancel safety
    /// Nothing is held until the pass is returned.
    pub async fn pass(&self) -> Result<Pass, GateClosed> {
        loop {
            let moves = self.shared.deadlines.iter().map(|one| one.moved.notified());
            let change = Shared::change(self.shared.changed.notified(), moves.collect());
            match self.try_pass() {
                Ok(pass) => return Ok(pass),
                Err(NotOpen::Closed(closed)) => return Err(closed),
                Err(NotOpen::Suspended) => change.await,
            }
        }
    }

    /// Goes through if that is possible at once.
    ///
    /// # Errors
    /// The gate is not open.
    pub fn try_pass(&self) -> Result<Pass, NotOpen> {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        let pass = Pass {
            shared: Arc::clone(&self.shared),
        };
        match self.shared.state() {
            GateState::Open => Ok(pass),
            GateState::Suspended => Err(NotOpen::Suspended),
            GateState::Closed(reason) => Err(GateClosed { reason }.into()),
        }
    }

    /// What the gate does with calls right now.
    pub fn state(&self) -> GateState {
        self.shared.state()
    }

    /// Whether a call would pass right now.
    pub fn is_open(&self) -> bool {
        self.state() == GateState::Open
    }

    /// Lets calls through, as long as the deadline is ahead.
    ///
    /// # Errors
    /// The gate is closed, and stays so.
    pub fn open(&self) -> Result<(), GateClosed> {
        self.shared.turn(OPEN)
    }

    /// Makes calls wait.
    ///
    /// # Errors
    /// The gate is closed, and stays so.
    pub fn suspend(&self) -> Result<(), GateClosed> {
        self.shared.turn(SUSPENDED)
    }

    /// Makes this and all later calls fail, for good. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        if !reason.is_obeyed() {
            return;
        }
        // An error says that it was closed already: the first reason stays.
        let _ = self.shared.turn(reason as u8);
    }

    /// The time from which calls wait.
    pub fn deadline(&self) -> Boottime {
        self.shared.deadline()
    }

    /// Waits until the gate is closed.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let closings = (self.shared.deadlines.iter()).map(|one| one.closing.notified());
            let change = Shared::change(self.shared.changed.notified(), closings.collect());
            match self.shared.state() {
                GateState::Closed(reason) => return reason,
                GateState::Open | GateState::Suspended => change.await,
            }
        }
    }

    /// Calls that went through and are not finished. A call that is about to
    /// be turned away may show for an instant.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until no call is in flight. Of use on a closed gate, where none
    /// can follow.
    pub async fn drained(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            if self.in_flight() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Gates {
    /// Two open gates without a deadline.
    pub fn new(clock: SharedClock) -> Self {
        Self::under(clock, Vec::new())
    }

    /// Two open gates that depend on these deadlines.
    pub fn under(clock: SharedClock, deadlines: Vec<Arc<Deadline>>) -> Self {
        Self {
            wire: Gate::under(clock.clone(), deadlines.clone()),
            store: Gate::under(clock, deadlines),
        }
    }

    /// Closes both at once: the account must not act any more.
    pub fn freeze(&self, reason: CloseReason) {
        self.wire.close(reason);
        self.store.close(reason);
    }

    /// Suspends both; a closed one stays closed.
    pub fn suspend(&self) {
        // A closed gate lets nothing through either.
        let _ = self.wire.suspend();
        let _ = self.store.suspend();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [CloseReason; 7] = [
        CloseReason::Fenced,
        CloseReason::Sealed,
        CloseReason::Replaced,
        CloseReason::LeaseLost,
        CloseReason::Stopped,
        CloseReason::Released,
        CloseReason::Outage,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Fenced => "fenced",
            CloseReason::Sealed => "sealed",
            CloseReason::Replaced => "replaced",
            CloseReason::LeaseLost => "lease_lost",
            CloseReason::Stopped => "stopped",
            CloseReason::Released => "not_released",
            CloseReason::Outage => "outage",
        }
    }

    /// The lease, or the proof that it lasts, is gone: the one thing that an
    /// owner does not learn by itself, and that gates are there to enforce.
    fn is_loss(self) -> bool {
        match self {
            CloseReason::Sealed | CloseReason::LeaseLost | CloseReason::Outage => true,
            CloseReason::Fenced
            | CloseReason::Replaced
            | CloseReason::Stopped
            | CloseReason::Released => false,
        }
    }

    /// Always, but for the planted fault.
    fn is_obeyed(self) -> bool {
        !(mutation::is_on(Mutation::SkipGate) && self.is_loss())
    }

    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|reason| *reason as u8 == number)
            .expect("only numbers of this enum are stored as reasons")
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            CloseReason::Fenced => "another epoch owns the account",
            CloseReason::Sealed => "the worker session was sealed",
            CloseReason::Replaced => "another connection took its place",
            CloseReason::LeaseLost => "the lease was lost",
            CloseReason::Stopped => "the account was stopped",
            CloseReason::Released => "the account was released",
            CloseReason::Outage => "the store was out of reach for too long",
        })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("state", &self.state())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(formatter)
    }
}

#[cfg(test)]
mod tests;
