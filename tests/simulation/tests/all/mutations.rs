//! Each rule of the protocol that is broken on purpose is found out, and by
//! which check: one that cannot fail is none.

use crate::program::simulate;

/// Breaks a rule until a check finds it. Where the first seed is not
/// 0, those before it are left out for the time that they take; the program
/// says how many seeds it takes from 0 on.
fn caught(mutation: &str, theme: &str, first: u64, seeds_max: u64, check: &str) {
    let report = simulate(&[
        "--mutation",
        mutation,
        "--theme",
        theme,
        "--check",
        check,
        "--first",
        &first.to_string(),
        "--seeds",
        &seeds_max.to_string(),
        "--until-violation",
    ]);
    let count = report["checks"][check]["count"].as_u64();
    assert!(
        count > Some(0),
        "not in {seeds_max} seeds from {first}: {report}"
    );
}

#[test]
fn a_fence_that_is_skipped_is_found() {
    caught(
        "skip-fence",
        "partitions",
        4,
        8,
        "S1 flush belongs to its epoch",
    );
}

#[test]
fn a_gate_that_is_skipped_is_found() {
    caught("skip-gate", "partitions", 0, 5, "S2 one running owner");
}

#[test]
fn a_deadline_that_counts_from_the_reply_is_found() {
    caught("stamp-after-reply", "stops", 10, 13, "S2 one running owner");
}

#[test]
fn a_missing_lock_delay_is_found() {
    caught("no-lock-delay", "partitions", 0, 3, "S2 one running owner");
}

#[test]
fn a_claim_that_is_announced_early_is_found() {
    caught("announce-early", "mixed", 0, 3, "S0 one session an epoch");
}

#[test]
fn a_session_file_that_is_read_before_the_claim_is_found() {
    caught(
        "read-before-claim",
        "long-cuts",
        1,
        6,
        "S1 memory is what is durable",
    );
}

#[test]
fn a_seal_that_is_not_final_is_found() {
    caught("seal-not-final", "partitions", 0, 3, "S4 the end is final");
}

#[test]
fn a_session_that_is_used_again_is_found() {
    caught("reuse-session", "partitions", 0, 3, "S4 the end is final");
}

#[test]
fn an_account_without_a_deadline_of_its_own_is_found() {
    caught(
        "session-deadline-alone",
        "long-cuts",
        0,
        3,
        "S2 one running owner",
    );
}

#[test]
fn taking_over_at_once_after_an_outage_is_found() {
    caught(
        "claim-after-outage",
        "outages",
        0,
        3,
        "an outage moves nothing",
    );
}
