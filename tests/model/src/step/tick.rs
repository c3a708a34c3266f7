//! A tick passes: everything grows older.

use crate::config::{Clocks, Config};
use crate::rules::{self, Caps};
use crate::state::{
    AccountId, Age, Life, Phase, Request, SessionState, State, Tenure, Version, WorkerId, Write,
};

use super::only_if;

/// Not while a frame has been under way for as long as one may be: S2 assumes a
/// bound on the pause between the gate and the wire. Everything else may take
/// as long as it likes.
pub(super) fn tick(state: &mut State, config: &Config) -> Option<()> {
    let Clocks::Bounded(durations) = &config.clocks else {
        return None;
    };
    let caps = Caps::new(config, durations);
    for session in &mut state.store.sessions {
        if session.state == SessionState::Active {
            grow(&mut session.age, caps.session);
        }
    }
    for account in &mut state.store.accounts {
        if account.session.is_some() {
            grow(&mut account.age, caps.lease);
        }
    }
    for worker in &mut state.workers {
        if worker.life == Life::Active {
            grow(&mut worker.session, caps.own_session);
        }
        if let Some(beat) = &mut worker.beat {
            grow(beat, caps.own_session);
        }
        for tenure in &mut worker.tenures {
            grow_tenure(tenure, config, caps);
        }
    }
    for late in state.late.iter_mut().flatten() {
        grow_request(&mut late.request, config, caps);
    }
    state.late.sort_unstable();
    for worker in (0..config.workers).map(WorkerId) {
        for account in (0..config.accounts).map(AccountId) {
            grow_send(state, config, caps, worker, account)?;
        }
    }
    Some(())
}

/// A frame is at most so long on its way. While the gate is open a newer frame
/// may take an older one's place at the last moment, so that is what is kept.
fn grow_send(
    state: &mut State,
    config: &Config,
    caps: Caps,
    worker: WorkerId,
    account: AccountId,
) -> Option<()> {
    let open = rules::wire_gate_open(state, config, worker, account);
    if let Some(frame) = &mut state.tenure_mut(worker, account).send
        && !open
    {
        only_if(frame.age < caps.send)?;
        frame.age += 1;
    }
    Some(())
}

fn grow_tenure(tenure: &mut Tenure, config: &Config, caps: Caps) {
    match tenure.phase {
        Phase::Held | Phase::Running => grow(&mut tenure.lease, caps.own_lease),
        Phase::Idle | Phase::Claiming | Phase::Stopping | Phase::Releasing => {}
    }
    if let Some(flight) = &mut tenure.request {
        if flight.applied {
            let age = &mut flight.request.age;
            grow(age, caps.own_lease);
        } else {
            grow_request(&mut flight.request, config, caps);
        }
    }
}

fn grow_request(request: &mut Request, config: &Config, caps: Caps) {
    let matters = request.version == Version::Current || rules::stale_requests_count(config);
    match request.write {
        Write::Claim | Write::Renew if matters => grow(&mut request.age, caps.lease),
        Write::Claim | Write::Renew => {}
        Write::Release | Write::Flush { .. } => {}
    }
}

fn grow(age: &mut Age, cap: Age) {
    *age = age.saturating_add(1).min(cap);
}
