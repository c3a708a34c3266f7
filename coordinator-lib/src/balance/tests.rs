use proptest::prelude::*;

use super::*;

fn id(name: &str) -> WorkerSessionId {
    WorkerSessionId::from_text(name)
}

fn member(name: &str, owned: u32, capacity: u32) -> Member {
    Member {
        id: id(name),
        state: SessionState::Active,
        capacity,
        owned,
        scores: Scores::of(&id(name), capacity),
    }
}

fn rank(shard: i64, me: &WorkerSessionId, members: &[Member], free: usize) -> Option<usize> {
    Order::new(me, members, free).rank(shard)
}

#[test]
fn exactly_one_member_comes_first_for_every_shard() {
    let members = ["alice", "bob", "carol"].map(|name| member(name, 0, 18));
    for shard in 0..256 {
        let mut ranks: Vec<usize> = members
            .iter()
            .filter_map(|member| rank(shard, &member.id, &members, 12))
            .collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2]);
    }
}

#[test]
fn who_has_its_share_lets_others_go_first() {
    let members = [member("alice", 6, 18), member("bob", 0, 18)];
    for shard in 0..256 {
        assert_eq!(rank(shard, &id("bob"), &members, 2), Some(0));
        assert_eq!(rank(shard, &id("alice"), &members, 2), Some(1));
    }
}

#[test]
fn full_and_draining_members_take_nothing() {
    let mut members = [member("alice", 18, 18), member("bob", 0, 18)];
    members[1].state = SessionState::Draining;
    for name in ["alice", "bob", "nobody"] {
        assert_eq!(rank(1, &id(name), &members, 1), None);
    }
    assert_eq!(taker(&id("carol"), &members, |_| 0), None);
}

#[test]
fn every_shard_is_somebodys() {
    let members = ["alice", "bob", "carol"].map(|name| member(name, 18, 18));
    let mut all: Vec<i64> = members
        .iter()
        .flat_map(|member| shards_of(&member.id, &members, 1))
        .collect();
    all.sort_unstable();
    assert_eq!(all, (0..256).collect::<Vec<i64>>());
    assert_eq!(shards_of(&id("alice"), &members, 3).len(), 256);
}

#[test]
fn who_has_room_looks_after_all_shards_and_all_do_where_nobody_has() {
    let mut members = ["alice", "bob", "carol"].map(|name| member(name, 18, 18));
    members[2].owned = 17;
    assert!(shards_of(&id("alice"), &members, 1).is_empty());
    assert_eq!(shards_of(&id("carol"), &members, 1).len(), 256);
    members[2].owned = 18;
    assert!(!shards_of(&id("alice"), &members, 1).is_empty());
}

#[test]
fn a_newcomer_gets_accounts_from_those_with_most() {
    let members = [
        member("alice", 6, 18),
        member("bob", 6, 18),
        member("carol", 0, 18),
    ];
    assert_eq!(moves_of(&id("alice"), &members).len(), 2);
    assert_eq!(moves_of(&id("bob"), &members), [id("carol"), id("carol")]);
    assert!(moves_of(&id("carol"), &members).is_empty());
}

#[test]
fn nothing_moves_while_somebody_drains() {
    let mut members = [member("alice", 6, 18), member("bob", 0, 18)];
    assert_eq!(moves_of(&id("alice"), &members).len(), 3);
    members[1].state = SessionState::Draining;
    assert!(moves_of(&id("alice"), &members).is_empty());
}

#[test]
fn an_account_waits_for_whom_it_was_handed_to() {
    let config = BalanceConfig::default();
    let since = Boottime::ZERO + Duration::from_secs(100);
    let ask = |given, rank| due(since, given, rank, &config) - since;
    assert_eq!(ask(Given::Nobody, 0), Duration::ZERO);
    assert_eq!(ask(Given::Nobody, 2), config.rank_delay * 2);
    assert_eq!(ask(Given::Me, 1), Duration::ZERO);
    assert_eq!(ask(Given::Another, 0), Duration::from_secs(5));
    assert_eq!(ask(Given::Unknown, 0), config.rank_delay);
    assert_eq!(ask(Given::Unknown, 1), config.rank_delay);
}

#[test]
fn two_that_take_each_other_for_the_first_have_an_account_within_a_second() {
    let config = BalanceConfig::default();
    let waited = due(Boottime::ZERO, Given::Nobody, 1, &config) - Boottime::ZERO;
    let claim = Duration::from_millis(400);
    assert!(waited + claim < Duration::from_secs(1));
}

proptest! {
    /// Whatever counts there are, carrying out everybody's moves leaves counts
    /// that differ by at most one, as far as capacities allow, and nothing more
    /// to move.
    #[test]
    fn moves_end_in_balance(counts in prop::collection::vec((0_u32..40, 1_u32..40), 1..12)) {
        let mut members: Vec<Member> = counts
            .iter()
            .enumerate()
            .map(|(number, (owned, capacity))| {
                member(&format!("w{number:02}"), *owned, (*capacity).max(*owned))
            })
            .collect();
        let moves: Vec<(WorkerSessionId, WorkerSessionId)> = members
            .iter()
            .flat_map(|from| {
                moves_of(&from.id, &members)
                    .into_iter()
                    .map(|to| (from.id.clone(), to))
            })
            .collect();
        for (from, to) in moves {
            prop_assert_ne!(&from, &to);
            for member in &mut members {
                if member.id == from { member.owned -= 1; }
                if member.id == to { member.owned += 1; }
            }
        }
        let most = members.iter().map(|member| member.owned).max().unwrap();
        let least_with_room = members
            .iter()
            .filter(|member| member.owned < member.capacity)
            .map(|member| member.owned)
            .min();
        prop_assert!(least_with_room.is_none_or(|least| most <= least + 1));
        for member in &members {
            prop_assert!(member.owned <= member.capacity);
            prop_assert!(moves_of(&member.id, &members).is_empty());
        }
    }
}
