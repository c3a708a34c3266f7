//! An account that this worker owns.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Shared;
use super::operations::{Operations, ReleaseOutcome, RenewOutcome};
use crate::clock::{Boottime, SharedClock};
use crate::deadline::Deadline;
use crate::fence::Fence;
use crate::gate::{CloseReason, Gate, Gates, WeakGate};
use crate::heartbeat::Vitals;
use crate::history::{ClaimReason, ReleaseReason};
use crate::identity::{AccountId, WorkerSessionId};
use crate::lease::AccountLease;
use crate::mutation::{self, Mutation};
use crate::observer::{self, LeaseEvent};
use crate::store::{Document, StoreError};
use crate::watchdog::Watched;

/// How long a release waits for calls that had passed a gate. The watchdog ends
/// them sooner, or the process.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A request to give an account back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Why.
    pub reason: ReleaseReason,
    /// Who is to have it next.
    pub to: Option<WorkerSessionId>,
}

/// A lease as others may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseView {
    /// The lease, with the deadline of its last acknowledged renewal.
    pub lease: AccountLease,
    /// Why it could be claimed.
    pub reason: ClaimReason,
    /// Whether the last renewal failed.
    pub renewal_failed: bool,
    /// Why its gates are closed, if they are.
    pub closed: Option<CloseReason>,
    /// Whether it was asked back.
    pub asked: Option<ReleaseReason>,
}

/// What belongs to an account that is owned; held by its [`Ownership`], and by
/// the coordinator until that is gone.
pub(crate) struct Owned {
    pub(crate) account: AccountId,
    operations: Operations,
    clock: SharedClock,
    vitals: Arc<Vitals>,
    lease: Mutex<AccountLease>,
    reason: ClaimReason,
    /// Until when this account's own lease may be acted on.
    pub(crate) deadline: Arc<Deadline>,
    renewal_failed: AtomicBool,
    document: watch::Sender<Option<Document>>,
    ask: watch::Sender<Option<Ask>>,
    busy: AtomicBool,
    /// Its [`Ownership`] is gone.
    ended: AtomicBool,
    /// The store says that it was given back.
    released: AtomicBool,
    /// All gates that were given out, as long as somebody has them.
    gates: Mutex<Vec<WeakGate>>,
    wake: Arc<dyn Wake>,
}

/// Wakes the coordinator's task.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

impl Wake for Shared {
    fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Wake for Notify {
    fn wake(&self) {
        self.notify_one();
    }
}

/// The right to act for one account, and the duty to give it back.
///
/// Dropped without [`Ownership::release`] it counts as lost: the lease stays in
/// the store, and this worker claims the account anew if it is still its own.
pub struct Ownership {
    owned: Arc<Owned>,
    fence: Fence,
}

impl Owned {
    pub(crate) fn new(
        operations: Operations,
        clock: SharedClock,
        vitals: Arc<Vitals>,
        lease: AccountLease,
        reason: ClaimReason,
        wake: Arc<dyn Wake>,
    ) -> Self {
        Self {
            account: lease.account_id.clone(),
            operations,
            clock,
            vitals,
            deadline: Arc::new(Deadline::new(lease.deadline)),
            lease: Mutex::new(lease),
            reason,
            renewal_failed: AtomicBool::new(false),
            document: watch::Sender::new(None),
            ask: watch::Sender::new(None),
            busy: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            released: AtomicBool::new(false),
            gates: Mutex::default(),
            wake,
        }
    }

    pub(crate) fn lease(&self) -> AccountLease {
        self.lease.lock().clone()
    }

    pub(crate) fn view(&self) -> LeaseView {
        LeaseView {
            lease: self.lease(),
            reason: self.reason,
            renewal_failed: self.renewal_failed.load(Ordering::Relaxed),
            closed: self.closed(),
            asked: self.ask.borrow().as_ref().map(|ask| ask.reason),
        }
    }

    /// Nobody works on it any more, and nothing that had passed one of its
    /// gates is still under way.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst) && self.in_flight().is_empty()
    }

    /// The gates that somebody has passed and not left yet.
    fn in_flight(&self) -> Vec<Gate> {
        let mut gates = self.gates.lock();
        gates.retain(|gate| gate.upgrade().is_some());
        let alive = gates.iter().filter_map(WeakGate::upgrade);
        alive.filter(|gate| gate.in_flight() > 0).collect()
    }

    /// Waits until no call is under way that had passed a gate; false if that
    /// takes longer than the limit.
    async fn drained(&self, limit: Duration) -> bool {
        let all = async {
            for gate in self.in_flight() {
                gate.drained().await;
            }
        };
        tokio::select! {
            biased;
            () = all => true,
            () = self.clock.sleep(limit) => false,
        }
    }

    /// Why its gates are closed, if they are.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.vitals.deadline.closed().or(self.deadline.closed())
    }

    pub(crate) fn was_released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.ask.borrow().is_some()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    pub(crate) fn ask(&self, ask: Ask) {
        self.ask.send_replace(Some(ask));
    }

    pub(crate) fn learn(&self, document: Document) {
        self.document.send_replace(Some(document));
    }

    /// Renews the lease; a loss closes the gates.
    pub(crate) async fn renew(&self) -> Result<RenewOutcome, StoreError> {
        let before = self.lease();
        let asked_at = self.clock.boottime();
        match self.operations.renew(&before).await {
            Ok(
                outcome @ RenewOutcome::Renewed {
                    lease_until,
                    deadline,
                },
            ) => {
                let mut lease = self.lease.lock();
                // Another renewal may have been later.
                lease.lease_until = lease.lease_until.max(lease_until);
                lease.deadline = lease.deadline.max(deadline);
                self.deadline.set(lease.deadline);
                self.renewal_failed.store(false, Ordering::Relaxed);
                let now = self.clock.boottime();
                observer::happened(LeaseEvent::Renewed {
                    took: now - asked_at,
                    margin: before.deadline - now,
                });
                Ok(outcome)
            }
            Ok(RenewOutcome::Lost) => {
                self.deadline.close(CloseReason::LeaseLost);
                Ok(RenewOutcome::Lost)
            }
            Err(error) => {
                self.renewal_failed.store(true, Ordering::Relaxed);
                observer::happened(LeaseEvent::RenewFailed);
                Err(error)
            }
        }
    }
}

impl Ownership {
    pub(crate) fn new(owned: Arc<Owned>, fence: Fence) -> Self {
        Self { owned, fence }
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.owned.account
    }

    /// The lease, as last renewed.
    pub fn lease(&self) -> AccountLease {
        self.owned.lease()
    }

    /// Why it could be claimed.
    pub fn reason(&self) -> ClaimReason {
        self.owned.reason
    }

    /// What every write must prove: see [`crate::fence::FencedWriter`].
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// A new pair of gates, for one run of the work. They depend on the worker
    /// session's deadline and on the account's.
    pub fn gates(&self) -> Gates {
        let mut deadlines = vec![Arc::clone(&self.owned.vitals.deadline)];
        if !mutation::is_on(Mutation::SessionDeadlineAlone) {
            deadlines.push(Arc::clone(&self.owned.deadline));
        }
        let gates = Gates::under(Arc::clone(&self.owned.clock), deadlines);
        self.owned.vitals.watched.add(Watched::of(&gates.wire));
        let both = [gates.wire.downgrade(), gates.store.downgrade()];
        self.owned.gates.lock().extend(both);
        gates
    }

    /// Until when the account's own lease may be acted on.
    pub fn deadline(&self) -> Boottime {
        self.owned.deadline.at()
    }

    /// The account's document, whenever it changes; `None` until it was seen.
    pub fn document(&self) -> watch::Receiver<Option<Document>> {
        self.owned.document.subscribe()
    }

    /// Waits until the account is to be given back.
    ///
    /// # Cancel safety
    /// A request is not forgotten.
    pub async fn asked(&self) -> Ask {
        let mut asked = self.owned.ask.subscribe();
        loop {
            if let Some(ask) = asked.borrow_and_update().clone() {
                return ask;
            }
            // The sender lives in `self`.
            let _ = asked.changed().await;
        }
    }

    /// Says whether the account is in use; idle ones are given up first.
    pub fn set_busy(&self, busy: bool) {
        self.owned.busy.store(busy, Ordering::Relaxed);
    }

    /// Makes sure, now, that the lease stands; it is renewed by itself, too.
    ///
    /// # Errors
    /// The store failed; nothing is known.
    pub async fn renew(&self) -> Result<RenewOutcome, StoreError> {
        self.owned.renew().await
    }

    /// Freezes everything that depends on this ownership, for good.
    pub fn freeze(&self, reason: CloseReason) {
        self.owned.deadline.close(reason);
    }

    /// Gives the account back. The work must have ended; all gates close first,
    /// and what had passed them is waited for: a free account has no owner that
    /// still acts.
    ///
    /// # Errors
    /// The store failed, or a call does not end; the lease stands until it ends
    /// by itself, or this worker claims it anew.
    pub async fn release(self, reason: ReleaseReason) -> Result<ReleaseOutcome, StoreError> {
        self.owned.deadline.close(CloseReason::Released);
        if !self.owned.drained(DRAIN_LIMIT).await {
            return Err(StoreError::unavailable(
                "a call that had passed a gate does not end",
            ));
        }
        let to = self
            .owned
            .ask
            .borrow()
            .as_ref()
            .and_then(|ask| ask.to.clone());
        let lease = self.owned.lease();
        let outcome = self
            .owned
            .operations
            .release(&lease, reason, to.as_ref())
            .await?;
        self.owned.released.store(true, Ordering::SeqCst);
        Ok(outcome)
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        // Whatever still runs must not act any more.
        self.owned.deadline.close(CloseReason::Released);
        self.owned.ended.store(true, Ordering::SeqCst);
        self.owned.wake.wake();
    }
}

impl fmt::Debug for Ownership {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ownership")
            .field("lease", &self.owned.lease())
            .finish_non_exhaustive()
    }
}
