use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::identity::WorkerSessionId;
use crate::rng::SeededRng;
use crate::store::{DocumentStore, Fault, MemoryStore};
use crate::worker_session::SessionState;

struct World {
    clock: ManualClock,
    store: MemoryStore,
    account: AccountId,
}

async fn world() -> World {
    let clock = ManualClock::new();
    let store = MemoryStore::new(Arc::new(clock.clone()));
    let account = AccountId::new("a1").unwrap();
    let writes = lease::create_account(&account, Fields::new(), Fields::new());
    assert!(matches!(
        store.commit(writes.to_vec()).await,
        Ok(CommitOutcome::Committed(_))
    ));
    World {
        clock,
        store,
        account,
    }
}

impl World {
    fn worker(&self, name: &str) -> Operations {
        let me = WorkerIdentity {
            name: name.to_owned(),
            session_id: WorkerSessionId::from_text(&format!("{name}-boot")),
        };
        Operations::new(
            Arc::new(self.store.clone()),
            Arc::new(self.clock.clone()),
            SeededRng::shared(7),
            LeaseConfig::default(),
            me,
            claim::is_wanted,
        )
    }

    async fn document(&self) -> Document {
        self.store
            .get(&[self.account.account_path()])
            .await
            .unwrap()
            .documents
            .remove(0)
            .unwrap()
    }

    async fn head(&self) -> Document {
        self.store
            .get(&[self.account.head_path()])
            .await
            .unwrap()
            .documents
            .remove(0)
            .unwrap()
    }

    /// Begins the session of a worker in the store.
    async fn session(&self, name: &str) {
        let me = self.worker(name).me().clone();
        let facts = worker_session::SessionFacts {
            me: me.clone(),
            capacity: 18,
            version: String::new(),
            address: None,
        };
        let write = Write::Set {
            path: worker_session::path(&me.session_id),
            fields: facts.first_fields(&LeaseConfig::default()),
            precondition: Precondition::Absent,
        };
        let begun = self.store.commit(vec![write]).await;
        assert!(matches!(begun, Ok(CommitOutcome::Committed(_))));
    }

    async fn history(&self) -> Vec<String> {
        let query = history::of(&self.account).unwrap();
        let mut entries = self.store.query(&query).await.unwrap().documents;
        entries.reverse();
        let field = |entry: &Document, name: &str| text(entry, name).unwrap_or("-").to_owned();
        entries
            .iter()
            .map(|entry| {
                let Value::Int(epoch) = entry.fields["epoch"] else {
                    panic!("no epoch")
                };
                format!(
                    "{} {epoch} {}",
                    field(entry, "kind"),
                    field(entry, "reason")
                )
            })
            .collect()
    }

    async fn claim(&self, worker: &Operations) -> (AccountLease, Fence) {
        match worker.claim(&self.account, true).await.unwrap() {
            ClaimOutcome::Claimed { lease, fence, .. } => (lease, fence),
            ClaimOutcome::NotClaimable(why) => panic!("not claimed: {why:?}"),
        }
    }
}

#[tokio::test]
async fn a_claim_begins_an_epoch_in_both_documents() {
    let world = world().await;
    let alice = world.worker("alice");
    let asked_at = world.clock.boottime();
    let (lease, fence) = world.claim(&alice).await;
    assert_eq!((lease.epoch, fence.epoch), (1, 1));
    assert_eq!(fence.version, world.head().await.update_time);
    assert_eq!(lease.deadline, alice.config().deadline(asked_at));
    let stored = world.document().await;
    assert_eq!(text(&stored, "claimedBy"), Some("alice"));
    assert_eq!(text(&stored, "leaseSession"), Some("alice-boot"));
    assert_eq!(stored.fields["leaseUntil"], Value::Time(lease.lease_until));
    assert_eq!(world.head().await.fields["epoch"], Value::Int(1));
}

#[tokio::test]
async fn what_a_sealed_session_held_is_claimed_with_a_higher_epoch() {
    let world = world().await;
    let (alice, bob) = (world.worker("alice"), world.worker("bob"));
    world.session("alice").await;
    let (lease, _) = world.claim(&alice).await;
    let held = bob.claim(&world.account, true).await;
    assert_eq!(held, Ok(ClaimOutcome::NotClaimable(NotClaimable::Held)));
    let session = alice
        .read_session(&lease.worker_session)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bob.seal(&session).await, Ok(SealOutcome::Ended));
    let claimed = bob.claim(&world.account, false).await.unwrap();
    let ClaimOutcome::Claimed {
        lease: next,
        reason,
        ..
    } = claimed
    else {
        panic!("{claimed:?}")
    };
    assert_eq!((next.epoch, reason), (2, ClaimReason::OwnerSealed));
    // The old owner has nothing to renew or to release any more.
    assert_eq!(alice.renew(&lease).await, Ok(RenewOutcome::Lost));
    assert_eq!(
        alice.release(&lease, ReleaseReason::Drain, None).await,
        Ok(ReleaseOutcome::Lost)
    );
    assert_eq!(text(&world.document().await, "claimedBy"), Some("bob"));
    assert_eq!(
        world.history().await,
        ["claimed 1 new", "claimed 2 owner_sealed"]
    );
}

#[tokio::test]
async fn a_session_that_has_beaten_since_it_was_read_is_not_sealed() {
    let world = world().await;
    let (alice, bob) = (world.worker("alice"), world.worker("bob"));
    world.session("alice").await;
    let id = &alice.me().session_id;
    let read = bob.read_session(id).await.unwrap().unwrap();
    let beat = Write::Update {
        path: worker_session::path(id),
        fields: worker_session::beat_fields(1, SessionState::Active, 0),
        precondition: Precondition::None,
    };
    assert!(matches!(
        world.store.commit(vec![beat]).await,
        Ok(CommitOutcome::Committed(_))
    ));
    assert_eq!(bob.seal(&read).await, Ok(SealOutcome::Lives));
    let now = bob.read_session(id).await.unwrap().unwrap();
    assert_eq!(now.state, SessionState::Active);
}

#[tokio::test]
async fn a_renewal_moves_the_end_and_the_deadline_and_leaves_the_head_alone() {
    let world = world().await;
    let alice = world.worker("alice");
    let (lease, fence) = world.claim(&alice).await;
    let before = lease.clone();
    world.clock.advance(Duration::from_secs(120));
    let Ok(RenewOutcome::Renewed {
        lease_until,
        deadline,
    }) = alice.renew(&lease).await
    else {
        panic!("not renewed")
    };
    assert!(lease_until > before.lease_until && deadline > before.deadline);
    assert_eq!(world.head().await.update_time, fence.version);
}

#[tokio::test]
async fn a_release_nulls_the_three_fields_and_frees_the_account() {
    let world = world().await;
    let alice = world.worker("alice");
    let (lease, _) = world.claim(&alice).await;
    assert_eq!(
        alice.release(&lease, ReleaseReason::Drain, None).await,
        Ok(ReleaseOutcome::Released)
    );
    let stored = world.document().await;
    for field in ["claimedBy", "claimedAt", "leaseUntil"] {
        assert_eq!(stored.fields[field], Value::Null, "{field}");
    }
    assert_eq!(stored.fields["releasedEpoch"], Value::Int(1));
    assert_eq!(stored.fields["leaseEpoch"], Value::Int(1));
}

#[tokio::test]
async fn a_claim_that_landed_unseen_is_settled_by_its_nonce() {
    let world = world().await;
    world.store.fail_next_commit(Fault::AmbiguousApplied);
    let (lease, fence) = world.claim(&world.worker("alice")).await;
    assert_eq!(lease.epoch, 1);
    assert_eq!(fence.version, world.head().await.update_time);
}

#[tokio::test]
async fn a_claim_that_lands_late_loses_to_the_one_made_again() {
    let world = world().await;
    world.store.fail_next_commit(Fault::AmbiguousLate);
    let (lease, fence) = world.claim(&world.worker("alice")).await;
    assert_eq!(world.store.land_late(), [CommitOutcome::Rejected]);
    assert_eq!(lease.epoch, 1);
    assert_eq!(fence.version, world.head().await.update_time);
}

#[tokio::test]
async fn a_release_that_landed_unseen_counts_as_released() {
    let world = world().await;
    let alice = world.worker("alice");
    let (lease, _) = world.claim(&alice).await;
    world.store.fail_next_commit(Fault::AmbiguousApplied);
    assert_eq!(
        alice.release(&lease, ReleaseReason::Drain, None).await,
        Ok(ReleaseOutcome::Released)
    );
}

#[tokio::test]
async fn an_account_without_a_head_of_ours_is_never_claimed() {
    let world = world().await;
    let old = AccountId::new("old").unwrap();
    let predecessor = Write::Set {
        path: old.account_path(),
        fields: Fields::from([("name".to_owned(), Value::from("eu"))]),
        precondition: Precondition::Absent,
    };
    assert!(matches!(
        world.store.commit(vec![predecessor]).await,
        Ok(CommitOutcome::Committed(_))
    ));
    let outcome = world.worker("alice").claim(&old, true).await;
    assert_eq!(
        outcome,
        Ok(ClaimOutcome::NotClaimable(NotClaimable::NeedsImport))
    );
}

#[tokio::test]
async fn a_store_that_is_away_leaves_the_lease_as_it_was() {
    let world = world().await;
    let alice = world.worker("alice");
    let (lease, _) = world.claim(&alice).await;
    let before = lease.clone();
    world.store.fail_next_commit(Fault::Unavailable);
    assert!(alice.renew(&lease).await.is_err());
    assert_eq!(lease, before);
}
