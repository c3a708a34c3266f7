//! The checker of histories: says what cannot have come about by the rules.
//!
//! Pure, over what was written down while something ran: simulations on virtual
//! time, tests and demos of real processes, by the same rules.
//!
//! | Module | Holds |
//! |---|---|
//! | [`ownership`] | who owned an account when: epochs grow, owners do not overlap, each flush belongs to its epoch |
//! | [`ledger`] | what became of messages: every one exactly once, and in the order of its chat |

pub mod ledger;
pub mod ownership;
