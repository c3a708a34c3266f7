//! The protocol with one rule broken: the invariant that the rule is for fails.

use std::time::Duration;

use model::check::{counterexample, exhaust};
use model::invariants::Invariant;
use model::mutation::Mutation;
use model::report;

fn is_caught(mutation: Mutation) {
    let config = mutation.config();
    let found = counterexample(config, mutation.caught_by()).unwrap_or_else(|| {
        panic!(
            "{mutation} is not caught by {}",
            mutation.caught_by().name()
        )
    });
    println!("{}", report::trace(&config, &found));
}

/// A test for each mutation; the names say what is caught.
macro_rules! caught {
    ($($name:ident: $mutation:ident,)*) => {
        $(#[test]
        fn $name() {
            is_caught(Mutation::$mutation);
        })*

        #[test]
        fn every_mutation_has_a_test() {
            assert_eq!(Mutation::ALL, [$(Mutation::$mutation),*]);
        }
    };
}

caught! {
    a_deadline_stamped_after_the_reply_is_caught: StampAfterReply,
    a_missing_lock_delay_is_caught: DropLockDelay,
    a_missing_freeze_margin_is_caught: DropFreezeMargin,
    a_drift_that_is_ignored_is_caught: IgnoreDrift,
    an_owner_announced_before_the_acknowledgement_is_caught: AnnounceBeforeAcknowledgement,
    an_unconditional_claim_is_caught: ClaimUnconditionally,
    a_claim_settled_without_its_nonce_is_caught: SettleWithoutNonce,
    an_unconditional_renewal_is_caught: RenewUnconditionally,
    a_renewal_that_ignores_the_version_is_caught: RenewOnEpochAlone,
    a_missed_renewal_that_counts_is_caught: CreditMissedRenewal,
    files_read_before_the_claim_are_caught: ReadFilesBeforeClaim,
    a_session_id_used_again_is_caught: ReuseSessionId,
    a_flush_without_the_fence_is_caught: SkipFence,
    a_flush_that_ignores_the_files_version_is_caught: SkipOrder,
    a_flush_without_any_condition_is_caught: SkipFenceAndOrder,
    a_block_used_before_its_reservation_is_caught: SendBeforeReservation,
    a_gate_that_is_not_looked_at_is_caught: SkipGate,
    a_gate_without_the_accounts_deadline_is_caught: SessionDeadlineAlone,
    a_sealed_session_that_beats_again_is_caught: ReviveSealed,
    an_operators_null_taken_for_a_release_is_caught: BareNullRelease,
    a_release_before_the_last_frame_is_caught: ReleaseBeforeDrained,
    a_close_before_the_last_frame_is_caught: CloseBeforeDrained,
}

/// Either of the two conditions of a flush keeps the keys of one chain apart;
/// the fence keeps the owner's memory right as well.
#[test]
fn without_the_fence_the_version_of_the_file_still_keeps_the_keys_apart() {
    for mutation in [Mutation::SkipFence, Mutation::ReadFilesBeforeClaim] {
        let outcome = exhaust(mutation.config(), 1, Duration::from_secs(150));
        println!("{}", report::run("", &outcome));
        assert!(outcome.exhausted);
        assert_eq!(outcome.broken, [Invariant::S1Fork], "{mutation}");
    }
}
