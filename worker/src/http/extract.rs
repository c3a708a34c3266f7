//! What a request brings, checked: JSON bodies, query parameters, ids in the
//! path. Every refusal is a problem that says where the fault is.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::limits::BODY_BYTES_MAX;
use super::problem::{Problem, ProblemKind};

/// Longer than every id that this program makes.
pub(super) const ID_LENGTH_MAX: usize = 128;

/// A JSON body of a known shape. Unknown fields are refused by the types
/// themselves (`deny_unknown_fields`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<Object<T>>::from_request(request, state).await {
            Ok(axum::Json(Object(value))) => Ok(Self(value)),
            Err(rejection) => Err(body_problem(&rejection)),
        }
    }
}

/// A JSON object, and nothing else: serde would take a list for a structure, its
/// items for the fields in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

fn body_problem(rejection: &JsonRejection) -> Problem {
    let detail = innermost(rejection);
    match rejection {
        JsonRejection::JsonSyntaxError(_) => Problem::new(ProblemKind::InvalidJson, detail),
        JsonRejection::JsonDataError(_) => Problem::new(ProblemKind::InvalidBody, detail),
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            ProblemKind::UnsupportedMediaType,
            "send the header `Content-Type: application/json`",
        ),
        JsonRejection::BytesRejection(bytes) => bytes_problem(bytes),
        // The enum may grow with axum.
        other => Problem::new(ProblemKind::InvalidBody, other.body_text()),
    }
}

fn bytes_problem(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        too_large()
    } else {
        Problem::new(
            ProblemKind::InvalidBody,
            "the body ended before it was complete",
        )
    }
}

/// The answer to a body above [`BODY_BYTES_MAX`].
pub(super) fn too_large() -> Problem {
    Problem::new(
        ProblemKind::BodyTooLarge,
        format!("a body may have {BODY_BYTES_MAX} bytes at most"),
    )
}

/// The message of the last cause: it names the field, the line and the column.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Query parameters of a known shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|rejection: QueryRejection| {
                Problem::new(ProblemKind::InvalidQuery, innermost(&rejection))
            })
    }
}

/// The one id in the path, of the form that ids have here.
#[derive(Debug, Clone)]
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| {
                Problem::new(ProblemKind::InvalidId, innermost(&rejection))
            })?;
        checked(id).map(Self)
    }
}

/// The two ids in the path.
#[derive(Debug, Clone)]
pub(super) struct Ids(pub(super) (String, String));

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| {
                Problem::new(ProblemKind::InvalidId, innermost(&rejection))
            })?;
        Ok(Self((checked(first)?, checked(second)?)))
    }
}

/// An id, if it has the form that ids have here.
fn checked(id: String) -> Result<String, Problem> {
    // Ids begin with what they are of; a leading `_` is the store's own.
    let is_id = id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id.len() <= ID_LENGTH_MAX
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_id {
        Ok(id)
    } else {
        Err(Problem::new(
            ProblemKind::InvalidId,
            format!(
                "an id begins with a letter or digit and has {ID_LENGTH_MAX} letters, digits, `_` and `-` at most"
            ),
        ))
    }
}
