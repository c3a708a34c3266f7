//! Between documents and structs, through serde.
//!
//! - A struct is a document; its own attributes decide the names
//!   (`#[serde(rename_all = "camelCase")]`).
//! - `Option::None` is stored as null, so that queries can ask for it; a
//!   missing field and null both read as `None`.
//! - [`StoreTime`] stays a timestamp, `bytes::Bytes` (and anything that
//!   serialises as bytes) stays bytes. A `chrono::DateTime` becomes text: do
//!   not put one in a document.
//! - [`Stamp`] is a time that the store may fill in at the commit.
//! - Whole numbers are `i64`; a larger `u64` is an error. Enums are laid out as
//!   in JSON: a bare name, or a map with one entry.
//! - Unknown fields are ignored, so a field that a newer version added does no
//!   harm.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fields, StoreError, StoreTime, Value};

mod de;
mod ser;

/// The name under which the commit's time passes through serde.
const COMMIT_TIME_NAME: &str = "$CommitTime";

/// A timestamp field that is written as the commit's own time, or as a time
/// that is known; always read as a time that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The time of the commit that writes it.
    Commit,
    /// This time.
    At(StoreTime),
}

impl Stamp {
    /// The time, unless it is still to be written.
    pub fn time(self) -> Option<StoreTime> {
        match self {
            Stamp::Commit => None,
            Stamp::At(time) => Some(time),
        }
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Stamp::Commit => serializer.serialize_unit_struct(COMMIT_TIME_NAME),
            Stamp::At(time) => time.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StoreTime::deserialize(deserializer).map(Stamp::At)
    }
}

/// The fields of a struct or map.
///
/// # Errors
/// `Invalid` where it is neither, or holds what a document cannot.
pub fn to_fields<T: Serialize + ?Sized>(value: &T) -> Result<Fields, StoreError> {
    match value.serialize(ser::ValueSerializer) {
        Ok(Value::Map(fields)) => Ok(fields),
        Ok(other) => Err(StoreError::invalid(format!(
            "a document is a struct or a map, not a {}",
            other.type_name()
        ))),
        Err(error) => Err(StoreError::invalid(error.to_string())),
    }
}

/// The struct that the fields hold. [`super::Document::decode`] adds the path
/// to the error.
///
/// # Errors
/// `Invalid`, with the field's name, where they do not fit.
pub fn from_fields<T: DeserializeOwned>(fields: &Fields) -> Result<T, StoreError> {
    T::deserialize(de::FieldsDeserializer(fields))
        .map_err(|error| StoreError::invalid(error.to_string()))
}

/// Why a value does not fit; names fields and types, never values.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BridgeError(String);

impl serde::ser::Error for BridgeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for BridgeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    // Serde's own text would quote the value, which may be secret.
    fn invalid_type(
        unexpected: serde::de::Unexpected<'_>,
        expected: &dyn serde::de::Expected,
    ) -> Self {
        Self(format!(
            "expected {expected}, found {}",
            kind_of(&unexpected)
        ))
    }

    fn invalid_value(
        unexpected: serde::de::Unexpected<'_>,
        expected: &dyn serde::de::Expected,
    ) -> Self {
        Self(format!(
            "expected {expected}, found another {}",
            kind_of(&unexpected)
        ))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self(format!(
            "unknown variant, expected one of {}",
            expected.join(", ")
        ))
    }
}

fn kind_of(unexpected: &serde::de::Unexpected<'_>) -> &'static str {
    use serde::de::Unexpected;
    match unexpected {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "int",
        Unexpected::Float(_) => "double",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "list",
        Unexpected::Map => "map",
        Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => "value",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum State {
        QrReady,
        Failed { code: u16 },
        Waiting(StoreTime),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Lease {
        epoch: i64,
        until: Option<StoreTime>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Account {
        schema_version: u32,
        name: String,
        phone: Option<String>,
        created_at: StoreTime,
        sealed: Bytes,
        states: Vec<State>,
        counts: BTreeMap<String, u64>,
        ratio: f64,
        #[serde(flatten)]
        lease: Lease,
        #[serde(default)]
        added_later: bool,
    }

    fn account() -> Account {
        Account {
            schema_version: 1,
            name: "first".into(),
            phone: None,
            created_at: StoreTime::from_micros(1_767_268_800_000_001),
            sealed: Bytes::from_static(b"\x00\xff"),
            states: vec![
                State::QrReady,
                State::Failed { code: 428 },
                State::Waiting(StoreTime::from_micros(5)),
            ],
            counts: BTreeMap::from([("428 connectionClosed".into(), 3)]),
            ratio: 0.5,
            lease: Lease {
                epoch: 4,
                until: Some(StoreTime::from_micros(9)),
            },
            added_later: true,
        }
    }

    #[test]
    fn a_struct_survives_the_round_trip_with_its_types() {
        let fields = to_fields(&account()).unwrap();
        assert_eq!(fields["createdAt"], Value::Time(account().created_at));
        assert_eq!(fields["until"], Value::Time(StoreTime::from_micros(9)));
        assert_eq!(fields["sealed"], Value::Bytes(account().sealed));
        assert_eq!(fields["phone"], Value::Null);
        assert_eq!(from_fields::<Account>(&fields).unwrap(), account());
    }

    #[test]
    fn missing_options_and_unknown_fields_are_no_error() {
        let mut fields = to_fields(&account()).unwrap();
        fields.remove("phone");
        fields.remove("addedLater");
        fields.insert("fromTheFuture".into(), Value::List(vec![Value::Null]));
        let read: Account = from_fields(&fields).unwrap();
        assert_eq!(
            read,
            Account {
                added_later: false,
                ..account()
            }
        );
    }

    #[test]
    fn a_stamp_is_the_commit_time_until_it_is_known() {
        #[derive(Serialize, Deserialize)]
        struct Stamped {
            at: Stamp,
        }
        let fields = to_fields(&Stamped { at: Stamp::Commit }).unwrap();
        assert_eq!(fields["at"], Value::CommitTime);
        let time = StoreTime::from_micros(3);
        let fields = to_fields(&Stamped {
            at: Stamp::At(time),
        })
        .unwrap();
        assert_eq!(fields["at"], Value::Time(time));
        assert_eq!(
            from_fields::<Stamped>(&fields).unwrap().at.time(),
            Some(time)
        );
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_quotes_no_value() {
        let mut fields = to_fields(&account()).unwrap();
        fields.insert("createdAt".into(), Value::from("canary"));
        let error = from_fields::<Account>(&fields).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
        fields.insert("createdAt".into(), Value::from(true));
        assert!(from_fields::<Account>(&fields).is_err());
        assert!(to_fields(&u64::MAX).is_err());
        assert!(to_fields(&BTreeMap::from([("n", u64::MAX)])).is_err());
        assert!(to_fields(&5).is_err());
    }
}
