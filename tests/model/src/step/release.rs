//! Release: the gate closes, the engine shuts down, and only then others are
//! told.

use crate::config::Config;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, Flight, Life, Phase, State, WorkerId, Write};

use super::{leave_behind, only_if};

pub(super) fn stop(state: &mut State, worker: WorkerId, account: AccountId) -> Option<()> {
    let tenure = state.tenure_mut(worker, account);
    only_if(matches!(tenure.phase, Phase::Held | Phase::Running))?;
    tenure.stop();
    Some(())
}

/// An account that the store says is ours, and that nothing here is unfinished
/// of: the engine has shut down, or a claim landed that we had given up on.
pub(super) fn release(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    only_if(state.worker(worker).life != Life::Off)?;
    let document = state.store.account(account);
    only_if(document.session == Some(rules::session_of(config, worker)))?;
    let epoch = document.epoch;
    let tenure = state.tenure_mut(worker, account);
    let unfinished = tenure.phase == Phase::Stopping && tenure.request.is_none();
    only_if(
        tenure.phase == Phase::Idle || (unfinished && config.is(Mutation::ReleaseBeforeDrained)),
    )?;
    tenure.phase = Phase::Releasing;
    tenure.epoch = epoch;
    tenure.request = Some(Flight::new(Write::Release, epoch));
    Some(())
}

/// Done either way: released now, or lost before.
pub(super) fn answer(state: &mut State, worker: WorkerId, account: AccountId) {
    let tenure = state.tenure_mut(worker, account);
    tenure.request = None;
    tenure.stop();
}

/// No answer: it is not retried here, but it may still land.
pub(super) fn give_up(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) -> Option<()> {
    leave_behind(state, config, flight.message(worker, account))?;
    answer(state, worker, account);
    Some(())
}
