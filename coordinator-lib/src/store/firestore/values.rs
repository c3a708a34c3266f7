//! Values, documents, names and times, as Firestore's protocol has them.
//!
//! Pure. A field that holds the commit time is no value there but a
//! *transform*, which names the field's path; [`encode_fields`] takes them out.

use std::collections::HashMap;

use ::firestore::gcloud_sdk::google::firestore::v1 as pb;
use ::firestore::gcloud_sdk::prost_types::Timestamp;
use bytes::Bytes;
use pb::value::ValueType;

use crate::store::{Collection, Document, Fields, Path, StoreError, StoreTime, Value};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Where documents lie in the protocol: `projects/p/databases/d/documents`.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// `projects/p/databases/d`.
    pub(super) database: String,
    /// The same with `/documents`.
    pub(super) documents: String,
}

impl Root {
    pub(super) fn new(project: &str, database: &str) -> Self {
        let database = format!("projects/{project}/databases/{database}");
        let documents = format!("{database}/documents");
        Self {
            database,
            documents,
        }
    }

    /// A document's whole name.
    pub(super) fn name(&self, path: &Path) -> String {
        format!("{}/{path}", self.documents)
    }

    /// The name of what a collection lies below: a document, or the root.
    pub(super) fn parent(&self, collection: &Collection) -> String {
        match collection.as_str().rsplit_once('/') {
            Some((parent, _)) => format!("{}/{parent}", self.documents),
            None => self.documents.clone(),
        }
    }

    /// The path of a document of this collection, from its whole name.
    pub(super) fn path(&self, collection: &Collection, name: &str) -> Result<Path, StoreError> {
        name.strip_prefix(self.documents.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_prefix(collection.as_str()))
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|id| !id.is_empty() && !id.contains('/'))
            .map(|id| Path::trusted(collection.clone(), id))
            .ok_or_else(|| StoreError::Corrupt {
                path: collection.to_string(),
                reason: "the store answered with a document of another collection".to_owned(),
            })
    }

    /// A document as the port has it.
    pub(super) fn document(
        &self,
        collection: &Collection,
        document: pb::Document,
    ) -> Result<Document, StoreError> {
        let path = self.path(collection, &document.name)?;
        let corrupt = |reason: &str| StoreError::Corrupt {
            path: path.to_string(),
            reason: reason.to_owned(),
        };
        let update_time = document
            .update_time
            .as_ref()
            .map(time)
            .ok_or_else(|| corrupt("it has no update time"))?;
        let fields = decode_fields(document.fields).map_err(|Foreign(kind)| {
            corrupt(&format!("it holds a {kind}, which is not used here"))
        })?;
        Ok(Document {
            path,
            fields,
            update_time,
        })
    }
}

/// The store time of a timestamp; Firestore's have microseconds.
pub(super) fn time(timestamp: &Timestamp) -> StoreTime {
    StoreTime::from_micros(
        timestamp
            .seconds
            .saturating_mul(MICROS_PER_SECOND)
            .saturating_add(i64::from(timestamp.nanos / 1_000)),
    )
}

/// The timestamp of a store time.
pub(super) fn timestamp(time: StoreTime) -> Timestamp {
    let micros = time.as_micros();
    // The remainder is less than a second.
    let nanos = micros.rem_euclid(MICROS_PER_SECOND) as i32 * 1_000;
    Timestamp {
        seconds: micros.div_euclid(MICROS_PER_SECOND),
        nanos,
    }
}

/// A field's path: names joined by dots, quoted where they are not plain words.
pub(super) fn field_path(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    quoted.join(".")
}

fn quoted(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        return name.to_owned();
    }
    let escaped = name.replace('\\', "\\\\").replace('`', "\\`");
    format!("`{escaped}`")
}

/// Fields without those that hold the commit time, and the paths of the latter.
pub(super) fn encode_fields(fields: Fields) -> (HashMap<String, pb::Value>, Vec<String>) {
    let mut commit_times = Vec::new();
    let encoded = encode_map(fields, &[], &mut commit_times);
    (encoded, commit_times)
}

fn encode_map(
    fields: Fields,
    above: &[&str],
    commit_times: &mut Vec<String>,
) -> HashMap<String, pb::Value> {
    let mut encoded = HashMap::with_capacity(fields.len());
    for (name, value) in fields {
        let value = match value {
            Value::CommitTime => {
                commit_times.push(field_path(&[above, &[&name]].concat()));
                continue;
            }
            Value::Map(inner) => ValueType::MapValue(pb::MapValue {
                fields: encode_map(inner, &[above, &[&name]].concat(), commit_times),
            }),
            value @ (Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Double(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::List(_)) => plain(value),
        };
        encoded.insert(name, wrap(value));
    }
    encoded
}

/// A value that is compared with, or stands in a list: the commit time, which
/// neither may be, is null.
pub(super) fn encode(value: Value) -> pb::Value {
    wrap(plain(value))
}

fn wrap(value: ValueType) -> pb::Value {
    pb::Value {
        value_type: Some(value),
    }
}

fn plain(value: Value) -> ValueType {
    match value {
        Value::Null | Value::CommitTime => ValueType::NullValue(0),
        Value::Bool(value) => ValueType::BooleanValue(value),
        Value::Int(value) => ValueType::IntegerValue(value),
        Value::Double(value) => ValueType::DoubleValue(value),
        Value::Text(text) => ValueType::StringValue(text),
        Value::Bytes(bytes) => ValueType::BytesValue(bytes.into()),
        Value::Time(time) => ValueType::TimestampValue(timestamp(time)),
        Value::List(values) => ValueType::ArrayValue(pb::ArrayValue {
            values: values.into_iter().map(encode).collect(),
        }),
        Value::Map(fields) => ValueType::MapValue(pb::MapValue {
            fields: fields
                .into_iter()
                .map(|(name, value)| (name, encode(value)))
                .collect(),
        }),
    }
}

/// A type of value that other programs may write and this one does not know.
struct Foreign(&'static str);

fn decode_fields(fields: HashMap<String, pb::Value>) -> Result<Fields, Foreign> {
    fields
        .into_iter()
        .map(|(name, value)| Ok((name, decode(value)?)))
        .collect()
}

fn decode(value: pb::Value) -> Result<Value, Foreign> {
    Ok(match value.value_type {
        None | Some(ValueType::NullValue(_)) => Value::Null,
        Some(ValueType::BooleanValue(value)) => Value::Bool(value),
        Some(ValueType::IntegerValue(value)) => Value::Int(value),
        Some(ValueType::DoubleValue(value)) => Value::Double(value),
        Some(ValueType::TimestampValue(value)) => Value::Time(time(&value)),
        Some(ValueType::StringValue(text)) => Value::Text(text),
        Some(ValueType::BytesValue(bytes)) => Value::Bytes(Bytes::from(bytes)),
        Some(ValueType::ArrayValue(array)) => Value::List(
            array
                .values
                .into_iter()
                .map(decode)
                .collect::<Result<_, _>>()?,
        ),
        Some(ValueType::MapValue(map)) => Value::Map(decode_fields(map.fields)?),
        Some(ValueType::ReferenceValue(_)) => return Err(Foreign("reference")),
        Some(ValueType::GeoPointValue(_)) => return Err(Foreign("place")),
        Some(
            ValueType::FieldReferenceValue(_)
            | ValueType::VariableReferenceValue(_)
            | ValueType::FunctionValue(_)
            | ValueType::PipelineValue(_),
        ) => return Err(Foreign("part of a pipeline")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::codec;

    fn root() -> Root {
        Root::new("p", "(default)")
    }

    #[test]
    fn names_and_paths_are_each_others_inverse() {
        let path = Path::new("threads/t 1/messages/m%2F1").unwrap();
        let name = root().name(&path);
        assert_eq!(
            name,
            "projects/p/databases/(default)/documents/threads/t 1/messages/m%2F1"
        );
        assert_eq!(root().path(path.collection(), &name).unwrap(), path);
        assert_eq!(
            root().parent(path.collection()),
            "projects/p/databases/(default)/documents/threads/t 1"
        );
        let other = Collection::new("threads").unwrap();
        assert!(root().path(&other, &name).is_err());
    }

    #[test]
    fn paths_of_fields_are_quoted_where_they_must_be() {
        assert_eq!(field_path(&["a", "b_1"]), "a.b_1");
        assert_eq!(field_path(&["428 x.y", "a`b\\"]), "`428 x.y`.`a\\`b\\\\`");
    }

    #[test]
    fn commit_times_become_transforms_at_every_depth() {
        let inner = Fields::from([("at".into(), Value::CommitTime), ("n".into(), 1.into())]);
        let fields = Fields::from([
            ("at".into(), Value::CommitTime),
            ("in".into(), Value::Map(inner)),
        ]);
        let (encoded, commit_times) = encode_fields(fields);
        assert_eq!(commit_times, ["at", "in.at"]);
        let decoded = decode_fields(encoded)
            .map_err(|Foreign(kind)| kind)
            .unwrap();
        let inner = Fields::from([("n".into(), 1.into())]);
        assert_eq!(decoded, Fields::from([("in".into(), Value::Map(inner))]));
    }

    #[test]
    fn a_type_that_others_write_makes_a_document_corrupt() {
        let place = pb::Document {
            name: format!("{}/accounts/a", root().documents),
            fields: HashMap::from([(
                "at".to_owned(),
                wrap(ValueType::ReferenceValue("x".to_owned())),
            )]),
            create_time: None,
            update_time: Some(timestamp(StoreTime::from_micros(1))),
        };
        let accounts = Collection::new("accounts").unwrap();
        let decoded = root().document(&accounts, place);
        assert!(
            matches!(&decoded, Err(StoreError::Corrupt { path, .. }) if path == "accounts/a"),
            "{decoded:?}"
        );
    }

    proptest! {
        #[test]
        fn times_are_kept_to_the_microsecond(micros in any::<i64>()) {
            let there = timestamp(StoreTime::from_micros(micros));
            prop_assert!((0..1_000_000_000).contains(&there.nanos));
            prop_assert_eq!(time(&there), StoreTime::from_micros(micros));
        }

        #[test]
        fn values_are_kept(value in codec::arbitrary::value()) {
            prop_assert_eq!(decode(encode(value.clone())).ok(), Some(value));
        }
    }
}
