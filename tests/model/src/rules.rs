//! The rules of the protocol as pure functions, and where a mutation bends them.
//!
//! # Clocks
//! *Others* are judged by the store's clock, which is the model's own. *Oneself*
//! is judged by one's own, which may have lost up to `ρ`. Every look at one's
//! own clock asks whether a deadline is still ahead, and a clock that has lost
//! the most says yes whenever a better one would. So one clock is enough: the
//! worst (`own_clock`).
//!
//! In whole ticks `<` and `≤` differ by a tick; the gate is given the harder
//! `≤`, where the code has `<`.

use crate::config::{Clocks, Config, Durations};
use crate::mutation::Mutation;
use crate::state::{AccountId, Age, Epoch, Phase, SessionId, State, WorkerId};

/// The name under which a process is known in the store.
pub fn session_of(config: &Config, worker: WorkerId) -> SessionId {
    // Bob is alice's worker, started anew.
    if config.is(Mutation::ReuseSessionId) && worker == WorkerId(1) {
        return SessionId(0);
    }
    SessionId(worker.0)
}

/// What a clock shows that has lost as much as it may.
fn own_clock(durations: &Durations, age: Age) -> Age {
    age.saturating_sub(durations.drift)
}

/// Until when, by its own clock, an owner acts on what was given for `duration`:
/// `duration·(1−ρ) − δ`.
fn trusted(config: &Config, durations: &Durations, duration: Age) -> Age {
    let drift = if config.is(Mutation::IgnoreDrift) {
        0
    } else {
        durations.drift
    };
    let margin = if config.is(Mutation::DropFreezeMargin) {
        0
    } else {
        durations.freeze_margin
    };
    duration.saturating_sub(drift + margin)
}

fn deadline_ahead(config: &Config, age: Age, duration: fn(&Durations) -> Age) -> bool {
    match &config.clocks {
        Clocks::Bounded(durations) => {
            own_clock(durations, age) <= trusted(config, durations, duration(durations))
        }
        Clocks::Arbitrary => true,
    }
}

/// Whether the deadline of a worker session is ahead, `age` after its `t0`.
pub fn session_deadline_ahead(config: &Config, age: Age) -> bool {
    deadline_ahead(config, age, |durations| durations.session_ttl)
}

/// Whether the deadline of an account's lease is ahead, `age` after its `t0`.
pub fn lease_deadline_ahead(config: &Config, age: Age) -> bool {
    deadline_ahead(config, age, |durations| durations.lease)
}

/// Whether a process may act as the owner: the earlier of the two deadlines.
pub fn deadlines_ahead(state: &State, config: &Config, worker: WorkerId, of: AccountId) -> bool {
    let session = session_deadline_ahead(config, state.worker(worker).session);
    let lease = config.is(Mutation::SessionDeadlineAlone)
        || lease_deadline_ahead(config, state.tenure(worker, of).lease);
    session && lease
}

/// Whether frames pass the wire gate.
pub fn wire_gate_open(state: &State, config: &Config, worker: WorkerId, of: AccountId) -> bool {
    state.tenure(worker, of).phase == Phase::Running && deadlines_ahead(state, config, worker, of)
}

/// Whether it is an owner that runs: frames pass its gate, or one that has
/// passed has not arrived.
pub fn is_running_owner(state: &State, config: &Config, worker: WorkerId, of: AccountId) -> bool {
    wire_gate_open(state, config, worker, of) || state.tenure(worker, of).send.is_some()
}

/// Whether it matters how old a request is that can never be applied: only to
/// those who take another for it.
pub fn stale_requests_count(config: &Config) -> bool {
    config.is(Mutation::SettleWithoutNonce) || config.is(Mutation::CreditMissedRenewal)
}

/// What an answer about a lease makes of the age of its request.
pub fn lease_since(config: &Config, age: Age) -> Age {
    match &config.clocks {
        Clocks::Bounded(_) if config.is(Mutation::StampAfterReply) => 0,
        Clocks::Bounded(durations) => age.min(Caps::new(config, durations).own_lease),
        Clocks::Arbitrary => 0,
    }
}

fn lock_delay(config: &Config, durations: &Durations) -> Age {
    if config.is(Mutation::DropLockDelay) {
        0
    } else {
        durations.lock_delay
    }
}

/// Whether a session is dead for others: `read_time − update_time > ttl + G`.
pub fn session_is_dead(config: &Config, age: Age) -> bool {
    match &config.clocks {
        Clocks::Bounded(durations) => age > durations.session_ttl + lock_delay(config, durations),
        Clocks::Arbitrary => true,
    }
}

/// Whether a lease is over for others: `read_time > leaseUntil + G`.
pub fn lease_is_over(config: &Config, age: Age) -> bool {
    match &config.clocks {
        Clocks::Bounded(durations) => age > durations.lease + lock_delay(config, durations),
        Clocks::Arbitrary => true,
    }
}

/// Whether an account is free because its owner let go of it, or never had one.
pub fn is_released(state: &State, config: &Config, account: AccountId) -> bool {
    let account = state.store.account(account);
    account.epoch == 0
        || account.released
        || (config.is(Mutation::BareNullRelease) && !account.claimed)
}

/// The epoch that a claim would begin, if there may be one.
pub fn claimable(
    state: &State,
    config: &Config,
    worker: WorkerId,
    account: AccountId,
) -> Option<Epoch> {
    let document = state.store.account(account);
    let me = session_of(config, worker);
    let epoch = document.epoch.max(document.head.epoch);
    let owner_ended = document
        .session
        .is_some_and(|owner| state.store.session(owner).state.is_final());
    let free = is_released(state, config, account)
        || document.session == Some(me)
        || owner_ended
        || lease_is_over(config, document.age);
    (free && epoch < config.epochs).then_some(epoch + 1)
}

/// Ages beyond which nothing changes any more.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Of a session's document.
    pub session: Age,
    /// Of an account's lease, and of a request that may give it one.
    pub lease: Age,
    /// Since a heartbeat's `t0`.
    pub own_session: Age,
    /// Since a claim's or renewal's `t0`.
    pub own_lease: Age,
    /// Of a send under way; time does not pass beyond it.
    pub send: Age,
}

impl Caps {
    /// The ages at which each question is settled for good.
    pub fn new(config: &Config, durations: &Durations) -> Self {
        let own = |duration| trusted(config, durations, duration) + durations.drift + 1;
        Self {
            session: durations.session_ttl + durations.lock_delay + 1,
            lease: durations.lease + durations.lock_delay + 1,
            own_session: own(durations.session_ttl),
            own_lease: own(durations.lease),
            send: durations.freeze_margin + durations.lock_delay,
        }
    }
}
