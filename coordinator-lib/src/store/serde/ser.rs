//! From structs to values.

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct,
    SerializeStructVariant, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
    Serializer,
};

use super::{BridgeError, COMMIT_TIME_NAME};
use crate::store::time::STORE_TIME_NAME;
use crate::store::{Fields, StoreTime, Value};

/// Makes a [`Value`] of whatever is serialised.
#[derive(Clone, Copy)]
pub(super) struct ValueSerializer;

type Outcome = Result<Value, BridgeError>;

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = BridgeError;
    type SerializeSeq = ListSerializer;
    type SerializeTuple = ListSerializer;
    type SerializeTupleStruct = ListSerializer;
    type SerializeTupleVariant = VariantSerializer<ListSerializer>;
    type SerializeMap = MapSerializer;
    type SerializeStruct = MapSerializer;
    type SerializeStructVariant = VariantSerializer<MapSerializer>;

    fn serialize_bool(self, value: bool) -> Outcome {
        Ok(Value::Bool(value))
    }

    fn serialize_i8(self, value: i8) -> Outcome {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i16(self, value: i16) -> Outcome {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i32(self, value: i32) -> Outcome {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i64(self, value: i64) -> Outcome {
        Ok(Value::Int(value))
    }

    fn serialize_u8(self, value: u8) -> Outcome {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u16(self, value: u16) -> Outcome {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u32(self, value: u32) -> Outcome {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u64(self, value: u64) -> Outcome {
        let value = i64::try_from(value)
            .map_err(|_| BridgeError::custom("a number that does not fit 63 bits"))?;
        Ok(Value::Int(value))
    }

    fn serialize_f32(self, value: f32) -> Outcome {
        Ok(Value::Double(value.into()))
    }

    fn serialize_f64(self, value: f64) -> Outcome {
        Ok(Value::Double(value))
    }

    fn serialize_char(self, value: char) -> Outcome {
        Ok(Value::Text(value.into()))
    }

    fn serialize_str(self, value: &str) -> Outcome {
        Ok(Value::from(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Outcome {
        Ok(Value::Bytes(bytes::Bytes::copy_from_slice(value)))
    }

    fn serialize_none(self) -> Outcome {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Outcome {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Outcome {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Outcome {
        if name == COMMIT_TIME_NAME {
            Ok(Value::CommitTime)
        } else {
            Ok(Value::Null)
        }
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Outcome {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Outcome {
        let inner = value.serialize(self)?;
        if name != STORE_TIME_NAME {
            return Ok(inner);
        }
        // A store time shows itself as text to other formats, and so to us.
        match inner {
            Value::Int(micros) => Ok(Value::Time(StoreTime::from_micros(micros))),
            Value::Text(text) => StoreTime::parse(&text)
                .map(Value::Time)
                .ok_or_else(|| BridgeError::custom("a store time out of range")),
            Value::Null
            | Value::Bool(_)
            | Value::Double(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::CommitTime => Err(BridgeError::custom("a store time of another shape")),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Outcome {
        Ok(variant_map(variant, value.serialize(self)?))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<ListSerializer, BridgeError> {
        Ok(ListSerializer {
            values: Vec::with_capacity(length.unwrap_or(0).min(1024)),
        })
    }

    fn serialize_tuple(self, length: usize) -> Result<ListSerializer, BridgeError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<ListSerializer, BridgeError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, BridgeError> {
        Ok(VariantSerializer {
            variant,
            inner: self.serialize_seq(Some(length))?,
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<MapSerializer, BridgeError> {
        Ok(MapSerializer::default())
    }

    fn serialize_struct(
        self,
        _: &'static str,
        fields: usize,
    ) -> Result<MapSerializer, BridgeError> {
        Ok(MapSerializer {
            fields: Vec::with_capacity(fields),
            name: None,
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, BridgeError> {
        Ok(VariantSerializer {
            variant,
            inner: MapSerializer::default(),
        })
    }
}

fn variant_map(variant: &'static str, value: Value) -> Value {
    Value::Map(Fields::from([(variant.to_owned(), value)]))
}

pub(super) struct ListSerializer {
    values: Vec<Value>,
}

impl ListSerializer {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        self.values.push(value.serialize(ValueSerializer)?);
        Ok(())
    }
}

impl SerializeSeq for ListSerializer {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        self.push(value)
    }

    fn end(self) -> Outcome {
        Ok(Value::List(self.values))
    }
}

impl SerializeTuple for ListSerializer {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        self.push(value)
    }

    fn end(self) -> Outcome {
        Ok(Value::List(self.values))
    }
}

impl SerializeTupleStruct for ListSerializer {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        self.push(value)
    }

    fn end(self) -> Outcome {
        Ok(Value::List(self.values))
    }
}

#[derive(Default)]
pub(super) struct MapSerializer {
    /// A map is made of all of them at once: cheaper than one by one.
    fields: Vec<(String, Value)>,
    name: Option<String>,
}

impl MapSerializer {
    fn map(self) -> Value {
        Value::Map(self.fields.into_iter().collect())
    }
}

impl SerializeMap for MapSerializer {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), BridgeError> {
        self.name = Some(name.serialize(NameSerializer)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        let name = self
            .name
            .take()
            .ok_or_else(|| BridgeError::custom("a map's value before its name"))?;
        self.fields.push((name, value.serialize(ValueSerializer)?));
        Ok(())
    }

    fn end(self) -> Outcome {
        Ok(self.map())
    }
}

impl SerializeStruct for MapSerializer {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), BridgeError> {
        self.fields
            .push((name.to_owned(), value.serialize(ValueSerializer)?));
        Ok(())
    }

    fn end(self) -> Outcome {
        Ok(self.map())
    }
}

/// A list or map that becomes the only entry of a map named for the variant.
pub(super) struct VariantSerializer<S> {
    variant: &'static str,
    inner: S,
}

impl SerializeTupleVariant for VariantSerializer<ListSerializer> {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        self.inner.push(value)
    }

    fn end(self) -> Outcome {
        Ok(variant_map(self.variant, Value::List(self.inner.values)))
    }
}

impl SerializeStructVariant for VariantSerializer<MapSerializer> {
    type Ok = Value;
    type Error = BridgeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), BridgeError> {
        SerializeStruct::serialize_field(&mut self.inner, name, value)
    }

    fn end(self) -> Outcome {
        Ok(variant_map(self.variant, self.inner.map()))
    }
}

/// Makes a field's name of a map's key: texts, whole numbers, bare variants.
struct NameSerializer;

type Named = Result<String, BridgeError>;

fn no_name(kind: &str) -> BridgeError {
    BridgeError::custom(format!("a map's key cannot be a {kind}"))
}

impl Serializer for NameSerializer {
    type Ok = String;
    type Error = BridgeError;
    type SerializeSeq = Impossible<String, BridgeError>;
    type SerializeTuple = Impossible<String, BridgeError>;
    type SerializeTupleStruct = Impossible<String, BridgeError>;
    type SerializeTupleVariant = Impossible<String, BridgeError>;
    type SerializeMap = Impossible<String, BridgeError>;
    type SerializeStruct = Impossible<String, BridgeError>;
    type SerializeStructVariant = Impossible<String, BridgeError>;

    fn serialize_str(self, value: &str) -> Named {
        Ok(value.to_owned())
    }

    fn serialize_char(self, value: char) -> Named {
        Ok(value.to_string())
    }

    fn serialize_i8(self, value: i8) -> Named {
        Ok(value.to_string())
    }

    fn serialize_i16(self, value: i16) -> Named {
        Ok(value.to_string())
    }

    fn serialize_i32(self, value: i32) -> Named {
        Ok(value.to_string())
    }

    fn serialize_i64(self, value: i64) -> Named {
        Ok(value.to_string())
    }

    fn serialize_u8(self, value: u8) -> Named {
        Ok(value.to_string())
    }

    fn serialize_u16(self, value: u16) -> Named {
        Ok(value.to_string())
    }

    fn serialize_u32(self, value: u32) -> Named {
        Ok(value.to_string())
    }

    fn serialize_u64(self, value: u64) -> Named {
        Ok(value.to_string())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Named {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Named {
        value.serialize(self)
    }

    fn serialize_bool(self, _: bool) -> Named {
        Err(no_name("bool"))
    }

    fn serialize_f32(self, _: f32) -> Named {
        Err(no_name("double"))
    }

    fn serialize_f64(self, _: f64) -> Named {
        Err(no_name("double"))
    }

    fn serialize_bytes(self, _: &[u8]) -> Named {
        Err(no_name("bytes"))
    }

    fn serialize_none(self) -> Named {
        Err(no_name("null"))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Named {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Named {
        Err(no_name("null"))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Named {
        Err(no_name("null"))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Named {
        Err(no_name("map"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, BridgeError> {
        Err(no_name("list"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, BridgeError> {
        Err(no_name("list"))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, BridgeError> {
        Err(no_name("list"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, BridgeError> {
        Err(no_name("list"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, BridgeError> {
        Err(no_name("map"))
    }

    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, BridgeError> {
        Err(no_name("map"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, BridgeError> {
        Err(no_name("map"))
    }
}
