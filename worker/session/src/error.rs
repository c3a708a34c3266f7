//! What can go wrong with an account's session files.
//!
//! The texts name account and file, and hold nothing of any content.

use coordinator_lib::gate::CloseReason;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::StoreError;

use crate::packed::FileFault;

/// A failure to load or to flush.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The store could not be read.
    #[error("session files of account {account} cannot be read")]
    Read {
        /// The account.
        account: AccountId,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// A file is not what this account's owner wrote last. Starting without it
    /// would destroy sessions for good, so nothing is started.
    #[error("session file {file} of account {account} is refused: {fault}")]
    Refused {
        /// The account.
        account: AccountId,
        /// The file's name.
        file: String,
        /// Why.
        fault: FileFault,
    },
    /// There are more files than an account can have.
    #[error("account {account} has more than {max} session files")]
    TooMany {
        /// The account.
        account: AccountId,
        /// How many it can have.
        max: usize,
    },
    /// Another epoch owns the account.
    #[error("session of account {account} not flushed: another epoch owns it")]
    Fenced {
        /// The account.
        account: AccountId,
    },
    /// The engine instance has ended.
    #[error("session of account {account} not flushed: its store gate is closed ({reason})")]
    GateClosed {
        /// The account.
        account: AccountId,
        /// Why the gate closed.
        reason: CloseReason,
    },
    /// Somebody who does not own the account changed a file while we own it.
    #[error(
        "session of account {account} not flushed: somebody who does not own the account changed a file of it"
    )]
    Changed {
        /// The account.
        account: AccountId,
    },
    /// The store failed for too long, and nothing was written. What was not
    /// flushed is still in memory; the next flush tries again.
    #[error("session of account {account} not flushed")]
    Unavailable {
        /// The account.
        account: AccountId,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// A file is larger than the store takes, and cannot be split.
    #[error(
        "session of account {account} not flushed: file {file} has {bytes} bytes and cannot be split"
    )]
    TooLarge {
        /// The account.
        account: AccountId,
        /// The file's name.
        file: String,
        /// Its size.
        bytes: usize,
    },
    /// The store refused the commit for its form, which is a mistake of ours.
    #[error("session of account {account} not flushed: the store refuses the commit: {reason}")]
    Invalid {
        /// The account.
        account: AccountId,
        /// What the store said.
        reason: String,
    },
}

impl SessionError {
    /// Whether what is stored is damaged: altered, moved, put back from an older
    /// time, or gone. It stays so until a person acts.
    pub fn is_damage(&self) -> bool {
        match self {
            SessionError::Refused { fault, .. } => match fault {
                // Right in themselves; this reader is too old, or too late.
                FileFault::Schema { .. } | FileFault::Epoch { .. } => false,
                FileFault::Name
                | FileFault::Field(_)
                | FileFault::Sealed
                | FileFault::Content
                | FileFault::Replayed { .. }
                | FileFault::Unvouched
                | FileFault::Missing
                | FileFault::Overlap => true,
            },
            SessionError::TooMany { .. } => true,
            SessionError::Read { .. }
            | SessionError::Fenced { .. }
            | SessionError::GateClosed { .. }
            | SessionError::Changed { .. }
            | SessionError::Unavailable { .. }
            | SessionError::TooLarge { .. }
            | SessionError::Invalid { .. } => false,
        }
    }

    /// Whether no later flush can succeed: the account has to be claimed and
    /// loaded again, by whoever may.
    pub fn is_final(&self) -> bool {
        match self {
            SessionError::Refused { .. }
            | SessionError::Fenced { .. }
            | SessionError::GateClosed { .. }
            | SessionError::Changed { .. } => true,
            SessionError::Read { .. }
            | SessionError::TooMany { .. }
            | SessionError::Unavailable { .. }
            | SessionError::TooLarge { .. }
            | SessionError::Invalid { .. } => false,
        }
    }

    /// Whether the claim, or the engine instance, is over: what could not be
    /// stored is another's business then, and this is no failure.
    pub fn is_over(&self) -> bool {
        match self {
            SessionError::Fenced { .. } | SessionError::GateClosed { .. } => true,
            SessionError::Refused { .. }
            | SessionError::Changed { .. }
            | SessionError::Read { .. }
            | SessionError::TooMany { .. }
            | SessionError::Unavailable { .. }
            | SessionError::TooLarge { .. }
            | SessionError::Invalid { .. } => false,
        }
    }
}
