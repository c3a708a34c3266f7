//! Wraps an account's data key anew when the key ring has changed.
//!
//! The owner does it, in the head, on the condition that the head is as it was
//! read and still the owner's; the fenced writer takes the head's new version.
//! Nobody else may: a claim in between would lose its fence.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::fence::Fence;
use coordinator_lib::gate::Gate;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::{EPOCH_FIELD, WORKER_SESSION_FIELD};
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{
    CommitOutcome, Document, Precondition, Store, StoreError, Value, Write,
};
use session::{DataKey, HeadDoc, KeyRing};
use tokio::sync::watch;

/// After a failure of the store.
const RETRY_WAIT: Duration = Duration::from_secs(5);
/// Attempts at a head that keeps changing.
const ATTEMPTS_MAX: usize = 8;

/// What wrapping anew takes.
#[derive(Clone)]
pub(super) struct Rewrap {
    pub(super) store: Store,
    pub(super) keys: Arc<KeyRing>,
    pub(super) clock: SharedClock,
    pub(super) rng: SharedRng,
    pub(super) account: AccountId,
    pub(super) data_key: DataKey,
    pub(super) fence: Fence,
    /// The claim's store gate: closed once it is over.
    pub(super) gate: Gate,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewrapOutcome {
    /// Wrapped anew.
    Done,
    /// It was wrapped for the present ring.
    NotDue,
    /// The claim is over; the next owner does it.
    Lost,
}

impl Rewrap {
    /// Wraps the key anew whenever the ring changes, and at once if it `is_due`,
    /// until the claim is over. `revisions` are those since the head was read.
    pub(super) async fn keep(self, mut revisions: watch::Receiver<u64>, is_due: bool) {
        if is_due {
            revisions.mark_changed();
        }
        loop {
            tokio::select! {
                biased;
                _ = self.gate.closed() => return,
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            match self.once().await {
                Ok(RewrapOutcome::Lost) => return,
                Ok(RewrapOutcome::Done) => {
                    tracing::info!(account.id = %self.account, "data key wrapped anew");
                }
                Ok(RewrapOutcome::NotDue) => {}
                Err(error) => {
                    tracing::warn!(account.id = %self.account, %error, "data key not wrapped anew yet");
                    tokio::select! {
                        biased;
                        _ = self.gate.closed() => return,
                        () = self.clock.sleep(RETRY_WAIT) => revisions.mark_changed(),
                    }
                }
            }
        }
    }

    /// Wraps the key anew if that is due.
    pub(super) async fn once(&self) -> Result<RewrapOutcome, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            let Ok(_pass) = self.gate.pass().await else {
                return Ok(RewrapOutcome::Lost);
            };
            let snapshot = self
                .store
                .get(std::slice::from_ref(&self.fence.head))
                .await?;
            let Some(head) = snapshot.documents.into_iter().flatten().next() else {
                return Ok(RewrapOutcome::Lost);
            };
            if !self.is_mine(&head) {
                return Ok(RewrapOutcome::Lost);
            }
            let doc: HeadDoc = head.decode()?;
            if !self.keys.is_due(&doc.wrapped_keys) {
                return Ok(RewrapOutcome::NotDue);
            }
            let account = self.account.as_str();
            let new = HeadDoc {
                wrapped_keys: self.keys.wrap(self.rng.as_ref(), &self.data_key, account),
            };
            let write = Write::Update {
                path: head.path,
                fields: new.to_document()?,
                precondition: Precondition::Unchanged(head.update_time),
            };
            match self.store.commit(vec![write]).await {
                Ok(CommitOutcome::Committed(_)) => return Ok(RewrapOutcome::Done),
                // Changed meanwhile, or in doubt: look again.
                Ok(CommitOutcome::Rejected) | Err(StoreError::Ambiguous { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended {
            reason: "the head kept changing".to_owned(),
        })
    }

    fn is_mine(&self, head: &Document) -> bool {
        let session = head
            .fields
            .get(WORKER_SESSION_FIELD)
            .and_then(Value::as_text);
        head.fields.get(EPOCH_FIELD) == Some(&Value::Int(self.fence.epoch))
            && session == Some(self.fence.worker_session.as_str())
    }
}
