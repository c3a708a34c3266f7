//! What a run of the model covers: its bounds, its clocks, and what is broken
//! in it on purpose.
//!
//! Two kinds of run share all code but this:
//!
//! - **timed** ([`Clocks::Bounded`]): clocks whose *rate* is bounded, as S2
//!   assumes. The ratchet is left out (`blocks` is 0), so that a send needs
//!   nothing but an open gate: more behaviours than the protocol has.
//! - **timeless** ([`Clocks::Arbitrary`]): clocks that may stop for as long as
//!   they like, so that no deadline means anything, and every session may be
//!   sealed and every lease be over at any moment. S1 has to hold even here.
//!
//! Each of them allows more than the whole protocol does, for the invariants
//! that it checks. So what neither reaches, the whole does not reach either.

use crate::mutation::Mutation;
use crate::state::{ACCOUNTS_MAX, LATE_MAX, WORKERS_MAX};

/// The durations of the protocol, in whole ticks.
///
/// As small as they can be while each is at least one tick, and `lease` has
/// something left after its margins. What matters is which sums of them are
/// equal, not how long they are: the margins are *tight*, so that a run with one
/// tick less anywhere fails (see [`Mutation`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durations {
    /// `ttl`: how long a heartbeat keeps a worker session alive.
    pub session_ttl: u8,
    /// How long a claim or a renewal keeps an account's lease.
    pub lease: u8,
    /// `G`: how long others wait beyond either.
    pub lock_delay: u8,
    /// `δ`: how long before the end an owner stops.
    pub freeze_margin: u8,
    /// `ρ`: how much a worker's clock may lose over any one deadline.
    pub drift: u8,
}

/// What is assumed about the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// They lose at most [`Durations::drift`], and a send that has passed its
    /// gate reaches the wire within `δ + G`.
    Bounded(Durations),
    /// They may stop. Nothing is assumed.
    Arbitrary,
}

/// One run of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many worker sessions there may be. A worker that restarts is a new
    /// one.
    pub workers: u8,
    /// How many accounts there are.
    pub accounts: u8,
    /// How many times each of them may be claimed.
    pub epochs: u8,
    /// How many blocks of counters each of them has; 0 leaves the ratchet out.
    pub blocks: u8,
    /// How many requests that nobody waits for any more may be under way.
    pub late: u8,
    /// Whether an operator may null `claimedBy` and `leaseUntil`.
    pub operator: bool,
    /// Whether states that differ in names only are one state.
    pub symmetry: bool,
    /// The clocks.
    pub clocks: Clocks,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
}

impl Durations {
    /// One tick for each margin.
    pub const SMALLEST: Durations = Durations {
        session_ttl: 2,
        lease: 2,
        lock_delay: 1,
        freeze_margin: 1,
        drift: 1,
    };
}

/// What the program runs, beside the mutations: the widest bounds that are seen
/// through in minutes, and at the end some that are not.
pub const LARGER: [(&str, Config); 9] = [
    (
        "clocks, 2 workers × 1, operator",
        Config {
            operator: true,
            ..Config::TIMED
        },
    ),
    (
        "clocks, 2 workers × 1, 3 epochs",
        Config {
            epochs: 3,
            ..Config::TIMED
        },
    ),
    (
        "clocks and ratchet, 2 workers × 1",
        Config {
            blocks: 1,
            late: 0,
            ..Config::TIMED
        },
    ),
    (
        "no clocks, 3 workers × 1",
        Config {
            workers: 3,
            ..Config::TIMELESS
        },
    ),
    (
        "no clocks, 2 workers × 2, 2 epochs, 1 block",
        Config {
            accounts: 2,
            epochs: 2,
            blocks: 1,
            late: 1,
            ..Config::TIMELESS
        },
    ),
    (
        "no clocks, 3 workers × 2, 2 epochs, 1 block",
        Config {
            workers: 3,
            accounts: 2,
            epochs: 2,
            blocks: 1,
            late: 0,
            ..Config::TIMELESS
        },
    ),
    (
        "clocks, 3 workers × 1",
        Config {
            workers: 3,
            late: 0,
            ..Config::TIMED
        },
    ),
    (
        "clocks, 2 workers × 2",
        Config {
            accounts: 2,
            late: 0,
            ..Config::TIMED
        },
    ),
    (
        "clocks, 3 workers × 2",
        Config {
            workers: 3,
            accounts: 2,
            late: 0,
            ..Config::TIMED
        },
    ),
];

impl Config {
    /// Two worker sessions, one account, clocks with a bounded rate.
    pub const TIMED: Config = Config {
        workers: 2,
        accounts: 1,
        epochs: 2,
        blocks: 0,
        late: 1,
        symmetry: true,
        operator: false,
        clocks: Clocks::Bounded(Durations::SMALLEST),
        mutation: None,
    };

    /// Two worker sessions, one account with a ratchet, no clocks.
    pub const TIMELESS: Config = Config {
        workers: 2,
        accounts: 1,
        epochs: 3,
        blocks: 3,
        late: 2,
        symmetry: true,
        operator: false,
        clocks: Clocks::Arbitrary,
        mutation: None,
    };

    /// The same run with something broken.
    #[must_use]
    pub const fn broken(self, mutation: Mutation) -> Config {
        Config {
            mutation: Some(mutation),
            ..self
        }
    }

    /// Whether time plays a part, and with it sessions and renewals.
    pub fn is_timed(&self) -> bool {
        matches!(self.clocks, Clocks::Bounded(_))
    }

    /// Whether this is what is broken.
    pub fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether the bounds fit the arrays of a state.
    pub fn fits(&self) -> bool {
        usize::from(self.workers) <= WORKERS_MAX
            && usize::from(self.accounts) <= ACCOUNTS_MAX
            && usize::from(self.late) <= LATE_MAX
            && self.blocks <= 8
    }
}
