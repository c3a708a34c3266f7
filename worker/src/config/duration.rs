//! Durations as people write them in options: `500ms`, `30s`, `2m`, `1h`, `1d`.
//!
//! A number without a unit is refused: whether it meant seconds or
//! milliseconds would be a guess.

use std::time::Duration;

use thiserror::Error;

/// Longer is surely a mistake, and sums of such durations cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Units, longest name first where one is the end of another.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Why a text is no duration.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ParseDurationError {
    /// No known unit, or no whole number before it.
    #[error("write a whole number and a unit, such as 500ms, 30s, 2m, 1h or 1d")]
    Format,
    /// More than a year.
    #[error("must not be longer than 365d")]
    TooLong,
}

/// Reads a duration.
///
/// # Errors
/// `Format` for anything but digits and a unit; `TooLong` past a year.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let text = text.trim();
    let (digits, unit_ms) = UNITS
        .iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?.trim_end(), *ms)))
        .ok_or(ParseDurationError::Format)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseDurationError::Format);
    }
    let count: u64 = digits.parse().map_err(|_| ParseDurationError::TooLong)?;
    let duration = count
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or(ParseDurationError::TooLong)?;
    if duration > LONGEST {
        Err(ParseDurationError::TooLong)
    } else {
        Ok(duration)
    }
}

/// Writes a duration in the largest unit that holds it without a rest.
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, unit_ms) = UNITS
        .iter()
        .rev()
        .find(|(_, unit_ms)| ms != 0 && ms % unit_ms == 0)
        .unwrap_or(if ms == 0 { &UNITS[1] } else { &UNITS[0] });
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_read() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("60s", 60_000),
            ("5m", 300_000),
            (" 2 h ", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn guesses_are_refused() {
        for text in ["", "60", "s", "-5s", "1.5s", "5 parsecs", "5sm", "١s"] {
            assert_eq!(
                parse_duration(text),
                Err(ParseDurationError::Format),
                "{text}"
            );
        }
        for text in ["366d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(
                parse_duration(text),
                Err(ParseDurationError::TooLong),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0u64..31_536_000_000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = parse_duration(&text);
        }
    }
}
