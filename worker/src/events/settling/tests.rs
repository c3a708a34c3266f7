use std::collections::BTreeMap;

use coordinator_lib::store::Stamp;
use proptest::prelude::*;

use super::*;
use crate::events::position::position;
use crate::model::{EventDoc, EventKind};

fn at(micros: i64) -> StoreTime {
    StoreTime::from_micros(micros)
}

fn event(account: &str, seq: i64, stored_at: i64, time: i64) -> Logged {
    let id = format!("{account}-{seq:012}");
    Logged {
        position: position(time, &id),
        id,
        event: EventDoc {
            account_id: account.to_owned(),
            seq,
            kind: EventKind::AccountStatus,
            at: at(stored_at),
            stored_at: Stamp::At(at(stored_at)),
            epoch: 1,
            trace: None,
            data: BTreeMap::new(),
        },
    }
}

fn ids(events: &[Logged]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

#[test]
fn an_event_on_a_later_page_comes_before_one_that_was_stamped_earlier() {
    let mut settling = Settling::new(Position::whole(at(0)));
    // `slow` was stamped at 10 and taken in at 30.
    let first = [event("slow", 1, 10, 30), event("a", 1, 12, 13)];
    let given = settling.page(first, at(100), Some(at(12)));
    assert!(given.is_empty(), "{given:?}");
    let given = settling.page([event("b", 1, 20, 21)], at(101), None);
    assert_eq!(
        ids(&given),
        ["a-000000000001", "b-000000000001", "slow-000000000001"]
    );
}

#[test]
fn what_came_after_the_first_page_was_read_waits_for_the_next_reading() {
    let mut settling = Settling::new(Position::whole(at(0)));
    assert_eq!(
        settling
            .page([event("a", 1, 10, 11)], at(20), Some(at(10)))
            .len(),
        0
    );
    let given = settling.page([event("a", 2, 19, 25)], at(30), None);
    assert_eq!(ids(&given), ["a-000000000001"]);
    assert_eq!(settling.position(), &position(11, "a-000000000001"));
    assert!(settling.is_over(at(21)) && !settling.is_over(at(20)));
}

/// One commit: when it was stamped, how much later it was taken in, its events.
#[derive(Debug, Clone)]
struct CommitPlan {
    account: usize,
    gap: i64,
    lag: i64,
    events: usize,
}

fn commits() -> impl Strategy<Value = Vec<CommitPlan>> {
    let one =
        (0_usize..3, 0_i64..40, 0_i64..200, 1_usize..4).prop_map(|(account, gap, lag, events)| {
            CommitPlan {
                account,
                gap,
                lag,
                events,
            }
        });
    proptest::collection::vec(one, 1..40)
}

/// All events, with `storedAt` not after the update time, and the commits of an
/// account one after another.
fn events_of(commits: &[CommitPlan]) -> Vec<Logged> {
    let mut events = Vec::new();
    let mut now = 1_000;
    let mut free_at = [0_i64; 3];
    let mut seqs = [0_i64; 3];
    for commit in commits {
        now += commit.gap;
        let stamped = now.max(free_at[commit.account]);
        let time = stamped + commit.lag;
        free_at[commit.account] = time + 1;
        for _ in 0..commit.events {
            seqs[commit.account] += 1;
            let name = ["a", "b", "c"][commit.account];
            events.push(event(name, seqs[commit.account], stamped, time));
        }
    }
    events
}

proptest! {
    /// A client that reads in pages, breaks off anywhere and goes on from its
    /// cursor, while events keep coming in.
    #[test]
    fn every_event_comes_once_and_in_order(
        commits in commits(),
        page_events in 1_usize..6,
        steps in proptest::collection::vec((0_i64..120, any::<bool>()), 1..60),
    ) {
        let all = events_of(&commits);
        let end = all.iter().map(|event| event.position.time()).max().unwrap();
        let mut now = at(1_000);
        let mut cursor = Position::whole(at(0));
        let mut seen: Vec<Logged> = Vec::new();
        // At the end, all have come in.
        let steps = steps.into_iter().chain([(10_000_000, false), (1, false)]);
        for (wait, breaks_off) in steps {
            now = at(now.as_micros() + wait);
            let mut settling = Settling::new(cursor.clone());
            let mut from: Option<(StoreTime, String)> = None;
            loop {
                // A page: what is visible now, by (storedAt, id), from the last on.
                let mut visible: Vec<&Logged> = all
                    .iter()
                    .filter(|event| event.position.time() <= now)
                    .filter(|event| event.stored_at() > settling_start(&cursor))
                    .filter(|event| {
                        from.as_ref().is_none_or(|from| (event.stored_at(), event.id.clone()) > *from)
                    })
                    .collect();
                visible.sort_by_key(|event| (event.stored_at(), event.id.clone()));
                let is_more = visible.len() > page_events;
                visible.truncate(page_events);
                let last = visible.last().map(|event| (event.stored_at(), event.id.clone()));
                let next = last.clone().filter(|_| is_more);
                let given = settling.page(
                    visible.into_iter().cloned(),
                    now,
                    next.as_ref().map(|(stored_at, _)| *stored_at),
                );
                seen.extend(given);
                // Time passes between two pages.
                now = at(now.as_micros() + 7);
                match next {
                    Some(next) if !settling.is_over(next.0) => from = Some(next),
                    Some(_) | None => break,
                }
                if breaks_off && seen.len() % 2 == 1 {
                    break;
                }
            }
            cursor = settling.position().clone();
        }
        prop_assert!(end <= now);
        let mut expected: Vec<Logged> = all.clone();
        expected.sort_by_key(|event| event.position.clone());
        prop_assert_eq!(ids(&seen), ids(&expected));
        for account in ["a", "b", "c"] {
            let seqs: Vec<i64> = seen
                .iter()
                .filter(|event| event.event.account_id == account)
                .map(|event| event.event.seq)
                .collect();
            prop_assert!(seqs.is_sorted());
        }
    }
}

fn settling_start(cursor: &Position) -> StoreTime {
    Settling::new(cursor.clone()).stored_after()
}
