use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::identity::WorkerSessionId;
use crate::rng::SeededRng;
use crate::store::{DocumentStore, Fault, MemoryStore};

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
    fn worker(&self, name: &str) -> Coordinator {
        let me = WorkerIdentity {
            name: name.to_owned(),
            session_id: WorkerSessionId::from_text(&format!("{name}-boot")),
        };
        Coordinator::new(
            Arc::new(self.store.clone()),
            Arc::new(self.clock.clone()),
            SeededRng::shared(7),
            LeaseConfig::default(),
            me,
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

    async fn claim(&self, worker: &Coordinator) -> (AccountLease, Fence) {
        match worker.claim(&self.account).await.unwrap() {
            ClaimOutcome::Claimed { lease, fence } => (lease, fence),
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
async fn the_next_boot_claims_what_the_last_left_with_a_higher_epoch() {
    let world = world().await;
    let (mut lease, _) = world.claim(&world.worker("alice")).await;
    let (next, _) = world.claim(&world.worker("bob")).await;
    assert_eq!(next.epoch, 2);
    // The old boot has nothing to renew or to release any more.
    assert_eq!(
        world.worker("alice").renew(&mut lease).await,
        Ok(RenewOutcome::Lost)
    );
    assert_eq!(
        world.worker("alice").release(lease).await,
        Ok(ReleaseOutcome::Lost)
    );
    assert_eq!(text(&world.document().await, "claimedBy"), Some("bob"));
}

#[tokio::test]
async fn a_renewal_moves_the_end_and_the_deadline_and_leaves_the_head_alone() {
    let world = world().await;
    let alice = world.worker("alice");
    let (mut lease, fence) = world.claim(&alice).await;
    let before = lease.clone();
    world.clock.advance(Duration::from_secs(120));
    assert_eq!(alice.renew(&mut lease).await, Ok(RenewOutcome::Renewed));
    assert!(lease.lease_until > before.lease_until && lease.deadline > before.deadline);
    assert_eq!(world.head().await.update_time, fence.version);
}

#[tokio::test]
async fn a_release_nulls_the_three_fields_and_frees_the_account() {
    let world = world().await;
    let alice = world.worker("alice");
    let (lease, _) = world.claim(&alice).await;
    assert_eq!(alice.release(lease).await, Ok(ReleaseOutcome::Released));
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
    assert_eq!(alice.release(lease).await, Ok(ReleaseOutcome::Released));
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
    let outcome = world.worker("alice").claim(&old).await;
    assert_eq!(
        outcome,
        Ok(ClaimOutcome::NotClaimable(NotClaimable::NeedsImport))
    );
}

#[tokio::test]
async fn a_store_that_is_away_leaves_the_lease_as_it_was() {
    let world = world().await;
    let alice = world.worker("alice");
    let (mut lease, _) = world.claim(&alice).await;
    let before = lease.clone();
    world.store.fail_next_commit(Fault::Unavailable);
    assert!(alice.renew(&mut lease).await.is_err());
    assert_eq!(lease, before);
}
