//! What belongs to an account: the one table of every collection, with what a
//! purge does to it and whether a backup takes it along.
//!
//! Whoever adds a collection adds its line: a test compares the table with the
//! names that the code has.

/// How documents of a collection are an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// The one document with the account's id; a purge leaves a tombstone.
    Root,
    /// All documents of the collection below that document.
    BelowRoot,
    /// The one document with the account's id.
    ById,
    /// Those whose field `accountId` names the account.
    ByAccount,
    /// All below a document of this collection, which is [`Belonging::ByAccount`].
    Below(&'static str),
    /// Files that messages of this account, and of no other, are sent with.
    ByUse,
    /// Those whose list `accounts` names the account, among others or alone.
    Listed,
    /// Those whose field `subject` names the account: the name goes.
    Named,
    /// Nobody's, for this reason.
    Nobodys(&'static str),
}

/// Whether a backup takes documents along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InBackup {
    /// Yes: the session.
    Session,
    /// Yes: what was said, and who is who.
    Conversations,
    /// No: it tells of a moment, or belongs to the cluster.
    LeftOut,
}

/// Collection, how it belongs to an account, whether it is in a backup. In the
/// order in which a purge goes: what lies below a document before the document.
pub const BELONGINGS: &[(&str, Belonging, InBackup)] = &[
    // The session first: from then on nobody can act in the account's name.
    (
        "wa_sessions/*/files",
        Belonging::BelowRoot,
        InBackup::Session,
    ),
    (
        "wa_sessions/*/archive",
        Belonging::BelowRoot,
        InBackup::LeftOut,
    ),
    ("session_archives", Belonging::ByAccount, InBackup::LeftOut),
    (
        "wa_sessions/*/original",
        Belonging::BelowRoot,
        InBackup::LeftOut,
    ),
    // Before the messages that name them.
    ("media", Belonging::ByUse, InBackup::LeftOut),
    // Their files go with the account's part of the media store.
    ("received_media", Belonging::ByAccount, InBackup::LeftOut),
    ("wa_outbox", Belonging::ByAccount, InBackup::LeftOut),
    ("outbox", Belonging::ByAccount, InBackup::LeftOut),
    ("idempotency_keys", Belonging::ByAccount, InBackup::LeftOut),
    ("commands", Belonging::ByAccount, InBackup::LeftOut),
    (
        "threads/*/messages",
        Belonging::Below("threads"),
        InBackup::Conversations,
    ),
    ("threads", Belonging::ByAccount, InBackup::Conversations),
    (
        "merged_threads",
        Belonging::ByAccount,
        InBackup::Conversations,
    ),
    ("groups", Belonging::ByAccount, InBackup::Conversations),
    ("receipts", Belonging::ByAccount, InBackup::Conversations),
    ("expiries", Belonging::ByAccount, InBackup::Conversations),
    ("contacts", Belonging::ByAccount, InBackup::Conversations),
    (
        "history_pieces/*/parts",
        Belonging::Below("history_pieces"),
        InBackup::LeftOut,
    ),
    ("history_pieces", Belonging::ByAccount, InBackup::LeftOut),
    ("history_totals", Belonging::ById, InBackup::LeftOut),
    (
        "webhook_deliveries",
        Belonging::ByAccount,
        InBackup::LeftOut,
    ),
    ("webhook_lanes", Belonging::ByAccount, InBackup::LeftOut),
    ("webhooks", Belonging::Listed, InBackup::LeftOut),
    ("api_keys", Belonging::Listed, InBackup::LeftOut),
    ("audit", Belonging::Named, InBackup::LeftOut),
    ("events", Belonging::ByAccount, InBackup::LeftOut),
    (
        "accounts/*/history",
        Belonging::BelowRoot,
        InBackup::LeftOut,
    ),
    ("wa_sessions", Belonging::Root, InBackup::Session),
    ("accounts", Belonging::Root, InBackup::Session),
    (
        "workers",
        Belonging::Nobodys("worker sessions count accounts and name none"),
        InBackup::LeftOut,
    ),
    (
        "config",
        Belonging::Nobodys("what the cluster agrees on"),
        InBackup::LeftOut,
    ),
    (
        "do_not_contact",
        Belonging::Nobodys("people who are written to by no account, this one or another"),
        InBackup::LeftOut,
    ),
];

/// The collection at a path, with every id replaced by `*`: `threads/*/messages`.
pub fn pattern(collection: &str) -> String {
    let parts: Vec<&str> = collection
        .split('/')
        .enumerate()
        .map(|(place, part)| if place % 2 == 1 { "*" } else { part })
        .collect();
    parts.join("/")
}

/// The last part of a pattern: the collection's own name.
pub(crate) fn own_name(pattern: &str) -> &str {
    pattern.rsplit('/').next().unwrap_or(pattern)
}

/// The first part of a pattern.
pub(super) fn root_name(pattern: &str) -> &str {
    pattern.split('/').next().unwrap_or(pattern)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names_in(source: &str) -> impl Iterator<Item = &str> {
        source.lines().filter_map(|line| {
            let rest = line.trim_start_matches("pub ").strip_prefix("const ")?;
            rest.split_once(": &str = \"")?.1.strip_suffix("\";")
        })
    }

    #[test]
    fn every_collection_of_the_code_has_its_line() {
        let known: BTreeSet<&str> = BELONGINGS.iter().map(|(name, ..)| own_name(name)).collect();
        let sources = include_str!("../model/collections.rs");
        let mut named: BTreeSet<&str> = names_in(sources).collect();
        assert!(named.len() > 20, "{named:?}");
        // Of other crates and modules, which call them by name.
        named.extend(["workers", "history", "files", "archive", "original"]);
        let missing: Vec<_> = named.difference(&known).collect();
        assert!(missing.is_empty(), "say what a purge does with {missing:?}");
        let unknown: Vec<_> = known.difference(&named).collect();
        assert!(unknown.is_empty(), "there is no {unknown:?}");
    }

    #[test]
    fn what_lies_below_comes_before_what_it_lies_below() {
        let place = |name: &str| BELONGINGS.iter().position(|(known, ..)| *known == name);
        for (name, belonging, _) in BELONGINGS {
            if let Belonging::Below(parent) = belonging {
                assert!(place(name) < place(parent), "{name}");
                assert_eq!(root_name(name), *parent);
            }
        }
        assert!(place("media") < place("wa_outbox"));
        assert_eq!(pattern("threads/t1/messages"), "threads/*/messages");
        assert_eq!(pattern("threads"), "threads");
    }
}
