//! Sessions that lie in documents, as the predecessor kept them: dumped to a
//! file of JSON, in one of three forms.
//!
//! ```text
//! {"eu": {"creds": {…}, "session-49170.0": {…}}}                  account → record → content
//! {"path": "wa_sessions/eu", "fields": {"creds": {…}, …}}        one document an account
//! {"path": "wa_sessions/eu/keys/pre-key-1", "fields": {…}}       one document a record
//! ```
//!
//! Of the latter two there is one a line, or a list. A record's content is JSON,
//! or a text that holds JSON. What the predecessor has encrypted cannot be read
//! here: its own program has to write it to a folder.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use whatsapp::baileys::Files;

use super::source::{Found, SourceError};

/// The collection that the predecessor kept sessions in.
const COLLECTION: &str = "wa_sessions";
/// Where a document of one record may keep its content.
const CONTENT_FIELDS: [&str; 3] = ["value", "data", "content"];

/// Reads documents.
///
/// # Errors
/// [`SourceError::Documents`].
pub fn read(bytes: &[u8]) -> Result<Vec<Found>, SourceError> {
    let mut sessions: BTreeMap<String, Files> = BTreeMap::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let value = value.map_err(|error| {
            let (line, column) = (error.line(), error.column());
            wrong(format!("not JSON (line {line}, column {column})"))
        })?;
        match value {
            Value::Array(documents) => {
                for document in documents {
                    add(document, &mut sessions)?;
                }
            }
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_)) => add(other, &mut sessions)?,
        }
    }
    sessions.retain(|_, files| files.contains_key("creds"));
    Ok(sessions
        .iter()
        .map(|(label, files)| Found::here(label, files.clone()))
        .collect())
}

fn add(value: Value, sessions: &mut BTreeMap<String, Files>) -> Result<(), SourceError> {
    let Value::Object(mut object) = value else {
        return Err(wrong("a document must be an object"));
    };
    let path = object.get("path").and_then(Value::as_str);
    let Some(path) = path.map(ToOwned::to_owned) else {
        return add_accounts(object, sessions);
    };
    let Some(Value::Object(fields)) = object.remove("fields") else {
        return Err(wrong("a document with a `path` must have `fields`"));
    };
    // A full resource name, too: what matters begins with the collection.
    let mut segments = path.split('/').skip_while(|part| *part != COLLECTION);
    let (Some(_), Some(account)) = (segments.next(), segments.next()) else {
        return Err(wrong(format!(
            "a `path` must be {COLLECTION}/ACCOUNT or below it"
        )));
    };
    let files = sessions.entry(account.to_owned()).or_default();
    match segments.last() {
        None => add_records(fields, files),
        Some(record) => {
            let content = CONTENT_FIELDS
                .iter()
                .find_map(|name| fields.get(*name).cloned())
                .unwrap_or(Value::Object(fields));
            files.insert(record_name(record), text(content));
        }
    }
    Ok(())
}

fn add_accounts(
    object: Map<String, Value>,
    sessions: &mut BTreeMap<String, Files>,
) -> Result<(), SourceError> {
    for (account, records) in object {
        let Value::Object(records) = records else {
            return Err(wrong("an account must be an object of records"));
        };
        add_records(records, sessions.entry(account).or_default());
    }
    Ok(())
}

fn add_records(records: Map<String, Value>, files: &mut Files) {
    for (name, content) in records {
        files.insert(record_name(&name), text(content));
    }
}

fn record_name(name: &str) -> String {
    name.strip_suffix(".json").unwrap_or(name).to_owned()
}

/// A record's content as JSON text.
fn text(content: Value) -> Vec<u8> {
    match content {
        Value::String(text) if text.starts_with(['{', '[', '"']) => text.into_bytes(),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => other.to_string().into_bytes(),
    }
}

fn wrong(reason: impl Into<String>) -> SourceError {
    SourceError::Documents(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_hold_the_same() {
        let map = r#"{"eu": {"creds": {"a": 1}, "lid-mapping-49": "12", "pre-key-1.json": "{\"b\": 2}"}}"#;
        let documents = r#"{"path": "wa_sessions/eu", "fields": {"creds": "{\"a\":1}"}}
            {"path": "projects/p/databases/d/documents/wa_sessions/eu/keys/lid-mapping-49", "fields": {"value": "12"}}
            {"path": "wa_sessions/eu/keys/pre-key-1", "fields": {"data": "{\"b\": 2}"}}"#;
        let list = format!(
            "[{}]",
            documents
                .replace("}}\n", "}},")
                .replace("\"}}            {", "\"}},{")
        );
        for form in [map, documents, &list] {
            let found = read(form.as_bytes()).unwrap();
            assert_eq!(found.len(), 1, "{form}");
            assert_eq!(found[0].label, "eu");
            let files = found[0].files().unwrap();
            assert_eq!(files["creds"], br#"{"a":1}"#);
            assert_eq!(files["lid-mapping-49"], br#""12""#);
            assert_eq!(files["pre-key-1"], br#"{"b": 2}"#);
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for form in [
            "[1]",
            "{\"eu\": 1}",
            "{\"path\": \"threads/1\", \"fields\": {}}",
            "{\"path\": \"wa_sessions/eu\"}",
            "{",
        ] {
            assert!(
                matches!(read(form.as_bytes()), Err(SourceError::Documents(_))),
                "{form}"
            );
        }
        assert!(read(b"{\"eu\": {}}").unwrap().is_empty());
    }
}
