//! Whether a connection that says it stands is alive: told from frames and
//! sends, not from events. Pure.
//!
//! A dead connection brings no frame: not for long, or not while a message
//! waits for its answer. A send that hangs while frames flow is the engine's or
//! the message's own trouble: it is tried again, and only when several hang in
//! a row is the connection given up.

use std::time::Duration;

use coordinator_lib::clock::Boottime;

/// So many sends that hang in a row, while frames flow, are not an accident.
const SENDS_HUNG_TOLERATED: u64 = 3;

/// What is seen of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Since when it stands.
    pub connected_at: Boottime,
    /// When the last frame came.
    pub last_frame_in: Option<Boottime>,
    /// Sends on it that brought neither an answer nor any frame.
    pub sends_unanswered: u64,
    /// Sends in a row that came to nothing while frames flowed.
    pub sends_hung_in_a_row: u64,
}

/// How an attempt or a connection stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stall {
    /// An attempt to connect makes no progress.
    Connecting,
    /// No frame for longer than the limit.
    Silence,
    /// A message was sent, and no frame came at all until its time was up.
    SendUnanswered,
    /// Frames flow, and messages do not leave.
    SendsHang,
}

impl Stall {
    /// All of them.
    pub const ALL: [Stall; 4] = [
        Stall::Connecting,
        Stall::Silence,
        Stall::SendUnanswered,
        Stall::SendsHang,
    ];

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Stall::Connecting => "connecting",
            Stall::Silence => "silence",
            Stall::SendUnanswered => "sendUnanswered",
            Stall::SendsHang => "sendsHang",
        }
    }
}

impl Pulse {
    /// What is wrong with the connection, if it is to be given up.
    pub fn stall(&self, now: Boottime, silence_limit: Duration) -> Option<Stall> {
        let heard = self
            .last_frame_in
            .map_or(self.connected_at, |at| at.max(self.connected_at));
        if now - heard > silence_limit {
            Some(Stall::Silence)
        } else if self.sends_unanswered > 0 {
            Some(Stall::SendUnanswered)
        } else if self.sends_hung_in_a_row >= SENDS_HUNG_TOLERATED {
            Some(Stall::SendsHang)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);

    fn at(seconds: u64) -> Boottime {
        Boottime::from_duration(Duration::from_secs(seconds))
    }

    fn alive() -> Pulse {
        Pulse {
            connected_at: at(1_000),
            last_frame_in: Some(at(1_050)),
            sends_unanswered: 0,
            sends_hung_in_a_row: 0,
        }
    }

    #[test]
    fn silence_is_counted_from_the_last_frame_of_this_connection() {
        assert_eq!(alive().stall(at(1_170), LIMIT), None);
        assert_eq!(alive().stall(at(1_171), LIMIT), Some(Stall::Silence));
        let before = Pulse {
            last_frame_in: Some(at(1)),
            ..alive()
        };
        assert_eq!(before.stall(at(1_120), LIMIT), None, "of the one before");
        assert_eq!(before.stall(at(1_121), LIMIT), Some(Stall::Silence));
    }

    #[test]
    fn a_send_without_any_frame_tells_a_dead_connection_from_a_send_that_hangs() {
        let dead = Pulse {
            sends_unanswered: 1,
            ..alive()
        };
        assert_eq!(dead.stall(at(1_060), LIMIT), Some(Stall::SendUnanswered));
        let hangs = |sends_hung_in_a_row| Pulse {
            sends_hung_in_a_row,
            ..alive()
        };
        assert_eq!(hangs(2).stall(at(1_060), LIMIT), None);
        assert_eq!(hangs(3).stall(at(1_060), LIMIT), Some(Stall::SendsHang));
    }
}
