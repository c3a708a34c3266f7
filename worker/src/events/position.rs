//! The order of all events of the cluster, and a place in it.
//!
//! Events are ordered by the time at which the store took them in (a document's
//! update time), and those of one commit by their ids, which sort as their
//! numbers do. A reading of the store shows everything up to some time and
//! nothing after it, so whoever has seen an event has seen all before it: one
//! place in this order says for all accounts what a client has got, and means
//! the same on every worker. Within an account it is the order of the numbers.
//!
//! Pure.

use std::fmt;
use std::str::FromStr;

use coordinator_lib::store::{Document, StoreTime};

/// Longer than the id of any event.
const ID_LENGTH_MAX: usize = 160;

/// A place between events. Its text is a client's cursor: safe in a URL and in
/// a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    time: StoreTime,
    within: Within,
}

/// Where, among the events of one time. The order of the variants is theirs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Within {
    /// After the event with this id.
    Event(String),
    /// After all.
    Whole,
}

/// What a client gave is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct NotAPosition;

impl Position {
    /// After everything up to and with this time.
    pub fn whole(time: StoreTime) -> Self {
        Self {
            time,
            within: Within::Whole,
        }
    }

    /// After this event.
    pub fn of(document: &Document) -> Self {
        Self {
            time: document.update_time,
            within: Within::Event(document.path.id().to_owned()),
        }
    }

    /// The store's time there.
    pub fn time(&self) -> StoreTime {
        self.time
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.time.as_micros();
        match &self.within {
            Within::Event(id) => write!(formatter, "{micros}.{id}"),
            Within::Whole => write!(formatter, "{micros}"),
        }
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (micros, id) = match text.split_once('.') {
            Some((micros, id)) => (micros, Some(id)),
            None => (text, None),
        };
        // `parse` would take a sign.
        if !micros.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAPosition);
        }
        let time = StoreTime::from_micros(micros.parse().map_err(|_| NotAPosition)?);
        let is_id = |id: &str| {
            (1..=ID_LENGTH_MAX).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        match id {
            None => Ok(Self::whole(time)),
            Some(id) if is_id(id) => Ok(Self {
                time,
                within: Within::Event(id.to_owned()),
            }),
            Some(_) => Err(NotAPosition),
        }
    }
}

#[cfg(test)]
pub(super) fn position(micros: i64, id: &str) -> Position {
    Position {
        time: StoreTime::from_micros(micros),
        within: Within::Event(id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_is_by_time_then_by_id_and_the_whole_comes_last() {
        let whole = Position::whole(StoreTime::from_micros(5));
        let order = [
            position(4, "b-2"),
            position(5, "a-000000000002"),
            position(5, "a-000000000010"),
            position(5, "b-000000000001"),
            whole,
            position(6, "a-1"),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn what_no_worker_gave_is_refused() {
        let long = format!("5.{}", "a".repeat(ID_LENGTH_MAX + 1));
        for text in [
            "", ".", "x", "5.", "-5", "+5", "5.a/b", "5.a b", "5.ä", &long,
        ] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(micros in 0..i64::MAX, id in "[A-Za-z0-9][A-Za-z0-9_-]{0,60}") {
            for place in [position(micros, &id), Position::whole(StoreTime::from_micros(micros))] {
                prop_assert_eq!(place.to_string().parse::<Position>(), Ok(place));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Position>();
        }
    }
}
