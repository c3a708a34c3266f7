//! Worker sessions: one boot of a worker, its document, and when it is dead.
//!
//! `workers/{sessionId}` is written by its own heartbeat alone, and once by
//! whoever seals it. Two of its states are final: CLOSED (it ended in an
//! orderly way, every account was let go) and SEALED (somebody found it dead, or
//! it ended with accounts that it could not give back; it may not act any more). Exactly one of a heartbeat and a seal wins,
//! since both are conditional on the document's version.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{WorkerIdentity, WorkerSessionId};
use crate::lease::{self, LeaseConfig};
use crate::store::{Collection, Document, Fields, Op, Path, Query, StoreError, StoreTime, Value};

/// How the document is written by this version of the library.
pub const SCHEMA_VERSION: i64 = 1;

/// How long the document of a session that has ended is kept. While it is there
/// it proves the end; after that only the end of a lease does.
pub const RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// The names of the document's fields.
pub mod field {
    /// The version of the document's form.
    pub const SCHEMA_VERSION: &str = "schemaVersion";
    /// The worker's name, a label for people.
    pub const NAME: &str = "name";
    /// `ACTIVE`, `DRAINING`, `CLOSED` or `SEALED`.
    pub const STATE: &str = "state";
    /// Counts heartbeats.
    pub const BEAT: &str = "beat";
    /// The last heartbeat's commit time; for people, as rules look at the
    /// document's update time.
    pub const RENEWED_AT: &str = "renewedAt";
    /// When the session began.
    pub const STARTED_AT: &str = "startedAt";
    /// When it ended.
    pub const ENDED_AT: &str = "endedAt";
    /// How long it lives without a heartbeat, in milliseconds.
    pub const TTL_MS: &str = "ttlMs";
    /// Accounts that it owns at most.
    pub const CAPACITY: &str = "capacity";
    /// Accounts that it owns.
    pub const OWNED: &str = "owned";
    /// The program's version.
    pub const VERSION: &str = "version";
    /// Where its API answers, if it says so.
    pub const ADDRESS: &str = "address";
    /// When the one that was sealed had last beaten.
    pub const LAST_BEAT_AT: &str = "lastBeatAt";
    /// Who sealed it.
    pub const SEALED_BY: &str = "sealedBy";
}

/// The state of a worker session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SessionState {
    /// It claims and owns accounts.
    Active,
    /// It hands its accounts off, and claims nothing more.
    Draining,
    /// It has ended in an orderly way. Final.
    Closed,
    /// It was found dead, or ended without giving everything back. Final.
    Sealed,
}

impl SessionState {
    /// Whether the session may ever act again.
    pub fn is_final(self) -> bool {
        match self {
            SessionState::Active | SessionState::Draining => false,
            SessionState::Closed | SessionState::Sealed => true,
        }
    }

    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionState::Active => "ACTIVE",
            SessionState::Draining => "DRAINING",
            SessionState::Closed => "CLOSED",
            SessionState::Sealed => "SEALED",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            SessionState::Active,
            SessionState::Draining,
            SessionState::Closed,
            SessionState::Sealed,
        ]
        .into_iter()
        .find(|state| state.as_str() == name)
    }
}

/// A worker session as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSession {
    /// Which one.
    pub id: WorkerSessionId,
    /// The worker's name.
    pub name: String,
    /// Its state.
    pub state: SessionState,
    /// How many heartbeats it has sent.
    pub beat: i64,
    /// How long it lives without one.
    pub ttl: Duration,
    /// Accounts that it owns at most.
    pub capacity: u32,
    /// Accounts that it owned at its last heartbeat.
    pub owned: u32,
    /// When it began.
    pub started_at: Option<StoreTime>,
    /// The program's version.
    pub version: String,
    /// Where its API answers.
    pub address: Option<String>,
    /// The document's version: its last heartbeat, unless it has ended.
    pub update_time: StoreTime,
    /// The last proof that it lived: its last heartbeat, or its end.
    pub last_sign_at: StoreTime,
}

impl WorkerSession {
    /// Reads a document. A field that is missing or odd gets the value that
    /// makes others most careful: nobody may die of a detail.
    pub fn read(document: &Document, config: &LeaseConfig) -> Self {
        let text = |name| document.fields.get(name).and_then(Value::as_text);
        let int = |name| match document.fields.get(name) {
            Some(Value::Int(number)) => Some(*number),
            Some(_) | None => None,
        };
        let count = |name| int(name).and_then(|count| u32::try_from(count).ok());
        let ttl_ms = int(field::TTL_MS).and_then(|ms| u64::try_from(ms).ok());
        Self {
            id: WorkerSessionId::from_text(document.path.id()),
            name: text(field::NAME).unwrap_or_default().to_owned(),
            state: text(field::STATE)
                .and_then(SessionState::from_name)
                .unwrap_or(SessionState::Active),
            beat: int(field::BEAT).unwrap_or(0),
            // Nobody lives longer without a heartbeat than a lease lasts.
            ttl: ttl_ms
                .map_or(config.duration, Duration::from_millis)
                .clamp(config.session_ttl, config.duration.max(config.session_ttl)),
            capacity: count(field::CAPACITY).unwrap_or(0),
            owned: count(field::OWNED).unwrap_or(0),
            started_at: match document.fields.get(field::STARTED_AT) {
                Some(Value::Time(time)) => Some(*time),
                Some(_) | None => None,
            },
            version: text(field::VERSION).unwrap_or_default().to_owned(),
            address: text(field::ADDRESS).map(str::to_owned),
            update_time: document.update_time,
            last_sign_at: match document.fields.get(field::LAST_BEAT_AT) {
                Some(Value::Time(time)) => *time,
                Some(_) | None => document.update_time,
            },
        }
    }

    /// Whether it has been silent for so long that it may be sealed:
    /// `read_time − update_time > ttl + G`.
    pub fn is_dead(&self, read_time: StoreTime, config: &LeaseConfig) -> bool {
        !self.state.is_final()
            && self
                .update_time
                .checked_add(self.ttl + config.lock_delay())
                .is_some_and(|end| read_time > end)
    }

    /// Whether it claims accounts that become free.
    pub fn takes(&self) -> bool {
        self.state == SessionState::Active && self.owned < self.capacity
    }
}

/// The collection of worker sessions: `workers`.
pub fn collection() -> Collection {
    static WORKERS: LazyLock<Collection> = LazyLock::new(|| {
        Collection::new("workers").expect("a constant that is a collection's name")
    });
    WORKERS.clone()
}

/// The document of a session.
pub fn path(session: &WorkerSessionId) -> Path {
    collection()
        .doc(session.as_str())
        .expect("a session's id is a document id")
}

/// All sessions that have not ended, as far as they say.
pub fn living() -> Query {
    with_states([SessionState::Active, SessionState::Draining])
}

/// Sessions that were sealed. To be watched: a rescue begins with one.
pub fn sealed() -> Query {
    Query::new(collection()).filter(field::STATE, Op::Eq, SessionState::Sealed.as_str())
}

/// Sessions that have ended, for the sweep.
pub fn ended() -> Query {
    with_states([SessionState::Closed, SessionState::Sealed])
}

fn with_states(states: [SessionState; 2]) -> Query {
    Query::new(collection()).filter_in(field::STATE, states.map(SessionState::as_str))
}

/// What a worker says of itself when its session begins.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Who it is.
    pub me: WorkerIdentity,
    /// Accounts that it owns at most.
    pub capacity: u32,
    /// The program's version.
    pub version: String,
    /// Where its API answers, if others are to know.
    pub address: Option<String>,
}

impl SessionFacts {
    pub(crate) fn first_fields(&self, config: &LeaseConfig) -> Fields {
        let ttl_ms = i64::try_from(config.session_ttl.as_millis()).unwrap_or(i64::MAX);
        lease::named([
            (field::SCHEMA_VERSION, SCHEMA_VERSION.into()),
            (field::NAME, self.me.name.as_str().into()),
            (field::STATE, SessionState::Active.as_str().into()),
            (field::BEAT, 0_i64.into()),
            (field::RENEWED_AT, Value::CommitTime),
            (field::STARTED_AT, Value::CommitTime),
            (field::ENDED_AT, Value::Null),
            (field::TTL_MS, ttl_ms.into()),
            (field::CAPACITY, i64::from(self.capacity).into()),
            (field::OWNED, 0_i64.into()),
            (field::VERSION, self.version.as_str().into()),
            (field::ADDRESS, self.address.clone().into()),
        ])
    }
}

/// The fields that a heartbeat writes.
pub(crate) fn beat_fields(beat: i64, state: SessionState, owned: u32) -> Fields {
    let mut fields = lease::named([
        (field::BEAT, beat.into()),
        (field::STATE, state.as_str().into()),
        (field::OWNED, i64::from(owned).into()),
        (field::RENEWED_AT, Value::CommitTime),
    ]);
    if state.is_final() {
        fields.insert(field::ENDED_AT.to_owned(), Value::CommitTime);
    }
    fields
}

/// The fields that a seal writes.
pub(crate) fn seal_fields(by: &WorkerSessionId, last_beat: StoreTime) -> Fields {
    lease::named([
        (field::STATE, SessionState::Sealed.as_str().into()),
        (field::ENDED_AT, Value::CommitTime),
        (field::LAST_BEAT_AT, Value::Time(last_beat)),
        (field::SEALED_BY, by.as_str().into()),
    ])
}

/// The accounts that a session holds, or held when it ended.
///
/// # Errors
/// None of an id that was read from the store.
pub fn accounts_of(session: &WorkerSessionId) -> Result<Query, StoreError> {
    Ok(Query::new(crate::identity::account_collection()).filter(
        lease::LEASE_SESSION_FIELD,
        Op::Eq,
        session.as_str(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(fields: Fields, update_time: i64) -> Document {
        Document {
            path: path(&WorkerSessionId::from_text("s1")),
            fields,
            update_time: StoreTime::from_micros(update_time),
        }
    }

    fn facts() -> SessionFacts {
        SessionFacts {
            me: WorkerIdentity {
                name: "alice".to_owned(),
                session_id: WorkerSessionId::from_text("s1"),
            },
            capacity: 18,
            version: "1".to_owned(),
            address: None,
        }
    }

    #[test]
    fn a_session_is_dead_only_after_its_ttl_and_the_lock_delay() {
        let config = LeaseConfig::default();
        let document = document(facts().first_fields(&config), 0);
        let session = WorkerSession::read(&document, &config);
        assert!(session.takes());
        let at = |micros| StoreTime::from_micros(micros);
        assert!(!session.is_dead(at(12_000_000), &config));
        assert!(session.is_dead(at(12_000_001), &config));
    }

    #[test]
    fn a_session_that_has_ended_does_not_die_again() {
        let config = LeaseConfig::default();
        for state in [SessionState::Closed, SessionState::Sealed] {
            let mut fields = facts().first_fields(&config);
            fields.extend(beat_fields(3, state, 0));
            let session = WorkerSession::read(&document(fields, 0), &config);
            assert_eq!(session.state, state);
            assert!(!session.is_dead(StoreTime::from_micros(i64::MAX), &config));
            assert!(!session.takes());
        }
    }

    #[test]
    fn odd_fields_make_others_careful() {
        let config = LeaseConfig::default();
        for ttl in [Value::Null, Value::Int(-1), Value::Int(i64::MAX)] {
            let fields = lease::named([(field::TTL_MS, ttl), (field::STATE, "ODD".into())]);
            let session = WorkerSession::read(&document(fields, 0), &config);
            assert_eq!(session.ttl, config.duration);
            assert_eq!(session.state, SessionState::Active);
        }
    }
}
