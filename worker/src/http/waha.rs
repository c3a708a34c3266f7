//! `/compat/waha/api/…`: the calls of WAHA that are used most, so that a
//! program written for it works with another base address and key. Off unless
//! `--waha-compat` is given. A thin layer: everything is done as through `/v1`.
//!
//! | Module | Holds |
//! |---|---|
//! | [`sessions`] | a session is an account, by its name or its id |
//! | [`chats`] | conversations and messages |
//! | [`sending`] | texts and pictures |
//! | [`webhooks`] | those that a new session is made with |
//!
//! WAHA's words are in [`crate::waha`], for its webhooks have them, too.
//! Errors are this API's problems, with the status that WAHA would answer.

pub(super) mod chats;
pub(super) mod sending;
pub(super) mod sessions;
mod webhooks;
