//! The fence: commits that only the owner of the present epoch can make.
//!
//! # Vocabulary
//! - The *head* of an account is `wa_sessions/{id}`. A claim writes it, and only
//!   claims do (and the owner, when it wraps its keys anew), so its version
//!   *is* the fencing token: a [`Fence`] is the version that our claim wrote.
//! - A *batch* is what one caller wants written, all of it or nothing. Each of
//!   its writes may have a precondition of its own.
//! - A [`FencedWriter`] makes batches durable. One commit is in flight at a time;
//!   what arrives meanwhile joins the next (*group commit*), in which every
//!   batch stands beside a verify of the head.
//!
//! # What holds
//! - After another epoch has begun, no batch of ours can be written: the verify
//!   is part of the commit, not a check before it. The first commit that is
//!   rejected so closes both gates.
//! - Batches that write the same document are committed in the order in which
//!   they were queued.
//! - Every batch is written at most once, whatever the store forgets to say:
//!   it needs a *guarded* write ([`Write::is_guarded`]), which cannot succeed
//!   twice and which also carries the batch's nonce (fields [`NONCE_FIELD`] and
//!   [`NONCE_TIME_FIELD`]). After an unknown outcome the document is read back:
//!   the nonce says that the batch landed; otherwise the same writes are sent
//!   again on the same conditions, so that at most one of the attempts lands,
//!   even if the lost one arrives late.
//! - A rejected commit is not yet a fence. The head is read: another epoch or
//!   worker session means fenced; our own at a later version is taken as the
//!   new version; otherwise the batches are tried one by one, and the one whose
//!   own condition fails is [`FencedOutcome::Lost`].
//!
//! # What it does not do
//! It does not renew the lease, and it does not look at deadlines: the store
//! gate does, which every commit passes.
//!
//! # Example
//! ```
//! # use coordinator_lib::{clock::SystemClock, rng::SystemRng, gate::Gates, fence::*, store::*};
//! # use coordinator_lib::identity::WorkerSessionId;
//! # async fn example(store: Store, head: Path, version: StoreTime) -> Result<(), Box<dyn std::error::Error>> {
//! let tracker = tokio_util::task::TaskTracker::new();
//! let writer = FencedWriter::spawn(
//!     FencedWriterParts {
//!         store,
//!         // As a claim returns it.
//!         fence: Fence { head, version, epoch: 1, worker_session: WorkerSessionId::generate(&SystemRng) },
//!         gates: Gates::new(SystemClock::shared()),
//!         clock: SystemClock::shared(),
//!         rng: SystemRng::shared(),
//!         limits: FenceLimits::default(),
//!     },
//!     &tracker,
//! );
//! let message = Write::Set {
//!     path: Path::new("threads/t1/messages/m1")?,
//!     fields: Fields::from([("body".into(), "hello".into())]),
//!     precondition: Precondition::Absent,
//! };
//! match writer.commit(vec![message]).await? {
//!     FencedOutcome::Committed(commit) => println!("stored at {}", commit.time),
//!     FencedOutcome::Lost => println!("stored before"),
//! }
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;
use crate::gate::{CloseReason, GateState, Gates};
use crate::identity::WorkerSessionId;
use crate::rng::SharedRng;
use crate::store::{Commit, Path, Store, StoreError, StoreTime, Write};

mod batch;
mod driver;

#[cfg(test)]
mod tests;

use batch::{Pending, Queued};

/// The field of a guarded document that names the batch which wrote it last.
pub const NONCE_FIELD: &str = "commit";

/// The field beside it that holds that commit's time.
pub const NONCE_TIME_FIELD: &str = "commitAt";

/// Batches that wait for their turn; more callers wait for room. A caller waits
/// for its batch, so this is also about how many callers an account has.
const QUEUE_MAX: usize = 256;

/// What a claim proved: the head, at the version that the claim wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The head document, `wa_sessions/{id}`.
    pub head: Path,
    /// The head's version.
    pub version: StoreTime,
    /// The epoch that the claim began.
    pub epoch: i64,
    /// The worker session that owns it.
    pub worker_session: WorkerSessionId,
}

/// The parts of a fenced writer.
#[derive(Clone)]
pub struct FencedWriterParts {
    /// Where it writes.
    pub store: Store,
    /// What it must prove with every commit.
    pub fence: Fence,
    /// The gates of the engine instance: commits pass the store gate, and a
    /// lost fence freezes both.
    pub gates: Gates,
    /// Time for waits and limits.
    pub clock: SharedClock,
    /// Nonces and jitter.
    pub rng: SharedRng,
    /// How long and how much.
    pub limits: FenceLimits,
}

/// How long a fenced writer tries, and how much it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct FenceLimits {
    /// One call of the store; after that its outcome is unknown.
    pub attempt_timeout: Duration,
    /// A batch that nothing is known to have written is given up after this.
    pub retry_for: Duration,
    /// The first wait between attempts.
    pub backoff_base: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
}

impl Default for FenceLimits {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(60),
            backoff_base: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum FencedOutcome {
    /// Written; the update times are those of this batch's writes, in order.
    Committed(Commit),
    /// A precondition of this batch did not hold, while the head is still
    /// ours. Nothing of the batch was written; look again.
    Lost,
}

/// Why a batch was not written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FencedError {
    /// Another epoch owns the account. The gates are closed.
    #[error("another epoch owns the account")]
    Fenced,
    /// The store gate is closed. The batch may still land, if the store was
    /// being asked.
    #[error("the store gate is closed: {0}")]
    GateClosed(CloseReason),
    /// No store would take the batch.
    #[error("invalid batch: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed, for longer than the limit where that may pass; nothing
    /// of the batch was written.
    #[error("the store failed for too long")]
    Unavailable(#[source] StoreError),
}

/// Commits batches of writes on the condition that the head is ours. Clones
/// share one queue and one task, which ends when the store gate closes or the
/// last clone is dropped.
#[derive(Clone)]
pub struct FencedWriter {
    queue: mpsc::Sender<Queued>,
    pending: Pending,
    fenced: watch::Receiver<bool>,
    gates: Gates,
    rng: SharedRng,
    head: Path,
    epoch: i64,
}

impl FencedWriter {
    /// Starts the writer's task.
    pub fn spawn(parts: FencedWriterParts, tracker: &TaskTracker) -> Self {
        let (queue, batches) = mpsc::channel(QUEUE_MAX);
        let (fenced_sender, fenced) = watch::channel(false);
        let writer = Self {
            queue,
            pending: Pending::default(),
            fenced,
            gates: parts.gates.clone(),
            rng: parts.rng.clone(),
            head: parts.fence.head.clone(),
            epoch: parts.fence.epoch,
        };
        tracker.spawn(driver::Driver::new(parts, fenced_sender).run(batches));
        writer
    }

    /// Commits a batch, all of it or nothing. At least one of its writes must
    /// be guarded.
    ///
    /// A write to the head itself (keys wrapped anew) is made on the version
    /// that this writer knows, whatever precondition it names.
    ///
    /// # Errors
    /// See [`FencedError`].
    ///
    /// # Cancel safety
    /// A batch that was queued may be written even if nobody waits for it.
    pub async fn commit(&self, batch: Vec<Write>) -> Result<FencedOutcome, FencedError> {
        let (reply, answer) = oneshot::channel();
        let queued = Queued::new(batch, &self.head, &*self.rng, reply, self.pending.token())?;
        if self.queue.send(queued).await.is_err() {
            return Err(self.ended());
        }
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> FencedError {
        if *self.fenced.borrow() {
            return FencedError::Fenced;
        }
        match self.gates.store.state() {
            GateState::Closed(reason) => FencedError::GateClosed(reason),
            GateState::Open | GateState::Suspended => {
                FencedError::Unavailable(StoreError::unavailable("the account's writer has ended"))
            }
        }
    }

    /// Waits until another epoch is known to own the account; for ever, if the
    /// writer ends otherwise.
    pub async fn fenced(&self) {
        let mut fenced = self.fenced.clone();
        if fenced.wait_for(|fenced| *fenced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until nothing is queued or in flight.
    pub async fn idle(&self) {
        self.pending.none().await;
    }

    /// How many batches are queued or in flight.
    pub fn pending(&self) -> usize {
        self.pending.count()
    }

    /// The epoch that it writes under.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}

impl fmt::Debug for FencedWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FencedWriter")
            .field("head", &self.head)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
