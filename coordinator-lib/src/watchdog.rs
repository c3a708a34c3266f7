//! The watchdog: a call that passed a gate must be over soon after the gate's
//! deadline.
//!
//! Looks at every wire gate again and again, from the heartbeat's thread. A call
//! that is still under way when the gate is not open any more gets `δ` of
//! *running* time; then its gate is closed, which drops the connection; if the
//! call survives even that for another `δ`, the process is ended: nothing else
//! is left that could stop it. Time in which this process did not run (it was
//! stopped, the machine was suspended) does not count, and neither does a store
//! that does not answer: commits are fenced, so only wire gates are watched.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::error;

use crate::clock::SharedClock;
use crate::gate::{CloseReason, Gate, WeakGate};

/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A gate that is watched as long as somebody has it.
pub(crate) struct Watched(WeakGate);

impl Watched {
    pub(crate) fn of(gate: &Gate) -> Self {
        Self(gate.downgrade())
    }
}

/// All gates that are watched.
#[derive(Default)]
pub(crate) struct WatchList {
    gates: Mutex<BTreeMap<u64, Watched>>,
    next: Mutex<u64>,
}

/// What is to be done about a call that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Close,
    Abort,
}

/// How long, in looks, a gate has had a call under way while it was not open.
fn judge(looks: u32, margin_looks: u32) -> Verdict {
    if looks > margin_looks.saturating_mul(2) {
        Verdict::Abort
    } else if looks > margin_looks {
        Verdict::Close
    } else {
        Verdict::Fine
    }
}

impl WatchList {
    pub(crate) fn add(&self, watched: Watched) {
        let mut next = self.next.lock();
        *next += 1;
        self.gates.lock().insert(*next, watched);
    }

    /// Looks for ever. `margin` is `δ`, counted in looks: a process that does
    /// not run does not look.
    pub(crate) async fn watch(&self, clock: SharedClock, margin: Duration) {
        let margin_looks = u32::try_from(margin.as_millis() / LOOK_INTERVAL.as_millis())
            .unwrap_or(u32::MAX)
            .max(1);
        let mut late: BTreeMap<u64, u32> = BTreeMap::new();
        loop {
            clock.sleep(LOOK_INTERVAL).await;
            let mut still_late = BTreeMap::new();
            self.gates.lock().retain(|id, watched| {
                let Some(gate) = watched.0.upgrade() else {
                    return false;
                };
                // The cheap question first: nearly all gates have nothing in flight.
                if gate.in_flight() == 0 || gate.is_open() {
                    return true;
                }
                let looks = late.get(id).copied().unwrap_or(0) + 1;
                still_late.insert(*id, looks);
                match judge(looks, margin_looks) {
                    Verdict::Fine => {}
                    Verdict::Close => gate.close(CloseReason::LeaseLost),
                    Verdict::Abort => {
                        error!("a call on the wire outlived its lease and cannot be stopped: ending the process");
                        std::process::abort();
                    }
                }
                true
            });
            late = still_late;
        }
    }
}

impl std::fmt::Debug for WatchList {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "WatchList({})", self.gates.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::clock::ManualClock;
    use crate::deadline::Deadline;

    #[test]
    fn a_call_gets_its_margin_before_its_gate_is_closed_and_again_before_the_end() {
        assert_eq!(judge(4, 4), Verdict::Fine);
        assert_eq!(judge(5, 4), Verdict::Close);
        assert_eq!(judge(8, 4), Verdict::Close);
        assert_eq!(judge(9, 4), Verdict::Abort);
    }

    #[tokio::test]
    async fn a_call_that_hangs_past_the_deadline_loses_its_gate() {
        let clock = ManualClock::new();
        let shared: SharedClock = Arc::new(clock.clone());
        let deadline = Arc::new(Deadline::new(clock.boottime() + Duration::from_secs(1)));
        let gate = Gate::under(shared.clone(), vec![deadline]);
        let list = WatchList::default();
        list.add(Watched::of(&gate));
        let pass = gate.try_pass().unwrap();
        let watching = list.watch(shared, Duration::from_secs(1));
        tokio::pin!(watching);
        for _ in 0..9 {
            assert!(futures::poll!(&mut watching).is_pending());
            clock.advance(LOOK_INTERVAL);
        }
        // 2.25 s: the deadline passed at 1 s, the margin at 2.
        assert!(futures::poll!(&mut watching).is_pending());
        drop(pass);
        assert_eq!(
            gate.state(),
            crate::gate::GateState::Closed(CloseReason::LeaseLost)
        );
    }
}
