//! Store time: microseconds since 1970, as the store counts them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The name under which a store time passes through serde; the documents' own
/// (de)serialiser knows it and keeps the timestamp type.
pub(crate) const STORE_TIME_NAME: &str = "$StoreTime";

/// An instant of the store's clock, in microseconds since the Unix epoch.
///
/// In a document's struct it is stored as a timestamp; in JSON it is RFC 3339
/// with microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTime(i64);

impl StoreTime {
    /// The instant this many microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The later instant, or `None` where it does not fit.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        self.0.checked_add(micros).map(Self)
    }

    /// The earlier instant, or `None` where it does not fit.
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        self.0.checked_sub(micros).map(Self)
    }

    /// The later instant, at most the last one there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(i64::MAX))
    }

    /// The time from `earlier` to here; zero if `earlier` is the later one.
    pub fn since(self, earlier: StoreTime) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The same instant for people; `None` beyond the year 262,000.
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    /// The store time that shows the same instant (to the microsecond).
    pub fn from_datetime(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(time.timestamp_micros()))
    }
}

impl fmt::Display for StoreTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(time) => formatter.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(formatter, "{}us", self.0),
        }
    }
}

impl fmt::Debug for StoreTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What stands inside the newtype: RFC 3339, or the number where it has none.
struct Text(StoreTime);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_datetime() {
            Some(_) => serializer.collect_str(&self.0),
            None => serializer.serialize_i64(self.0.0),
        }
    }
}

impl Serialize for StoreTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(STORE_TIME_NAME, &Text(*self))
    }
}

impl<'de> Deserialize<'de> for StoreTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(STORE_TIME_NAME, TimeVisitor)
    }
}

/// RFC 3339, as above.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for StoreTime {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC"))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for StoreTime {
    fn name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
}

struct TimeVisitor;

impl<'de> Visitor<'de> for TimeVisitor {
    type Value = StoreTime;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a timestamp, RFC 3339 or microseconds since 1970")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_i64<E: serde::de::Error>(self, micros: i64) -> Result<Self::Value, E> {
        Ok(StoreTime(micros))
    }

    fn visit_u64<E: serde::de::Error>(self, micros: u64) -> Result<Self::Value, E> {
        i64::try_from(micros)
            .map(StoreTime)
            .map_err(|_| E::custom("timestamp out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        StoreTime::parse(text).ok_or_else(|| E::custom("not an RFC 3339 timestamp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: StoreTime = StoreTime::from_micros(1_767_268_800_000_001);

    #[test]
    fn shows_as_rfc3339_with_microseconds() {
        assert_eq!(NOON.to_string(), "2026-01-01T12:00:00.000001Z");
        assert_eq!(
            StoreTime::from_micros(i64::MAX).to_string(),
            "9223372036854775807us"
        );
    }

    #[test]
    fn json_is_rfc3339_and_reads_back() {
        for time in [NOON, StoreTime::from_micros(i64::MAX)] {
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<StoreTime>(&json).unwrap(), time);
        }
        assert!(serde_json::from_str::<StoreTime>("\"yesterday\"").is_err());
    }

    #[test]
    fn arithmetic_is_checked() {
        let second = Duration::from_secs(1);
        assert_eq!(NOON.checked_add(second).unwrap().since(NOON), second);
        assert_eq!(
            NOON.since(NOON.checked_add(second).unwrap()),
            Duration::ZERO
        );
        assert_eq!(StoreTime::from_micros(i64::MAX).checked_add(second), None);
        assert_eq!(StoreTime::from_micros(i64::MIN).checked_sub(second), None);
        assert_eq!(NOON.checked_add(Duration::MAX), None);
    }
}
