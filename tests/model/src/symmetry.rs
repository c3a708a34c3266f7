//! States that differ in names only are one state.
//!
//! No rule treats a worker or an account differently from another, so a state
//! stands for all that come of it by renaming. The least of them is kept.
//! Counterexamples would change their names on the way: runs that look for one
//! go without.

use crate::config::Config;
use crate::state::{
    ACCOUNTS_MAX, Account, AccountId, Message, SessionId, State, WORKERS_MAX, WorkerId,
};

/// Orders of up to three things; those of the first two come first.
const ORDERS: [[u8; 3]; 6] = [
    [0, 1, 2],
    [1, 0, 2],
    [0, 2, 1],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

const fn orders_of(count: u8) -> &'static [[u8; 3]] {
    let all: &[[u8; 3]] = &ORDERS;
    let used = match count {
        0 | 1 => 1,
        2 => 2,
        _ => 6,
    };
    all.split_at(used).0
}

/// The state that stands for this one and all that differ in names only.
pub fn representative(state: State, config: &Config) -> State {
    let mut least = state;
    for workers in orders_of(config.workers) {
        for accounts in orders_of(config.accounts) {
            least = least.min(renamed(&state, workers, accounts));
        }
    }
    least
}

/// Thing `i` becomes thing `order[i]`.
fn renamed(state: &State, workers: &[u8; 3], accounts: &[u8; 3]) -> State {
    let worker = |of: WorkerId| WorkerId(workers[usize::from(of.0)]);
    let session = |of: SessionId| SessionId(workers[usize::from(of.0)]);
    let mut next = *state;
    for (from, to) in workers.iter().map(|to| usize::from(*to)).enumerate() {
        if from >= WORKERS_MAX {
            break;
        }
        next.store.sessions[to] = state.store.sessions[from];
        next.workers[to] = state.workers[from];
        for (from_account, to_account) in accounts[..ACCOUNTS_MAX].iter().enumerate() {
            next.workers[to].tenures[usize::from(*to_account)] =
                state.workers[from].tenures[from_account];
        }
    }
    for (from, to) in accounts[..ACCOUNTS_MAX].iter().enumerate() {
        let mut document: Account = state.store.accounts[from];
        document.session = document.session.map(session);
        document.head.session = document.head.session.map(session);
        next.store.accounts[usize::from(*to)] = document;
    }
    next.late = state.late.map(|late| {
        late.map(|late| Message {
            worker: worker(late.worker),
            account: AccountId(accounts[usize::from(late.account.0)]),
            ..late
        })
    });
    next.late.sort_unstable();
    next
}
