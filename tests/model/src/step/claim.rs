//! Claim: from the decision to the running engine.

use crate::config::Config;
use crate::milestone::Milestone;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, Chain, Flight, Life, Phase, State, Tenure, WorkerId, Write};

use super::{leave_behind, only_if};

/// Reads, decides and sends; all on the versions of one moment. A claim that
/// was decided earlier is one that takes longer to reach the store.
pub(super) fn claim(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    only_if(state.worker(worker).life == Life::Active)?;
    only_if(state.tenure(worker, account).phase == Phase::Idle)?;
    let epoch = rules::claimable(state, config, worker, account)?;
    let announced = config.is(Mutation::AnnounceBeforeAcknowledgement);
    let read_early = announced || config.is(Mutation::ReadFilesBeforeClaim);
    let chain = if read_early {
        read_files(state, account)
    } else {
        Chain::default()
    };
    let tenure = state.tenure_mut(worker, account);
    *tenure = Tenure {
        phase: if announced {
            Phase::Running
        } else {
            Phase::Claiming
        },
        epoch,
        request: Some(Flight::new(Write::Claim, epoch)),
        chain,
        ..Tenure::default()
    };
    Some(())
}

/// The answer to a claim.
pub(super) fn answer(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) {
    let tenure = state.tenure_mut(worker, account);
    if flight.applied {
        hold(state, config, worker, account, flight);
    } else {
        tenure.request = None;
        tenure.stop();
    }
}

/// Settles a claim by its nonce: mine, or given up. Given up is not the same as
/// not there: it may still land, and then the account is mine unknowingly.
pub(super) fn give_up(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) -> Option<()> {
    let document = state.store.account(account);
    let me = Some(rules::session_of(config, worker));
    let epoch_is_mine = document.session == me && document.epoch == flight.request.epoch;
    let nonce_is_mine = flight.applied || config.is(Mutation::SettleWithoutNonce);
    if epoch_is_mine && nonce_is_mine {
        hold(state, config, worker, account, flight);
        state.just = Some(Milestone::ClaimSettledAsHeld);
        return Some(());
    }
    if !flight.applied {
        leave_behind(state, config, flight.message(worker, account))?;
    }
    let tenure = state.tenure_mut(worker, account);
    tenure.request = None;
    tenure.stop();
    Some(())
}

fn hold(state: &mut State, config: &Config, worker: WorkerId, account: AccountId, flight: Flight) {
    let tenure = state.tenure_mut(worker, account);
    tenure.request = None;
    tenure.lease = rules::lease_since(config, flight.request.age);
    if tenure.phase == Phase::Claiming {
        tenure.phase = Phase::Held;
        // Without a ratchet there are no files to read in a step of their own.
        if config.blocks == 0 {
            start(state, config, worker, account);
        }
    }
}

/// Only with the deadlines ahead, and never in a session that has ended; the
/// files are read now.
pub(super) fn start(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    only_if(state.tenure(worker, account).phase == Phase::Held)?;
    let in_time = state.worker(worker).life == Life::Active
        && rules::deadlines_ahead(state, config, worker, account);
    let files = read_files(state, account);
    let tenure = state.tenure_mut(worker, account);
    if !in_time {
        tenure.stop();
        return Some(());
    }
    tenure.phase = Phase::Running;
    if !config.is(Mutation::ReadFilesBeforeClaim) {
        tenure.chain = files;
    }
    Some(())
}

fn read_files(state: &State, account: AccountId) -> Chain {
    Chain {
        known: state.store.account(account).file.reserved,
        ready: false,
    }
}
