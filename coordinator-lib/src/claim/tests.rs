use std::time::Duration;

use super::*;
use crate::identity::{AccountId, WorkerIdentity};
use crate::store::{Fields, Write};

const NOW: StoreTime = StoreTime::from_micros(1_000_000_000_000);

fn session(name: &str) -> WorkerSessionId {
    WorkerSessionId::from_text(name)
}

fn document(write: Write, update_time: StoreTime) -> Document {
    let Write::Set { path, fields, .. } = write else {
        panic!("not a whole document: {write:?}")
    };
    Document {
        path,
        fields,
        update_time,
    }
}

fn fresh() -> (Document, Document) {
    let account = AccountId::new("a1").unwrap();
    let [stored, head] = lease::create_account(&account, Fields::new(), Fields::new());
    (document(stored, NOW), document(head, NOW))
}

/// An account that `owner` holds in epoch 3 until `until`.
fn held(owner: &str, until: StoreTime) -> (Document, Document) {
    let (mut account, mut head) = fresh();
    let owner = WorkerIdentity {
        name: owner.to_owned(),
        session_id: session(owner),
    };
    account
        .fields
        .extend(lease::claimed(&owner, 3, "nonce", NOW, until));
    head.fields.extend(lease::head(&owner, 3));
    (account, head)
}

fn decide_as(
    me: &str,
    owner: OwnerSession,
    at: StoreTime,
    pair: &(Document, Document),
) -> Decision {
    decide(
        &pair.0,
        &pair.1,
        &session(me),
        owner,
        at,
        true,
        &LeaseConfig::default(),
    )
}

fn later(time: StoreTime, seconds: u64) -> StoreTime {
    time.saturating_add(Duration::from_secs(seconds))
}

fn claim(epoch: i64, reason: ClaimReason) -> Decision {
    Decision::Claim {
        epoch,
        reason,
        disagreement: false,
    }
}

#[test]
fn an_account_that_nobody_ever_owned_is_free() {
    assert_eq!(
        decide_as("alice", OwnerSession::None, NOW, &fresh()),
        claim(1, ClaimReason::New)
    );
}

#[test]
fn a_lease_that_runs_belongs_to_its_owner_alone() {
    let pair = held("bob", later(NOW, 300));
    // Even past its end, for the lock delay.
    for seconds in [299, 302] {
        let at = later(NOW, seconds);
        let decision = decide_as("alice", OwnerSession::MayLive, at, &pair);
        assert_eq!(decision, Decision::Leave);
    }
    assert_eq!(
        decide_as("alice", OwnerSession::MayLive, later(NOW, 303), &pair),
        claim(4, ClaimReason::Expired)
    );
}

#[test]
fn an_end_that_may_be_the_outages_own_is_not_trusted() {
    let pair = held("bob", later(NOW, 300));
    let config = LeaseConfig::default();
    let ask = |owner| {
        let (me, at) = (session("alice"), later(NOW, 3_000));
        decide(&pair.0, &pair.1, &me, owner, at, false, &config)
    };
    assert_eq!(ask(OwnerSession::MayLive), Decision::Leave);
    assert_eq!(
        ask(OwnerSession::Sealed),
        claim(4, ClaimReason::OwnerSealed)
    );
}

#[test]
fn what_an_ended_session_held_is_free_at_once() {
    let pair = held("bob", later(NOW, 300));
    for (owner, reason) in [
        (OwnerSession::Closed, ClaimReason::OwnerClosed),
        (OwnerSession::Sealed, ClaimReason::OwnerSealed),
    ] {
        assert_eq!(decide_as("alice", owner, NOW, &pair), claim(4, reason));
    }
}

#[test]
fn what_my_session_holds_without_knowing_is_claimed_anew() {
    let pair = held("alice", later(NOW, 300));
    assert_eq!(
        decide_as("alice", OwnerSession::Me, NOW, &pair),
        claim(4, ClaimReason::Own)
    );
}

#[test]
fn a_release_frees_only_the_epoch_that_it_names() {
    let mut pair = held("bob", later(NOW, 300));
    pair.0
        .fields
        .extend(lease::released(3, Some(&session("alice"))));
    assert_eq!(
        decide_as("alice", OwnerSession::None, NOW, &pair),
        claim(4, ClaimReason::HandedOff)
    );
    assert_eq!(
        decide_as("carol", OwnerSession::None, NOW, &pair),
        claim(4, ClaimReason::Released)
    );
    pair.0.fields.extend(lease::released(2, None));
    assert_eq!(
        decide_as("alice", OwnerSession::None, NOW, &pair),
        Decision::Leave
    );
}

#[test]
fn a_claim_that_a_person_nulled_proves_nothing_until_the_lease_would_be_over() {
    let mut pair = held("bob", later(NOW, 300));
    for field in [
        LEASE_UNTIL_FIELD,
        lease::LEASE_SESSION_FIELD,
        lease::CLAIMED_BY_FIELD,
    ] {
        pair.0.fields.insert(field.to_owned(), Value::Null);
    }
    assert_eq!(
        decide_as("alice", OwnerSession::None, later(NOW, 300), &pair),
        Decision::Leave
    );
    assert_eq!(
        decide_as("alice", OwnerSession::None, later(NOW, 303), &pair),
        claim(4, ClaimReason::Expired)
    );
}

#[test]
fn an_end_far_ahead_is_read_as_the_longest_lease() {
    let pair = held("bob", later(NOW, 1_000_000));
    assert_eq!(
        decide_as("alice", OwnerSession::MayLive, later(NOW, 303), &pair),
        claim(4, ClaimReason::Expired)
    );
}

#[test]
fn epochs_only_grow_even_where_the_documents_disagree() {
    let mut pair = held("bob", NOW);
    pair.1.fields.insert(EPOCH_FIELD.to_owned(), Value::Int(9));
    assert_eq!(
        decide_as("alice", OwnerSession::Sealed, NOW, &pair),
        Decision::Claim {
            epoch: 10,
            reason: ClaimReason::OwnerSealed,
            disagreement: true
        }
    );
}

#[test]
fn what_clients_want_is_wanted() {
    let (mut account, _) = fresh();
    for (desired, wanted) in [
        ("running", true),
        ("deleting", true),
        ("stopped", false),
        ("logged_out", false),
    ] {
        account
            .fields
            .insert(DESIRED_FIELD.to_owned(), desired.into());
        assert_eq!(is_wanted(&account), wanted, "{desired}");
    }
    account.fields.remove(DESIRED_FIELD);
    assert!(is_wanted(&account));
}
