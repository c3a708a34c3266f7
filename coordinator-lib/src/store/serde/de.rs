//! From values to structs.

use std::collections::btree_map;
use std::slice;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::BridgeError;
use crate::store::{Fields, Value};

/// Reads a struct or map from a document's fields.
#[derive(Clone, Copy)]
pub(super) struct FieldsDeserializer<'de>(pub(super) &'de Fields);

impl<'de> Deserializer<'de> for FieldsDeserializer<'de> {
    type Error = BridgeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        visitor.visit_map(FieldsAccess {
            entries: self.0.iter(),
            current: None,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf option unit unit_struct seq tuple tuple_struct map
        struct enum identifier ignored_any
    }
}

#[derive(Clone, Copy)]
struct ValueDeserializer<'de>(&'de Value);

impl<'de> Deserializer<'de> for ValueDeserializer<'de> {
    type Error = BridgeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        match self.0 {
            Value::Null | Value::CommitTime => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Double(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            // Where the type is not known beforehand (a flattened struct), the
            // number is what a store time is read from again.
            Value::Time(time) => visitor.visit_i64(time.as_micros()),
            Value::List(values) => visitor.visit_seq(ListAccess(values.iter())),
            Value::Map(fields) => FieldsDeserializer(fields).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            Value::Bool(_)
            | Value::Int(_)
            | Value::Double(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::CommitTime => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        match self.0 {
            Value::Text(variant) => visitor.visit_enum(Variant {
                variant,
                value: None,
            }),
            Value::Map(fields) if fields.len() == 1 => {
                let (variant, value) = fields
                    .iter()
                    .next()
                    .expect("a map of length one has an entry");
                visitor.visit_enum(Variant {
                    variant,
                    value: Some(value),
                })
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Double(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::CommitTime => Err(BridgeError::custom(format!(
                "expected a variant, found a {}",
                self.0.type_name()
            ))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct FieldsAccess<'de> {
    entries: btree_map::Iter<'de, String, Value>,
    /// The entry whose name was read last, for its value and for errors.
    current: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for FieldsAccess<'de> {
    type Error = BridgeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, BridgeError> {
        let Some((name, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.current = Some((name, value));
        seed.deserialize(NameDeserializer(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, BridgeError> {
        let (name, value) = self
            .current
            .take()
            .ok_or_else(|| BridgeError::custom("a value before its name"))?;
        seed.deserialize(ValueDeserializer(value))
            .map_err(|error| BridgeError(format!("{name}: {error}")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A map's key, which may stand for a number.
struct NameDeserializer<'de>(&'de str);

impl<'de> NameDeserializer<'de> {
    fn visit_number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        match (self.0.parse::<i64>(), self.0.parse::<u64>()) {
            (Ok(number), _) => visitor.visit_i64(number),
            (Err(_), Ok(number)) => visitor.visit_u64(number),
            (Err(_), Err(_)) => visitor.visit_borrowed_str(self.0),
        }
    }
}

macro_rules! names_as_numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
            self.visit_number(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NameDeserializer<'de> {
    type Error = BridgeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        visitor.visit_borrowed_str(self.0)
    }

    names_as_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        BorrowedStrDeserializer::new(self.0).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct ListAccess<'de>(slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for ListAccess<'de> {
    type Error = BridgeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BridgeError> {
        self.0
            .next()
            .map(|value| seed.deserialize(ValueDeserializer(value)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Variant<'de> {
    variant: &'de str,
    value: Option<&'de Value>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = BridgeError;
    type Variant = Content<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'de>), BridgeError> {
        let name: StrDeserializer<'_, BridgeError> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.value)))
    }
}

/// What a variant holds, if anything.
struct Content<'de>(Option<&'de Value>);

impl<'de> Content<'de> {
    fn value(self) -> Result<ValueDeserializer<'de>, BridgeError> {
        self.0.map(ValueDeserializer).ok_or_else(|| {
            BridgeError::invalid_type(Unexpected::UnitVariant, &"a variant with content")
        })
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = BridgeError;

    fn unit_variant(self) -> Result<(), BridgeError> {
        match self.0 {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(BridgeError::custom(
                "a variant with content that takes none",
            )),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, BridgeError> {
        seed.deserialize(self.value()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, BridgeError> {
        self.value()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        self.value()?.deserialize_any(visitor)
    }
}
