//! What an account remembers between attempts: pure.
//!
//! Waits grow with what went wrong in a row, conflicts count within a window.
//! All of it is stored with the status, so that a new owner goes on where the
//! last one stood: a takeover neither shortens a wait nor begins a ladder anew,
//! and climbs none.

use std::time::Duration;

use coordinator_lib::store::StoreTime;

use super::reconnect::CONFLICT_WINDOW;
use crate::model::account::LadderDoc;
use crate::model::{AccountDoc, Status};

/// Conflicts that are remembered: more than make any difference.
const CONFLICTS_MAX: usize = 16;

/// How often what went wrong, since the account was last stable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// Attempts to connect.
    pub attempts: u32,
    /// Locks (403).
    pub locks: u32,
    /// Errors of the server (500) in a row, each soon after connecting.
    pub early_errors: u32,
    /// A QR code was shown since the last request for one.
    pub qr_shown: bool,
    /// When conflicts (440) happened, within [`CONFLICT_WINDOW`]; a stable
    /// connection does not end that.
    pub(super) conflicts: Vec<StoreTime>,
}

impl Ladder {
    /// As the last owner left it. A connection that had lasted for
    /// `stable_after` by now has ended what led to it.
    pub fn of(doc: &AccountDoc, now: StoreTime, stable_after: Duration) -> Self {
        let stored = &doc.ladder;
        let mut ladder = Self {
            attempts: u32::try_from(doc.attempt).unwrap_or(0),
            locks: stored.locks,
            early_errors: stored.early_errors,
            qr_shown: stored.qr_shown,
            conflicts: stored.conflicts.clone(),
        };
        ladder.forget_conflicts(now);
        let lasted = doc.status_at.map(|at| now.since(at));
        if doc.status == Status::Connected && lasted.is_some_and(|lasted| lasted >= stable_after) {
            ladder.settle();
        }
        ladder
    }

    /// As it is stored, beside the account's `attempt`.
    pub fn to_doc(&self) -> LadderDoc {
        LadderDoc {
            locks: self.locks,
            early_errors: self.early_errors,
            qr_shown: self.qr_shown,
            conflicts: self.conflicts.clone(),
        }
    }

    /// All is well, or a person begins anew: only conflicts are remembered.
    pub fn settle(&mut self) {
        *self = Self {
            conflicts: std::mem::take(&mut self.conflicts),
            ..Self::default()
        };
    }

    /// Another attempt.
    pub fn attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The attempt that the last owner had begun, under a new one.
    pub fn go_on(&mut self) {
        self.attempts = self.attempts.max(1);
    }

    /// A foreign client took the connection.
    pub fn conflict(&mut self, now: StoreTime) {
        self.forget_conflicts(now);
        if self.conflicts.len() >= CONFLICTS_MAX {
            self.conflicts.remove(0);
        }
        self.conflicts.push(now);
    }

    /// Conflicts that count.
    pub fn conflicts(&self) -> u32 {
        u32::try_from(self.conflicts.len()).unwrap_or(u32::MAX)
    }

    fn forget_conflicts(&mut self, now: StoreTime) {
        self.conflicts
            .retain(|at| *at <= now && now.since(*at) < CONFLICT_WINDOW);
        if self.conflicts.len() > CONFLICTS_MAX {
            self.conflicts.drain(..self.conflicts.len() - CONFLICTS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STABLE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> StoreTime {
        StoreTime::from_micros(seconds * 1_000_000)
    }

    fn stored(status: Status, status_at: i64) -> AccountDoc {
        let mut ladder = Ladder {
            attempts: 4,
            locks: 2,
            early_errors: 3,
            qr_shown: true,
            ..Ladder::default()
        };
        ladder.conflict(at(90));
        ladder.conflict(at(100));
        AccountDoc {
            status,
            status_at: Some(at(status_at)),
            attempt: i64::from(ladder.attempts),
            ladder: ladder.to_doc(),
            ..AccountDoc::default()
        }
    }

    #[test]
    fn the_next_owner_goes_on_where_the_last_one_stood() {
        let doc = stored(Status::Disconnected, 100);
        let ladder = Ladder::of(&doc, at(101), STABLE);
        assert_eq!(
            (ladder.attempts, ladder.locks, ladder.early_errors),
            (4, 2, 3)
        );
        assert_eq!(ladder.conflicts(), 2);
        assert_eq!(ladder.to_doc(), doc.ladder);
    }

    #[test]
    fn a_connection_that_lasted_ends_ladders_but_no_conflict_window() {
        let lasted = Ladder::of(&stored(Status::Connected, 100), at(130), STABLE);
        assert_eq!(
            (lasted.attempts, lasted.locks, lasted.conflicts()),
            (0, 0, 2)
        );
        let fresh = Ladder::of(&stored(Status::Connected, 100), at(129), STABLE);
        assert_eq!((fresh.attempts, fresh.locks, fresh.conflicts()), (4, 2, 2));
    }

    #[test]
    fn conflicts_are_forgotten_after_their_window_and_never_pile_up() {
        let doc = stored(Status::Conflict, 100);
        let window = CONFLICT_WINDOW.as_secs() as i64;
        assert_eq!(Ladder::of(&doc, at(95 + window), STABLE).conflicts(), 1);
        assert_eq!(Ladder::of(&doc, at(100 + window), STABLE).conflicts(), 0);
        // Stored by a clock that was ahead.
        assert_eq!(Ladder::of(&doc, at(50), STABLE).conflicts(), 0);
        let mut ladder = Ladder::default();
        for n in 0..1_000 {
            ladder.conflict(at(n / 100));
        }
        assert_eq!(ladder.conflicts() as usize, CONFLICTS_MAX);
    }
}
