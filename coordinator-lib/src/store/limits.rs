//! What every adapter refuses, because Firestore would.
//!
//! The numbers are those of Firestore's "Usage and limits" page, except where
//! a comment says otherwise. Sizes are counted as Firestore's "Storage size
//! calculations" say. The checks are pure, and run before anything is sent.

use std::collections::HashSet;

use super::{Fields, Path, Precondition, StoreError, Value, Write};

/// A document, its name included. 4 KiB less than Firestore's 1 MiB, which
/// leaves room for fields that a writer adds.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024 - 4 * 1024;

/// One field's value.
pub const FIELD_BYTES_MAX: usize = 1_048_487;

/// A document id, a collection's name, a field's name.
pub const ID_BYTES_MAX: usize = 1_500;

/// A document's whole path.
pub const PATH_BYTES_MAX: usize = 6 * 1024;

/// Writes in one commit.
pub const COMMIT_WRITES_MAX: usize = 500;

/// All writes of one commit. Firestore takes 10 MiB, its clients decode 4 MiB;
/// 3 MiB leaves room for the protocol's own words.
pub const COMMIT_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Maps and lists within each other.
pub const DEPTH_MAX: usize = 20;

/// Paths in one `get`.
pub const GET_PATHS_MAX: usize = 500;

/// Values of one `In` filter.
pub const IN_VALUES_MAX: usize = 30;

/// Filters and orders of one query, each; ours: no query here has more than three.
pub const QUERY_TERMS_MAX: usize = 8;

/// The limit of a query that names none; ours.
pub const QUERY_LIMIT_DEFAULT: u32 = 300;

/// The largest limit that a query may name; ours.
pub const QUERY_LIMIT_MAX: u32 = 1_000;

/// A page ends early once its documents are this large; ours, so that no page
/// of large documents fills the memory.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Checks a commit: number, size, paths, and each write by itself.
///
/// # Errors
/// `Invalid`.
pub fn check_commit(writes: &[Write]) -> Result<(), StoreError> {
    check_count(writes)?;
    let mut paths = HashSet::with_capacity(writes.len());
    for write in writes {
        if !paths.insert(write.path()) {
            return Err(StoreError::invalid(format!(
                "two writes to {}",
                write.path()
            )));
        }
    }
    check_each(writes)
}

/// Checks independent writes: number, size, and each by itself.
///
/// # Errors
/// `Invalid`.
pub fn check_independent(writes: &[Write]) -> Result<(), StoreError> {
    check_count(writes)?;
    check_each(writes)
}

fn check_count(writes: &[Write]) -> Result<(), StoreError> {
    if writes.is_empty() {
        return Err(StoreError::invalid("a commit without writes"));
    }
    if writes.len() > COMMIT_WRITES_MAX {
        return Err(StoreError::invalid(format!(
            "{} writes in a commit; at most {COMMIT_WRITES_MAX}",
            writes.len()
        )));
    }
    Ok(())
}

fn check_each(writes: &[Write]) -> Result<(), StoreError> {
    let mut bytes = 0;
    for write in writes {
        check_write(write)?;
        bytes += write_bytes(write);
    }
    if bytes > COMMIT_BYTES_MAX {
        return Err(StoreError::invalid(format!(
            "a commit of {bytes} bytes; at most {COMMIT_BYTES_MAX}"
        )));
    }
    Ok(())
}

fn check_write(write: &Write) -> Result<(), StoreError> {
    let path = write.path();
    match write {
        Write::Set { fields, .. } => check_document(path, fields),
        Write::Update {
            fields,
            precondition,
            ..
        } => {
            if fields.is_empty() {
                return Err(StoreError::invalid(format!(
                    "an update of {path} without fields"
                )));
            }
            refuse_absent(path, *precondition)?;
            check_document(path, fields)
        }
        Write::Delete { precondition, .. } => refuse_absent(path, *precondition),
        Write::Verify { .. } => Ok(()),
    }
}

fn refuse_absent(path: &Path, precondition: Precondition) -> Result<(), StoreError> {
    match precondition {
        Precondition::Absent => Err(StoreError::invalid(format!(
            "{path} cannot be updated or deleted on the condition that it is absent"
        ))),
        Precondition::None | Precondition::Exists | Precondition::Unchanged(_) => Ok(()),
    }
}

/// Checks a whole document: size, names, depth, values.
///
/// # Errors
/// `Invalid`.
pub fn check_document(path: &Path, fields: &Fields) -> Result<(), StoreError> {
    check_fields(path, fields, 1)?;
    let bytes = document_bytes(path, fields);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(StoreError::invalid(format!(
            "document {path} has {bytes} bytes; at most {DOCUMENT_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// A field's name is not empty, not `__x__`, and at most 1,500 bytes.
pub(crate) fn check_field_name(name: &str) -> Result<(), StoreError> {
    let reserved = name.len() >= 4 && name.starts_with("__") && name.ends_with("__");
    if name.is_empty() || reserved || name.len() > ID_BYTES_MAX {
        let shown: String = name.chars().take(24).collect();
        return Err(StoreError::invalid(format!("field name `{shown}`")));
    }
    Ok(())
}

fn check_fields(path: &Path, fields: &Fields, depth: usize) -> Result<(), StoreError> {
    for (name, value) in fields {
        check_field_name(name)?;
        check_value(path, name, value, depth, Within::Map)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Map,
    List,
}

fn check_value(
    path: &Path,
    name: &str,
    value: &Value,
    depth: usize,
    within: Within,
) -> Result<(), StoreError> {
    let refuse = |why: &str| {
        Err(StoreError::invalid(format!(
            "field {name} of {path}: {why}"
        )))
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Time(_) => Ok(()),
        Value::Text(text) if text.len() > FIELD_BYTES_MAX => refuse("the text is too long"),
        Value::Bytes(bytes) if bytes.len() > FIELD_BYTES_MAX => refuse("too many bytes"),
        Value::Text(_) | Value::Bytes(_) => Ok(()),
        Value::List(_) | Value::Map(_) if depth > DEPTH_MAX => refuse("nested too deeply"),
        Value::List(_) if within == Within::List => refuse("a list directly within a list"),
        Value::List(values) => values
            .iter()
            .try_for_each(|value| check_value(path, name, value, depth + 1, Within::List)),
        Value::Map(fields) => check_fields(path, fields, depth + 1),
        Value::CommitTime if within == Within::List => refuse("the commit time within a list"),
        Value::CommitTime => Ok(()),
    }
}

/// A document's size, as Firestore counts.
pub fn document_bytes(path: &Path, fields: &Fields) -> usize {
    name_bytes(path) + fields_bytes(fields) + 32
}

/// A write's share of a commit's size.
pub fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Set { path, fields, .. } | Write::Update { path, fields, .. } => {
            document_bytes(path, fields)
        }
        Write::Delete { path, .. } | Write::Verify { path, .. } => name_bytes(path) + 32,
    }
}

fn name_bytes(path: &Path) -> usize {
    // Each segment counts one byte more than its text; a slash stands for it.
    path.len() + 1 + 16
}

fn fields_bytes(fields: &Fields) -> usize {
    fields
        .iter()
        .map(|(name, value)| name.len() + 1 + value_bytes(value))
        .sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Int(_) | Value::Double(_) | Value::Time(_) | Value::CommitTime => 8,
        Value::Text(text) => text.len() + 1,
        Value::Bytes(bytes) => bytes.len(),
        Value::List(values) => values.iter().map(value_bytes).sum(),
        Value::Map(fields) => fields_bytes(fields),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn set(id: &str, value: Value) -> Write {
        Write::Set {
            path: Path::new(&format!("things/{id}")).unwrap(),
            fields: Fields::from([("value".into(), value)]),
            precondition: Precondition::None,
        }
    }

    fn bytes(count: usize) -> Value {
        Value::Bytes(Bytes::from(vec![0; count]))
    }

    fn nested(depth: usize) -> Value {
        (1..depth).fold(Value::Map(Fields::new()), |inner, _| {
            Value::Map(Fields::from([("in".into(), inner)]))
        })
    }

    #[test]
    fn what_firestore_refuses_is_refused() {
        let refused = [
            vec![],
            vec![set("a", Value::Null), set("a", Value::Null)],
            vec![set("a", bytes(FIELD_BYTES_MAX + 1))],
            vec![set("a", bytes(DOCUMENT_BYTES_MAX))],
            vec![set("a", nested(DEPTH_MAX + 1))],
            vec![set("a", Value::List(vec![Value::List(vec![])]))],
            vec![set("a", Value::List(vec![Value::CommitTime]))],
            (0..4)
                .map(|index| set(&index.to_string(), bytes(1_000_000)))
                .collect(),
            (0..=COMMIT_WRITES_MAX)
                .map(|index| set(&index.to_string(), Value::Null))
                .collect(),
            vec![set(
                "a",
                Value::Map(Fields::from([("__x__".into(), Value::Null)])),
            )],
            vec![set(
                "a",
                Value::Map(Fields::from([(String::new(), Value::Null)])),
            )],
            vec![Write::Delete {
                path: Path::new("things/a").unwrap(),
                precondition: Precondition::Absent,
            }],
            vec![Write::Update {
                path: Path::new("things/a").unwrap(),
                fields: Fields::new(),
                precondition: Precondition::None,
            }],
        ];
        for writes in refused {
            assert!(
                matches!(check_commit(&writes), Err(StoreError::Invalid { .. })),
                "{} writes",
                writes.len()
            );
        }
    }

    #[test]
    fn what_just_fits_is_accepted() {
        let room = DOCUMENT_BYTES_MAX - document_bytes(set("a", bytes(0)).path(), &Fields::new());
        check_commit(&[set("a", bytes(room - "value".len() - 1))]).unwrap();
        check_commit(&[set("a", nested(DEPTH_MAX))]).unwrap();
        let many: Vec<Write> = (0..COMMIT_WRITES_MAX)
            .map(|index| set(&index.to_string(), Value::Null))
            .collect();
        check_commit(&many).unwrap();
        check_independent(&[set("a", Value::Null), set("a", Value::Null)]).unwrap();
    }
}
