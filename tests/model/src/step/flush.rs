//! The fenced flush: a block of counters is reserved before any of it is used.

use crate::config::Config;
use crate::milestone::Milestone;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, Block, Chain, Flight, Phase, State, WorkerId, Write};
use crate::store;

use super::request::is_answered;
use super::{leave_behind, only_if};

/// One at a time. After one of unknown outcome the next is the same write on
/// the same version.
pub(super) fn flush(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let open = rules::wire_gate_open(state, config, worker, account);
    let tenure = state.tenure_mut(worker, account);
    only_if(open || tenure.phase == Phase::Stopping)?;
    only_if(tenure.flush.is_none() && !tenure.chain.ready)?;
    let from = tenure.chain.known;
    only_if(from < config.blocks)?;
    tenure.flush = Some(Flight::new(Write::Flush { from }, tenure.epoch));
    if config.is(Mutation::SendBeforeReservation) {
        tenure.chain = reserved_up_to(from + 1);
    }
    Some(())
}

pub(super) fn apply(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let flight = state.tenure_mut(worker, account).flush.as_mut()?;
    only_if(!flight.applied)?;
    flight.applied = true;
    let message = flight.message(worker, account);
    store::apply(state, config, &message)
}

/// Acknowledged: the block may be used. Rejected: read the head and the file.
pub(super) fn answer(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let flight = state.tenure(worker, account).flush?;
    only_if(is_answered(state, config, worker, account, flight))?;
    let tenure = state.tenure_mut(worker, account);
    tenure.flush = None;
    if !flight.applied {
        read_back(state, config, worker, account, flight);
    } else if !config.is(Mutation::SendBeforeReservation) {
        tenure.chain = reserved_up_to(block_after(flight));
    }
    Some(())
}

/// No answer: read back. What is not there may still land.
pub(super) fn give_up(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let flight = state.tenure(worker, account).flush?;
    state.tenure_mut(worker, account).flush = None;
    if flight.applied {
        read_back(state, config, worker, account, flight);
        return Some(());
    }
    let message = flight.message(worker, account);
    only_if(store::accepts(state, config, &message))?;
    leave_behind(state, config, message)
}

/// Another epoch in the head: fenced. Still ours: the file's nonce says whether
/// the block in doubt has become ours, by whichever attempt.
fn read_back(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
    flight: Flight,
) {
    let document = *state.store.account(account);
    let me = Some(rules::session_of(config, worker));
    let tenure = state.tenure_mut(worker, account);
    if document.head.epoch != tenure.epoch || document.head.session != me {
        tenure.stop();
        state.just = Some(Milestone::Fenced);
        return;
    }
    let landed = document.file.by == tenure.epoch && document.file.reserved == block_after(flight);
    tenure.chain = Chain {
        known: document.file.reserved,
        ready: landed && !config.is(Mutation::SendBeforeReservation),
    };
    if landed {
        state.just = Some(Milestone::FlushSettled);
    }
}

fn block_after(flight: Flight) -> Block {
    match flight.request.write {
        Write::Flush { from } => from + 1,
        Write::Claim | Write::Renew | Write::Release => 0,
    }
}

fn reserved_up_to(known: Block) -> Chain {
    Chain { known, ready: true }
}
