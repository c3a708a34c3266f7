//! How fields are laid out in the bytes of a SQLite row (and of a cursor).
//!
//! ```text
//! document  version:u8  fields
//! fields    count:varint  (name-length:varint name value-length:varint value)*
//! value     tag:u8 payload; the length around it says where it ends
//! ```
//! Names are in ascending order, and every value is framed by its length: one
//! field is found without reading the others, which is what queries do.
//! Decoding never panics on foreign bytes, and does not recurse deeper than
//! [`DEPTH_MAX`].

use bytes::Bytes;
use thiserror::Error;

use super::limits::DEPTH_MAX;
use super::{Fields, StoreError, StoreTime, Value};

const VERSION: u8 = 1;

/// Most documents fit.
const USUAL_BYTES: usize = 1024;

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const DOUBLE: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const TIME: u8 = 7;
    pub(super) const LIST: u8 = 8;
    pub(super) const MAP: u8 = 9;
}

/// Bytes that do not hold a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum CodecError {
    #[error("the stored bytes end too early")]
    Short,
    #[error("the stored bytes have layout version {0}, which this program does not know")]
    Version(u8),
    #[error("unknown type tag {0}")]
    Tag(u8),
    #[error("a name or text that is not UTF-8")]
    Utf8,
    #[error("a value of the wrong length")]
    Length,
    #[error("nested too deeply")]
    Depth,
}

/// A document's fields as bytes, for what keeps documents outside of a store. A
/// commit time, which is not known, is the beginning of time.
pub fn fields_to_bytes(fields: &Fields) -> Vec<u8> {
    encode(fields, StoreTime::from_micros(0))
}

/// The fields that [`fields_to_bytes`] laid out; for bytes from anywhere.
///
/// # Errors
/// [`StoreError::Invalid`].
pub fn fields_from_bytes(bytes: &Bytes) -> Result<Fields, StoreError> {
    decode(bytes).map_err(|error| StoreError::invalid(error.to_string()))
}

/// The bytes of a document's fields, with commit times filled in.
pub(crate) fn encode(fields: &Fields, commit_time: StoreTime) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    out.push(VERSION);
    let mut encoder = Encoder {
        out,
        commit_time: Some(commit_time),
    };
    encoder.fields(fields);
    encoder.out
}

/// The fields that the bytes hold; byte values share the buffer.
pub(crate) fn decode(bytes: &Bytes) -> Result<Fields, CodecError> {
    let mut reader = Reader::document(bytes)?;
    let fields = reader.fields(bytes, 1)?;
    if reader.rest.is_empty() {
        Ok(fields)
    } else {
        Err(CodecError::Length)
    }
}

/// One field's value, found without decoding the others.
pub(crate) fn decode_field(document: &[u8], name: &str) -> Result<Option<Value>, CodecError> {
    let mut reader = Reader::document(document)?;
    for _ in 0..reader.varint()? {
        let found = reader.framed()?;
        let value = reader.framed()?;
        if found == name.as_bytes() {
            let value = Bytes::copy_from_slice(value);
            return decode_value(&value, &value, 1).map(Some);
        }
    }
    Ok(None)
}

/// The bytes of a single value; a commit time, which is not known, is null.
pub(crate) fn encode_value(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder {
        out: Vec::new(),
        commit_time: None,
    };
    encoder.value(value);
    encoder.out
}

/// The value that [`encode_value`] laid out.
pub(crate) fn decode_single(bytes: &[u8]) -> Result<Value, CodecError> {
    let bytes = Bytes::copy_from_slice(bytes);
    decode_value(&bytes, &bytes, 1)
}

struct Encoder {
    out: Vec<u8>,
    commit_time: Option<StoreTime>,
}

impl Encoder {
    fn fields(&mut self, fields: &Fields) {
        self.varint(fields.len());
        for (name, value) in fields {
            self.varint(name.len());
            self.out.extend_from_slice(name.as_bytes());
            self.framed(value);
        }
    }

    /// A value behind its length. Where that is only known afterwards, the value
    /// is laid out beside first.
    fn framed(&mut self, value: &Value) {
        let length = match value {
            Value::Null | Value::Bool(_) => 1,
            Value::Int(_) | Value::Double(_) | Value::Time(_) => 1 + 8,
            Value::Text(text) => 1 + text.len(),
            Value::Bytes(bytes) => 1 + bytes.len(),
            Value::CommitTime => match self.commit_time {
                Some(_) => 1 + 8,
                None => 1,
            },
            Value::List(_) | Value::Map(_) => {
                let mut inner = Encoder {
                    out: Vec::new(),
                    commit_time: self.commit_time,
                };
                inner.value(value);
                self.varint(inner.out.len());
                self.out.extend_from_slice(&inner.out);
                return;
            }
        };
        self.varint(length);
        self.value(value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.out.push(tag::NULL),
            Value::Bool(false) => self.out.push(tag::FALSE),
            Value::Bool(true) => self.out.push(tag::TRUE),
            Value::Int(value) => self.tagged(tag::INT, &value.to_le_bytes()),
            Value::Double(value) => self.tagged(tag::DOUBLE, &value.to_le_bytes()),
            Value::Text(text) => self.tagged(tag::TEXT, text.as_bytes()),
            Value::Bytes(bytes) => self.tagged(tag::BYTES, bytes),
            Value::Time(time) => self.tagged(tag::TIME, &time.as_micros().to_le_bytes()),
            Value::CommitTime => match self.commit_time {
                Some(time) => self.tagged(tag::TIME, &time.as_micros().to_le_bytes()),
                None => self.out.push(tag::NULL),
            },
            Value::List(values) => {
                self.out.push(tag::LIST);
                self.varint(values.len());
                for value in values {
                    self.framed(value);
                }
            }
            Value::Map(fields) => {
                self.out.push(tag::MAP);
                self.fields(fields);
            }
        }
    }

    fn tagged(&mut self, tag: u8, payload: &[u8]) {
        self.out.push(tag);
        self.out.extend_from_slice(payload);
    }

    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.out.push((number as u8) | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn document(bytes: &'a [u8]) -> Result<Self, CodecError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest }),
            Some((&other, _)) => Err(CodecError::Version(other)),
            None => Err(CodecError::Short),
        }
    }

    fn varint(&mut self) -> Result<usize, CodecError> {
        let mut number = 0usize;
        // Four groups of seven bits are 256 MiB: more than any document.
        for shift in [0, 7, 14, 21] {
            let (&byte, rest) = self.rest.split_first().ok_or(CodecError::Short)?;
            self.rest = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodecError::Length)
    }

    fn framed(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.varint()?;
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fields(&mut self, source: &Bytes, depth: usize) -> Result<Fields, CodecError> {
        (0..self.varint()?)
            .map(|_| {
                let name = std::str::from_utf8(self.framed()?).map_err(|_| CodecError::Utf8)?;
                let value = decode_value(self.framed()?, source, depth)?;
                Ok((name.to_owned(), value))
            })
            .collect()
    }
}

/// `bytes` is a part of `source`, which byte values then share.
fn decode_value(bytes: &[u8], source: &Bytes, depth: usize) -> Result<Value, CodecError> {
    // One more than writers are allowed: the innermost scalar.
    if depth > DEPTH_MAX + 1 {
        return Err(CodecError::Depth);
    }
    let (&tag, payload) = bytes.split_first().ok_or(CodecError::Short)?;
    let eight = || <[u8; 8]>::try_from(payload).map_err(|_| CodecError::Length);
    let none = |value| {
        if payload.is_empty() {
            Ok(value)
        } else {
            Err(CodecError::Length)
        }
    };
    match tag {
        tag::NULL => none(Value::Null),
        tag::FALSE => none(Value::Bool(false)),
        tag::TRUE => none(Value::Bool(true)),
        tag::INT => Ok(Value::Int(i64::from_le_bytes(eight()?))),
        tag::DOUBLE => Ok(Value::Double(f64::from_le_bytes(eight()?))),
        tag::TIME => Ok(Value::Time(StoreTime::from_micros(i64::from_le_bytes(
            eight()?,
        )))),
        tag::TEXT => {
            let text = std::str::from_utf8(payload).map_err(|_| CodecError::Utf8)?;
            Ok(Value::Text(text.to_owned()))
        }
        tag::BYTES => Ok(Value::Bytes(source.slice_ref(payload))),
        tag::LIST => {
            let mut reader = Reader { rest: payload };
            let mut values = Vec::new();
            for _ in 0..reader.varint()? {
                values.push(decode_value(reader.framed()?, source, depth + 1)?);
            }
            Ok(Value::List(values))
        }
        tag::MAP => Ok(Value::Map(
            Reader { rest: payload }.fields(source, depth + 1)?,
        )),
        other => Err(CodecError::Tag(other)),
    }
}

/// Values of every type, for property tests of this and other modules.
#[cfg(test)]
pub(crate) mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e12f64..1e12).prop_map(Value::Double),
            ".{0,12}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| Value::Bytes(bytes.into())),
            any::<i64>().prop_map(|micros| Value::Time(StoreTime::from_micros(micros))),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
                proptest::collection::btree_map(".{1,6}", inner, 0..5)
                    .prop_map(|fields| Value::Map(fields.into())),
            ]
        })
    }

    pub(crate) fn fields() -> impl Strategy<Value = Fields> {
        proptest::collection::btree_map("[a-z]{1,8}", value(), 0..6).prop_map(Fields::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: StoreTime = StoreTime::from_micros(77);

    proptest! {
        #[test]
        fn fields_survive_a_round_trip(fields in arbitrary::fields()) {
            let bytes = Bytes::from(encode(&fields, NOW));
            prop_assert_eq!(decode(&bytes).unwrap(), fields.clone());
            for (name, value) in &fields {
                let found = decode_field(&bytes, name).unwrap();
                prop_assert_eq!(found.as_ref(), Some(value));
            }
            prop_assert_eq!(decode_field(&bytes, "Missing").unwrap(), None);
        }

        #[test]
        fn foreign_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_single(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let bytes = Bytes::from(bytes);
            let _ = decode(&bytes);
            let _ = decode_field(&bytes, "a");
        }

        #[test]
        fn cut_bytes_are_an_error(fields in arbitrary::fields(), cut in 1usize..40) {
            let bytes = encode(&fields, NOW);
            let kept = bytes.len().saturating_sub(cut);
            prop_assert!(decode(&Bytes::copy_from_slice(&bytes[..kept])).is_err());
        }
    }

    #[test]
    fn commit_times_are_filled_in() {
        let fields = Fields::from([("at".into(), Value::CommitTime)]);
        let read = decode(&encode(&fields, NOW).into()).unwrap();
        assert_eq!(read["at"], Value::Time(NOW));
    }

    #[test]
    fn a_newer_layout_is_named_in_the_error() {
        assert_eq!(
            decode(&Bytes::from_static(&[9, 0])),
            Err(CodecError::Version(9))
        );
    }

    #[test]
    fn deep_foreign_bytes_are_refused() {
        let mut bytes = vec![tag::NULL];
        for _ in 0..60 {
            let mut outer = Encoder {
                out: vec![tag::LIST],
                commit_time: None,
            };
            outer.varint(1);
            outer.varint(bytes.len());
            outer.out.extend_from_slice(&bytes);
            bytes = outer.out;
        }
        assert_eq!(decode_single(&bytes), Err(CodecError::Depth));
    }
}
