//! All operations, in the order in which people read them.

mod accounts;
mod events;
mod groups;
mod keys;
mod messages;
mod threads;
mod worker;

use super::operation::Operation;

/// What the document says of the whole API.
pub(super) const ABOUT: &str = "Runs many WhatsApp accounts on a cluster of workers. Any worker \
    answers any request. Lists are read page by page: pass `next` as `after`. Times are RFC 3339, \
    UTC. Errors are problems (RFC 9457) with a stable `code`.\n\n\
    As long as there is no key, the API asks for none and serves this machine alone. The right \
    that an operation needs is the role of its security requirement, and `x-scope`; `x-reach` says \
    what keys that are limited to some accounts may reach.";

/// The resources, and what they are.
pub(super) const TAGS: &[(&str, &str)] = &[
    (worker::TAG, "How a worker and its cluster are"),
    (accounts::TAG, "WhatsApp accounts: make, link, start, stop"),
    (messages::TAG, "What is sent, and files"),
    (threads::TAG, "Conversations, contacts, what was said"),
    (groups::TAG, "Groups, carried out by their account's owner"),
    (events::TAG, "What happens, as streams and to webhooks"),
    (keys::TAG, "Who may do what, and who did"),
];

/// All of them.
pub(super) fn all() -> Vec<Operation> {
    [
        worker::operations(),
        accounts::operations(),
        messages::operations(),
        threads::operations(),
        groups::operations(),
        events::operations(),
        keys::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
