//! Who takes a free account, and who gives one up: pure.
//!
//! # Free accounts
//! Worker sessions that claim ([`Member::takes`]) are ordered for each account:
//! those below their fair share first, and among these by rendezvous hashing
//! of the account's shard. The first acts at once, each later one after another
//! [`BalanceConfig::rank_delay`], in case those before it are slow or dead.
//!
//! # Shedding
//! Nobody steals. A worker that owns more than its share gives accounts up,
//! one at a time, each to a named taker, until counts differ by at most one.
//! All workers compute the same moves from the same roster and carry out their
//! own. Nothing moves while somebody drains, or while sessions come and go.

use std::time::Duration;

use crate::clock::Boottime;
use crate::identity::WorkerSessionId;
use crate::rendezvous::Scores;
use crate::worker_session::{SessionState, WorkerSession};

/// A worker session, as far as sharing out is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which one.
    pub id: WorkerSessionId,
    /// Whether it claims and owns, or hands off.
    pub state: SessionState,
    /// Accounts that it owns at most.
    pub capacity: u32,
    /// Accounts that it owns.
    pub owned: u32,
    /// How well it suits each shard.
    pub scores: Scores,
}

impl Member {
    /// Whether it claims accounts that become free.
    pub fn takes(&self) -> bool {
        self.state == SessionState::Active && self.owned < self.capacity
    }
}

impl Member {
    /// A session as a member; its scores are those of `before`, the same one as
    /// it was, if that can be.
    pub fn of(session: &WorkerSession, before: Option<&Member>) -> Self {
        let scores = before
            .filter(|before| before.id == session.id && before.capacity == session.capacity)
            .map_or_else(
                || Scores::of(&session.id, session.capacity),
                |before| before.scores.clone(),
            );
        Self {
            id: session.id.clone(),
            state: session.state,
            capacity: session.capacity,
            owned: session.owned,
            scores,
        }
    }
}

/// How accounts are shared out.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceConfig {
    /// Between two sessions in the order for a free account.
    pub rank_delay: Duration,
    /// How long an account waits for the session that it was handed to.
    pub handoff_wait: Duration,
    /// How long the roster must have been the same before accounts are shed.
    pub settle: Duration,
    /// Between two accounts that a worker sheds.
    pub cool_down: Duration,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            // Several times what a claim takes, and with a claim well below the
            // second that an account may be without an owner: two workers that
            // each take the other for the first, as both know only their own
            // count of accounts for certain, wait once.
            rank_delay: Duration::from_millis(500),
            handoff_wait: Duration::from_secs(5),
            settle: Duration::from_secs(10),
            cool_down: Duration::from_secs(1),
        }
    }
}

/// The order in which members take free accounts, as one of them sees it.
pub struct Order<'a> {
    members: &'a [Member],
    me: Option<&'a Member>,
    share: u32,
}

impl<'a> Order<'a> {
    /// The order as `me` sees it, while `free` accounts wait for an owner.
    pub fn new(me: &WorkerSessionId, members: &'a [Member], free: usize) -> Self {
        Self {
            members,
            me: members
                .iter()
                .find(|member| member.id == *me && member.takes()),
            share: fair_share(members, free),
        }
    }

    /// The own place in it for accounts of a shard; `None` if `me` does not take
    /// any.
    pub fn rank(&self, shard: i64) -> Option<usize> {
        let me = self.me?;
        let is_full = |member: &Member| member.owned >= self.share;
        let mine = (is_full(me), -me.scores.at(shard));
        let before = self
            .members
            .iter()
            .filter(|member| member.takes() && member.id != me.id)
            .filter(|member| (is_full(member), -member.scores.at(shard)) < mine)
            .count();
        Some(before)
    }
}

/// The shards in which `me` is among the first `ranks` of those that have room:
/// what it has to look after. A full one would see accounts that it cannot take
/// while those that can do not look. Where nobody has room all look, so that it
/// shows.
pub fn shards_of(me: &WorkerSessionId, members: &[Member], ranks: usize) -> Vec<i64> {
    let has_room = members.iter().any(Member::takes);
    let looks =
        |member: &&Member| member.state == SessionState::Active && (member.takes() || !has_room);
    let Some(mine) = members.iter().filter(looks).find(|member| member.id == *me) else {
        return Vec::new();
    };
    let own = mine.scores.all();
    let mut before = vec![0_usize; own.len()];
    for member in members.iter().filter(looks) {
        let scores = member.scores.all().iter().zip(own);
        for (count, (score, own)) in before.iter_mut().zip(scores) {
            // Never greater than itself.
            *count += usize::from(score > own);
        }
    }
    (0..)
        .zip(before)
        .filter(|(_, before)| *before < ranks)
        .map(|(shard, _)| shard)
        .collect()
}

/// Accounts for each of the members that claim, if all were shared out evenly.
fn fair_share(members: &[Member], free: usize) -> u32 {
    let takers = members
        .iter()
        .filter(|member| member.state == SessionState::Active);
    let (count, owned) = takers.fold((0_usize, 0_usize), |(count, owned), member| {
        (count + 1, owned + member.owned as usize)
    });
    let share = (owned + free).div_ceil(count.max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// To whom an account that is given up should go: the member with the smallest
/// load, `given` counting what it was promised already.
pub fn taker<'a>(
    me: &WorkerSessionId,
    members: &'a [Member],
    given: impl Fn(&WorkerSessionId) -> u32,
) -> Option<&'a WorkerSessionId> {
    members
        .iter()
        .filter(|member| member.id != *me && member.state == SessionState::Active)
        .map(|member| (member.owned.saturating_add(given(&member.id)), member))
        .filter(|(load, member)| *load < member.capacity)
        .min_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)))
        .map(|(_, member)| &member.id)
}

/// The members that `me` should give an account to, one entry an account, so
/// that counts differ by at most one in the end.
pub fn moves_of(me: &WorkerSessionId, members: &[Member]) -> Vec<WorkerSessionId> {
    if members
        .iter()
        .any(|member| member.state == SessionState::Draining)
    {
        return Vec::new();
    }
    let mut loads: Vec<(u32, &Member)> = members
        .iter()
        .filter(|member| member.state == SessionState::Active)
        .map(|member| (member.owned, member))
        .collect();
    let mut moves = Vec::new();
    loop {
        // The same order everywhere: by load, then by id.
        loads.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        let Some(to) = loads
            .iter()
            .position(|(load, member)| *load < member.capacity)
        else {
            return moves;
        };
        let Some(from) = loads.len().checked_sub(1) else {
            return moves;
        };
        if loads[from].0 <= loads[to].0 + 1 {
            return moves;
        }
        if loads[from].1.id == *me {
            moves.push(loads[to].1.id.clone());
        }
        loads[from].0 -= 1;
        loads[to].0 += 1;
    }
}

/// To whom the last owner of a free account gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// To nobody, or to one that takes nothing any more.
    Nobody,
    /// To one that the roster does not have: it has ended, or has begun since.
    Unknown,
    /// To the session that asks.
    Me,
    /// To another that is there.
    Another,
}

/// When a session may claim an account that became free at `since`: its place
/// in the order, or its being named, decides.
pub fn due(since: Boottime, given: Given, rank: usize, config: &BalanceConfig) -> Boottime {
    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
    let by_rank = since + config.rank_delay.saturating_mul(rank);
    match given {
        Given::Me => since,
        Given::Another => by_rank.max(since + config.handoff_wait),
        Given::Unknown => by_rank.max(since + config.rank_delay),
        Given::Nobody => by_rank,
    }
}

#[cfg(test)]
mod tests;
