//! A frame: the look at the gate, and the wire, with a pause between.

use crate::config::Config;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, Phase, Send, State, WorkerId};

use super::only_if;

/// With the ratchet, a block that is reserved for it is used up.
pub(super) fn send(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let skipped = config.is(Mutation::SkipGate);
    let open = rules::wire_gate_open(state, config, worker, account);
    let tenure = state.tenure_mut(worker, account);
    only_if(open || (skipped && tenure.phase == Phase::Running))?;
    only_if(tenure.send.is_none())?;
    let block = if config.blocks == 0 {
        0
    } else {
        only_if(tenure.chain.ready)?;
        tenure.chain.ready = false;
        tenure.chain.known - 1
    };
    tenure.send = Some(Send { block, age: 0 });
    Some(())
}

/// The server sees it.
pub(super) fn reach(
    state: &mut State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let frame = state.tenure_mut(worker, account).send.take()?;
    if config.blocks == 0 {
        return Some(());
    }
    let document = state.store.account_mut(account);
    let bit = 1 << frame.block;
    document.reused |= document.used & bit != 0;
    document.used |= bit;
    Some(())
}
