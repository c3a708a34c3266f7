//! The protocol as it is: every state within the bounds is seen, no invariant
//! fails in any, and what is worth seeing is seen.

use std::time::Duration;

use model::check::exhaust;
use model::config::Config;
use model::report;

/// Far more than it takes: the point is that a run which is cut off fails.
const LIMIT: Duration = Duration::from_secs(150);

fn holds(name: &str, config: Config) {
    let outcome = exhaust(config, 2, LIMIT);
    println!("{}", report::run(name, &outcome));
    assert!(outcome.exhausted);
    assert_eq!(outcome.broken, []);
    assert_eq!(outcome.missed, [""; 0]);
}

#[test]
fn with_clocks_of_bounded_rate_two_workers_never_own_one_account() {
    holds("with clocks", Config::TIMED);
}

#[test]
fn an_operator_who_nulls_the_lease_breaks_nothing() {
    let config = Config {
        operator: true,
        late: 0,
        ..Config::TIMED
    };
    holds("with clocks and an operator", config);
}

#[test]
fn with_clocks_that_may_stop_no_key_is_used_twice() {
    holds("without clocks", Config::TIMELESS);
}
