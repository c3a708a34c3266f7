//! What must hold in every state, under the names of the protocol's safety
//! argument.

use stateright::Property;

use crate::config::{Clocks, Config};
use crate::rules;
use crate::state::{AccountId, Phase, State, WorkerId};

/// A safety property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// One session per epoch; epochs only grow.
    S0,
    /// No key is used by two epochs, nor twice by one.
    S1Key,
    /// What the owner knows of the ratchet is what is durable: its memory has
    /// not forked from it, up to its own flush whose answer is still to come.
    S1Fork,
    /// At most one running owner. Of timed runs only.
    S2,
    /// A released account has no running owner.
    S3,
    /// A late renewal, heartbeat or claim never brings back a lost epoch.
    S4,
}

impl Invariant {
    /// Each of them.
    pub const ALL: [Invariant; 6] = [
        Invariant::S0,
        Invariant::S1Key,
        Invariant::S1Fork,
        Invariant::S2,
        Invariant::S3,
        Invariant::S4,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Invariant::S0 => "S0 one session per epoch, epochs only grow",
            Invariant::S1Key => "S1 no key is used twice",
            Invariant::S1Fork => "S1 the owner's ratchet is the durable one",
            Invariant::S2 => "S2 at most one running owner",
            Invariant::S3 => "S3 a released account has no running owner",
            Invariant::S4 => "S4 a lost epoch never comes back",
        }
    }

    /// Whether a run says anything about it.
    pub fn applies_to(self, config: &Config) -> bool {
        match self {
            Invariant::S0 | Invariant::S3 | Invariant::S4 => true,
            Invariant::S1Key | Invariant::S1Fork => config.blocks > 0,
            Invariant::S2 => matches!(config.clocks, Clocks::Bounded(_)),
        }
    }

    /// As a property of the model.
    pub fn property(self) -> Property<Config> {
        let condition = match self {
            Invariant::S0 => one_session_per_epoch,
            Invariant::S1Key => no_key_is_used_twice,
            Invariant::S1Fork => the_owner_knows_what_is_durable,
            Invariant::S2 => at_most_one_running_owner,
            Invariant::S3 => a_released_account_rests,
            Invariant::S4 => a_lost_epoch_stays_lost,
        };
        Property::always(self.name(), condition)
    }
}

fn accounts(config: &Config) -> impl Iterator<Item = AccountId> + use<> {
    (0..config.accounts).map(AccountId)
}

fn workers(config: &Config) -> impl Iterator<Item = WorkerId> + use<> {
    (0..config.workers).map(WorkerId)
}

/// Processes, not names: two boots of a worker that call themselves the same are
/// two.
fn one_session_per_epoch(config: &Config, state: &State) -> bool {
    accounts(config).all(|account| {
        let owners = workers(config).filter_map(|worker| {
            let tenure = state.tenure(worker, account);
            match tenure.phase {
                Phase::Held | Phase::Running | Phase::Stopping => Some(tenure.epoch),
                Phase::Idle | Phase::Claiming | Phase::Releasing => None,
            }
        });
        let mut seen = 0_u64;
        let mut distinct = true;
        for epoch in owners {
            distinct &= seen & (1 << epoch) == 0;
            seen |= 1 << epoch;
        }
        distinct && !state.store.account(account).epoch_fell
    })
}

fn no_key_is_used_twice(config: &Config, state: &State) -> bool {
    accounts(config).all(|account| !state.store.account(account).reused)
}

fn the_owner_knows_what_is_durable(config: &Config, state: &State) -> bool {
    accounts(config).all(|account| {
        let document = state.store.account(account);
        workers(config).all(|worker| {
            let tenure = state.tenure(worker, account);
            let owns = tenure.phase == Phase::Running
                && tenure.epoch == document.head.epoch
                && document.head.session == Some(rules::session_of(config, worker));
            !owns
                || document.file.by == tenure.epoch
                || document.file.reserved == tenure.chain.known
        })
    })
}

fn at_most_one_running_owner(config: &Config, state: &State) -> bool {
    accounts(config).all(|account| {
        let running = workers(config)
            .filter(|worker| rules::is_running_owner(state, config, *worker, account));
        running.count() <= 1
    })
}

/// Of the epoch that was released: with clocks that may stop, an owner of an
/// older one may still believe in its own.
fn a_released_account_rests(config: &Config, state: &State) -> bool {
    accounts(config).all(|account| {
        !rules::is_released(state, config, account)
            || workers(config).all(|worker| {
                state.tenure(worker, account).epoch != state.store.account(account).epoch
                    || !rules::is_running_owner(state, config, worker, account)
            })
    })
}

/// The account names the owner that its head names, or nobody after a release;
/// and a session that has ended stays so.
fn a_lost_epoch_stays_lost(config: &Config, state: &State) -> bool {
    let leases = accounts(config).all(|account| {
        let document = state.store.account(account);
        let nobody = document.released || document.epoch == 0;
        document.epoch == document.head.epoch
            && match document.session {
                Some(owner) => !nobody && document.head.session == Some(owner),
                None => nobody,
            }
    });
    let sessions = state
        .store
        .sessions
        .iter()
        .all(|session| !session.ended || session.state.is_final());
    leases && sessions
}
