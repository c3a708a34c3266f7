//! What a run found, for people to read.

use std::fmt::Write as _;

use crate::action::Action;
use crate::check::{Counterexample, Outcome};
use crate::config::Config;
use crate::invariants::Invariant;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, SessionState, State, WorkerId};

/// A run in one line; and what went wrong, if anything did.
pub fn run(name: &str, outcome: &Outcome) -> String {
    let how_far = if outcome.exhausted {
        "all of them"
    } else {
        "NOT all: time ran out"
    };
    let mut text = format!(
        "{name:<44} {:>10} states ({how_far}), depth {:>3}, {:>6.1} s",
        outcome.states,
        outcome.depth,
        outcome.elapsed.as_secs_f32()
    );
    for invariant in &outcome.broken {
        let _ = write!(text, "\n    BROKEN: {}", invariant.name());
    }
    if outcome.exhausted {
        for milestone in &outcome.missed {
            let _ = write!(text, "\n    never reached: {milestone}");
        }
    }
    text
}

/// A mutation in one line: what notices it, and after how many steps.
pub fn mutation(mutation: Mutation, found: Option<&Counterexample>, also: &[Invariant]) -> String {
    let invariant = mutation.caught_by();
    let Some(found) = found else {
        return format!("{mutation:<33} NOT CAUGHT by {}", invariant.name());
    };
    let mut text = format!(
        "{mutation:<33} {:<44} {:>3} steps",
        invariant.name(),
        found.steps.len()
    );
    for other in also.iter().filter(|other| **other != invariant) {
        let _ = write!(text, "\n{:<33} {}", "", other.name());
    }
    text
}

/// A counterexample, step by step, with who owns and who runs each account.
pub fn trace(config: &Config, counterexample: &Counterexample) -> String {
    let mut text = format!("{}, but:\n", counterexample.invariant.name());
    let mut ticks = 0;
    for (index, (action, state)) in counterexample.steps.iter().enumerate() {
        if *action == Action::Tick {
            ticks += 1;
        }
        let _ = writeln!(
            text,
            "{:>3}. {:<62} tick {ticks} · {}",
            index + 1,
            action.to_string(),
            summary(config, state)
        );
    }
    text
}

fn summary(config: &Config, state: &State) -> String {
    let mut parts = Vec::new();
    for account in (0..config.accounts).map(AccountId) {
        let document = state.store.account(account);
        let owner = match document.session {
            Some(owner) => match state.store.session(owner).state {
                SessionState::Sealed => format!("{owner}'s, sealed"),
                SessionState::Closed => format!("{owner}'s, closed"),
                SessionState::Active | SessionState::Missing => format!("{owner}'s"),
            },
            None => "nobody's".to_owned(),
        };
        let mut part = format!("{account}: epoch {}, {owner}", document.epoch);
        if config.blocks > 0 {
            let _ = write!(part, ", {} reserved", document.file.reserved);
        }
        for worker in (0..config.workers).map(WorkerId) {
            if rules::is_running_owner(state, config, worker, account) {
                let _ = write!(part, ", {worker} runs");
            }
        }
        parts.push(part);
    }
    parts.join(" · ")
}
