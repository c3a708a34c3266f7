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

// What has been found and is not mended yet. Each is to run as a test like the
// others as soon as it is.

#[test]
#[ignore = "after an outage live sessions are sealed at once: nobody waits for ttl + G"]
fn an_outage_moves_nothing() {
    let report = simulate(&["--theme", "outages", "--seeds", "15"]);
    assert_eq!(report["violations"], 0, "{report}");
}

#[test]
#[ignore = "an account whose first release fails before its first renewal is never taken up again"]
fn an_account_whose_release_failed_is_taken_up_again() {
    let report = simulate(&["--first", "161", "--seeds", "1"]);
    assert_eq!(report["violations"], 0, "{report}");
}

#[test]
#[ignore = "beyond eight workers the one that an account is handed to mostly does not see it"]
fn a_larger_cluster_evens_out() {
    let report = simulate(&["--theme", "mixed", "--first", "3", "--seeds", "1"]);
    assert_eq!(report["violations"], 0, "{report}");
}
