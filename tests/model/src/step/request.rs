//! What claims, renewals and releases have in common: they reach the store, are
//! answered, or are given up.

use crate::config::Config;
use crate::state::{AccountId, Flight, State, WorkerId, Write};
use crate::store;

use super::{claim, only_if, release, renew};

pub(super) fn apply(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let flight = state.tenure_mut(worker, account).request.as_mut()?;
    only_if(!flight.applied)?;
    flight.applied = true;
    let message = flight.message(worker, account);
    if message.request.write == Write::Release {
        release::answer(state, worker, account);
    }
    store::apply(state, config, &message)
}

pub(super) fn answer(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let flight = state.tenure(worker, account).request?;
    only_if(is_answered(state, config, worker, account, flight))?;
    match flight.request.write {
        Write::Claim => claim::answer(state, config, worker, account, flight),
        Write::Renew => renew::answer(state, config, worker, account, flight),
        Write::Release => release::answer(state, worker, account),
        Write::Flush { .. } => return None,
    }
    Some(())
}

pub(super) fn give_up(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let flight = state.tenure(worker, account).request?;
    match flight.request.write {
        Write::Claim => claim::give_up(state, config, worker, account, flight),
        Write::Renew => renew::give_up(state, config, worker, account, flight),
        Write::Release => release::give_up(state, config, worker, account, flight),
        Write::Flush { .. } => None,
    }
}

/// Whether the store has decided: done, or never possible again.
pub(super) fn is_answered(
    state: &State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) -> bool {
    let message = flight.message(worker, account);
    flight.applied || !store::accepts(state, config, &message)
}
