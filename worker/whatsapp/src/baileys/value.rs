//! JSON as Baileys writes it: bytes in several forms, numbers as texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::fault::Fault;

/// Reads a file's JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    if bytes.len() > super::FILE_BYTES_MAX {
        return Err(Fault::TooLarge { bytes: bytes.len() });
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// A field that must be there; null is as good as missing.
pub(super) fn field<'a>(value: &'a Value, name: &'static str) -> Result<&'a Value, Fault> {
    optional(value, name).ok_or(Fault::Missing(name))
}

/// A field that may be there.
pub(super) fn optional<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

/// Bytes: base64, `{"type": "Buffer", "data": …}`, a list of numbers, or a map
/// from 0, 1, 2 … to numbers.
pub(super) fn bytes(value: &Value, name: &'static str) -> Result<Vec<u8>, Fault> {
    as_bytes(value).ok_or(Fault::Wrong(name))
}

/// The bytes of a field that must be there.
pub(super) fn bytes_of(value: &Value, name: &'static str) -> Result<Vec<u8>, Fault> {
    bytes(field(value, name)?, name)
}

/// The same, of one length.
pub(super) fn array_of<const N: usize>(
    value: &Value,
    name: &'static str,
) -> Result<[u8; N], Fault> {
    bytes_of(value, name)?
        .try_into()
        .map_err(|_| Fault::Wrong(name))
}

fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => BASE64.decode(text).ok(),
        Value::Array(items) => items.iter().map(as_byte).collect(),
        Value::Object(fields) => {
            if let Some(data) = fields.get("data") {
                // No form within itself: a hostile file could nest for ever.
                return match data {
                    Value::String(text) => BASE64.decode(text).ok(),
                    Value::Array(items) => items.iter().map(as_byte).collect(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
                };
            }
            (0..fields.len())
                .map(|index| as_byte(fields.get(&index.to_string())?))
                .collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn as_byte(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64()?).ok()
}

/// An integer: a number, its decimal text, or the two halves of a long one.
pub(super) fn integer(value: &Value, name: &'static str) -> Result<i64, Fault> {
    as_integer(value).ok_or(Fault::Wrong(name))
}

/// The integer of a field that must be there.
pub(super) fn integer_of<T: TryFrom<i64>>(value: &Value, name: &'static str) -> Result<T, Fault> {
    let number = integer(field(value, name)?, name)?;
    T::try_from(number).map_err(|_| Fault::Wrong(name))
}

fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Object(_) => {
            let low = value.get("low")?.as_i64()? & 0xffff_ffff;
            let high = value.get("high")?.as_i64()?;
            high.checked_mul(1 << 32)?.checked_add(low)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) => None,
    }
}

/// Bytes as Baileys reads them back.
pub(super) fn buffer(bytes: &[u8]) -> Value {
    json!({ "type": "Buffer", "data": BASE64.encode(bytes) })
}

/// Bytes as plain base64.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::String(BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_every_form_that_baileys_has_written() {
        let expected = vec![0, 7, 255];
        for form in [
            json!("AAf/"),
            json!({ "type": "Buffer", "data": "AAf/" }),
            json!({ "type": "Buffer", "data": [0, 7, 255] }),
            json!([0, 7, 255]),
            json!({ "0": 0, "1": 7, "2": 255 }),
        ] {
            assert_eq!(bytes(&form, "key").unwrap(), expected, "{form}");
        }
        for form in [
            json!(7),
            json!("not base64!"),
            json!([256]),
            json!([-1]),
            json!({ "0": 0, "2": 1 }),
            json!({ "data": { "data": "AAf/" } }),
        ] {
            assert!(bytes(&form, "key").is_err(), "{form}");
        }
    }

    #[test]
    fn integers_are_read_in_every_form() {
        for form in [
            json!(7),
            json!("7"),
            json!({ "low": 7, "high": 0, "unsigned": true }),
        ] {
            assert_eq!(integer(&form, "n").unwrap(), 7, "{form}");
        }
        let long = json!({ "low": -1, "high": 1 });
        assert_eq!(integer(&long, "n").unwrap(), (1 << 33) - 1);
        for form in [
            json!(1.5),
            json!("x"),
            json!({ "low": 1, "high": i64::MAX }),
        ] {
            assert!(integer(&form, "n").is_err(), "{form}");
        }
    }
}
