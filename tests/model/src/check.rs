//! Runs the checker, and reads what it found.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::action::Action;
use crate::config::Config;
use crate::invariants::Invariant;
use crate::state::State;
use crate::step::step;
use crate::symmetry::representative;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// States that differ in more than names.
    pub states: usize,
    /// Steps to the furthest of them.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// All states within the bounds were seen; otherwise time ran out.
    pub exhausted: bool,
    /// The invariants that do not hold.
    pub broken: Vec<Invariant>,
    /// The milestones that were reached, and those that were not.
    pub reached: Vec<&'static str>,
    /// Milestones that were not reached.
    pub missed: Vec<&'static str>,
}

/// A way into a state that must not be.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What does not hold there.
    pub invariant: Invariant,
    /// The steps, each with the state after it.
    pub steps: Vec<(Action, State)>,
    /// States that were looked at until it was found.
    pub states: usize,
}

/// Looks at every state within the bounds, or as many as there is time for.
pub fn exhaust(config: Config, threads: usize, limit: Duration) -> Outcome {
    let started = now();
    let checker = config
        .checker()
        .threads(threads)
        .timeout(limit)
        .spawn_bfs()
        .join();
    let elapsed = started.elapsed();
    let found = checker.discoveries();
    let (mut reached, mut missed) = (Vec::new(), Vec::new());
    for property in config.properties() {
        if property.expectation.discovery_is_failure() {
            continue;
        }
        if found.contains_key(property.name) {
            reached.push(property.name);
        } else {
            missed.push(property.name);
        }
    }
    let broken = Invariant::ALL
        .into_iter()
        .filter(|invariant| found.contains_key(invariant.name()))
        .collect();
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth().saturating_sub(1),
        elapsed,
        exhausted: elapsed < limit,
        broken,
        reached,
        missed,
    }
}

/// Finds a way to break an invariant, if there is one.
pub fn counterexample(config: Config, invariant: Invariant) -> Option<Counterexample> {
    shorter_than(usize::MAX, config, invariant)
}

/// Finds a shortest way to break an invariant, if there is one.
///
/// The checker keeps the last way that it saw before it stopped, which is not
/// always a shortest. So it is asked again, for one step less, until there is
/// none.
pub fn shortest_counterexample(config: Config, invariant: Invariant) -> Option<Counterexample> {
    let mut best = counterexample(config, invariant)?;
    while let Some(shorter) = shorter_than(best.steps.len(), config, invariant) {
        best = shorter;
    }
    Some(best)
}

fn shorter_than(steps: usize, config: Config, invariant: Invariant) -> Option<Counterexample> {
    let name = invariant.name();
    let checker = config
        .checker()
        .finish_when(HasDiscoveries::AllOf([name].into()))
        // It looks at states before this one, and the first is its number 1.
        .target_max_depth(steps.saturating_add(1))
        .spawn_bfs()
        .join();
    let path = checker.discoveries().remove(name)?;
    Some(Counterexample {
        invariant,
        steps: with_one_set_of_names(&config, path),
        states: checker.unique_state_count(),
    })
}

/// States on a path may have been renamed at any step; finds the same path with
/// everybody's name kept.
fn with_one_set_of_names(config: &Config, path: Path<State, Action>) -> Vec<(Action, State)> {
    let states = path.into_states();
    let mut state = states.first().copied().unwrap_or_default();
    let mut steps = Vec::new();
    let mut actions = Vec::new();
    for wanted in states.into_iter().skip(1) {
        actions.clear();
        config.actions(&state, &mut actions);
        let taken = actions.iter().find_map(|action| {
            let next = step(&state, config, *action)?;
            let same = if config.symmetry {
                representative(next, config) == wanted
            } else {
                next == wanted
            };
            same.then_some((*action, next))
        });
        let (action, next) = taken.expect("a renamed state has the same steps, renamed");
        steps.push((action, next));
        state = next;
    }
    steps
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a run takes is for people to read"
)]
fn now() -> Instant {
    Instant::now()
}
