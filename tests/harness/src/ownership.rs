//! What the ownership history of an account tells: how long nobody owned it,
//! and whether two owners' times overlap.
//!
//! Pure, over the entries of `GET /v1/accounts/{id}/history`. Times are the
//! store's own, so they compare with each other and with nothing else. A dead
//! owner wrote no release: its time ends, at the latest, with the next claim.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::DateTime;

use crate::api::{HistoryEntry, HistoryKind};

/// One owner's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// The fencing number.
    pub epoch: i64,
    /// The worker's name.
    pub worker: String,
    /// Why it could be claimed.
    pub claim_reason: String,
    /// When it was claimed, in microseconds since the Unix epoch.
    pub claimed_us: i64,
    /// The release, if the owner lived to make one.
    pub release: Option<Release>,
}

/// How an owner's time ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// When, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// Why.
    pub reason: String,
}

/// The time of each owner, oldest first. Releases without their claim (the
/// history may be cut at its old end) are left out.
///
/// # Errors
/// A time that is none.
pub fn tenures(history: &[HistoryEntry]) -> Result<Vec<Tenure>> {
    let mut tenures = Vec::new();
    for entry in history {
        match entry.kind {
            HistoryKind::Claimed => tenures.push(Tenure {
                epoch: entry.epoch,
                worker: entry.worker.clone(),
                claim_reason: entry.reason.clone(),
                claimed_us: micros(&entry.at)?,
                release: release_of(history, entry)?,
            }),
            HistoryKind::Released => {}
        }
    }
    tenures.sort_by_key(|tenure| (tenure.epoch, tenure.claimed_us));
    Ok(tenures)
}

fn release_of(history: &[HistoryEntry], claim: &HistoryEntry) -> Result<Option<Release>> {
    let release = history.iter().find(|entry| {
        entry.kind == HistoryKind::Released
            && entry.epoch == claim.epoch
            && entry.session == claim.session
    });
    release
        .map(|entry| {
            Ok(Release {
                at_us: micros(&entry.at)?,
                reason: entry.reason.clone(),
            })
        })
        .transpose()
}

/// For each release with one of `reasons` by `worker` (by anybody, if none is
/// named) that was followed by a claim: how long nobody owned the account.
pub fn unowned(tenures: &[Tenure], worker: Option<&str>, reasons: &[&str]) -> Vec<Duration> {
    tenures
        .windows(2)
        .filter(|pair| worker.is_none_or(|worker| pair[0].worker == worker))
        .filter_map(|pair| {
            let release = pair[0].release.as_ref()?;
            let wait_us = pair[1].claimed_us.saturating_sub(release.at_us);
            reasons
                .contains(&release.reason.as_str())
                .then(|| Duration::from_micros(u64::try_from(wait_us).unwrap_or_default()))
        })
        .collect()
}

/// How many pairs of owners held the account at the same time: a claim before
/// an earlier owner's release, or one epoch for two.
pub fn overlaps(tenures: &[Tenure]) -> usize {
    let mut count = 0;
    for (at, earlier) in tenures.iter().enumerate() {
        for later in &tenures[at + 1..] {
            let is_held = earlier
                .release
                .as_ref()
                .is_some_and(|release| release.at_us > later.claimed_us);
            // Epochs only grow, and so does the store's time.
            if is_held || later.epoch == earlier.epoch || later.claimed_us < earlier.claimed_us {
                count += 1;
            }
        }
    }
    count
}

fn micros(at: &str) -> Result<i64> {
    let time = DateTime::parse_from_rfc3339(at).with_context(|| format!("the time {at:?}"))?;
    Ok(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: HistoryKind, epoch: i64, worker: &str, reason: &str, ms: i64) -> HistoryEntry {
        let at = DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339();
        HistoryEntry {
            kind,
            epoch,
            worker: worker.to_owned(),
            session: format!("session-{worker}"),
            reason: reason.to_owned(),
            at,
        }
    }

    fn told(entries: &[(HistoryKind, i64, &str, &str, i64)]) -> Vec<Tenure> {
        let entries: Vec<HistoryEntry> = entries
            .iter()
            .rev()
            .map(|&(kind, epoch, worker, reason, ms)| entry(kind, epoch, worker, reason, ms))
            .collect();
        tenures(&entries).unwrap()
    }

    use HistoryKind::{Claimed, Released};

    #[test]
    fn time_unowned_is_from_release_to_claim() {
        let tenures = told(&[
            (Claimed, 1, "alice", "new", 0),
            (Released, 1, "alice", "drain", 1_000),
            (Claimed, 2, "bob", "handed_off", 1_070),
            (Claimed, 3, "carol", "owner_sealed", 20_000),
            (Released, 3, "carol", "rebalance", 21_000),
        ]);
        let wait = Duration::from_millis(70);
        assert_eq!(unowned(&tenures, Some("alice"), &["drain"]), [wait]);
        assert_eq!(unowned(&tenures, None, &["drain"]), [wait]);
        assert!(unowned(&tenures, Some("bob"), &["drain"]).is_empty());
        assert!(
            unowned(&tenures, None, &["rebalance"]).is_empty(),
            "still unowned"
        );
        assert_eq!(overlaps(&tenures), 0);
    }

    #[test]
    fn a_claim_before_the_release_overlaps() {
        let tenures = told(&[
            (Claimed, 1, "alice", "new", 0),
            (Claimed, 2, "bob", "owner_sealed", 1_000),
            (Released, 1, "alice", "drain", 1_001),
        ]);
        assert_eq!(overlaps(&tenures), 1);
    }

    #[test]
    fn one_epoch_for_two_overlaps() {
        let tenures = told(&[
            (Claimed, 1, "alice", "new", 0),
            (Claimed, 1, "bob", "new", 5),
        ]);
        assert_eq!(overlaps(&tenures), 1);
    }
}
