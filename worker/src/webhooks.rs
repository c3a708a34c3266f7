//! Webhooks: events that go to an address of the client's.
//!
//! The owner of an account delivers its events, and notes in the account's own
//! fenced commits how far it came. So one worker delivers at a time, whatever
//! happens to workers; what a crash interrupts is sent again by the next owner,
//! marked as a repetition. For one webhook, events of one account go out in
//! their order, each after the one before it was delivered or given up.
//!
//! | Module | Holds |
//! |---|---|
//! | [`address`] | which addresses may be asked. Pure |
//! | [`signature`] | how a receiver knows that an event is ours. Pure |
//! | [`schedule`] | when an event is tried again, and when it is given up. Pure |
//! | [`breaker`] | when a receiver that fails is left alone. Pure |
//! | [`secret`] | the secret of a webhook, sealed |
//! | [`rewrap`] | its data key, wrapped for a ring that has changed |
//! | [`body`] | what is posted of an event, in the webhook's format |
//! | [`client`] | one request: bounded in every way |
//! | [`hooks`] | the webhooks there are, as the store has them |
//! | [`post`] | sends for all accounts of a worker, few at a time |
//! | [`lanes`], [`lane`] | the events of one account, for each webhook |
//! | [`replays`] | what a client wants to be sent again |

pub mod address;
pub mod body;
pub mod breaker;
pub mod client;
pub mod config;
pub mod hooks;
pub mod lane;
pub mod lanes;
pub mod post;
pub mod replays;
pub mod rewrap;
pub mod schedule;
pub mod secret;
pub mod signature;

pub use self::config::WebhookConfig;
pub use self::hooks::{Hook, HookBook};
pub use self::post::Post;
