//! A tool's own worker session: claims the accounts that it is told to, works
//! on their stored sessions without connecting them, and gives them back.
//!
//! Everything that touches a session goes through a claim, as everywhere: an
//! account that a worker runs is refused, and while the tool has one no worker
//! takes it. What it does with one account must take less than a lease lasts.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::single::SingleSession;
use coordinator_lib::coordinator::{
    self, CoordinatorConfig, CoordinatorParts, HeartbeatRun, NotClaimable, Ownership, StartError,
    StoreMaker,
};
use coordinator_lib::fence::FenceLimits;
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::presence::Presence;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Store, StoreError};
use session::KeyRing;
use tokio_util::task::TaskTracker;

use crate::account::term::{Term, TermError, TermParts};
use crate::model::Desired;
use crate::purge;

/// For what is under way when an account is given back.
const RELEASE_LIMIT: Duration = Duration::from_secs(20);

/// What an operator works with.
#[derive(Clone)]
pub struct OperatorParts {
    /// The documents.
    pub store: Store,
    /// Makes the heartbeat's own client.
    pub heartbeat: StoreMaker,
    /// Shows this machine's workers that it is here.
    pub presence: Option<Arc<dyn Presence>>,
    /// Opens data keys.
    pub keys: Arc<KeyRing>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// Durations, as the cluster's.
    pub lease: LeaseConfig,
}

/// See the module.
pub struct Operator {
    session: SingleSession,
    parts: OperatorParts,
    tracker: TaskTracker,
}

/// Why an operator cannot work on an account.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// It did not begin.
    #[error("no worker session could begin: {0}")]
    Session(#[source] StartError),
    /// Somebody else has it.
    #[error("a worker owns the account: stop it first (`worker accounts stop`)")]
    Held,
    /// There is no such account.
    #[error("there is no such account")]
    Missing,
    /// The predecessor's.
    #[error("the account is not imported yet")]
    NeedsImport,
    /// It is being purged.
    #[error("the account is being purged")]
    Purging,
    /// What was claimed cannot be read or written.
    #[error("{0}")]
    Term(#[from] TermError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
}

impl Operator {
    /// Begins a worker session under a name.
    ///
    /// # Errors
    /// [`OperatorError::Session`].
    pub async fn begin(parts: OperatorParts, name: &str) -> Result<Self, OperatorError> {
        let tracker = TaskTracker::new();
        let session = SingleSession::begin(CoordinatorParts {
            store: Arc::clone(&parts.store),
            heartbeat: HeartbeatRun {
                store: Arc::clone(&parts.heartbeat),
                spawn: coordinator::on_own_thread(),
            },
            clock: Arc::clone(&parts.clock),
            rng: Arc::clone(&parts.rng),
            config: CoordinatorConfig {
                lease: parts.lease.clone(),
                ..CoordinatorConfig::default()
            },
            name: name.to_owned(),
            // No room: nobody hands an account to it.
            capacity: 0,
            version: crate::VERSION.to_owned(),
            address: None,
            // It takes what it is told to; of a tombstone there is nothing to take.
            wanted: |account| purge::purged_at(&account.fields).is_none(),
            presence: parts.presence.clone(),
            tracker: tracker.clone(),
        });
        Ok(Self {
            session: session.await.map_err(OperatorError::Session)?,
            parts,
            tracker,
        })
    }

    /// What it works with.
    pub fn parts(&self) -> &OperatorParts {
        &self.parts
    }

    /// Claims an account and reads its session.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing is claimed then.
    pub async fn claim(&self, account: &AccountId) -> Result<Term, OperatorError> {
        let ownership = self.hold(account).await?;
        let parts = TermParts {
            store: Arc::clone(&self.parts.store),
            keys: Arc::clone(&self.parts.keys),
            clock: Arc::clone(&self.parts.clock),
            rng: Arc::clone(&self.parts.rng),
            limits: FenceLimits::default(),
            tracker: self.tracker.clone(),
        };
        let term = Term::begin(parts, ownership).await?;
        if term.doc.desired == Desired::Purging {
            self.give_back(term).await?;
            return Err(OperatorError::Purging);
        }
        Ok(term)
    }

    /// Claims an account and reads nothing of it: also where its session cannot
    /// be read. Whoever has it releases it.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing is claimed then.
    pub async fn hold(&self, account: &AccountId) -> Result<Ownership, OperatorError> {
        match self.session.claim(account).await? {
            Ok(ownership) => Ok(ownership),
            Err(NotClaimable::Held) => Err(OperatorError::Held),
            // A tombstone is no account any more.
            Err(NotClaimable::Missing | NotClaimable::NotWanted) => Err(OperatorError::Missing),
            Err(NotClaimable::NeedsImport) => Err(OperatorError::NeedsImport),
        }
    }

    /// Gives an account back, whatever became of the work on it.
    ///
    /// # Errors
    /// The store's: the lease ends by itself then.
    pub async fn give_back(&self, term: Term) -> Result<(), OperatorError> {
        // Lost or released: it is nobody's that this session has.
        let _ = term.release(ReleaseReason::Asked, RELEASE_LIMIT).await?;
        Ok(())
    }

    /// Ends the session.
    pub async fn close(self) {
        if !self.session.close().await {
            tracing::warn!("the tool's worker session was not closed in time; it dies by itself");
        }
        self.tracker.close();
        // What is left belongs to claims that were lost.
        let clock = Arc::clone(&self.parts.clock);
        tokio::select! {
            biased;
            () = self.tracker.wait() => {}
            () = clock.sleep(RELEASE_LIMIT) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::io;

    use coordinator_lib::identity::WorkerSessionId;

    use super::*;
    use crate::testing::Bench;

    /// Whether all other processes have ended.
    struct Ended(bool);

    impl Presence for Ended {
        fn enter(&self, _session: &WorkerSessionId) -> io::Result<Box<dyn Any + Send + Sync>> {
            Ok(Box::new(()))
        }

        fn has_left(&self, _session: &WorkerSessionId) -> bool {
            self.0
        }
    }

    #[tokio::test]
    async fn what_a_process_held_that_has_ended_is_claimed_at_once_and_nothing_else() {
        let bench = Bench::new();
        let account = bench.account("a1").await;
        let held = bench.claim("alice", &account).await;
        for has_ended in [false, true] {
            let store = Arc::clone(&bench.store);
            let parts = OperatorParts {
                store: Arc::clone(&bench.store),
                heartbeat: Arc::new(move || {
                    let store = Arc::clone(&store);
                    Box::pin(async move { Ok(store) })
                }),
                presence: Some(Arc::new(Ended(has_ended))),
                keys: Arc::clone(&bench.keys),
                clock: Arc::clone(&bench.clock),
                rng: Arc::clone(&bench.rng),
                lease: LeaseConfig::default(),
            };
            let operator = Operator::begin(parts, "tool").await.unwrap();
            match operator.claim(&account).await {
                Ok(term) => {
                    assert!(has_ended, "alice lives");
                    assert_eq!(term.epoch(), held.fence().epoch + 1);
                    operator.give_back(term).await.unwrap();
                }
                Err(error) => {
                    assert!(matches!(error, OperatorError::Held), "{error}");
                    assert!(!has_ended);
                }
            }
            operator.close().await;
        }
    }
}
