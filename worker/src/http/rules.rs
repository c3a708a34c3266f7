//! What a request needs: the one table of routes and rights.
//!
//! A route that is not here needs everything; a test holds the table against
//! the router.

use axum::http::Method;

use crate::auth::Scope;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing.
    Public,
    /// A key with this right, for what the route reaches.
    Key(Scope, Reach),
}

/// Whom a route concerns: keys that are limited to accounts reach theirs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The account in the path.
    Account,
    /// The account of the thread in the path.
    Thread,
    /// The account of the outgoing message in the path.
    Message,
    /// The accounts of the webhook in the path.
    Webhook,
    /// Many accounts, or one that the handler finds: it leaves out the others.
    List,
    /// No account at all.
    Nobody,
    /// The cluster as a whole: not for limited keys.
    Cluster,
}

impl Reach {
    /// The name in the API's description.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reach::Account => "account",
            Reach::Thread => "thread",
            Reach::Message => "message",
            Reach::Webhook => "webhook",
            Reach::List => "list",
            Reach::Nobody => "nobody",
            Reach::Cluster => "cluster",
        }
    }
}

use Reach::{Account, Cluster, List, Message, Nobody, Thread, Webhook};
use Scope::{Admin, Control, Read, Send};

const fn key(scope: Scope, reach: Reach) -> Rule {
    Rule::Key(scope, reach)
}

/// Method, route, what it needs.
pub(super) const RULES: &[(&str, &str, Rule)] = &[
    ("GET", "/", Rule::Public),
    ("GET", "/assets/{file}", Rule::Public),
    // It is the way in.
    ("GET", "/v1/sign-in", Rule::Public),
    ("POST", "/v1/sign-in", Rule::Public),
    ("DELETE", "/v1/sign-in", Rule::Public),
    // They describe the program, and hold nothing of anybody.
    ("GET", "/docs", Rule::Public),
    ("GET", "/openapi.json", Rule::Public),
    ("GET", "/health", Rule::Public),
    ("GET", "/livez", Rule::Public),
    ("GET", "/readyz", Rule::Public),
    // Counts of the worker and of the cluster; public with --metrics-public.
    ("GET", "/metrics", key(Read, Cluster)),
    ("GET", "/v1/workers", key(Read, Nobody)),
    ("GET", "/v1/accounts", key(Read, List)),
    ("POST", "/v1/accounts", key(Control, Cluster)),
    ("GET", "/v1/accounts/{id}", key(Read, Account)),
    ("PATCH", "/v1/accounts/{id}", key(Control, Account)),
    // What is erased comes back with nothing.
    ("DELETE", "/v1/accounts/{id}", key(Admin, Account)),
    ("POST", "/v1/accounts/{id}/start", key(Control, Account)),
    ("POST", "/v1/accounts/{id}/stop", key(Control, Account)),
    ("POST", "/v1/accounts/{id}/logout", key(Control, Account)),
    ("POST", "/v1/accounts/{id}/restart", key(Control, Account)),
    ("POST", "/v1/accounts/{id}/release", key(Control, Account)),
    ("GET", "/v1/accounts/{id}/history", key(Read, Account)),
    // What they hold was the account.
    ("GET", "/v1/accounts/{id}/archives", key(Admin, Account)),
    (
        "DELETE",
        "/v1/accounts/{id}/archives/{epoch}",
        key(Admin, Account),
    ),
    // Whoever has the code has the account.
    ("GET", "/v1/accounts/{id}/qr", key(Control, Account)),
    (
        "POST",
        "/v1/accounts/{id}/pairing-code",
        key(Control, Account),
    ),
    ("GET", "/v1/accounts/{id}/passkey", key(Control, Account)),
    ("POST", "/v1/accounts/{id}/passkey", key(Control, Account)),
    // It may make the account; and whoever has the files has the account.
    ("PUT", "/v1/accounts/{id}/session", key(Admin, Cluster)),
    (
        "POST",
        "/v1/accounts/{id}/session/export",
        key(Admin, Account),
    ),
    ("GET", "/v1/accounts/{id}/contacts", key(Read, Account)),
    ("POST", "/v1/accounts/{id}/broadcasts", key(Send, Account)),
    ("GET", "/v1/accounts/{id}/groups", key(Read, Account)),
    ("POST", "/v1/accounts/{id}/groups", key(Send, Account)),
    ("POST", "/v1/accounts/{id}/groups/join", key(Send, Account)),
    // A group has the id of its thread.
    ("GET", "/v1/groups/{id}", key(Read, Thread)),
    ("PATCH", "/v1/groups/{id}", key(Send, Thread)),
    ("POST", "/v1/groups/{id}/members", key(Send, Thread)),
    ("GET", "/v1/groups/{id}/invitation", key(Send, Thread)),
    ("POST", "/v1/groups/{id}/invitation", key(Send, Thread)),
    ("POST", "/v1/groups/{id}/leave", key(Send, Thread)),
    (
        "GET",
        "/v1/threads/{id}/messages/{message}/receipts",
        key(Read, Thread),
    ),
    ("POST", "/v1/threads/{id}/presence", key(Send, Thread)),
    ("GET", "/v1/accounts/{id}/messages", key(Read, Account)),
    ("POST", "/v1/accounts/{id}/messages", key(Send, Account)),
    ("GET", "/v1/accounts/{id}/threads", key(Read, Account)),
    ("GET", "/v1/messages", key(Read, List)),
    ("GET", "/v1/messages/{id}", key(Read, Message)),
    ("DELETE", "/v1/messages/{id}", key(Send, Message)),
    // They are people of all accounts.
    ("GET", "/v1/do-not-contact", key(Read, Cluster)),
    ("PUT", "/v1/do-not-contact/{address}", key(Control, Cluster)),
    (
        "DELETE",
        "/v1/do-not-contact/{address}",
        key(Control, Cluster),
    ),
    ("GET", "/v1/threads/{id}/messages", key(Read, Thread)),
    (
        "GET",
        "/v1/threads/{id}/messages/{message}/media",
        key(Read, Thread),
    ),
    ("PATCH", "/v1/threads/{id}", key(Send, Thread)),
    ("POST", "/v1/threads/{id}/read", key(Send, Thread)),
    ("POST", "/v1/threads/{id}/typing", key(Send, Thread)),
    ("POST", "/v1/media", key(Send, Nobody)),
    ("GET", "/v1/events", key(Read, List)),
    ("GET", "/v1/events/ws", key(Read, List)),
    // A webhook sees what happens: that is for who may control.
    ("GET", "/v1/webhooks", key(Control, List)),
    ("POST", "/v1/webhooks", key(Control, List)),
    ("GET", "/v1/webhooks/{id}", key(Control, Webhook)),
    ("PATCH", "/v1/webhooks/{id}", key(Control, Webhook)),
    ("DELETE", "/v1/webhooks/{id}", key(Control, Webhook)),
    ("POST", "/v1/webhooks/{id}/test", key(Control, Webhook)),
    ("POST", "/v1/webhooks/{id}/secret", key(Control, Webhook)),
    ("GET", "/v1/webhooks/{id}/deliveries", key(Control, Webhook)),
    (
        "POST",
        "/v1/webhooks/{id}/deliveries/{delivery}/replay",
        key(Control, Webhook),
    ),
    ("GET", "/v1/keys", key(Admin, Cluster)),
    ("POST", "/v1/keys", key(Admin, Cluster)),
    ("GET", "/v1/keys/{id}", key(Admin, Cluster)),
    ("DELETE", "/v1/keys/{id}", key(Admin, Cluster)),
    ("GET", "/v1/audit", key(Admin, Cluster)),
    ("GET", "/debug/accounts/{id}", key(Control, Account)),
    // A session may be named by its account's name: the handlers find it among
    // those that the key reaches.
    ("GET", "/compat/waha/api/sessions", key(Read, List)),
    ("POST", "/compat/waha/api/sessions", key(Control, Cluster)),
    (
        "GET",
        "/compat/waha/api/sessions/{session}",
        key(Read, List),
    ),
    (
        "POST",
        "/compat/waha/api/sessions/{session}/start",
        key(Control, List),
    ),
    (
        "POST",
        "/compat/waha/api/sessions/{session}/stop",
        key(Control, List),
    ),
    (
        "POST",
        "/compat/waha/api/sessions/{session}/logout",
        key(Control, List),
    ),
    (
        "GET",
        "/compat/waha/api/{session}/auth/qr",
        key(Control, List),
    ),
    ("GET", "/compat/waha/api/{session}/chats", key(Read, List)),
    (
        "GET",
        "/compat/waha/api/{session}/chats/{chat}/messages",
        key(Read, List),
    ),
    ("POST", "/compat/waha/api/sendText", key(Send, List)),
    ("POST", "/compat/waha/api/sendImage", key(Send, List)),
];

/// What a request to a route needs.
pub(super) fn of(method: &Method, route: &str) -> Rule {
    // axum answers HEAD as GET.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    of_route(method, route)
}

/// The same, for a method by name.
pub(super) fn of_route(method: &str, route: &str) -> Rule {
    RULES
        .iter()
        .find(|(known, path, _)| *known == method && *path == route)
        .map_or(key(Admin, Cluster), |(_, _, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `.route("…", get(…).post(…))` of the router's source, which is
    /// where routes are and nowhere else.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("router.rs");
        let mut routes = BTreeSet::new();
        for piece in source.split(".route(").skip(1) {
            let (path, handlers) = piece
                .trim_start()
                .trim_start_matches('"')
                .split_once('"')
                .expect("a path");
            // Up to the end of this call.
            let mut depth = 1;
            let end = handlers
                .find(|c| {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    depth == 0
                })
                .unwrap_or(handlers.len());
            for method in ["get", "post", "put", "patch", "delete"] {
                let call = format!("{method}(");
                for (at, _) in handlers[..end].match_indices(&call) {
                    let before = handlers[..at].chars().last();
                    if !before.is_some_and(char::is_alphanumeric) {
                        routes.insert((method.to_uppercase(), path.to_owned()));
                    }
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_has_its_rule_and_every_rule_its_route() {
        let ruled: BTreeSet<(String, String)> = RULES
            .iter()
            .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        assert_eq!(routes(), ruled);
        assert_eq!(ruled.len(), RULES.len(), "a rule is there twice");
    }

    #[test]
    fn what_is_not_in_the_table_needs_everything() {
        assert_eq!(of(&Method::GET, "/v2"), key(Admin, Cluster));
        assert_eq!(of(&Method::PUT, "/v1/accounts"), key(Admin, Cluster));
        assert_eq!(of(&Method::HEAD, "/livez"), Rule::Public);
    }
}
