//! Keeping one state for all that differ in names only loses none.

use std::collections::HashSet;

use model::config::Config;
use model::state::State;
use model::symmetry::representative;
use stateright::Model;

fn reachable(config: &Config) -> HashSet<State> {
    let mut seen = HashSet::new();
    let mut pending = config.init_states();
    while let Some(state) = pending.pop() {
        if seen.insert(state) {
            pending.extend(config.next_states(&state));
        }
    }
    seen
}

fn loses_nothing(config: Config) {
    let all = reachable(&Config {
        symmetry: false,
        ..config
    });
    let represented: HashSet<_> = all
        .iter()
        .map(|state| representative(*state, &config))
        .collect();
    let kept = reachable(&config);
    println!("{} states, {} kept", all.len(), kept.len());
    assert_eq!(represented, kept);
    for state in all {
        let other = representative(state, &config);
        for property in config.properties() {
            let (before, after) = (
                (property.condition)(&config, &state),
                (property.condition)(&config, &other),
            );
            assert_eq!(before, after, "{}", property.name);
        }
    }
}

#[test]
fn renaming_two_workers_loses_no_state() {
    loses_nothing(Config {
        epochs: 1,
        late: 0,
        ..Config::TIMED
    });
}

#[test]
fn renaming_three_workers_and_two_accounts_loses_no_state() {
    loses_nothing(Config {
        workers: 3,
        accounts: 2,
        epochs: 1,
        blocks: 1,
        late: 0,
        ..Config::TIMELESS
    });
}
