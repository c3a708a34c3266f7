//! SQLite's failures, by what to do about them.

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// What an error of SQLite means to a caller who knows that nothing was
/// written.
pub(super) fn of(error: rusqlite::Error) -> StoreError {
    let Some(code) = error.sqlite_error_code() else {
        return StoreError::unavailable(format!("SQLite: {error}"));
    };
    let reason = |advice: &str| format!("{advice} (SQLite: {error})");
    // The foreign enum is open: what is not named here is unavailable.
    #[expect(clippy::wildcard_enum_match_arm, reason = "SQLite's enum, not ours")]
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Contended {
            reason: reason(
                "another process holds the database's write lock; \
                 close other programs that have the file open, then try again",
            ),
        },
        ErrorCode::DiskFull => StoreError::Full {
            reason: reason("no room for the database; make room on its disk"),
        },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::Unusable {
            reason: reason(
                "the database cannot be written; give this user the right to write \
                 the file and its folder",
            ),
        },
        ErrorCode::CannotOpen => StoreError::Unusable {
            reason: reason(
                "the database cannot be opened; check that its folder exists and that \
                 this user may write there",
            ),
        },
        ErrorCode::NotADatabase => StoreError::Unusable {
            reason: reason("the file is not a SQLite database; move it away, or name another file"),
        },
        ErrorCode::DatabaseCorrupt => StoreError::Unusable {
            reason: reason(
                "the database file is damaged; restore a backup, or move the file away \
                 to begin with an empty one",
            ),
        },
        ErrorCode::SystemIoFailure => StoreError::Unavailable {
            reason: reason("the disk failed to read or write; check the disk"),
        },
        _ => StoreError::unavailable(format!("SQLite: {error}")),
    }
}

/// The same for the statement that makes a transaction final. A disk that
/// fails then may have written all of it.
pub(super) fn of_commit(error: rusqlite::Error) -> StoreError {
    match of(error) {
        StoreError::Unavailable { reason } => StoreError::Ambiguous { reason },
        known @ (StoreError::Full { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::Contended { .. }
        | StoreError::Unusable { .. }
        | StoreError::Invalid { .. }
        | StoreError::Corrupt { .. }) => known,
    }
}

/// Somebody uses a store that was closed.
pub(super) fn closed() -> StoreError {
    StoreError::unavailable("the database was closed by this program")
}
