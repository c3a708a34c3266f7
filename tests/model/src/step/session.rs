//! The worker session: boot, heartbeat, seal, close.
//!
//! A heartbeat is conditional on the version of the last one. Only its own
//! process and a seal write that document, and whatever is not final is taken
//! and beaten on (corrections 11); so in the store its condition comes to this:
//! the session is not final.
//!
//! A heartbeat is sent and applied in one step, and answered whenever it may be.
//! One that took its time to the store would mean the same for others, and an
//! earlier `t0` for its sender: gates that open for less long.

use crate::config::Config;
use crate::milestone::Milestone;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{AccountId, Age, Life, Phase, SessionId, SessionState, State, WorkerId};

use super::only_if;

pub(super) fn boot(state: &mut State, config: &Config, worker: WorkerId) -> Option<()> {
    only_if(state.worker(worker).life == Life::Off)?;
    let session = state.store.session_mut(rules::session_of(config, worker));
    only_if(!session.state.is_final())?;
    session.state = SessionState::Active;
    session.age = 0;
    state.worker_mut(worker).life = Life::Active;
    Some(())
}

/// Sent and applied; or rejected, which proves that the session was sealed.
pub(super) fn beat(state: &mut State, config: &Config, worker: WorkerId) -> Option<()> {
    let process = state.worker(worker);
    only_if(process.life == Life::Active && process.beat.is_none())?;
    let own = process.session;
    let session = state.store.session_mut(rules::session_of(config, worker));
    if session.state.is_final() && !config.is(Mutation::ReviveSealed) {
        freeze(state, worker);
        return Some(());
    }
    // Another one at the same moment would change nothing.
    only_if(own > 0 || session.age > 0)?;
    session.state = SessionState::Active;
    session.age = 0;
    state.worker_mut(worker).beat = Some(0);
    Some(())
}

/// Acknowledged, or found when the document was read back: the deadline counts
/// from its `t0`.
pub(super) fn answer_beat(state: &mut State, config: &Config, worker: WorkerId) -> Option<()> {
    let since: Age = state.worker_mut(worker).beat.take()?;
    let was_suspended = suspended(state, config, worker);
    let stamp_late = config.is(Mutation::StampAfterReply);
    state.worker_mut(worker).session = if stamp_late { 0 } else { since };
    if was_suspended && !suspended(state, config, worker) {
        state.just = Some(Milestone::Reopened);
    }
    Some(())
}

/// Closes every gate.
fn freeze(state: &mut State, worker: WorkerId) {
    let process = state.worker_mut(worker);
    process.end();
    let mut stopped = false;
    for tenure in &mut process.tenures {
        match tenure.phase {
            Phase::Held | Phase::Running => {
                tenure.stop();
                stopped = true;
            }
            Phase::Idle | Phase::Claiming | Phase::Stopping | Phase::Releasing => {}
        }
    }
    state.just = stopped.then_some(Milestone::FrozenWhenSealed);
}

/// Whether an engine runs whose gates wait for a deadline.
fn suspended(state: &State, config: &Config, worker: WorkerId) -> bool {
    (0..config.accounts).map(AccountId).any(|account| {
        state.tenure(worker, account).phase == Phase::Running
            && !rules::deadlines_ahead(state, config, worker, account)
    })
}

pub(super) fn seal(state: &mut State, config: &Config, session: SessionId) -> Option<()> {
    let session = state.store.session_mut(session);
    only_if(session.state == SessionState::Active && rules::session_is_dead(config, session.age))?;
    session.state = SessionState::Sealed;
    session.ended = true;
    session.age = 0;
    Some(())
}

/// Only once every gate is closed, and nothing that passed one is unfinished;
/// the process ends with it.
pub(super) fn close(state: &mut State, config: &Config, worker: WorkerId) -> Option<()> {
    let process = state.worker_mut(worker);
    only_if(process.life == Life::Active)?;
    for tenure in &process.tenures {
        let done = tenure.phase == Phase::Idle;
        let closed = tenure.phase == Phase::Stopping && tenure.request.is_none();
        only_if(done || (closed && config.is(Mutation::CloseBeforeDrained)))?;
    }
    process.end();
    let session = state.store.session_mut(rules::session_of(config, worker));
    only_if(!session.state.is_final())?;
    session.state = SessionState::Closed;
    session.ended = true;
    session.age = 0;
    Some(())
}
