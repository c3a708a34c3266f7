//! Keys: bytes that sort as the values they stand for.
//!
//! Queries in every adapter compare keys, never values, so that all agree on
//! equality and order. The order of types is Firestore's: null, bool, numbers
//! (whole and floating together), time, text, bytes, list, map. Lists and maps
//! get a key, which is theirs alone, but no meaningful order.

use super::{Value, codec};

/// The first byte of a key; all keys of a type lie between its tag and the next.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Null = 0x10,
    Bool = 0x20,
    Number = 0x30,
    Time = 0x40,
    Text = 0x50,
    Bytes = 0x60,
    List = 0x70,
    Map = 0x80,
}

/// The key of a value. A commit time, which is never stored, sorts as null.
pub(crate) fn key(value: &Value) -> Vec<u8> {
    match value {
        Value::Null | Value::CommitTime => vec![Tag::Null as u8],
        Value::Bool(value) => vec![Tag::Bool as u8, u8::from(*value)],
        Value::Int(value) => integer_key(*value),
        Value::Double(value) => number_key(*value, 0),
        Value::Time(time) => tagged(Tag::Time, &ordered_i64(time.as_micros())),
        Value::Text(text) => tagged(Tag::Text, text.as_bytes()),
        Value::Bytes(bytes) => tagged(Tag::Bytes, bytes),
        Value::List(_) => tagged(Tag::List, &codec::encode_value(value)),
        Value::Map(_) => tagged(Tag::Map, &codec::encode_value(value)),
    }
}

/// The smallest key that a value of the same type could have, and the first
/// one beyond that type.
pub(crate) fn type_bounds(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let tag = key.first().copied().unwrap_or(0);
    (vec![tag], vec![tag + 1])
}

fn tagged(tag: Tag, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag as u8);
    key.extend_from_slice(rest);
    key
}

/// Big-endian with the sign bit turned over: sorts as the number does.
fn ordered_i64(value: i64) -> [u8; 8] {
    ((value as u64) ^ (1 << 63)).to_be_bytes()
}

/// Not every i64 is an f64, so an integer's key is the nearest f64 and what
/// rounding took away (at most 512 either way).
fn integer_key(value: i64) -> Vec<u8> {
    let nearest = value as f64;
    let rest = i128::from(value) - nearest as i128;
    number_key(nearest, rest as i16)
}

fn number_key(value: f64, rest: i16) -> Vec<u8> {
    // One zero, and one NaN before all numbers.
    let value = if value == 0.0 { 0.0 } else { value };
    let bits = value.to_bits();
    let ordered = if value.is_nan() {
        0
    } else if bits >> 63 == 1 {
        !bits
    } else {
        bits | (1 << 63)
    };
    let mut key = Vec::with_capacity(11);
    key.push(Tag::Number as u8);
    key.extend_from_slice(&ordered.to_be_bytes());
    key.extend_from_slice(&((rest as u16) ^ (1 << 15)).to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::store::StoreTime;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("a number", |number| !number.is_nan()),
            (-10_000i64..10_000).prop_map(|number| number as f64 / 4.0),
        ]
    }

    proptest! {
        #[test]
        fn integers_sort_as_numbers(a in any::<i64>(), near in -2_000i64..2_000) {
            let b = a.saturating_add(near);
            prop_assert_eq!(key(&Value::Int(a)).cmp(&key(&Value::Int(b))), a.cmp(&b));
        }

        #[test]
        fn doubles_sort_as_numbers(a in number(), b in number()) {
            let order = a.partial_cmp(&b).unwrap();
            prop_assert_eq!(key(&Value::Double(a)).cmp(&key(&Value::Double(b))), order);
        }

        #[test]
        fn whole_and_floating_numbers_compare(a in -(1i64 << 52)..(1i64 << 52), b in number()) {
            let order = (a as f64).partial_cmp(&b).unwrap();
            prop_assert_eq!(key(&Value::Int(a)).cmp(&key(&Value::Double(b))), order);
        }

        #[test]
        fn texts_and_times_sort(a in ".{0,8}", b in ".{0,8}", s in any::<i64>(), t in any::<i64>()) {
            prop_assert_eq!(key(&a.as_str().into()).cmp(&key(&b.as_str().into())), a.cmp(&b));
            let time = |micros| key(&Value::Time(StoreTime::from_micros(micros)));
            prop_assert_eq!(time(s).cmp(&time(t)), s.cmp(&t));
        }
    }

    #[test]
    fn types_keep_their_order() {
        let ascending = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Double(f64::NAN),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Time(StoreTime::from_micros(0)),
            Value::from(""),
            Value::Bytes(bytes::Bytes::new()),
            Value::List(vec![]),
            Value::Map(Default::default()),
        ];
        for pair in ascending.windows(2) {
            assert_eq!(
                key(&pair[0]).cmp(&key(&pair[1])),
                Ordering::Less,
                "{pair:?}"
            );
        }
        assert_eq!(key(&Value::Double(-0.0)), key(&Value::Int(0)));
    }
}
