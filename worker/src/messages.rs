//! What arrives: messages, their threads, their receipts.
//!
//! | Module | Holds |
//! |---|---|
//! | [`identity`] | who is who: one thread a peer, one id a message; pure |
//! | [`threads`] | which thread a chat belongs to |
//! | [`inbox`] | the engine's durable write: a message becomes documents |
//! | [`arrival`] | one message, or a change to another one |
//! | [`undecryptable`] | what could not be read yet |
//! | [`contacts`] | who is who |
//! | [`history`] | what the phone gave when it was linked |
//! | [`calls`] | that somebody calls |
//! | [`expiry`] | messages that disappear |
//! | [`presence`] | that somebody is there, or writes |
//! | [`merge`] | two threads of one person become one |
//! | [`phone`] | what people change on the phone |
//! | [`order`] | where a message stands in its thread; pure |
//! | [`receipts`] | receipts move messages through their states |
//! | [`refusals`] | people who are not written to |
//! | [`reading`] | marks threads as read when a client asks |
//!
//! Everything here is written through the account's
//! [`Journal`](crate::events::Journal): fenced, and with its event.

pub mod arrival;
pub mod calls;
pub mod contacts;
pub mod expiry;
pub mod history;
pub mod identity;
pub mod inbox;
pub mod merge;
pub mod order;
pub mod phone;
pub mod presence;
pub mod reading;
pub mod receipts;
pub mod refusals;
pub mod threads;
pub mod undecryptable;
