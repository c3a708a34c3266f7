//! Who takes what: weighted rendezvous hashing.
//!
//! Every worker computes the same order of worker sessions for an account,
//! without talking: the first in it acts at once, the next after a delay each,
//! so that rescuers do not race. When a session comes or goes, only the
//! accounts that rank it first are concerned.

use std::sync::Arc;

use crate::hash::fnv1a;
use crate::identity::WorkerSessionId;
use crate::shard::SHARDS;

/// How well a session suits a key: the greater, the earlier it acts. `weight`
/// is its capacity.
///
/// The score is `-weight / ln(u)` with `u` of (0, 1) drawn from both ids: of
/// two sessions the one with twice the weight comes first twice as often.
pub fn score(key: &str, session: &WorkerSessionId, weight: u32) -> f64 {
    let mut bytes = Vec::with_capacity(key.len() + 1 + session.as_str().len());
    bytes.extend_from_slice(key.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(session.as_str().as_bytes());
    // 53 bits are what an f64 holds exactly; a half keeps off 0 and 1.
    let unit = ((fnv1a(&bytes) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

/// How well one session suits each shard, computed once: ranking compares every
/// session's scores again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(Arc<[f64]>);

impl Scores {
    /// Those of a session of this weight.
    pub fn of(session: &WorkerSessionId, weight: u32) -> Self {
        let shards = 0..SHARDS;
        Self(
            shards
                .map(|shard| score(&format!("shard-{shard}"), session, weight))
                .collect(),
        )
    }

    /// The score for one shard; that of no session for what is none.
    pub fn at(&self, shard: i64) -> f64 {
        let shard = usize::try_from(shard).ok();
        shard
            .and_then(|shard| self.0.get(shard).copied())
            .unwrap_or(0.0)
    }

    /// All of them, in the order of shards.
    pub fn all(&self) -> &[f64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> WorkerSessionId {
        WorkerSessionId::from_text(name)
    }

    fn first(key: &str, sessions: &[(&str, u32)]) -> String {
        let best = sessions.iter().max_by(|a, b| {
            let (a, b) = (
                score(key, &session(a.0), a.1),
                score(key, &session(b.0), b.1),
            );
            a.total_cmp(&b)
        });
        best.unwrap().0.to_owned()
    }

    #[test]
    fn a_session_that_leaves_moves_only_its_own_accounts() {
        let all = [("alice", 18), ("bob", 18), ("carol", 18)];
        for number in 0..500 {
            let key = format!("account_{number}");
            let with_all = first(&key, &all);
            if with_all != "carol" {
                assert_eq!(first(&key, &all[..2]), with_all);
            }
        }
    }

    #[test]
    fn weight_decides_how_often_a_session_comes_first() {
        let sessions = [("alice", 10), ("bob", 30)];
        let bobs = (0..4_000)
            .filter(|number| first(&format!("account_{number}"), &sessions) == "bob")
            .count();
        assert!((2_800..3_200).contains(&bobs), "{bobs}");
    }
}
