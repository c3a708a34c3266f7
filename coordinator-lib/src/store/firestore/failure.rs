//! Firestore's failures, by what to do about them.
//!
//! Decided by the status code and by the type of what lies under it, never by
//! its text.

use std::error::Error as StdError;
use std::iter;
use std::time::Duration;

use ::firestore::gcloud_sdk;
use thiserror::Error;
use tonic::{Code, ConnectError, Status};

use crate::store::{CommitOutcome, StoreError};

/// An attempt that did not succeed.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// No answer within the attempt's time.
    #[error("no answer within {0:?}")]
    Silent(Duration),

    /// Firestore, or the connection, says why.
    #[error("{:?}: {}", .0.code(), .0.message())]
    Status(Status),

    /// The answer came and cannot be used.
    #[error("{0}")]
    Content(StoreError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Status(status)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Content(error)
    }
}

const NO_RIGHT: &str = "Firestore refuses this worker's credentials; give its service account \
                        the role roles/datastore.user on the project, and check the project's \
                        and the database's name";
const NO_DATABASE: &str = "there is no such Firestore database; make one in Native mode, or name \
                           another project or database";
const NO_INDEX: &str = "Firestore cannot run the query as it is set up; deploy the indexes in \
                        k8s/firestore/firestore.indexes.json and check that the database is in \
                        Native mode";
const NO_CREDENTIALS: &str = "no token for Firestore; check the workload identity, or \
                              GOOGLE_APPLICATION_CREDENTIALS";
const NO_QUOTA: &str = "Firestore's quota is used up; it passes, or raise it in the console";
const NO_CONNECTION: &str = "no connection to Firestore; check the address and the network";

/// What the failure of a read means.
pub(super) fn of_read(failure: Failure) -> StoreError {
    let status = match failure {
        Failure::Content(error) => return error,
        Failure::Silent(_) => return unavailable("Firestore does not answer", &failure),
        Failure::Status(status) => status,
    };
    if let Some(error) = never_sent(&status) {
        return error;
    }
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::DataLoss
        | Code::Ok => unavailable("Firestore does not answer", &Failure::Status(status)),
        Code::FailedPrecondition => unusable(NO_INDEX, status),
        code @ (Code::Aborted
        | Code::AlreadyExists
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unimplemented) => of_known(code, status),
    }
}

/// What the failure of a commit means; with no condition in it, nothing can
/// have been rejected.
pub(super) fn of_commit(failure: Failure, conditional: bool) -> Result<CommitOutcome, StoreError> {
    let status = match failure {
        Failure::Content(error) => return Err(error),
        Failure::Silent(_) => return Err(ambiguous(&failure)),
        Failure::Status(status) => status,
    };
    if let Some(error) = never_sent(&status) {
        return Err(error);
    }
    Err(match status.code() {
        Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists if conditional => {
            return Ok(CommitOutcome::Rejected);
        }
        Code::FailedPrecondition => unusable(NO_DATABASE, status),
        // Whoever says so may have written before: a proxy, a server that
        // ended, a keepalive that was not answered.
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::DataLoss
        | Code::OutOfRange
        | Code::Ok => ambiguous(&Failure::Status(status)),
        code @ (Code::Aborted
        | Code::AlreadyExists
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::InvalidArgument
        | Code::Unimplemented) => of_known(code, status),
    })
}

/// Codes with which Firestore says that it did nothing.
fn of_known(code: Code, status: Status) -> StoreError {
    match code {
        Code::Aborted => StoreError::Contended {
            reason: with("others write the same documents", &Failure::Status(status)),
        },
        Code::ResourceExhausted => unavailable(NO_QUOTA, &Failure::Status(status)),
        Code::PermissionDenied | Code::Unauthenticated => unusable(NO_RIGHT, status),
        Code::NotFound => unusable(NO_DATABASE, status),
        Code::Unimplemented => unusable("the server at this address is no Firestore", status),
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => {
            StoreError::invalid(with("Firestore refuses it", &Failure::Status(status)))
        }
    }
}

/// Failures from before anything was sent: no token, no connection.
fn never_sent(status: &Status) -> Option<StoreError> {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return Some(StoreError::unavailable(format!(
                "{NO_CONNECTION} ({})",
                with_causes(error.source().unwrap_or(error))
            )));
        }
        if is_of_credentials(error) {
            return Some(StoreError::unavailable(format!(
                "{NO_CREDENTIALS} ({error})"
            )));
        }
        source = error.source();
    }
    None
}

/// An error and what lies under it: which part failed, and how.
fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let all = iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = all.map(ToString::to_string).collect();
    texts.join(": ")
}

fn is_of_credentials(error: &(dyn StdError + 'static)) -> bool {
    error
        .downcast_ref::<gcloud_sdk::error::Error>()
        .or_else(|| {
            error
                .downcast_ref::<Box<gcloud_sdk::error::Error>>()
                .map(|boxed| &**boxed)
        })
        .is_some_and(|error| matches!(error.kind(), gcloud_sdk::error::ErrorKind::Credentials(_)))
}

/// What a failure to connect in the first place means.
pub(super) fn of_connecting(url: &str, error: &::firestore::errors::FirestoreError) -> StoreError {
    StoreError::unavailable(format!("{NO_CONNECTION}: {url} ({error})"))
}

fn with(advice: &str, failure: &Failure) -> String {
    format!("{advice} ({failure})")
}

fn unavailable(advice: &str, failure: &Failure) -> StoreError {
    StoreError::unavailable(with(advice, failure))
}

fn unusable(advice: &str, status: Status) -> StoreError {
    StoreError::Unusable {
        reason: with(advice, &Failure::Status(status)),
    }
}

fn ambiguous(failure: &Failure) -> StoreError {
    StoreError::Ambiguous {
        reason: with("Firestore did not acknowledge the commit", failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(code: Code) -> Result<CommitOutcome, StoreError> {
        of_commit(Status::new(code, "why").into(), true)
    }

    #[test]
    fn a_commit_whose_fate_nobody_knows_is_ambiguous() {
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::Unknown,
            Code::Internal,
            Code::DataLoss,
            Code::OutOfRange,
        ] {
            let error = commit(code).unwrap_err();
            assert!(matches!(error, StoreError::Ambiguous { .. }), "{code:?}");
        }
        let silent = of_commit(Failure::Silent(Duration::from_secs(1)), true);
        assert!(matches!(silent, Err(StoreError::Ambiguous { .. })));
    }

    #[test]
    fn a_condition_that_fails_is_an_outcome() {
        for code in [
            Code::FailedPrecondition,
            Code::NotFound,
            Code::AlreadyExists,
        ] {
            assert_eq!(commit(code), Ok(CommitOutcome::Rejected), "{code:?}");
            let unconditional = of_commit(Status::new(code, "why").into(), false);
            assert!(unconditional.is_err(), "{code:?}");
        }
    }

    #[test]
    fn what_was_refused_says_what_to_do() {
        assert!(matches!(
            commit(Code::Aborted),
            Err(StoreError::Contended { .. })
        ));
        assert!(matches!(
            commit(Code::ResourceExhausted),
            Err(StoreError::Unavailable { .. })
        ));
        for code in [Code::PermissionDenied, Code::Unauthenticated] {
            let error = of_read(Status::new(code, "why").into());
            assert!(
                matches!(&error, StoreError::Unusable { reason } if reason.contains("datastore.user")),
                "{error}"
            );
        }
        let index = of_read(Status::new(Code::FailedPrecondition, "why").into());
        assert!(
            matches!(&index, StoreError::Unusable { reason } if reason.contains("indexes.json")),
            "{index}"
        );
    }

    #[test]
    fn a_read_that_is_not_answered_may_be_repeated() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown] {
            let error = of_read(Status::new(code, "why").into());
            assert!(matches!(error, StoreError::Unavailable { .. }), "{code:?}");
        }
    }
}
