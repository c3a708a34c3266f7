//! Whether a backup may take the place of the session that is stored: pure.
//!
//! A session's version counts the commits that changed it, and only grows. So
//! the copy with the larger one went on longer, and its peers know what the
//! other does not. In the store of a restore versions begin anew, and epochs go on
//! above the backup's: another version in a later epoch went on, too.

/// The stored session against the backup's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The version of the stored session; 0 if there is none.
    pub stored: u64,
    /// The version of the backup's.
    pub saved: u64,
    /// The account has seen a later epoch than the backup.
    pub is_later_epoch: bool,
    /// A restore was begun here and has not ended: nothing ran since.
    pub is_under_way: bool,
}

/// What a restore does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The backup takes the stored session's place.
    Restore,
    /// The stored session is the backup's, or the backup has none: it stays.
    Keep,
    /// The stored session went on since: only if that is forced.
    Stale,
}

/// Judges a restore.
pub fn judge(compared: Compared) -> Verdict {
    let Compared {
        stored,
        saved,
        is_later_epoch,
        is_under_way,
    } = compared;
    if saved == 0 {
        // Never linked: there is nothing to put in the place of anything.
        return Verdict::Keep;
    }
    if is_under_way || stored == 0 {
        return Verdict::Restore;
    }
    if stored == saved {
        return Verdict::Keep;
    }
    if stored > saved || is_later_epoch {
        return Verdict::Stale;
    }
    Verdict::Restore
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_copy_never_takes_the_place_of_a_newer_one_by_itself() {
        for (stored, saved, is_later_epoch, is_under_way, expected) in [
            (0, 9, false, false, Verdict::Restore),
            (0, 9, true, false, Verdict::Restore),
            // The whole store is older than the backup.
            (8, 9, false, false, Verdict::Restore),
            // Restored before, and gone on since: versions began anew.
            (8, 9, true, false, Verdict::Stale),
            (9, 9, true, false, Verdict::Keep),
            (10, 9, false, false, Verdict::Stale),
            (10, 9, true, false, Verdict::Stale),
            // Begun before, and stopped half-way: what is there is the restore's.
            (10, 9, true, true, Verdict::Restore),
            (10, 0, true, false, Verdict::Keep),
            (0, 0, true, true, Verdict::Keep),
        ] {
            let compared = Compared {
                stored,
                saved,
                is_later_epoch,
                is_under_way,
            };
            assert_eq!(judge(compared), expected, "{compared:?}");
        }
    }
}
