//! Whether a backup may take the place of the session that is stored: pure.
//!
//! A session's version counts the commits that changed it, and only grows. So
//! the copy with the larger one went on longer, and its peers know what the
//! other does not.

/// The stored session against the backup's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The version of the stored session; 0 if there is none.
    pub stored: u64,
    /// The version of the backup's.
    pub saved: u64,
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
        is_under_way,
    } = compared;
    if saved == 0 {
        // Never linked: there is nothing to put in the place of anything.
        return Verdict::Keep;
    }
    if is_under_way || stored < saved {
        return Verdict::Restore;
    }
    if stored == saved {
        return Verdict::Keep;
    }
    Verdict::Stale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_copy_never_takes_the_place_of_a_newer_one_by_itself() {
        for (stored, saved, is_under_way, expected) in [
            (0, 9, false, Verdict::Restore),
            (8, 9, false, Verdict::Restore),
            (9, 9, false, Verdict::Keep),
            (10, 9, false, Verdict::Stale),
            // Begun before, and stopped half-way: what is there is the restore's.
            (10, 9, true, Verdict::Restore),
            (10, 0, false, Verdict::Keep),
            (0, 0, true, Verdict::Keep),
        ] {
            let compared = Compared {
                stored,
                saved,
                is_under_way,
            };
            assert_eq!(judge(compared), expected, "{compared:?}");
        }
    }
}
