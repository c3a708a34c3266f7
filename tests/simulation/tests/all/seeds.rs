//! Short forms of what the program does with thousands of seeds.

use simulation::plan::Theme;
use simulation::world;

use crate::program::simulate;

#[test]
fn the_same_seed_gives_the_same_events() {
    for theme in [Theme::Mixed, Theme::Stops] {
        let [first, second, other] = [7, 7, 8].map(|seed| world::run(seed, Some(theme), false));
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

// What seeds have found. Each is named after what it was, and runs the seed
// that showed it.

/// Runs one seed, all checks on.
fn holds(theme: Option<&str>, seed: u64) {
    let seed = seed.to_string();
    let mut arguments = vec!["--seeds", "1", "--first", &seed];
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
