//! Which accounts should run on this worker: pure.

use std::collections::BTreeSet;

use coordinator_lib::identity::AccountId;
use coordinator_lib::store::StoreTime;

use crate::model::{AccountDoc, Desired, Status};

/// Whether somebody should own an account.
///
/// An account that was unlinked is wanted again once a client asks for a start.
pub fn is_wanted(doc: &AccountDoc) -> bool {
    let running = doc.desired == Desired::Running;
    let asked = doc.start_request > doc.start_obeyed;
    match doc.status {
        Status::NeedsImport => false,
        Status::LoggedOut => running && asked,
        Status::Idle
        | Status::Connecting
        | Status::QrReady
        | Status::NeedsQr
        | Status::Pairing
        | Status::Connected
        | Status::Disconnected
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::Degraded
        | Status::Failed
        | Status::Stopped => running,
    }
}

/// The status that an account should show which nobody owns and nobody is to:
/// `None` where it shows it already.
pub fn resting_status(doc: &AccountDoc) -> Option<Status> {
    if is_wanted(doc) || doc.claimed_by.is_some() {
        return None;
    }
    let resting = match doc.desired {
        Desired::Running => return None,
        Desired::Stopped => Status::Stopped,
        Desired::LoggedOut => Status::LoggedOut,
    };
    match doc.status {
        // Ends that say more than that it is off.
        Status::LoggedOut | Status::NeedsImport | Status::Stopped => None,
        Status::Idle
        | Status::Connecting
        | Status::QrReady
        | Status::NeedsQr
        | Status::Pairing
        | Status::Connected
        | Status::Disconnected
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::Degraded
        | Status::Failed => Some(resting),
    }
}

/// A wanted account that could be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub account: AccountId,
    /// When it was created.
    pub created_at: StoreTime,
}

/// Which of the candidates to start: the oldest first, as many as there is room
/// for. The rest stays unowned.
pub fn to_start(
    mut candidates: Vec<Candidate>,
    running: &BTreeSet<AccountId>,
    capacity: usize,
) -> Vec<AccountId> {
    candidates.retain(|candidate| !running.contains(&candidate.account));
    candidates.sort_by(|a, b| (a.created_at, &a.account).cmp(&(b.created_at, &b.account)));
    let room = capacity.saturating_sub(running.len());
    candidates
        .into_iter()
        .take(room)
        .map(|candidate| candidate.account)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(status: Status, desired: Desired) -> AccountDoc {
        AccountDoc {
            status,
            desired,
            ..AccountDoc::default()
        }
    }

    fn candidate(id: &str, created: i64) -> Candidate {
        Candidate {
            account: AccountId::new(id).unwrap(),
            created_at: StoreTime::from_micros(created),
        }
    }

    #[test]
    fn what_clients_want_runs_unless_it_has_ended() {
        for status in Status::ALL {
            let ended = matches!(status, Status::LoggedOut | Status::NeedsImport);
            assert_eq!(
                is_wanted(&doc(status, Desired::Running)),
                !ended,
                "{status}"
            );
            assert!(!is_wanted(&doc(status, Desired::Stopped)), "{status}");
        }
        let asked = AccountDoc {
            start_request: 1,
            ..doc(Status::LoggedOut, Desired::Running)
        };
        assert!(is_wanted(&asked));
    }

    #[test]
    fn what_was_stopped_while_nobody_owned_it_shows_so() {
        assert_eq!(
            resting_status(&doc(Status::Connected, Desired::Stopped)),
            Some(Status::Stopped)
        );
        assert_eq!(
            resting_status(&doc(Status::Connected, Desired::LoggedOut)),
            Some(Status::LoggedOut)
        );
        assert_eq!(
            resting_status(&doc(Status::Stopped, Desired::Stopped)),
            None
        );
        assert_eq!(
            resting_status(&doc(Status::Connected, Desired::Running)),
            None
        );
        let owned = AccountDoc {
            claimed_by: Some("alice".into()),
            ..doc(Status::Connected, Desired::Stopped)
        };
        assert_eq!(resting_status(&owned), None);
    }

    #[test]
    fn the_oldest_start_first_and_no_more_than_there_is_room_for() {
        let candidates = vec![
            candidate("c", 3),
            candidate("a", 1),
            candidate("b", 2),
            candidate("d", 4),
        ];
        let running = BTreeSet::from([AccountId::new("a").unwrap()]);
        let started: Vec<String> = to_start(candidates, &running, 3)
            .into_iter()
            .map(|account| account.to_string())
            .collect();
        assert_eq!(started, ["b", "c"]);
    }
}
