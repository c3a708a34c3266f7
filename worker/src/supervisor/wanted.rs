//! Which accounts somebody should own: pure.

use coordinator_lib::store::Document;

use crate::model::{AccountDoc, Desired, Status, Stored};

/// Whether somebody should own the account with this document: the
/// coordinator's question. What a newer worker wrote is left to newer ones.
pub fn is_wanted_document(document: &Document) -> bool {
    AccountDoc::read_or_skip(document).is_some_and(|record| is_wanted(&record.value))
}

/// Whether somebody should own an account.
///
/// An account that was unlinked is wanted again once a client asks for a start.
/// One that is off but whose owner died before it could say so is wanted, too:
/// by whoever sets that right.
pub fn is_wanted(doc: &AccountDoc) -> bool {
    should_run(doc)
        || is_logging_out(doc)
        || (doc.claimed_by.is_some() && resting_status(doc).is_some())
}

/// A link that is to be ended, which takes a connection.
fn is_logging_out(doc: &AccountDoc) -> bool {
    doc.desired == Desired::LoggedOut && doc.paired_at.is_some() && doc.status != Status::LoggedOut
}

fn should_run(doc: &AccountDoc) -> bool {
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

/// The status that an account should show which nobody is to run: `None` where
/// it shows it already.
pub fn resting_status(doc: &AccountDoc) -> Option<Status> {
    if should_run(doc) {
        return None;
    }
    let resting = match doc.desired {
        Desired::Running => return None,
        Desired::Stopped | Desired::Purging => Status::Stopped,
        Desired::LoggedOut => Status::LoggedOut,
        // Nobody claims a tombstone.
        Desired::Purged => return None,
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
    fn what_was_stopped_shows_so_in_the_end() {
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
        assert!(is_wanted(&owned), "its owner may have died");
        for erased in [Desired::Purging, Desired::Purged] {
            assert!(!is_wanted(&doc(Status::Stopped, erased)), "{erased:?}");
        }
        assert!(!is_wanted(&doc(Status::Idle, Desired::Purged)));
        let settled = AccountDoc {
            status: Status::Stopped,
            ..owned
        };
        assert!(!is_wanted(&settled));
        let linked = AccountDoc {
            paired_at: Some(coordinator_lib::store::StoreTime::from_micros(1)),
            ..doc(Status::Disconnected, Desired::LoggedOut)
        };
        assert!(is_wanted(&linked), "somebody has to tell the server");
    }
}
