//! The API's description, OpenAPI 3.1, made from the code: which operations
//! there are and what they need from [`rules`], their bodies and answers from
//! the handlers' own types, their limits from the handlers' own constants.
//!
//! | Module | Holds |
//! |---|---|
//! | [`operation`] | how one operation is described |
//! | [`operations`] | all of them, a file a resource |
//! | [`limits`] | what a type cannot say: lengths, ranges, one of several |
//!
//! `worker openapi` prints it, `GET /openapi.json` serves it, and
//! `worker/openapi.json` is the copy that a test compares it with.

mod limits;
mod operation;
mod operations;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::openapi::path::PathsBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Schema};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, RefOr};

use self::operation::{BEARER, HEADER, Operation, problem_schema};
use super::rules::{RULES, Rule};

/// The document, as text: the same as long as the program runs.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

/// The document as text, for people and for files.
pub(crate) fn text() -> &'static str {
    &TEXT
}

/// `GET /openapi.json`.
pub(super) async fn show() -> impl IntoResponse {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], text())
}

/// The document.
fn document() -> Value {
    let operations = operations::all();
    let mut document = json!(described(&operations));
    limits::add(&mut document);
    add_rights(&mut document);
    document
}

/// Says of each operation which right it needs and what it reaches. (utoipa
/// keeps extensions in no order, and the document is to be the same each time.)
fn add_rights(document: &mut Value) {
    for (method, path, rule) in RULES {
        let operation = document["paths"]
            .get_mut(path)
            .and_then(|item| item.get_mut(method.to_lowercase()))
            .and_then(Value::as_object_mut);
        if let (Rule::Key(scope, reach), Some(operation)) = (rule, operation) {
            operation.insert("x-scope".to_owned(), scope.as_str().into());
            operation.insert("x-reach".to_owned(), reach.as_str().into());
        }
    }
}

fn described(operations: &[Operation]) -> OpenApi {
    let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    schemas.insert("Problem".to_owned(), problem_schema());
    let mut responses = BTreeMap::new();
    let mut paths = PathsBuilder::new().build();
    for operation in operations {
        schemas.extend(operation.schemas());
        responses.extend(operation.problem_responses());
        paths.add_path_operation(
            operation.path(),
            vec![operation.method()],
            operation.describe(),
        );
    }
    let header = ApiKey::Header(ApiKeyValue::with_description(
        "X-Api-Key",
        "The same key, for clients that cannot send the other header.",
    ));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key of the API: `lh_<id>_<secret>`."))
        .build();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .responses_from_iter(responses)
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .security_scheme(HEADER, SecurityScheme::ApiKey(header))
        .build();
    let tags = operations::TAGS.iter().map(|(name, about)| {
        TagBuilder::new()
            .name(*name)
            .description(Some(*about))
            .build()
    });
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Leasehold")
                .version(crate::VERSION)
                .description(Some(operations::ABOUT)),
        )
        .paths(paths)
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

    fn operations_of(document: &Value) -> Vec<(String, String, &Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let all = paths.iter().flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                let operation = item.get(method)?;
                Some((method.to_uppercase(), path.clone(), operation))
            })
        });
        all.collect()
    }

    #[test]
    fn every_operation_of_the_table_is_described_with_the_right_it_needs() {
        let document = document();
        let described = operations_of(&document);
        let names: BTreeSet<_> = described
            .iter()
            .map(|(method, path, _)| (method.as_str(), path.as_str()))
            .collect();
        // What is served for programs of another API is described there.
        let own = || {
            RULES
                .iter()
                .filter(|(_, path, _)| !path.starts_with("/compat/"))
        };
        let ruled: BTreeSet<_> = own().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(names, ruled);
        for (method, path, rule) in own() {
            let (_, _, operation) = described
                .iter()
                .find(|(m, p, _)| m == method && p == path)
                .expect("it is described");
            let needs = match rule {
                Rule::Public => json!([]),
                Rule::Key(scope, _) => json!([
                    { BEARER: [scope.as_str()] },
                    { HEADER: [scope.as_str()] },
                ]),
            };
            assert_eq!(operation["security"], needs, "{method} {path}");
        }
    }

    #[test]
    fn operations_have_ids_of_their_own_and_a_success() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations_of(&document) {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(operation["summary"].is_string(), "{id}");
            let answers = operation["responses"].as_object().expect("answers");
            // A WebSocket begins with 101.
            let is_success = |status: &String| status.starts_with('2') || status == "101";
            assert!(answers.keys().any(is_success), "{method} {path}");
        }
    }

    /// Every `$ref` leads somewhere, and no two types have the same name.
    #[test]
    fn every_reference_leads_to_one_schema() {
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        for operation in operations::all() {
            for (name, schema) in operation.schemas() {
                let schema = json!(schema);
                let before = known.insert(name.clone(), schema.clone());
                assert!(
                    before.is_none_or(|before| before == schema),
                    "two types are called {name}"
                );
            }
        }
        let document = document();
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn collect_references(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    into.push(reference.clone());
                }
                fields
                    .values()
                    .for_each(|value| collect_references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_committed_copy_is_the_document() {
        let copy = include_str!("../../openapi.json");
        assert!(
            copy == text(),
            "the API has changed: run `cargo run -p worker -- openapi > worker/openapi.json`, and \
             look at the difference before you commit it"
        );
    }
}
