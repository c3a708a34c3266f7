//! What each step does to a state, and when it is possible.
//!
//! One function a step; `None` means that it is not possible now, and whatever
//! it did to its copy of the state is thrown away.

use crate::action::Action;
use crate::config::Config;
use crate::state::{Message, State};
use crate::store;

mod claim;
mod flush;
mod release;
mod renew;
mod request;
mod send;
mod session;
mod tick;

/// The state after a step, if it is possible and changes anything.
pub fn step(state: &State, config: &Config, action: Action) -> Option<State> {
    let mut next = State {
        just: None,
        ..*state
    };
    take(&mut next, config, action)?;
    for worker in &mut next.workers {
        for tenure in &mut worker.tenures {
            tenure.settle();
        }
    }
    // A broken run has nothing to show but that it is broken.
    if config.mutation.is_some() {
        next.just = None;
    }
    (next != *state).then_some(next)
}

fn take(state: &mut State, config: &Config, action: Action) -> Option<()> {
    match action {
        Action::Tick => tick::tick(state, config),
        Action::Boot(worker) => session::boot(state, config, worker),
        Action::Beat(worker) => session::beat(state, config, worker),
        Action::AnswerBeat(worker) => session::answer_beat(state, config, worker),
        Action::Seal(session) => session::seal(state, config, session),
        Action::Close(worker) => session::close(state, config, worker),
        Action::Claim(worker, account) => claim::claim(state, config, worker, account),
        Action::Start(worker, account) => claim::start(state, config, worker, account),
        Action::Renew(worker, account) => renew::renew(state, config, worker, account),
        Action::Stop(worker, account) => release::stop(state, worker, account),
        Action::Release(worker, account) => release::release(state, config, worker, account),
        Action::Apply(worker, account) => request::apply(state, config, worker, account),
        Action::Answer(worker, account) => request::answer(state, config, worker, account),
        Action::GiveUp(worker, account) => request::give_up(state, config, worker, account),
        Action::Flush(worker, account) => flush::flush(state, config, worker, account),
        Action::ApplyFlush(worker, account) => flush::apply(state, config, worker, account),
        Action::AnswerFlush(worker, account) => flush::answer(state, config, worker, account),
        Action::GiveUpFlush(worker, account) => flush::give_up(state, config, worker, account),
        Action::Send(worker, account) => send::send(state, config, worker, account),
        Action::Reach(worker, account) => send::reach(state, config, worker, account),
        Action::Land(message) => land(state, config, message),
        Action::Null(account) => store::null_by_operator(state, config, account),
    }
}

/// Goes on only if this holds.
fn only_if(condition: bool) -> Option<()> {
    condition.then_some(())
}

fn land(state: &mut State, config: &Config, message: Message) -> Option<()> {
    let place = state.late.iter_mut().find(|late| **late == Some(message))?;
    *place = None;
    state.late.sort_unstable();
    store::apply(state, config, &message)
}

/// The client no longer waits, but the request may still land; if there is
/// room for it within the bounds.
fn leave_behind(state: &mut State, config: &Config, message: Message) -> Option<()> {
    let count = state.late.iter().flatten().count();
    only_if(count < usize::from(config.late))?;
    if store::accepts(state, config, &message) {
        // Sorted, empty places come first.
        state.late[0] = Some(message);
        state.late.sort_unstable();
    }
    Some(())
}
