//! Renew: an account's own lease.

use crate::config::Config;
use crate::milestone::Milestone;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, Flight, Phase, State, WorkerId, Write};

use super::{leave_behind, only_if};

/// Reads back, and sends a renewal on the version that was read; if the account
/// is not ours any more, stops instead.
pub(super) fn renew(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let tenure = state.tenure(worker, account);
    only_if(tenure.phase == Phase::Running && tenure.request.is_none())?;
    // Another one at the same moment would change nothing.
    only_if(tenure.lease > 0 || state.store.account(account).age > 0)?;
    let epoch = tenure.epoch;
    let mine = is_mine(state, config, worker, account);
    let tenure = state.tenure_mut(worker, account);
    if mine {
        tenure.request = Some(Flight::new(Write::Renew, epoch));
    } else {
        tenure.stop();
    }
    Some(())
}

/// The answer to a renewal.
pub(super) fn answer(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) {
    let was_open = rules::wire_gate_open(state, config, worker, account);
    let mine = is_mine(state, config, worker, account);
    let tenure = state.tenure_mut(worker, account);
    tenure.request = None;
    if tenure.phase != Phase::Running {
        return;
    }
    if flight.applied {
        tenure.lease = rules::lease_since(config, flight.request.age);
        if !was_open && rules::wire_gate_open(state, config, worker, account) {
            state.just = Some(Milestone::Reopened);
        }
    } else if mine {
        if config.is(Mutation::CreditMissedRenewal) {
            tenure.lease = rules::lease_since(config, flight.request.age);
        }
    } else {
        tenure.stop();
        state.just = Some(Milestone::RenewalMissed);
    }
}

/// No answer: the deadline stays where it was.
pub(super) fn give_up(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) -> Option<()> {
    state.tenure_mut(worker, account).request = None;
    if flight.applied {
        return Some(());
    }
    leave_behind(state, config, flight.message(worker, account))
}

fn is_mine(state: &State, config: &Config, worker: WorkerId, account: AccountId) -> bool {
    let document = state.store.account(account);
    document.session == Some(rules::session_of(config, worker))
        && document.epoch == state.tenure(worker, account).epoch
}
