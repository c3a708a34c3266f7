//! Where a message stands in its thread: pure.
//!
//! WhatsApp tells in whole seconds when a message was written, so within one
//! second the order of arrival has to decide; and after a reconnect what waited
//! at the server arrives mixed with what is written now. In one thread the
//! order is: what earlier connections brought, what waited, what comes live.

use std::time::Duration;

use coordinator_lib::store::StoreTime;

/// A message that came so long after it was written is ordered by when it was
/// written, not by when it came.
const LIVE_DELAY_MAX: Duration = Duration::from_secs(60);

/// A message stored at some time was written within this time before: the
/// second that WhatsApp cuts off, and one on the way.
const UNCERTAINTY: Duration = Duration::from_secs(2);

/// The room just before a connection for what waited at the server until then
/// and comes after the first live message.
const BACKLOG_ROOM: Duration = Duration::from_millis(1);

/// What is known of a message when it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When it was written, in whole seconds.
    pub written_at: StoreTime,
    /// Now.
    pub now: StoreTime,
    /// It waited at the server.
    pub offline: bool,
    /// When the connection that brings it began.
    pub connected_at: StoreTime,
    /// Where the thread's last message stands.
    pub last: Option<StoreTime>,
    /// Its place in the order of arrival of the whole account.
    pub seq: i64,
}

impl Moment {
    /// Where it stands: a time, near the one at which it was written.
    pub fn place(self) -> StoreTime {
        let live = !self.offline && self.now >= self.written_at && self.age() <= LIVE_DELAY_MAX;
        if live {
            // After what came in the same moment.
            return match self.last {
                Some(last) if last >= self.now && last.since(self.now) <= UNCERTAINTY => next(last),
                Some(_) | None => self.now,
            };
        }
        match self.last {
            Some(last) if self.is_near(last) && last <= self.connected_at => next(last),
            Some(last) if self.is_near(last) && self.is_near(self.connected_at) => {
                let room = BACKLOG_ROOM.as_micros() as i64;
                let start = StoreTime::from_micros(self.connected_at.as_micros() - room);
                later(start, self.seq.rem_euclid(room)).max(self.written_at)
            }
            Some(_) | None => later(self.written_at, self.seq.rem_euclid(1_000_000)),
        }
    }

    fn age(self) -> Duration {
        self.now.since(self.written_at)
    }

    /// Whether something at this time may have come before it.
    fn is_near(self, time: StoreTime) -> bool {
        time >= self.written_at && time.since(self.written_at) < UNCERTAINTY
    }
}

fn next(time: StoreTime) -> StoreTime {
    later(time, 1)
}

fn later(time: StoreTime, micros: i64) -> StoreTime {
    StoreTime::from_micros(time.as_micros().saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> StoreTime {
        StoreTime::from_micros((seconds * 1e6) as i64)
    }

    fn live(now: f64, last: Option<StoreTime>) -> Moment {
        Moment {
            written_at: at(now.floor()),
            now: at(now),
            offline: false,
            connected_at: at(0.0),
            last,
            seq: 7,
        }
    }

    fn waited(written: f64, connected: f64, last: Option<StoreTime>, seq: i64) -> Moment {
        Moment {
            written_at: at(written),
            now: at(connected + 0.3),
            offline: true,
            connected_at: at(connected),
            last,
            seq,
        }
    }

    #[test]
    fn a_live_message_stands_where_it_came() {
        assert_eq!(live(103.2, None).place(), at(103.2));
        assert_eq!(live(103.2, Some(at(103.2))).place(), next(at(103.2)));
        let behind = Moment {
            now: at(50.0),
            ..live(100.0, None)
        };
        assert!(behind.place() >= at(100.0), "a clock that is behind");
        let late = Moment {
            now: at(500.0),
            ..live(100.0, None)
        };
        assert!(late.place() < at(101.0), "it was delivered very late");
    }

    #[test]
    fn a_quick_reconnect_keeps_the_order_within_a_second() {
        // Live until 100.5, a reconnect at 100.6, three that waited with a live
        // one among them, then another live one.
        let before = live(100.5, None).place();
        let first = waited(100.0, 100.6, Some(before), 8).place();
        let second = waited(100.0, 100.6, Some(first), 9).place();
        let now = Moment {
            connected_at: at(100.6),
            ..live(100.9, Some(second))
        }
        .place();
        let third = waited(100.0, 100.6, Some(now), 11).place();
        let fourth = waited(100.0, 100.6, Some(now), 12).place();
        let order = [before, first, second, third, fourth, now];
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    }

    #[test]
    fn what_waited_for_long_stands_at_its_time_in_the_order_of_arrival() {
        let first = waited(100.0, 5_000.0, Some(at(4_000.0)), 8).place();
        let second = waited(100.0, 5_000.0, Some(at(5_000.1)), 9).place();
        assert!(at(100.0) <= first && first < second && second < at(101.0));
    }
}
