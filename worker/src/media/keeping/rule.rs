//! Which files are kept, and what follows from an attempt. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use coordinator_lib::store::StoreTime;
use whatsapp::content::MediaKind;
use whatsapp::media::MediaRef;

use crate::model::KeptState;

/// The first wait after an attempt that failed; each is twice the one before.
const WAIT_MIN: Duration = Duration::from_secs(5);

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(6 * 3600);

/// Attempts at one file: two weeks of them. WhatsApp keeps files about as long.
const ATTEMPTS_MAX: i64 = 60;

/// Times that WhatsApp's host says that it does not have a file before it is
/// believed: it may not have it yet.
const GONE_MAX: i64 = 3;

/// Which files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepMedia {
    /// Bytes of one file; larger ones are not kept.
    pub bytes_max: u64,
    /// Kinds that are kept.
    pub kinds: MediaKinds,
}

/// Kinds of files: names with commas in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaKinds(Vec<MediaKind>);

impl MediaKinds {
    /// All of them.
    pub fn all() -> Self {
        Self(MediaKind::ALL.to_vec())
    }
}

impl FromStr for MediaKinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = text.split(',').map(|name| {
            MediaKind::named(name.trim())
                .ok_or_else(|| format!("{name:?} is none of {}", Self::all()))
        });
        kinds.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for MediaKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|kind| kind.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

/// Where the keeping of a file stands when its message arrives; nothing, if it
/// is none that is kept. What is to be seen once is not kept.
pub fn on_arrival(media: &MediaRef, view_once: bool, config: &KeepMedia) -> Option<KeptState> {
    if view_once || !config.kinds.0.contains(&media.kind) {
        return None;
    }
    match media.bytes > config.bytes_max {
        true => Some(KeptState::TooLarge),
        false => Some(KeptState::Pending),
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the media store, with so many bytes.
    Stored {
        /// As WhatsApp had it, encrypted.
        bytes: u64,
    },
    /// WhatsApp's host does not have it.
    Gone,
    /// It is larger than is kept.
    TooLarge,
    /// It does not open with what is known of it.
    Broken,
    /// WhatsApp's host does not answer, or gives something else.
    HostFailed,
    /// It could not be put where files lie.
    StoreFailed,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is decided.
    Settled(KeptState),
    /// Once more, after a wait.
    Again(Duration),
}

/// What follows from an attempt, after so many that came to nothing.
pub fn after(outcome: Outcome, attempts: i64) -> Verdict {
    let attempt = attempts.saturating_add(1);
    let again = |attempts_max, end| match attempt < attempts_max {
        true => Verdict::Again(wait(attempts)),
        false => Verdict::Settled(end),
    };
    match outcome {
        Outcome::Stored { .. } => Verdict::Settled(KeptState::Kept),
        Outcome::TooLarge => Verdict::Settled(KeptState::TooLarge),
        Outcome::Broken => Verdict::Settled(KeptState::Failed),
        Outcome::Gone => again(GONE_MAX, KeptState::Expired),
        Outcome::HostFailed | Outcome::StoreFailed => again(ATTEMPTS_MAX, KeptState::Failed),
    }
}

fn wait(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX);
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    WAIT_MIN.saturating_mul(factor).min(WAIT_MAX)
}

/// How long a file still waits; nothing, if it is its turn. Its time was noted
/// by its last owner's clock, which may have been ahead: what is further away
/// than the longest wait is no time of ours.
pub fn waits(next_at: StoreTime, now: StoreTime) -> Option<Duration> {
    let wait = next_at.since(now);
    (!wait.is_zero() && wait <= 2 * WAIT_MAX).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(kind: MediaKind, bytes: u64) -> MediaRef {
        MediaRef {
            kind,
            direct_path: "/v/1".to_owned(),
            key: vec![0; 32],
            sha256: vec![0; 32],
            encrypted_sha256: vec![0; 32],
            bytes,
        }
    }

    fn config(kinds: &str) -> KeepMedia {
        KeepMedia {
            bytes_max: 100,
            kinds: kinds.parse().unwrap(),
        }
    }

    #[test]
    fn what_is_wanted_is_kept_if_it_is_small_enough() {
        use MediaKind::{Document, Image, Video};
        let config = config("image, document");
        let of = |kind, bytes| on_arrival(&media(kind, bytes), false, &config);
        assert_eq!(of(Image, 100), Some(KeptState::Pending));
        assert_eq!(of(Document, 101), Some(KeptState::TooLarge));
        assert_eq!(of(Video, 1), None);
        let once = on_arrival(&media(Image, 1), true, &config);
        assert_eq!(once, None, "to be seen once");
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        let all = MediaKinds::all();
        assert_eq!(all.to_string().parse(), Ok(all));
        for wrong in ["", "picture", "image,", "image;video"] {
            let refused = wrong.parse::<MediaKinds>().unwrap_err();
            assert!(refused.contains("image,video"), "{refused}");
        }
    }

    #[test]
    fn a_file_is_fetched_until_it_is_there_or_never_will_be() {
        use KeptState::{Expired, Failed, Kept, TooLarge};
        let settled = |outcome| after(outcome, 0);
        let stored = Outcome::Stored { bytes: 1 };
        assert_eq!(settled(stored), Verdict::Settled(Kept));
        assert_eq!(settled(Outcome::TooLarge), Verdict::Settled(TooLarge));
        assert_eq!(settled(Outcome::Broken), Verdict::Settled(Failed));
        for (outcome, attempts_max, end) in [
            (Outcome::Gone, GONE_MAX, Expired),
            (Outcome::HostFailed, ATTEMPTS_MAX, Failed),
            (Outcome::StoreFailed, ATTEMPTS_MAX, Failed),
        ] {
            let mut all = Duration::ZERO;
            for attempts in 0..attempts_max - 1 {
                let Verdict::Again(wait) = after(outcome, attempts) else {
                    panic!("given up after {attempts}: {outcome:?}");
                };
                assert!((WAIT_MIN..=WAIT_MAX).contains(&wait), "{wait:?}");
                all += wait;
            }
            let last = after(outcome, attempts_max - 1);
            assert_eq!(last, Verdict::Settled(end), "{outcome:?}");
            assert_eq!(after(outcome, i64::MAX), last);
            if end == Failed {
                let days = all.as_secs() / (24 * 3600);
                assert!((7..=21).contains(&days), "{days} days");
            }
        }
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_back() {
        let now = StoreTime::from_micros(1_000_000_000);
        assert_eq!(waits(now, now), None);
        let soon = now.saturating_add(WAIT_MAX);
        assert_eq!(waits(soon, now), Some(WAIT_MAX));
        let never = now.saturating_add(3 * WAIT_MAX);
        assert_eq!(waits(never, now), None);
    }
}
