//! The closing table.

use crate::outcome::{FAILOVER_MAX_S, HANDOFF_MAX_S, IMBALANCE_MAX, Outcome};

/// Prints the counts and times, each with what it tells and whether it may be so.
pub(crate) fn print(outcome: &Outcome) {
    let counts = &outcome.counts;
    let count = |number: usize| number as u64;
    println!("\n  store: {}\n", outcome.store.name());
    for (name, number, meaning) in [
        ("sent", count(counts.sent), "accepted by the API with a 202"),
        (
            "  delivered",
            count(counts.delivered),
            "of these, arrived at their phone",
        ),
        (
            "received",
            count(counts.received),
            "written by phones, taken over by the server",
        ),
        (
            "  stored",
            count(counts.stored),
            "of these, found in the workers' threads",
        ),
        (
            "resent",
            count(counts.resent),
            "came again under the same id; a phone drops it",
        ),
        (
            "rebalanced",
            count(outcome.rebalance_moves),
            "accounts that moved to even numbers out",
        ),
    ] {
        row(name, &number.to_string(), "", meaning);
    }
    for (name, number, meaning) in [
        ("lost", count(counts.lost), "never seen at the other end"),
        (
            "duplicated",
            count(counts.duplicated),
            "seen again under another id",
        ),
        ("unknown", count(counts.unknown), "seen, and never sent"),
        (
            "out of order",
            count(counts.out_of_order),
            "arrived before an earlier one of its chat",
        ),
        (
            "violations",
            count(counts.violations),
            "seen by the oracle: reused keys, sends of an old owner",
        ),
        (
            "QR scans",
            counts.qr_after_restart,
            "after the first linking",
        ),
        (
            "woken logins",
            count(outcome.woken_logins),
            "of a paused worker for accounts that it had lost",
        ),
    ] {
        let verdict = if number == 0 { "ok" } else { "MUST BE 0" };
        row(name, &number.to_string(), verdict, meaning);
    }
    row(
        "overlaps",
        &outcome
            .overlaps
            .map_or_else(|| "-".to_owned(), |number| number.to_string()),
        match outcome.overlaps {
            Some(0) => "ok",
            Some(_) | None => "MUST BE 0",
        },
        "owners at the same time, in the ownership history",
    );
    row(
        "imbalance",
        &outcome.imbalance.to_string(),
        if outcome.imbalance <= IMBALANCE_MAX {
            "ok"
        } else {
            "TOO MUCH"
        },
        "between the workers' numbers of accounts, at most 1",
    );
    println!();
    let failover = format!("SIGKILL to connected elsewhere, at most {FAILOVER_MAX_S:.0} s");
    let unowned = format!("unowned after SIGTERM, below {HANDOFF_MAX_S:.0} s");
    for (name, time, is_good, meaning) in [
        (
            "failover",
            outcome.failover_max_s,
            Some(outcome.failover_max_s.is_some_and(|s| s <= FAILOVER_MAX_S)),
            &*failover,
        ),
        (
            "  when paused",
            outcome.paused_failover_max_s,
            None,
            "SIGSTOP to connected elsewhere",
        ),
        (
            "hand-off",
            outcome.handoff_unowned_max_s,
            Some(
                outcome
                    .handoff_unowned_max_s
                    .is_some_and(|s| s < HANDOFF_MAX_S),
            ),
            &*unowned,
        ),
        (
            "  offline",
            outcome.handoff_disconnected_max_s,
            None,
            "not connected then, as the server saw it",
        ),
        (
            "rebalancing",
            outcome.rebalance_unowned_max_s,
            None,
            "unowned in a move between live workers",
        ),
    ] {
        let time = time.map_or_else(|| "-".to_owned(), |time| format!("{time:.2}s"));
        let verdict = match is_good {
            Some(true) => "ok",
            Some(false) => "TOO LONG",
            None => "",
        };
        row(name, &time, verdict, meaning);
    }
    if !outcome.violation_kinds.is_empty() {
        println!("\n  violations by kind: {:?}", outcome.violation_kinds);
    }
    println!();
}

fn row(name: &str, value: &str, verdict: &str, meaning: &str) {
    println!("  {name:<13} {value:>7}  {verdict:<9} {meaning}");
}
