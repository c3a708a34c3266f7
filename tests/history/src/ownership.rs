//! Who owned an account, when, and what it did meanwhile.
//!
//! Takes the claims and releases that the store has written down, when the
//! server saw each epoch on the wire, and when session files were written. The
//! times of entries and flushes are the store's; spans may have a clock of their
//! own. What is not known is left empty.

use std::collections::BTreeMap;
use std::time::Duration;

/// An entry of the ownership history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Claimed or released.
    pub is_claim: bool,
    /// The epoch.
    pub epoch: i64,
    /// The worker session.
    pub session: String,
    /// Why.
    pub reason: String,
    /// When, in microseconds of store time.
    pub at_us: i64,
}

/// When an epoch was on the wire, in microseconds of any one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The epoch.
    pub epoch: i64,
    /// Its first frame.
    pub first_us: i64,
    /// Its last.
    pub last_us: i64,
}

/// A write to session files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The epoch that it was made under.
    pub epoch: i64,
    /// When it landed, in microseconds of store time.
    pub at_us: i64,
}

/// Everything that is wrong with an account's history; in words.
pub fn check(entries: &[Entry], spans: &[Span], flushes: &[Flush]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_time: Vec<&Entry> = entries.iter().collect();
    by_time.sort_by_key(|entry| (entry.at_us, entry.epoch, !entry.is_claim));
    let mut claims: BTreeMap<i64, &Entry> = BTreeMap::new();
    for entry in by_time {
        let last = claims.last_key_value().map_or(0, |(epoch, _)| *epoch);
        if entry.is_claim {
            if entry.epoch <= last {
                wrong.push(format!("epoch {} was claimed after {last}", entry.epoch));
            }
            claims.insert(entry.epoch, entry);
            continue;
        }
        match claims.get(&entry.epoch) {
            Some(claim) if claim.session == entry.session && entry.epoch == last => {}
            Some(_) | None => wrong.push(format!(
                "epoch {} was released by who did not hold it",
                entry.epoch
            )),
        }
    }
    wrong.extend(overlaps(spans));
    for flush in flushes {
        let begun = claims
            .range(..)
            .rfind(|(_, claim)| claim.at_us <= flush.at_us);
        let epoch = begun.map_or(0, |(epoch, _)| *epoch);
        if epoch != flush.epoch {
            wrong.push(format!(
                "a flush of epoch {} landed in epoch {epoch}",
                flush.epoch
            ));
        }
    }
    wrong
}

/// The shortest time on the wire between an epoch that was taken from its owner
/// and the next one: what durations leave to spare.
pub fn closest_takeover(entries: &[Entry], spans: &[Span]) -> Option<Duration> {
    let is_taken = |epoch| {
        let mut claims = entries.iter().filter(|entry| entry.is_claim);
        claims.any(|entry| {
            entry.epoch == epoch && (entry.reason == "owner_sealed" || entry.reason == "expired")
        })
    };
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.epoch);
    let taken = spans.windows(2).filter(|pair| is_taken(pair[1].epoch));
    taken
        .map(|pair| u64::try_from(pair[1].first_us - pair[0].last_us).unwrap_or(0))
        .min()
        .map(Duration::from_micros)
}

/// Running intervals of different epochs do not overlap.
fn overlaps(spans: &[Span]) -> Vec<String> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.epoch);
    let pairs = spans.windows(2);
    pairs
        .filter(|pair| pair[0].last_us > pair[1].first_us)
        .map(|pair| {
            format!(
                "epoch {} was on the wire until {} us, epoch {} from {} us",
                pair[0].epoch, pair[0].last_us, pair[1].epoch, pair[1].first_us
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(is_claim: bool, epoch: i64, session: &str, at_us: i64) -> Entry {
        Entry {
            is_claim,
            epoch,
            session: session.to_owned(),
            reason: String::new(),
            at_us,
        }
    }

    fn good() -> Vec<Entry> {
        vec![
            entry(false, 1, "alice", 20),
            entry(true, 1, "alice", 10),
            entry(true, 2, "bob", 30),
        ]
    }

    #[test]
    fn an_orderly_history_is_fine() {
        let spans = [
            Span {
                epoch: 1,
                first_us: 11,
                last_us: 19,
            },
            Span {
                epoch: 2,
                first_us: 31,
                last_us: 99,
            },
        ];
        let flushes = [
            Flush {
                epoch: 1,
                at_us: 15,
            },
            Flush {
                epoch: 2,
                at_us: 35,
            },
        ];
        assert_eq!(check(&good(), &spans, &flushes), Vec::<String>::new());
    }

    #[test]
    fn an_epoch_claimed_twice_or_backwards_is_found() {
        let twice = [entry(true, 2, "alice", 10), entry(true, 2, "bob", 20)];
        assert_eq!(check(&twice, &[], &[]).len(), 1);
        let back = [entry(true, 2, "alice", 10), entry(true, 1, "bob", 20)];
        assert_eq!(check(&back, &[], &[]).len(), 1);
    }

    #[test]
    fn a_release_by_somebody_else_or_too_late_is_found() {
        let other = [entry(true, 1, "alice", 10), entry(false, 1, "bob", 20)];
        assert_eq!(check(&other, &[], &[]).len(), 1);
        let mut late = good();
        late.push(entry(false, 1, "alice", 40));
        assert_eq!(check(&late, &[], &[]).len(), 1);
    }

    #[test]
    fn epochs_that_overlap_on_the_wire_are_found() {
        let spans = [
            Span {
                epoch: 1,
                first_us: 11,
                last_us: 32,
            },
            Span {
                epoch: 2,
                first_us: 31,
                last_us: 99,
            },
        ];
        assert_eq!(check(&good(), &spans, &[]).len(), 1);
    }

    #[test]
    fn a_flush_of_another_epoch_is_found() {
        assert_eq!(
            check(
                &good(),
                &[],
                &[Flush {
                    epoch: 1,
                    at_us: 31
                }]
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                &good(),
                &[],
                &[Flush {
                    epoch: 2,
                    at_us: 29
                }]
            )
            .len(),
            1
        );
    }
}
