//! What can go wrong with a store, by what to do about it.
//!
//! Lost races are not here: they are outcomes. Nothing decides on an error's
//! text; the kinds below are what callers tell apart.

use thiserror::Error;

/// A failure of the store or of the call. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The store does not answer; nothing was written. It may pass.
    #[error("store unavailable: {reason}")]
    Unavailable {
        /// What failed, and what to do where that is known.
        reason: String,
    },

    /// The storage space is used up; nothing was written. It passes once
    /// somebody makes room.
    #[error("store full: {reason}")]
    Full {
        /// What is full, and what to do.
        reason: String,
    },

    /// The outcome of a commit is unknown: it may have happened or may still
    /// happen. To be settled by reading back.
    #[error("outcome of the commit unknown: {reason}")]
    Ambiguous {
        /// What was lost.
        reason: String,
    },

    /// Others were in the way for too long; nothing was written. Try again.
    #[error("store contended: {reason}")]
    Contended {
        /// Who or what was in the way.
        reason: String,
    },

    /// The store cannot be used as it is: no database, a newer one, read-only.
    /// It does not pass by itself; somebody has to act.
    #[error("store unusable: {reason}")]
    Unusable {
        /// What is wrong, and what to do.
        reason: String,
    },

    /// The caller asked for something that no store accepts.
    #[error("invalid request to the store: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },

    /// A document cannot be read, or does not hold what it should.
    #[error("document {path} cannot be read: {reason}")]
    Corrupt {
        /// Which one.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later *and* repeating it is safe:
    /// nothing was written. Not so for `Ambiguous`, which must be settled
    /// first.
    pub fn is_retryable(&self) -> bool {
        match self {
            StoreError::Unavailable { .. }
            | StoreError::Full { .. }
            | StoreError::Contended { .. } => true,
            StoreError::Ambiguous { .. }
            | StoreError::Unusable { .. }
            | StoreError::Invalid { .. }
            | StoreError::Corrupt { .. } => false,
        }
    }

    /// Whether it may pass by itself, though the outcome may be unknown.
    pub fn may_pass(&self) -> bool {
        self.is_retryable() || matches!(self, StoreError::Ambiguous { .. })
    }

    /// An [`StoreError::Invalid`] with this reason.
    pub fn invalid(reason: impl Into<String>) -> Self {
        StoreError::Invalid {
            reason: reason.into(),
        }
    }

    /// An [`StoreError::Unavailable`] with this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        StoreError::Unavailable {
            reason: reason.into(),
        }
    }
}
