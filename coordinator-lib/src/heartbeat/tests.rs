use std::sync::Arc;

use futures::FutureExt;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::identity::{WorkerIdentity, WorkerSessionId};
use crate::rng::SeededRng;
use crate::store::{DocumentStore, Fault, MemoryStore, Value};

struct World {
    clock: ManualClock,
    store: MemoryStore,
    config: LeaseConfig,
    heartbeat: Heartbeat,
    vitals: Arc<Vitals>,
}

fn id() -> WorkerSessionId {
    WorkerSessionId::from_text("s1")
}

fn parts(clock: &ManualClock, store: &MemoryStore) -> HeartbeatParts {
    HeartbeatParts {
        store: Arc::new(store.clone()),
        clock: Arc::new(clock.clone()),
        rng: SeededRng::shared(1),
        config: LeaseConfig::default(),
        facts: SessionFacts {
            me: WorkerIdentity {
                name: "alice".to_owned(),
                session_id: id(),
            },
            capacity: 18,
            version: "1".to_owned(),
            address: None,
        },
    }
}

async fn world() -> World {
    let clock = ManualClock::new();
    let store = MemoryStore::new(Arc::new(clock.clone()));
    let (heartbeat, vitals) = Heartbeat::begin(parts(&clock, &store)).await.unwrap();
    World {
        clock,
        store,
        config: LeaseConfig::default(),
        heartbeat,
        vitals,
    }
}

impl World {
    async fn document(&self) -> crate::store::Document {
        let mut read = self
            .store
            .get(&[worker_session::path(&id())])
            .await
            .unwrap();
        read.documents.remove(0).unwrap()
    }

    async fn write(&self, fields: Fields) {
        let write = Write::Update {
            path: worker_session::path(&id()),
            fields,
            precondition: Precondition::None,
        };
        let written = self.store.commit(vec![write]).await.unwrap();
        assert!(matches!(written, CommitOutcome::Committed(_)));
    }

    async fn beat(&mut self) -> Beat {
        let beat = self.heartbeat.attempt().await;
        if let Beat::Done(asked_at, store_time) = &beat {
            self.heartbeat.proved(*asked_at, *store_time);
        }
        beat
    }
}

#[tokio::test]
async fn a_beat_changes_the_document_and_moves_the_deadline() {
    let mut world = world().await;
    world.clock.advance(Duration::from_secs(2));
    let asked_at = world.clock.boottime();
    assert!(matches!(world.beat().await, Beat::Done(..)));
    let document = world.document().await;
    assert_eq!(document.fields["beat"], Value::Int(1));
    assert_eq!(document.fields["state"], Value::from("ACTIVE"));
    assert_eq!(
        world.vitals.deadline.at(),
        world.config.session_deadline(asked_at)
    );
}

#[tokio::test]
async fn a_second_session_of_the_same_id_does_not_begin() {
    let world = world().await;
    let second = Heartbeat::begin(parts(&world.clock, &world.store)).await;
    assert!(matches!(second, Err(StoreError::Invalid { .. })));
}

#[tokio::test]
async fn a_beat_that_landed_unseen_counts_from_its_own_attempt() {
    let mut world = world().await;
    let first = world.clock.boottime();
    world.store.fail_next_commit(Fault::AmbiguousApplied);
    assert!(matches!(world.beat().await, Beat::Failed(_)));
    world.clock.advance(Duration::from_secs(3));
    let Beat::Done(asked_at, _) = world.beat().await else {
        panic!("not settled")
    };
    assert_eq!(asked_at, first);
    assert!(matches!(world.beat().await, Beat::Done(..)));
    assert_eq!(world.document().await.fields["beat"], Value::Int(2));
}

#[tokio::test]
async fn a_sealed_session_ends_and_closes_its_deadline() {
    let mut world = world().await;
    world
        .write(worker_session::seal_fields(
            &WorkerSessionId::from_text("s2"),
            StoreTime::from_micros(0),
        ))
        .await;
    let Beat::Ended(state) = world.beat().await else {
        panic!("beats on")
    };
    assert_eq!(state, SessionState::Sealed);
    world.heartbeat.ended(state);
    assert_eq!(world.vitals.deadline.closed(), Some(CloseReason::Sealed));
    assert_eq!(
        world.vitals.ended().now_or_never(),
        Some(SessionState::Sealed)
    );
}

#[tokio::test]
async fn a_seal_beats_a_heartbeat_that_lands_late() {
    let mut world = world().await;
    world.store.fail_next_commit(Fault::AmbiguousLate);
    assert!(matches!(world.beat().await, Beat::Failed(_)));
    world
        .write(worker_session::seal_fields(
            &WorkerSessionId::from_text("s2"),
            StoreTime::from_micros(0),
        ))
        .await;
    assert_eq!(world.store.land_late(), [CommitOutcome::Rejected]);
    assert!(matches!(
        world.beat().await,
        Beat::Ended(SessionState::Sealed)
    ));
}

#[tokio::test]
async fn a_persons_edit_does_not_end_a_session() {
    let mut world = world().await;
    world
        .write(Fields::from([("note".to_owned(), "hello".into())]))
        .await;
    assert!(matches!(world.beat().await, Beat::Again));
    assert!(matches!(world.beat().await, Beat::Done(..)));
}

#[tokio::test]
async fn a_document_that_was_removed_is_an_end() {
    let mut world = world().await;
    let write = Write::Delete {
        path: worker_session::path(&id()),
        precondition: Precondition::None,
    };
    assert!(world.store.commit(vec![write]).await.is_ok());
    assert!(matches!(
        world.beat().await,
        Beat::Ended(SessionState::Sealed)
    ));
}

#[tokio::test]
async fn work_that_makes_no_progress_has_no_pulse() {
    let world = world().await;
    assert!(world.heartbeat.has_pulse());
    world.clock.advance(Duration::from_secs(5));
    assert!(!world.heartbeat.has_pulse());
    world.vitals.pulse.tick(world.clock.boottime());
    assert!(world.heartbeat.has_pulse());
}

#[tokio::test]
async fn a_session_closes_when_it_is_asked_to() {
    let mut world = world().await;
    world.vitals.want(SessionState::Closed);
    assert!(matches!(world.beat().await, Beat::Done(..)));
    assert_eq!(world.vitals.seen().state, SessionState::Closed);
    assert_ne!(world.document().await.fields["endedAt"], Value::Null);
    // Final: nothing can be wanted any more.
    world.vitals.want(SessionState::Active);
    assert!(matches!(
        world.vitals.ended().now_or_never(),
        Some(SessionState::Closed)
    ));
}

#[tokio::test]
async fn what_was_asked_before_it_runs_is_done_at_once() {
    let world = world().await;
    world.vitals.want(SessionState::Closed);
    // The clock stands still: it would wait for the next beat for ever.
    let state = world.heartbeat.run().now_or_never();
    assert_eq!(state, Some(SessionState::Closed));
}
