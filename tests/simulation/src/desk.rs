//! A worker's API, as far as clients of the simulation use it: requests to send
//! are accepted by the worker's own function, on whichever worker is asked.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::Store;
use session::KeyRing;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use worker::outbox::{AcceptError, AcceptOutcome, AcceptParts, AcceptRequest, accept};

use crate::process::{Domain, Process, Running};

/// How long a key for repetitions is remembered: longer than a run.
const KEYS_TTL: Duration = Duration::from_secs(24 * 3_600);

/// See the module.
pub(crate) struct Desk {
    pub(crate) process: Arc<Process>,
    pub(crate) store: Store,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) clock: SharedClock,
    pub(crate) rng: SharedRng,
    pub(crate) tracker: TaskTracker,
}

impl Desk {
    /// Takes a request. There is no answer from a process that has ended, and
    /// none from one that is stopped until it goes on.
    pub(crate) fn accept(
        self: &Arc<Self>,
        request: AcceptRequest,
    ) -> oneshot::Receiver<Result<AcceptOutcome, AcceptError>> {
        let (sender, answer) = oneshot::channel();
        let desk = Arc::clone(self);
        let work = async move {
            let parts = AcceptParts {
                store: desk.store.as_ref(),
                keys: &desk.keys,
                clock: desk.clock.as_ref(),
                rng: desk.rng.as_ref(),
                idempotency_ttl: KEYS_TTL,
                media_retention: KEYS_TTL,
            };
            let outcome = accept(parts, &request).await;
            // The client may have given up.
            let _ = sender.send(outcome);
        };
        self.tracker
            .spawn(Running::new(&self.process, Domain::Work, work));
        answer
    }
}
