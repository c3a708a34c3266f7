//! The closing table.

use harness::ledger::Counts;

/// Prints the counts, each with what it counts and whether it may be so.
pub(crate) fn print(counts: &Counts) {
    let count = |number: usize| number as u64;
    let free = [
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
            "of these, found in the worker's threads",
        ),
        (
            "resent",
            count(counts.resent),
            "came again under the same id; a phone drops it",
        ),
    ];
    let zero = [
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
            "seen by the oracle: reused keys, two owners",
        ),
        ("QR scans", counts.qr_after_restart, "after the restart"),
    ];
    println!();
    for (name, number, meaning) in free {
        println!("  {name:<13} {number:>6}            {meaning}");
    }
    for (name, number, meaning) in zero {
        let verdict = if number == 0 { "ok" } else { "MUST BE 0" };
        println!("  {name:<13} {number:>6}  {verdict:<9} {meaning}");
    }
    println!();
}
