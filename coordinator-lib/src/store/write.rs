//! Writes, the conditions they are made on, and what became of them.

use super::{Fields, Path, StoreTime};

/// What must hold for a write to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing (but an update always needs its document).
    None,
    /// There is no such document.
    Absent,
    /// There is such a document.
    Exists,
    /// The document is there and last changed at this time.
    Unchanged(StoreTime),
}

/// One change to one document.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Makes the document hold exactly these fields.
    Set {
        /// Which document.
        path: Path,
        /// Everything it will hold.
        fields: Fields,
        /// On which condition.
        precondition: Precondition,
    },
    /// Sets the named top-level fields and leaves the others. The document
    /// must exist, whatever the precondition; `Absent` is invalid here.
    Update {
        /// Which document.
        path: Path,
        /// The fields to set; at least one.
        fields: Fields,
        /// On which condition.
        precondition: Precondition,
    },
    /// Removes the document; `Absent` is invalid here. Without a precondition
    /// a missing document is no failure.
    Delete {
        /// Which document.
        path: Path,
        /// On which condition.
        precondition: Precondition,
    },
    /// Changes nothing, but fails the commit unless the document is there and
    /// last changed at this time.
    Verify {
        /// Which document.
        path: Path,
        /// The version that it must have.
        update_time: StoreTime,
    },
}

impl Write {
    /// Which document it concerns.
    pub fn path(&self) -> &Path {
        match self {
            Write::Set { path, .. }
            | Write::Update { path, .. }
            | Write::Delete { path, .. }
            | Write::Verify { path, .. } => path,
        }
    }

    /// The condition that it is made on.
    pub fn precondition(&self) -> Precondition {
        match self {
            Write::Set { precondition, .. }
            | Write::Update { precondition, .. }
            | Write::Delete { precondition, .. } => *precondition,
            Write::Verify { update_time, .. } => Precondition::Unchanged(*update_time),
        }
    }

    /// Whether it writes fields and can take effect at most once, however
    /// often it is sent: a set or update on `Absent` or `Unchanged`.
    ///
    /// A commit with a guarded write can be repeated after an ambiguous
    /// outcome; [`crate::fence`] asks for one in every batch.
    pub fn is_guarded(&self) -> bool {
        match self {
            Write::Set { precondition, .. } | Write::Update { precondition, .. } => {
                match precondition {
                    Precondition::Absent | Precondition::Unchanged(_) => true,
                    Precondition::None | Precondition::Exists => false,
                }
            }
            Write::Delete { .. } | Write::Verify { .. } => false,
        }
    }
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum CommitOutcome {
    /// All of it was written.
    Committed(Commit),
    /// A precondition did not hold; nothing was written.
    Rejected,
}

/// A commit that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// When.
    pub time: StoreTime,
    /// The version of each write's document, in the order of the writes. For a
    /// `Verify` the version that was verified, for a `Delete` the commit's
    /// time.
    pub update_times: Vec<StoreTime>,
}

/// What became of one of several independent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum WriteOutcome {
    /// Written, with the document's new version.
    Written(StoreTime),
    /// Its precondition did not hold.
    Rejected,
}
