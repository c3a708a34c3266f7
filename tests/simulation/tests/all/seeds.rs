//! Short forms of what the program does with thousands of seeds.

use std::collections::BTreeMap;

use simulation::plan::{Theme, Work};
use simulation::world;

use crate::program::simulate;

#[test]
fn the_same_seed_gives_the_same_events() {
    let stand_in = [Theme::Mixed, Theme::Stops].map(|theme| (theme, Work::StandIn, 8));
    // Seed 8 is a cluster of some size, which takes the worker long.
    let worker = [Theme::Mixed, Theme::Partitions].map(|theme| (theme, Work::Worker, 4));
    for (theme, work, other) in stand_in.into_iter().chain(worker) {
        let [first, second, other] =
            [7, 7, other].map(|seed| world::run(seed, Some(theme), Some(work), false));
        assert_eq!(first.hash, second.hash);
        assert_eq!(first.faults, second.faults);
        assert_eq!(first.transitions, second.transitions);
        assert_eq!(first.messages, second.messages);
        assert_ne!(first.hash, other.hash);
    }
}

#[test]
fn no_seed_breaks_safety() {
    let report = simulate(&["--first", "19", "--seeds", "15", "--safety"]);
    assert_eq!(report["violations"], 0, "{report}");
    assert_eq!(report["seeds"], 15);
    for reached in [
        "claimed owner_sealed",
        "claimed handed_off",
        "session SEALED",
    ] {
        assert!(
            report["transitions"][reached].as_u64() > Some(0),
            "{reached}"
        );
    }
}

/// The worker's own supervisor and account tasks: everything holds, messages
/// among it, and what this is about has happened.
#[test]
fn no_seed_of_the_worker_breaks_anything() {
    let mut reached = BTreeMap::<String, u64>::new();
    for (theme, first, seeds) in [
        ("mixed", "21", "4"),
        ("partitions", "21", "3"),
        ("stops", "21", "2"),
        ("long-cuts", "27", "1"),
        ("outages", "27", "1"),
    ] {
        let report = simulate(&[
            "--work", "worker", "--theme", theme, "--first", first, "--seeds", seeds,
        ]);
        assert_eq!(report["violations"], 0, "{report}");
        for counts in [&report["faults"], &report["transitions"]] {
            for (kind, count) in counts.as_object().expect("counts by kind") {
                *reached.entry(kind.clone()).or_default() += count.as_u64().unwrap_or_default();
            }
        }
    }
    for kind in [
        "connection lost under a message, taken",
        "connection replaced",
        "engine closed: the worker session was sealed",
        "ledger checked",
        "message came again under its id",
        "request without an answer",
    ] {
        assert!(reached[kind] > 0, "{kind}: {reached:?}");
    }
}

// What seeds have found. Each is named after what it was, and runs the seed
// that showed it.

/// Runs one seed under the stand-in, as it was found; all checks on.
fn holds(theme: Option<&str>, seed: u64) {
    let seed = seed.to_string();
    let mut arguments = vec!["--work", "stand-in", "--seeds", "1", "--first", &seed];
    arguments.extend(theme.into_iter().flat_map(|theme| ["--theme", theme]));
    let report = simulate(&arguments);
    assert_eq!(report["violations"], 0, "{report}");
    assert_eq!(report["seeds"], 1);
}

/// Live sessions were sealed at once after it: nobody waited for `ttl + G`.
#[test]
fn an_outage_moves_nothing() {
    for seed in [0, 3, 13] {
        holds(Some("outages"), seed);
    }
}

/// Its document was unknown until the first renewal.
#[test]
fn an_account_whose_release_failed_is_taken_up_again() {
    holds(None, 161);
}

/// The one that an account was handed to watched none of its shards.
#[test]
fn a_larger_cluster_evens_out() {
    holds(Some("mixed"), 3);
}

/// Those that looked after its shard were full, and those with room did not look.
#[test]
fn the_last_free_account_of_a_full_cluster_is_seen_by_who_has_room() {
    holds(None, 314);
    holds(None, 783);
}

/// It was full of others' accounts when its own came back to it, and gave none
/// back.
#[test]
fn a_worker_that_was_cut_off_keeps_room_for_its_own() {
    holds(None, 217);
}

/// It was taken over or handed on three times between six failures, and each new
/// owner's connecting counted as one more: its last wait was eight times too long.
#[test]
fn a_takeover_is_no_loss_and_lengthens_no_wait() {
    let report = simulate(&["--first", "8568", "--seeds", "1"]);
    assert_eq!(report["violations"], 0, "{report}");
    assert_eq!(report["work"]["worker"], 1, "{report}");
}

/// Eight real losses in a row, and the ninth wait is longer than the bound was.
#[test]
fn an_account_that_was_lost_often_may_wait_as_long_as_its_losses_say() {
    let report = simulate(&["--first", "8337", "--seeds", "1"]);
    assert_eq!(report["violations"], 0, "{report}");
    assert_eq!(report["work"]["worker"], 1, "{report}");
}

/// A worker whose wall clock was two hours ahead noted when to connect again, and
/// its successor waited until then.
#[test]
fn a_wait_that_a_wrong_clock_noted_ends_in_time() {
    let report = simulate(&["--first", "13", "--seeds", "1", "--work", "worker"]);
    assert_eq!(report["violations"], 0, "{report}");
}
