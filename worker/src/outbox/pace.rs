//! When an account may send: pure; the caller brings the time.
//!
//! Two token buckets, one for the account and one for each conversation, and
//! three pauses that WhatsApp may ask for: of everything, of one conversation,
//! and of conversations in which the peer has never written. A pause of
//! everything gets longer each time it is asked for again, until something is
//! sent.

use std::collections::HashMap;
use std::time::Duration;

use coordinator_lib::clock::Boottime;

use super::OutboxConfig;
use super::bucket::Bucket;
use super::verdict::Scope;

/// Conversations whose buckets are remembered. A bucket that is full again is
/// as good as none, so those go first.
const LANES_MAX: usize = 4_096;

/// The longest pause of everything.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// The pace of one account.
#[derive(Debug, Clone)]
pub struct Pace {
    account: Bucket,
    lanes: HashMap<String, Bucket>,
    lane_rate: f64,
    lane_burst: u32,
    paused_until: Option<Boottime>,
    pauses_in_a_row: u32,
    new_chats_closed_until: Option<Boottime>,
}

/// Why a message does not go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Nothing goes before then.
    All(Boottime),
    /// Nothing of this conversation goes before then.
    Lane(Boottime),
}

impl Pace {
    /// A pace with full buckets.
    pub fn new(config: &OutboxConfig, now: Boottime) -> Self {
        Self {
            account: Bucket::new(config.rate, config.burst, now),
            lanes: HashMap::new(),
            lane_rate: config.chat_rate,
            lane_burst: config.chat_burst,
            paused_until: None,
            pauses_in_a_row: 0,
            new_chats_closed_until: None,
        }
    }

    /// Until when everything is paused, if it is.
    pub fn paused_until(&self, now: Boottime) -> Option<Boottime> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Whether conversations in which the peer has never written are paused,
    /// and until when.
    pub fn new_chats_closed_until(&self, now: Boottime) -> Option<Boottime> {
        self.new_chats_closed_until.filter(|until| *until > now)
    }

    /// Takes one message of a conversation from both buckets.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    pub fn take(&mut self, lane: &str, now: Boottime) -> Result<(), Denied> {
        if let Some(until) = self.paused_until(now) {
            return Err(Denied::All(until));
        }
        let bucket = self.lane(lane, now);
        // On a copy, so that nothing is taken unless both give.
        let mut taken = bucket.clone();
        taken.take(now).map_err(|wait| Denied::Lane(now + wait))?;
        self.account
            .take(now)
            .map_err(|wait| Denied::All(now + wait))?;
        *self.lane(lane, now) = taken;
        Ok(())
    }

    /// WhatsApp asks for a pause.
    pub fn pause(&mut self, scope: Scope, pause: Duration, now: Boottime) {
        match scope {
            Scope::Account => {
                let factor = 1 << self.pauses_in_a_row.min(8);
                self.pauses_in_a_row += 1;
                let until = now + (pause * factor).min(PAUSE_MAX.max(pause));
                self.paused_until = self.paused_until.max(Some(until));
            }
            Scope::NewChats => {
                self.new_chats_closed_until = self.new_chats_closed_until.max(Some(now + pause));
            }
            // Its messages go in order: the first one's own wait is the pause.
            Scope::Chat => {}
        }
    }

    /// Something was sent.
    pub fn sent(&mut self) {
        self.pauses_in_a_row = 0;
    }

    fn lane(&mut self, lane: &str, now: Boottime) -> &mut Bucket {
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(lane) {
            self.lanes.retain(|_, bucket| !bucket.is_full(now));
            if self.lanes.len() >= LANES_MAX {
                // All are in use: at the account's rate that cannot be.
                self.lanes.clear();
            }
        }
        self.lanes
            .entry(lane.to_owned())
            .or_insert_with(|| Bucket::new(self.lane_rate, self.lane_burst, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boottime {
        Boottime::ZERO + Duration::from_secs(seconds)
    }

    fn pace() -> Pace {
        let config = OutboxConfig {
            rate: 1.0,
            burst: 4,
            chat_rate: 0.5,
            chat_burst: 2,
            ..OutboxConfig::default()
        };
        Pace::new(&config, at(0))
    }

    fn is_lane(denied: Result<(), Denied>) -> bool {
        matches!(denied, Err(Denied::Lane(_)))
    }

    #[test]
    fn one_recipient_gets_its_own_rate_and_others_are_not_held_up() {
        let mut pace = pace();
        assert_eq!(pace.take("anna", at(0)), Ok(()));
        assert_eq!(pace.take("anna", at(0)), Ok(()));
        assert!(is_lane(pace.take("anna", at(0))));
        assert_eq!(pace.take("ben", at(0)), Ok(()));
        // At half a message a second the next is due after two.
        assert!(is_lane(pace.take("anna", at(1))));
        assert_eq!(pace.take("anna", at(3)), Ok(()));
    }

    #[test]
    fn what_is_denied_takes_nothing() {
        let mut pace = pace();
        for lane in ["a", "b", "c", "d"] {
            assert_eq!(pace.take(lane, at(0)), Ok(()));
        }
        for _ in 0..10 {
            assert!(matches!(pace.take("e", at(0)), Err(Denied::All(_))));
        }
        // One token of the account's, and both of its own.
        assert_eq!(pace.take("e", at(1)), Ok(()));
        assert_eq!(pace.take("e", at(2)), Ok(()));
    }

    #[test]
    fn pauses_in_a_row_get_longer_until_something_is_sent() {
        let mut pace = pace();
        let minute = Duration::from_secs(60);
        pace.pause(Scope::Account, minute, at(0));
        assert_eq!(pace.paused_until(at(0)), Some(at(60)));
        assert_eq!(pace.take("anna", at(59)), Err(Denied::All(at(60))));
        pace.pause(Scope::Account, minute, at(60));
        assert_eq!(pace.paused_until(at(60)), Some(at(180)));
        for n in 0..40 {
            pace.pause(Scope::Account, minute, at(180 + n));
        }
        assert!(pace.paused_until(at(220)) <= Some(at(220) + PAUSE_MAX));
        pace.sent();
        pace.pause(Scope::Account, minute, at(10_000));
        assert_eq!(pace.paused_until(at(10_000)), Some(at(10_060)));
    }

    #[test]
    fn a_cap_on_new_chats_leaves_the_others_alone() {
        let mut pace = pace();
        pace.pause(Scope::NewChats, Duration::from_secs(3_600), at(0));
        assert_eq!(pace.paused_until(at(1)), None);
        assert_eq!(pace.new_chats_closed_until(at(1)), Some(at(3_600)));
        assert_eq!(pace.new_chats_closed_until(at(3_600)), None);
    }

    #[test]
    fn the_number_of_remembered_recipients_is_bounded() {
        let mut pace = pace();
        for n in 0..3 * LANES_MAX {
            let _ = pace.take(&n.to_string(), at(n as u64));
            assert!(pace.lanes.len() <= LANES_MAX);
        }
    }
}
