//! Which message is next: in order within a conversation, conversations side
//! by side.
//!
//! A *lane* is a conversation. Its first message is sent and settled before the
//! second is looked at: a message that waits for another attempt holds its lane
//! up, for order is worth more than speed there. Among lanes the one whose
//! first message is the oldest comes first.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coordinator_lib::clock::Boottime;
use coordinator_lib::store::StoreTime;

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its `wa_outbox` document.
    pub id: String,
    /// Its conversation.
    pub lane: String,
    /// When it was accepted: the order within the lane.
    pub accepted_at: StoreTime,
    /// Not before this.
    pub not_before: Option<Boottime>,
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This one.
    Send {
        /// The message.
        id: String,
        /// Its conversation.
        lane: String,
    },
    /// Nothing before then.
    Wait(Boottime),
    /// Nothing until something changes.
    Idle,
}

/// What became of a message that was taken from the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// There is nothing more to do for it.
    Settled,
    /// It is to be tried again, not before then.
    Again(Boottime),
}

/// The messages to be sent, by lane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    lanes: HashMap<String, Lane>,
    /// Where each message is.
    places: HashMap<String, (String, StoreTime)>,
    /// Lanes that could send, by their first message; those with a time to wait
    /// for are here too, and are passed over.
    ready: BTreeSet<(StoreTime, String)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Lane {
    queue: BTreeMap<(StoreTime, String), Option<Boottime>>,
    busy: Option<String>,
}

impl Lane {
    fn first(&self) -> Option<(StoreTime, &str, Option<Boottime>)> {
        let ((accepted_at, id), not_before) = self.queue.first_key_value()?;
        Some((*accepted_at, id, *not_before))
    }
}

impl Schedule {
    /// Adds a message, or learns when it may be tried again: never earlier than
    /// is known already, for such news may be old.
    pub fn put(&mut self, item: Item) {
        let Item {
            id,
            lane,
            accepted_at,
            not_before,
        } = item;
        self.unready(&lane);
        self.places.insert(id.clone(), (lane.clone(), accepted_at));
        let known = self
            .lanes
            .entry(lane.clone())
            .or_default()
            .queue
            .entry((accepted_at, id))
            .or_default();
        *known = (*known).max(not_before);
        self.reready(&lane);
    }

    /// A message does not go before then.
    pub fn hold(&mut self, id: &str, until: Boottime) {
        let Some((lane, accepted_at)) = self.places.get(id).cloned() else {
            return;
        };
        self.put(Item {
            id: id.to_owned(),
            lane,
            accepted_at,
            not_before: Some(until),
        });
    }

    /// Takes a message out: it was cancelled, or settled elsewhere. One that is
    /// being sent stays until it is [done](Schedule::done).
    pub fn remove(&mut self, id: &str) {
        let Some((lane, _)) = self.places.get(id) else {
            return;
        };
        let lane = lane.clone();
        if self
            .lanes
            .get(&lane)
            .is_some_and(|found| found.busy.as_deref() == Some(id))
        {
            return;
        }
        self.take_out(id);
    }

    /// Keeps only these messages, and those that are being sent.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.places.keys().filter(|id| !keep(id)).cloned().collect();
        for id in gone {
            self.remove(&id);
        }
    }

    /// What [`Schedule::next`] would say.
    pub fn peek(&self, now: Boottime) -> Next {
        let mut wait: Option<Boottime> = None;
        for (_, lane) in &self.ready {
            let Some((_, id, not_before)) = self.lanes.get(lane).and_then(Lane::first) else {
                continue;
            };
            match not_before {
                Some(time) if time > now => wait = Some(wait.map_or(time, |wait| wait.min(time))),
                Some(_) | None => {
                    return Next::Send {
                        id: id.to_owned(),
                        lane: lane.clone(),
                    };
                }
            }
        }
        wait.map_or(Next::Idle, Next::Wait)
    }

    /// The message to send now, if there is one. Its lane is busy until it is
    /// [done](Schedule::done).
    pub fn next(&mut self, now: Boottime) -> Next {
        let next = self.peek(now);
        if let Next::Send { id, lane } = &next {
            self.unready(lane);
            if let Some(entry) = self.lanes.get_mut(lane) {
                entry.busy = Some(id.clone());
            }
        }
        next
    }

    /// Ends what [`Schedule::next`] began.
    pub fn done(&mut self, id: &str, done: Done) {
        let Some((lane, accepted_at)) = self.places.get(id).cloned() else {
            return;
        };
        if let Some(entry) = self.lanes.get_mut(&lane) {
            entry.busy = None;
            if let Done::Again(not_before) = done {
                entry
                    .queue
                    .insert((accepted_at, id.to_owned()), Some(not_before));
            }
        }
        match done {
            Done::Settled => self.take_out(id),
            Done::Again(_) => self.reready(&lane),
        }
    }

    /// When the oldest message was accepted.
    pub fn oldest(&self) -> Option<StoreTime> {
        let first = |lane: &Lane| lane.first().map(|(accepted_at, ..)| accepted_at);
        self.lanes.values().filter_map(first).min()
    }

    /// Messages in the schedule.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn take_out(&mut self, id: &str) {
        let Some((lane, accepted_at)) = self.places.remove(id) else {
            return;
        };
        self.unready(&lane);
        if let Some(entry) = self.lanes.get_mut(&lane) {
            entry.queue.remove(&(accepted_at, id.to_owned()));
            if entry.queue.is_empty() && entry.busy.is_none() {
                self.lanes.remove(&lane);
            }
        }
        self.reready(&lane);
    }

    fn unready(&mut self, lane: &str) {
        if let Some((accepted_at, _, _)) = self.lanes.get(lane).and_then(Lane::first) {
            self.ready.remove(&(accepted_at, lane.to_owned()));
        }
    }

    fn reready(&mut self, lane: &str) {
        let Some(entry) = self.lanes.get(lane) else {
            return;
        };
        if entry.busy.is_none()
            && let Some((accepted_at, _, _)) = entry.first()
        {
            self.ready.insert((accepted_at, lane.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Boottime = Boottime::ZERO;

    fn item(id: &str, lane: &str, accepted: i64) -> Item {
        Item {
            id: id.into(),
            lane: lane.into(),
            accepted_at: StoreTime::from_micros(accepted),
            not_before: None,
        }
    }

    fn send(schedule: &mut Schedule, now: Boottime) -> Option<String> {
        match schedule.next(now) {
            Next::Send { id, .. } => Some(id),
            Next::Wait(_) | Next::Idle => None,
        }
    }

    fn schedule(items: &[(&str, &str, i64)]) -> Schedule {
        let mut schedule = Schedule::default();
        for (id, lane, accepted) in items {
            schedule.put(item(id, lane, *accepted));
        }
        schedule
    }

    #[test]
    fn a_conversation_sends_one_after_the_other() {
        let mut schedule = schedule(&[("b", "anna", 2), ("a", "anna", 1)]);
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("a"));
        assert_eq!(schedule.next(NOW), Next::Idle);
        schedule.done("a", Done::Settled);
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("b"));
    }

    #[test]
    fn conversations_go_side_by_side_the_oldest_first() {
        let mut schedule =
            schedule(&[("late", "anna", 5), ("early", "ben", 1), ("mid", "cleo", 3)]);
        let sent: Vec<_> = std::iter::from_fn(|| send(&mut schedule, NOW)).collect();
        assert_eq!(sent, ["early", "mid", "late"]);
        assert_eq!(schedule.oldest(), Some(StoreTime::from_micros(1)));
    }

    #[test]
    fn a_message_that_waits_holds_up_its_conversation_only() {
        let later = NOW + Duration::from_secs(5);
        let mut schedule = schedule(&[("a", "anna", 1), ("b", "anna", 2), ("c", "ben", 3)]);
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("a"));
        schedule.done("a", Done::Again(later));
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("c"));
        schedule.done("c", Done::Settled);
        assert_eq!(schedule.next(NOW), Next::Wait(later));
        assert_eq!(send(&mut schedule, later).as_deref(), Some("a"));
    }

    #[test]
    fn a_conversation_that_is_held_lets_the_others_pass() {
        let later = NOW + Duration::from_secs(5);
        let mut schedule = schedule(&[("a", "anna", 1), ("b", "ben", 2)]);
        schedule.hold("a", later);
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("b"));
        assert_eq!(schedule.next(NOW), Next::Wait(later));
        assert_eq!(send(&mut schedule, later).as_deref(), Some("a"));
    }

    #[test]
    fn what_is_cancelled_is_not_sent_but_what_is_under_way_is_finished() {
        let mut schedule = schedule(&[("a", "anna", 1), ("b", "anna", 2)]);
        schedule.remove("b");
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("a"));
        schedule.retain(|_| false);
        assert_eq!(schedule.len(), 1);
        schedule.done("a", Done::Settled);
        assert!(schedule.is_empty());
        assert_eq!(schedule, Schedule::default());
    }

    #[test]
    fn a_message_that_is_reported_again_while_it_is_sent_is_not_sent_twice() {
        let mut schedule = schedule(&[("a", "anna", 1)]);
        assert_eq!(send(&mut schedule, NOW).as_deref(), Some("a"));
        schedule.put(item("a", "anna", 1));
        assert_eq!(schedule.next(NOW), Next::Idle);
    }

    proptest! {
        /// Whatever comes in between, each lane is sent in order and each
        /// message once.
        #[test]
        fn every_message_is_sent_once_and_in_its_lanes_order(
            items in prop::collection::vec((0_usize..4, 0_i64..50), 1..40),
            retries in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut schedule = Schedule::default();
            for (n, (lane, accepted)) in items.iter().enumerate() {
                schedule.put(item(&format!("{n:02}"), &lane.to_string(), *accepted));
            }
            let mut retries = retries.into_iter();
            let mut now = NOW;
            let mut settled: Vec<usize> = Vec::new();
            for _ in 0..1_000 {
                match schedule.next(now) {
                    Next::Send { id, .. } => {
                        if retries.next().unwrap_or(false) {
                            schedule.done(&id, Done::Again(now + Duration::from_secs(1)));
                        } else {
                            schedule.done(&id, Done::Settled);
                            settled.push(id.parse().unwrap());
                        }
                    }
                    Next::Wait(until) => { prop_assert!(until > now); now = until; }
                    Next::Idle => break,
                }
            }
            prop_assert!(schedule.is_empty());
            prop_assert_eq!(&schedule, &Schedule::default());
            for lane in 0..4 {
                let order: Vec<_> = settled.iter().filter(|n| items[**n].0 == lane).map(|n| (items[*n].1, *n)).collect();
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
            prop_assert_eq!(settled.len(), items.len());
        }
    }
}
