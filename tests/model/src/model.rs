//! The model as the checker sees it.

use stateright::{Model, Property};

use crate::action::{self, Action};
use crate::config::Config;
use crate::invariants::Invariant;
use crate::milestone::Milestone;
use crate::state::{Life, State};
use crate::step::step;
use crate::symmetry::representative;

impl Model for Config {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!(self.fits(), "the bounds fit the arrays of a state");
        let mut state = State::default();
        if !self.is_timed() {
            for worker in &mut state.workers {
                worker.life = Life::Active;
            }
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        action::all(self, actions);
        actions.extend(state.late.iter().flatten().copied().map(Action::Land));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = step(state, self, action)?;
        Some(if self.symmetry {
            representative(next, self)
        } else {
            next
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<_> = Invariant::ALL
            .into_iter()
            .filter(|invariant| invariant.applies_to(self))
            .map(Invariant::property)
            .collect();
        // A broken run ends at its first failure, and has nothing else to show.
        if self.mutation.is_none() {
            properties.extend(Milestone::properties(self));
        }
        properties
    }
}
