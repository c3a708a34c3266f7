//! What a field of a document may hold.

use std::fmt;

use bytes::Bytes;

use super::{Fields, StoreTime};

/// A field's value. Numbers of both kinds compare with each other in queries;
/// otherwise types do not mix.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Present, but nothing; queries can ask for it, unlike a missing field.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes, at most [`super::limits::FIELD_BYTES_MAX`].
    Bytes(Bytes),
    /// A timestamp with microseconds.
    Time(StoreTime),
    /// A list; not directly within another list.
    List(Vec<Value>),
    /// A map.
    Map(Fields),
    /// Written: the commit's own time (in Firestore shortly before it, in
    /// milliseconds), the same throughout a commit. Never read. Not within a
    /// list.
    CommitTime,
}

/// Shows shapes and small values; neither texts nor bytes, which may be secret
/// or somebody's message.
impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => formatter.write_str("null"),
            Value::Bool(value) => value.fmt(formatter),
            Value::Int(value) => value.fmt(formatter),
            Value::Double(value) => value.fmt(formatter),
            Value::Text(text) => write!(formatter, "text[{}]", text.len()),
            Value::Bytes(bytes) => write!(formatter, "bytes[{}]", bytes.len()),
            Value::Time(time) => time.fmt(formatter),
            Value::List(values) => formatter.debug_list().entries(values).finish(),
            Value::Map(fields) => formatter.debug_map().entries(fields).finish(),
            Value::CommitTime => formatter.write_str("commit time"),
        }
    }
}

impl Value {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Double(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::CommitTime => None,
        }
    }

    /// The word for its type, as errors use it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Double(_) => "double",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Time(_) => "time",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::CommitTime => "commit time",
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Value::Int(i64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Value::Bytes(value)
    }
}

impl From<StoreTime> for Value {
    fn from(value: StoreTime) -> Self {
        Value::Time(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_texts_nor_bytes() {
        let value = Value::Map(Fields::from([
            ("body".into(), "canary".into()),
            ("key".into(), Bytes::from_static(b"canary").into()),
        ]));
        let shown = format!("{value:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(
            shown.contains("text[6]") && shown.contains("bytes[6]"),
            "{shown}"
        );
    }
}
