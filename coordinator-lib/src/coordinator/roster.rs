//! Which worker sessions there are, as last read: pure.
//!
//! Everybody reads the whole roster now and then, and a few *neighbours* (the
//! next ones in the order of ids, around the ring) at every heartbeat: a death
//! is noticed by those before it soon after `ttl + G`, at a cost that does not
//! grow with the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::Member;
use crate::clock::Boottime;
use crate::identity::WorkerSessionId;
use crate::lease::LeaseConfig;
use crate::store::{Document, StoreTime};
use crate::worker_session::{SessionState, WorkerSession};

/// Sessions that each one looks after.
pub const NEIGHBOURS: usize = 3;

/// Up to so many sessions the roster is read at its configured interval.
const SMALL_CLUSTER: usize = 10;

/// After a session has come or gone, so many readings follow at that interval
/// in a cluster of any size.
const READINGS_OF_A_CHANGE: u32 = 6;

/// Worker sessions as last read.
#[derive(Debug, Default)]
pub struct Roster {
    sessions: BTreeMap<WorkerSessionId, Arc<WorkerSession>>,
    /// The same sessions, in the same order, as they are ranked.
    members: Vec<Member>,
    /// Grows with every change.
    version: u64,
    /// When the set of sessions, or the state of one, last changed.
    changed_at: Boottime,
    /// Before which request the last whole reading was made.
    read_at: Option<Boottime>,
    /// The same of the first one.
    first_read_at: Option<Boottime>,
}

impl Roster {
    /// Takes in a whole reading; returns the sessions that are dead by it.
    pub fn replace(
        &mut self,
        documents: &[(Document, StoreTime)],
        asked_at: Boottime,
        config: &LeaseConfig,
    ) -> Vec<WorkerSession> {
        let mut dead = Vec::new();
        let mut sessions = BTreeMap::new();
        for (document, read_time) in documents {
            let session = WorkerSession::read(document, config);
            if session.is_dead(*read_time, config) {
                dead.push(session.clone());
            }
            sessions.insert(session.id.clone(), Arc::new(session));
        }
        let is_same = sessions.len() == self.sessions.len()
            && sessions
                .values()
                .zip(self.sessions.values())
                .all(|(now, before)| (&now.id, now.state) == (&before.id, before.state));
        if !is_same {
            self.changed_at = asked_at;
        }
        let before = std::mem::take(&mut self.members);
        self.members = sessions
            .values()
            .map(|session| Member::of(session, found(&before, &session.id)))
            .collect();
        self.sessions = sessions;
        self.version += 1;
        self.read_at = Some(asked_at);
        self.first_read_at.get_or_insert(asked_at);
        dead
    }

    /// Takes in a reading of some sessions; returns those that are dead by it.
    pub fn refresh(
        &mut self,
        documents: impl IntoIterator<Item = Document>,
        read_time: StoreTime,
        asked_at: Boottime,
        config: &LeaseConfig,
    ) -> Vec<WorkerSession> {
        let mut dead = Vec::new();
        for document in documents {
            let session = WorkerSession::read(&document, config);
            if session.state.is_final() {
                self.ended(&session.id, asked_at);
                continue;
            }
            if session.is_dead(read_time, config) {
                dead.push(session.clone());
            }
            let state = session.state;
            let before = self.insert(session);
            if before.is_none_or(|before| before.state != state) {
                self.changed_at = asked_at;
            }
        }
        dead
    }

    /// A session has ended.
    pub fn ended(&mut self, session: &WorkerSessionId, now: Boottime) {
        if self.sessions.remove(session).is_some() {
            self.members.retain(|member| member.id != *session);
            self.version += 1;
            self.changed_at = now;
        }
    }

    fn insert(&mut self, session: WorkerSession) -> Option<Arc<WorkerSession>> {
        self.version += 1;
        match self
            .members
            .binary_search_by(|member| member.id.cmp(&session.id))
        {
            Ok(at) => self.members[at] = Member::of(&session, Some(&self.members[at])),
            Err(at) => self.members.insert(at, Member::of(&session, None)),
        }
        self.sessions.insert(session.id.clone(), Arc::new(session))
    }

    /// The sessions that `me` looks after: the next ones around the ring.
    pub fn neighbours(&self, me: &WorkerSessionId) -> Vec<WorkerSessionId> {
        let after = self.sessions.keys().filter(|id| *id > me);
        let before = self.sessions.keys().filter(|id| *id < me);
        after.chain(before).take(NEIGHBOURS).cloned().collect()
    }

    /// Everybody, with the own count as it is now: it is known better here than
    /// from the last heartbeat.
    pub fn members(&mut self, me: &WorkerSessionId, owned: u32) -> &[Member] {
        if let Ok(own) = self.members.binary_search_by(|member| member.id.cmp(me)) {
            self.members[own].owned = owned;
        }
        &self.members
    }

    /// A number that is another one after every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether a session was there at the last reading, not ended.
    pub fn has(&self, session: &WorkerSessionId) -> bool {
        self.sessions.contains_key(session)
    }

    /// Whether a session is there and has not begun to drain.
    pub fn is_active(&self, session: &WorkerSessionId) -> bool {
        let session = self.sessions.get(session);
        session.is_some_and(|session| session.state == SessionState::Active)
    }

    /// All of them.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<WorkerSession>> {
        self.sessions.values()
    }

    /// How many there are that have not begun to drain.
    pub fn active(&self) -> usize {
        let active = |member: &&Member| member.state == SessionState::Active;
        self.members.iter().filter(active).count()
    }

    /// When the last whole reading was made, if there was one.
    pub fn read_at(&self) -> Option<Boottime> {
        self.read_at
    }

    /// Whether sessions have neither come nor gone for so long.
    pub fn is_settled(&self, now: Boottime, settle: Duration) -> bool {
        self.read_at.is_some() && now - self.changed_at >= settle
    }

    /// Whether this worker itself has only just come.
    pub fn is_new(&self, now: Boottime, configured: Duration) -> bool {
        let first = self.first_read_at.unwrap_or(now);
        now - first < configured * READINGS_OF_A_CHANGE
    }

    /// How long until the next whole reading: longer in a large cluster, unless
    /// it is just changing. Who takes what follows from who is there, and what
    /// somebody does not know of waits for that reading; a newcomer knows least.
    pub fn interval(&self, now: Boottime, configured: Duration) -> Duration {
        if self.is_new(now, configured) {
            return configured / 2;
        }
        if !self.is_settled(now, configured * READINGS_OF_A_CHANGE) {
            return configured;
        }
        let tens = u32::try_from(self.sessions.len().div_ceil(SMALL_CLUSTER)).unwrap_or(u32::MAX);
        configured.saturating_mul(tens.max(1))
    }
}

/// The member with this id, in a list that is in the order of ids.
fn found<'a>(members: &'a [Member], id: &WorkerSessionId) -> Option<&'a Member> {
    let at = members.binary_search_by(|member| member.id.cmp(id)).ok()?;
    members.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::WorkerIdentity;
    use crate::worker_session::{self, SessionFacts};

    fn document(name: &str, update_time: i64) -> Document {
        let id = WorkerSessionId::from_text(name);
        let facts = SessionFacts {
            me: WorkerIdentity {
                name: name.to_owned(),
                session_id: id.clone(),
            },
            capacity: 18,
            version: String::new(),
            address: None,
        };
        Document {
            path: worker_session::path(&id),
            fields: facts.first_fields(&LeaseConfig::default()),
            update_time: StoreTime::from_micros(update_time),
        }
    }

    fn roster(names: &[&str]) -> Roster {
        let documents: Vec<_> = names
            .iter()
            .map(|name| (document(name, 0), StoreTime::from_micros(1)))
            .collect();
        let mut roster = Roster::default();
        assert!(
            roster
                .replace(&documents, Boottime::ZERO, &LeaseConfig::default())
                .is_empty()
        );
        roster
    }

    #[test]
    fn everybody_is_looked_after_by_the_ones_before_it() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let roster = roster(&names);
        let mut watched = BTreeMap::new();
        for name in names {
            let neighbours = roster.neighbours(&WorkerSessionId::from_text(name));
            assert_eq!(neighbours.len(), NEIGHBOURS);
            for neighbour in neighbours {
                assert_ne!(neighbour.as_str(), name);
                *watched.entry(neighbour).or_insert(0) += 1;
            }
        }
        assert!(names.len() == watched.len() && watched.values().all(|count| *count == NEIGHBOURS));
    }

    #[test]
    fn the_dead_are_those_that_have_been_silent_too_long() {
        let config = LeaseConfig::default();
        let mut roster = roster(&["a", "b"]);
        let later = StoreTime::from_micros(12_000_001);
        let now = Boottime::ZERO + Duration::from_secs(12);
        let dead = roster.refresh(
            [document("a", 0), document("b", 5_000_000)],
            later,
            now,
            &config,
        );
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].name, "a");
        assert!(roster.is_settled(now, Duration::from_secs(12)));
        roster.ended(&dead[0].id, now);
        assert!(!roster.is_settled(now, Duration::from_secs(1)));
        assert_eq!(roster.active(), 1);
    }

    #[test]
    fn a_large_cluster_is_read_seldom_unless_it_has_just_changed() {
        let names: Vec<String> = (0..100).map(|number| format!("w{number:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut large = roster(&names);
        let configured = Duration::from_secs(10);
        assert_eq!(large.interval(Boottime::ZERO, configured), configured / 2);
        let changed = Boottime::ZERO + Duration::from_secs(3_600);
        assert_eq!(large.interval(changed, configured), 10 * configured);
        large.ended(&WorkerSessionId::from_text("w007"), changed);
        assert_eq!(large.interval(changed, configured), configured);
        let later = changed + configured * READINGS_OF_A_CHANGE;
        assert_eq!(large.interval(later, configured), 10 * configured);
    }
}
