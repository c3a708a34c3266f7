//! Work that one worker does for the whole cluster, now and then: a pass.
//!
//! A document of `config` says when the next pass is due. A worker takes it by
//! moving that time on, in a conditional commit; if it dies, another takes the
//! next. Two passes at a time must do no harm. A pass has a limit of time; what
//! it does not come to is left to the next.

use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{CommitOutcome, StoreError, StoreTime};
use tokio_util::sync::CancellationToken;

use crate::model::{Agreed, Stored};

/// A document that says when a pass is due.
pub trait Due: Stored + Default {
    /// When the next one is; at once, as long as there was none.
    fn due_at(&mut self) -> &mut Option<StoreTime>;
}

/// The passes of one kind.
pub struct Passes<T> {
    /// Says when the next is due.
    pub document: Agreed<T>,
    /// Time.
    pub clock: SharedClock,
    /// Spreads the workers.
    pub rng: SharedRng,
    /// Between two passes.
    pub interval: Duration,
}

/// A pass that is this worker's to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass<R> {
    /// The store's time when it was taken.
    pub at: StoreTime,
    /// When it ends, done or not.
    pub until: Boottime,
    /// What was noted when it was taken.
    pub noted: R,
}

impl<T: Due> Passes<T> {
    /// Waits until it is time to look for a pass. False: there is to be none any
    /// more.
    pub async fn wait(&self, stop: &CancellationToken) -> bool {
        let wait = self.rng.jitter(self.interval, 0.5);
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = self.clock.sleep(wait) => true,
        }
    }

    /// Takes the pass that is due, if nobody else does. `note` changes what else
    /// is in the document.
    ///
    /// # Errors
    /// The store's.
    pub async fn take<R>(
        &self,
        note: impl FnOnce(&mut T, StoreTime) -> R + Send,
    ) -> Result<Option<Pass<R>>, StoreError> {
        let seen = self.document.read().await?;
        let mut taken = seen.value;
        if !is_due(*taken.due_at(), seen.at) {
            return Ok(None);
        }
        *taken.due_at() = Some(seen.at.saturating_add(self.interval));
        let noted = note(&mut taken, seen.at);
        match self.document.write(&taken, seen.unchanged).await? {
            CommitOutcome::Committed(_) => Ok(Some(Pass {
                at: seen.at,
                until: self.clock.boottime() + self.interval,
                noted,
            })),
            CommitOutcome::Rejected => Ok(None),
        }
    }
}

/// Whether something that is to be done then is to be done now.
pub fn is_due(at: Option<StoreTime>, now: StoreTime) -> bool {
    at.is_none_or(|at| at <= now)
}
