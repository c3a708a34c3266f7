//! Commands: what one worker asks of the one that owns an account, through the
//! store, with a deadline and a reply.
//!
//! | Module | Holds |
//! |---|---|
//! | [`ask`] | the side that asks, and waits for the reply |
//! | [`desk`] | the owner's side: answers what is asked of its session |

pub mod ask;
pub mod desk;

pub use ask::{AskError, ask};
pub use desk::{Answering, Desk};
