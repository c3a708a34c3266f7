//! How one operation is described. What follows from its rule, its path and
//! its kind is added here, so that no description can forget it.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation as Described, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{
    AllOfBuilder, KnownFormat, Object, ObjectBuilder, Ref, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, RefOr, Required};

use crate::http::extract::ID_LENGTH_MAX;
use crate::http::messages::IDEMPOTENCY_KEY_LENGTH_MAX;
use crate::http::page::{LIMIT_DEFAULT, LIMIT_MAX, SEARCH_CHARS_MAX};
use crate::http::problem::ProblemKind;
use crate::http::rules::{self, Reach, Rule};

/// Names of the two ways to bring a key.
pub(super) const BEARER: &str = "bearer";
pub(super) const HEADER: &str = "header";

/// What an id looks like: see `http::extract`.
const ID_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";

type Schemas = Vec<(String, RefOr<Schema>)>;

/// One operation.
pub(super) struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    about: Option<&'static str>,
    parameters: Vec<Parameter>,
    body: Option<(&'static str, RefOr<Schema>)>,
    answers: BTreeMap<u16, Response>,
    problems: BTreeSet<ProblemKind>,
    schemas: Schemas,
}

/// A description of `method` on `path`, called `id`, which does `summary`.
pub(super) fn operation(
    tag: &'static str,
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Operation {
    Operation {
        method,
        path,
        id,
        tag,
        summary,
        about: None,
        parameters: Vec::new(),
        body: None,
        answers: BTreeMap::new(),
        problems: BTreeSet::new(),
        schemas: Vec::new(),
    }
}

/// A schema that is a text.
pub(super) fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

/// A schema that is a whole number.
pub(super) fn integer() -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).build()
}

/// A schema of what is searched for.
pub(super) fn search() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(SEARCH_CHARS_MAX))
        .build()
}

/// A schema that is true or false.
pub(super) fn boolean() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).build()
}

impl Operation {
    /// More about it.
    pub(super) fn about(mut self, about: &'static str) -> Self {
        self.about = Some(about);
        self
    }

    /// It takes a query parameter.
    pub(super) fn query(
        mut self,
        name: &str,
        about: &str,
        schema: impl Into<RefOr<Schema>>,
    ) -> Self {
        self.problems.insert(ProblemKind::InvalidQuery);
        self.parameter(name, about, ParameterIn::Query, schema)
    }

    /// It takes a query parameter that is one of a type's values.
    pub(super) fn query_of<T: ToSchema>(mut self, name: &str, about: &str) -> Self {
        let schema = self.refer::<T>();
        self.query(name, about, schema)
    }

    /// Its answer is a page of a list.
    pub(super) fn paged(self) -> Self {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX))
            .default(Some(json!(LIMIT_DEFAULT)));
        self.query("limit", "Most entries to return", limit.build())
            .query("after", "The `next` of the page before", text())
    }

    /// Repeated with the same key it is done once.
    pub(super) fn idempotent(mut self) -> Self {
        self.problems.extend([
            ProblemKind::InvalidHeader,
            ProblemKind::IdempotencyKeyReused,
        ]);
        let key = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(IDEMPOTENCY_KEY_LENGTH_MAX))
            .pattern(Some("^[ -~]+$"));
        self.parameter(
            "Idempotency-Key",
            "Makes a repetition harmless: the same key and body have the same answer, with \
             `Idempotent-Replayed: true`",
            ParameterIn::Header,
            key.build(),
        )
    }

    fn parameter(
        mut self,
        name: &str,
        about: &str,
        place: ParameterIn,
        schema: impl Into<RefOr<Schema>>,
    ) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(Required::False)
            .description(Some(about))
            .schema(Some(schema));
        self.parameters.push(parameter.build());
        self
    }

    /// It takes a JSON body.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        let schema = self.refer::<T>();
        self.body = Some(("application/json", schema));
        self.problems.extend([
            ProblemKind::InvalidJson,
            ProblemKind::InvalidBody,
            ProblemKind::UnsupportedMediaType,
            ProblemKind::BodyTooLarge,
        ]);
        self
    }

    /// It takes a file, of any media type.
    pub(super) fn takes_file(mut self) -> Self {
        self.body = Some(("*/*", binary()));
        self.problems
            .extend([ProblemKind::InvalidBody, ProblemKind::InvalidHeader]);
        self
    }

    /// Its answer, with a JSON body.
    pub(super) fn answers<T: ToSchema>(mut self, status: StatusCode, about: &str) -> Self {
        let schema = self.refer::<T>();
        self.answer(status, about, &[("application/json", schema)])
    }

    /// Its answer, an object whose shape is told in words only.
    pub(super) fn answers_object(self, status: StatusCode, about: &str) -> Self {
        let object = ObjectBuilder::new().schema_type(Type::Object).build();
        self.answer(status, about, &[("application/json", object.into())])
    }

    /// Its answer, without a body.
    pub(super) fn answers_nothing(self, status: StatusCode, about: &str) -> Self {
        self.answer(status, about, &[])
    }

    /// Its answer, in these media types.
    pub(super) fn answers_as(self, status: StatusCode, about: &str, types: &[&str]) -> Self {
        let bodies: Vec<_> = types.iter().map(|name| (*name, binary())).collect();
        self.answer(status, about, &bodies)
    }

    /// Its answer in other forms, beside the one that is known already.
    pub(super) fn also_as(mut self, status: StatusCode, types: &[&str]) -> Self {
        if let Some(answer) = self.answers.get_mut(&status.as_u16()) {
            for name in types {
                answer.content.insert((*name).to_owned(), content(binary()));
            }
        }
        self
    }

    fn answer(mut self, status: StatusCode, about: &str, bodies: &[(&str, RefOr<Schema>)]) -> Self {
        let mut response = ResponseBuilder::new().description(about);
        if status == StatusCode::CREATED {
            let place = HeaderBuilder::new()
                .schema(text())
                .description(Some("Where it is, if it has a place of its own"));
            response = response.header("Location", place.build());
        }
        for (name, schema) in bodies {
            response = response.content(*name, content(schema.clone()));
        }
        self.answers.insert(status.as_u16(), response.build());
        self
    }

    /// What can go wrong beside what its rule, path and kind say already.
    pub(super) fn fails(mut self, problems: &[ProblemKind]) -> Self {
        self.problems.extend(problems);
        self
    }

    /// Notes a type and all that it refers to.
    fn refer<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name();
        self.schemas.push((name.to_string(), T::schema()));
        T::schemas(&mut self.schemas);
        RefOr::Ref(Ref::from_schema_name(name))
    }

    /// The types that it refers to.
    pub(super) fn schemas(&self) -> Schemas {
        self.schemas.clone()
    }

    /// Its path.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// Its method, as the document's model knows it.
    pub(super) fn method(&self) -> HttpMethod {
        match self.method {
            "POST" => HttpMethod::Post,
            "PUT" => HttpMethod::Put,
            "PATCH" => HttpMethod::Patch,
            "DELETE" => HttpMethod::Delete,
            _ => HttpMethod::Get,
        }
    }

    fn rule(&self) -> Rule {
        rules::of_route(self.method, self.path)
    }

    /// All that can go wrong.
    fn all_problems(&self) -> BTreeSet<ProblemKind> {
        use ProblemKind as P;
        let mut all = self.problems.clone();
        // Without keys, a page of somebody else could make a browser ask.
        all.extend([P::ForbiddenOrigin, P::RequestTimeout, P::Internal]);
        let Rule::Key(_, reach) = self.rule() else {
            return all;
        };
        all.extend([
            P::Unauthorized,
            P::NotPermitted,
            P::RateLimited,
            P::StoreUnavailable,
            P::StoredDataUnreadable,
        ]);
        if self.path.contains('{') {
            all.insert(P::InvalidId);
        }
        all.extend(match reach {
            Reach::Account => Some(P::UnknownAccount),
            Reach::Thread => Some(P::UnknownThread),
            Reach::Message => Some(P::UnknownMessage),
            Reach::Webhook => Some(P::UnknownWebhook),
            Reach::List | Reach::Nobody | Reach::Cluster => None,
        });
        if self.method != "GET" {
            all.extend([P::StoreFull, P::OutcomeUnknown]);
        }
        all
    }

    /// The answers that say what went wrong, by their names in the document:
    /// most operations share them.
    pub(super) fn problem_responses(&self) -> impl Iterator<Item = (String, Response)> {
        by_status(self.all_problems())
            .into_iter()
            .map(|(status, kinds)| (problem_name(status, &kinds), problem_response(&kinds)))
    }

    /// The document's part.
    pub(super) fn describe(&self) -> Described {
        let mut described = OperationBuilder::new()
            .tag(self.tag)
            .operation_id(Some(self.id))
            .summary(Some(self.summary))
            .description(self.about);
        for name in path_parameters(self.path) {
            described = described.parameter(path_parameter(name));
        }
        for parameter in &self.parameters {
            described = described.parameter(parameter.clone());
        }
        if let Some((media_type, schema)) = &self.body {
            let body = RequestBodyBuilder::new()
                .content(*media_type, content(schema.clone()))
                .required(Some(Required::True));
            described = described.request_body(Some(body.build()));
        }
        for (status, answer) in &self.answers {
            described = described.response(status.to_string(), answer.clone());
        }
        for (status, kinds) in by_status(self.all_problems()) {
            described = match self.answers.get(&status) {
                None => {
                    let name = problem_name(status, &kinds);
                    described.response(status.to_string(), Ref::from_response_name(name))
                }
                // The same status with a body of its own: both are possible.
                Some(answer) => {
                    let mut both = answer.clone();
                    let (media_type, problem) = problem_content(&kinds);
                    both.content.insert(media_type, problem);
                    described.response(status.to_string(), both)
                }
            };
        }
        let requirements = match self.rule() {
            Rule::Public => Vec::new(),
            Rule::Key(scope, _) => [BEARER, HEADER]
                .map(|scheme| SecurityRequirement::new(scheme, [scope.as_str()]))
                .into(),
        };
        described.securities(Some(requirements)).build()
    }
}

fn by_status(kinds: BTreeSet<ProblemKind>) -> BTreeMap<u16, Vec<ProblemKind>> {
    let mut sorted: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        sorted.entry(kind.status().as_u16()).or_default().push(kind);
    }
    sorted
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Parameter {
    let schema = match name {
        "address" | "file" => text(),
        _ => ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(ID_LENGTH_MAX))
            .pattern(Some(ID_PATTERN))
            .build(),
    };
    let about = match name {
        "address" => "A number with its country code, or an address",
        "file" => "Its name",
        "message" => "The `id` of a message of the thread",
        _ => "Its id",
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

fn content(schema: RefOr<Schema>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

fn binary() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .build()
        .into()
}

/// The body of every error (RFC 9457). Some kinds add members of their own.
pub(super) fn problem_schema() -> RefOr<Schema> {
    let status = ObjectBuilder::new().schema_type(Type::Integer);
    let about = |about: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(about))
    };
    let mut problem = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("An error (RFC 9457)"))
        .property("type", about("`urn:leasehold:problem:` and the code"))
        .property("title", about("What is wrong"))
        .property("status", status)
        .property("code", about("Which error it is, for programs: stable"))
        .property("detail", about("What to do about it"));
    for name in ["type", "title", "status", "code", "detail"] {
        problem = problem.required(name);
    }
    problem.build().into()
}

fn problem_name(status: u16, kinds: &[ProblemKind]) -> String {
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
    format!("{status}.{}", codes.join("."))
}

fn problem_content(kinds: &[ProblemKind]) -> (String, Content) {
    let codes = kinds.iter().map(|kind| kind.code());
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes));
    let narrowed = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", code));
    let media_type = "application/problem+json".to_owned();
    (media_type, content(narrowed.into()))
}

fn problem_response(kinds: &[ProblemKind]) -> Response {
    let titles: BTreeSet<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let titles: Vec<&str> = titles.into_iter().collect();
    let (media_type, content) = problem_content(kinds);
    let mut response = ResponseBuilder::new()
        .description(titles.join(". "))
        .content(media_type, content);
    if kinds.contains(&ProblemKind::RateLimited) {
        let seconds = HeaderBuilder::new()
            .schema(ObjectBuilder::new().schema_type(Type::Integer).build())
            .description(Some("Seconds to wait"));
        response = response.header("Retry-After", seconds.build());
    }
    response.build()
}
