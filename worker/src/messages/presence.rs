//! Who is there and who is writing, as events.
//!
//! Told while the account asks for it (`POST /v1/threads/{id}/presence`, and in
//! chats that are open on the other side). Only changes are written: a person
//! who goes on writing says so every few seconds. Nothing but the event is
//! stored.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use coordinator_lib::store::StoreTime;
use parking_lot::Mutex;
use whatsapp::PresenceState;

use super::identity::Peer;
use super::threads::ThreadBook;
use crate::events::{Journal, JournalError};
use crate::model::EventKind;

/// People whose last state is remembered; then all are forgotten, and some
/// states told once more.
const REMEMBERED_MAX: usize = 1_024;

/// What somebody does.
pub struct Presence {
    /// The chat's address.
    pub chat: String,
    /// The person's address.
    pub person: String,
    /// What they do.
    pub state: PresenceState,
    /// When they were last online.
    pub last_seen: Option<DateTime<Utc>>,
}

/// People of whom a client asked to be told; the account's owner asks for them
/// again on each connection of its claim.
pub const WATCHED_MAX: usize = 256;

/// What people were last seen doing, in a claim, and of whom to be told.
#[derive(Default)]
pub struct Presences {
    last: Mutex<HashMap<(String, String), PresenceState>>,
    watched: Mutex<BTreeSet<String>>,
}

impl Presences {
    /// A client has asked to be told of somebody. False if it asked for too many.
    pub fn watch(&self, person: &str) -> bool {
        let mut watched = self.watched.lock();
        let has_room = watched.len() < WATCHED_MAX || watched.contains(person);
        if has_room {
            watched.insert(person.to_owned());
        }
        has_room
    }

    /// Everybody of whom to be told.
    pub fn watched(&self) -> Vec<String> {
        self.watched.lock().iter().cloned().collect()
    }

    /// Whether this is another state than before.
    fn is_news(&self, presence: &Presence) -> bool {
        let mut last = self.last.lock();
        if last.len() >= REMEMBERED_MAX {
            last.clear();
        }
        let who = (presence.chat.clone(), presence.person.clone());
        last.insert(who, presence.state) != Some(presence.state)
    }
}

/// Writes the event, if it is another state than before.
///
/// # Errors
/// [`JournalError`].
pub async fn note(
    journal: &Journal,
    threads: &ThreadBook,
    presences: &Presences,
    presence: Presence,
) -> Result<(), JournalError> {
    if !presences.is_news(&presence) {
        return Ok(());
    }
    let peer = Peer::new(&presence.chat, []);
    let thread = threads
        .thread_of(&peer)
        .await
        .map_err(JournalError::Store)?;
    let last_seen = presence.last_seen.map(StoreTime::from_datetime);
    let state = presence.state.as_str();
    let noted = journal.apply(Vec::new(), move |draft| {
        let common = [("threadId", thread.clone()), ("state", state.to_owned())];
        match last_seen {
            Some(at) => {
                let [thread, state] = common;
                let at = at.to_datetime().unwrap_or_default();
                let last_seen = ("lastSeen", at.to_rfc3339());
                draft.event(EventKind::Presence, [thread, state, last_seen])
            }
            None => draft.event(EventKind::Presence, common),
        };
        Ok(())
    });
    noted.await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(person: &str, state: PresenceState) -> Presence {
        Presence {
            chat: "1@g.us".to_owned(),
            person: person.to_owned(),
            state,
            last_seen: None,
        }
    }

    #[test]
    fn only_changes_are_news() {
        let presences = Presences::default();
        let typing = |who| presences.is_news(&presence(who, PresenceState::Typing));
        assert!(typing("ada"));
        assert!(!typing("ada"));
        assert!(typing("bob"), "somebody else");
        assert!(presences.is_news(&presence("ada", PresenceState::Paused)));
        assert!(typing("ada"));
    }

    #[test]
    fn people_who_are_watched_are_bounded() {
        let presences = Presences::default();
        for n in 0..WATCHED_MAX {
            assert!(presences.watch(&n.to_string()));
        }
        assert!(!presences.watch("one more"));
        assert!(presences.watch("0"), "watched already");
        assert_eq!(presences.watched().len(), WATCHED_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let presences = Presences::default();
        for n in 0..REMEMBERED_MAX * 2 {
            presences.is_news(&presence(&n.to_string(), PresenceState::Available));
        }
        assert!(presences.last.lock().len() <= REMEMBERED_MAX);
    }
}
