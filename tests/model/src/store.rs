//! The store: one linearizable state, and conditional writes on it.
//!
//! A write is applied as a whole or not at all, at any moment after it was
//! sent: when its client has long given up, or never. It looks at the documents
//! as they are *then*, which is all that the protocol's safety is built on.

use crate::config::Config;
use crate::milestone::Milestone;
use crate::mutation::Mutation;
use crate::rules;
use crate::state::{Account, AccountId, File, Head, Message, Request, State, Version, Write};

/// Whether a write's conditions hold now.
///
/// What fails here fails for ever: a stale version stays stale, a lost epoch
/// lost, and a file that has more reserved than was read keeps it. So there is
/// no "rejected" in a state: a client learns of it when it looks at the answer.
pub fn accepts(state: &State, config: &Config, message: &Message) -> bool {
    let request = &message.request;
    let account = state.store.account(message.account);
    let me = Some(rules::session_of(config, message.worker));
    let current = request.version == Version::Current;
    let mine = account.session == me && account.epoch == request.epoch;
    match request.write {
        Write::Claim => current,
        Write::Renew => (mine && current) || config.is(Mutation::RenewUnconditionally),
        Write::Release => mine,
        Write::Flush { from } => {
            let fence = account.head.epoch == request.epoch && account.head.session == me;
            let order = account.file.reserved == from;
            let fence_skipped =
                config.is(Mutation::SkipFence) || config.is(Mutation::SkipFenceAndOrder);
            let order_skipped =
                config.is(Mutation::SkipOrder) || config.is(Mutation::SkipFenceAndOrder);
            (fence || fence_skipped) && (order || order_skipped)
        }
    }
}

/// Applies a write whose conditions hold.
pub fn apply(state: &mut State, config: &Config, message: &Message) -> Option<()> {
    if !accepts(state, config, message) {
        return None;
    }
    let request = message.request;
    let me = rules::session_of(config, message.worker);
    if request.write == Write::Claim {
        state.just = Milestone::of_claim(state, config, message);
    }
    let account = state.store.account_mut(message.account);
    match request.write {
        Write::Claim => {
            account.epoch_fell |= request.epoch <= account.head.epoch;
            account.head = Head {
                epoch: request.epoch,
                session: Some(me),
            };
            write_lease(account, message, config);
        }
        // Names all of the lease's fields; unbroken it changes one of them.
        Write::Renew => write_lease(account, message, config),
        Write::Release => {
            account.claimed = false;
            account.session = None;
            account.released = true;
            account.age = 0;
        }
        Write::Flush { from } => {
            account.file = File {
                reserved: from + 1,
                by: request.epoch,
            };
        }
    }
    match request.write {
        Write::Claim | Write::Renew | Write::Release => outdate(state, config, message.account),
        Write::Flush { .. } => {}
    }
    forget_hopeless(state, config);
    Some(())
}

/// An operator nulls `claimedBy` and `leaseUntil`, which everybody then reads as
/// `update_time` + the longest lease.
pub fn null_by_operator(state: &mut State, config: &Config, account: AccountId) -> Option<()> {
    let document = state.store.account_mut(account);
    if !document.claimed {
        return None;
    }
    document.claimed = false;
    document.age = 0;
    outdate(state, config, account);
    forget_hopeless(state, config);
    Some(())
}

fn write_lease(account: &mut Account, message: &Message, config: &Config) {
    account.claimed = true;
    account.session = Some(rules::session_of(config, message.worker));
    account.epoch = message.request.epoch;
    account.released = false;
    account.age = message.request.age;
}

/// The account document has a new version.
fn outdate(state: &mut State, config: &Config, account: AccountId) {
    for worker in &mut state.workers {
        if let Some(flight) = &mut worker.tenures[usize::from(account.0)].request
            && !flight.applied
        {
            outdate_request(&mut flight.request, config);
        }
    }
    for late in state.late.iter_mut().flatten() {
        if late.account == account {
            outdate_request(&mut late.request, config);
        }
    }
}

fn outdate_request(request: &mut Request, config: &Config) {
    let has_version = match request.write {
        Write::Claim => !config.is(Mutation::ClaimUnconditionally),
        Write::Renew => {
            !config.is(Mutation::RenewOnEpochAlone) && !config.is(Mutation::RenewUnconditionally)
        }
        Write::Release | Write::Flush { .. } => false,
    };
    if has_version {
        request.version = Version::Stale;
        if !rules::stale_requests_count(config) {
            request.age = 0;
        }
    }
}

/// Late requests that can never be applied need not be remembered.
fn forget_hopeless(state: &mut State, config: &Config) {
    for index in 0..state.late.len() {
        if let Some(late) = state.late[index]
            && !accepts(state, config, &late)
        {
            state.late[index] = None;
        }
    }
    state.late.sort_unstable();
}
