//! The log in pages, for those who ask now and then.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::events::logged::EventView;
use crate::events::scan::Scan;
use crate::events::streams::{From, is_behind, oldest};
use crate::events::{Filter, Logged};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::state::Api;

/// Events of a page unless the client says otherwise.
const LIMIT_DEFAULT: u32 = 100;
/// Events of the largest page.
const LIMIT_MAX: u32 = 500;
/// Readings for one page: a filter may take few of many.
const READINGS_MAX: usize = 20;

/// A page of the log.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EventPage<'a> {
    events: Vec<EventView<'a>>,
    /// The `after` of the next page.
    next: String,
}

/// The schema of `limit`.
pub(in crate::http) fn limit() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(LIMIT_MAX))
        .default(Some(json!(LIMIT_DEFAULT)))
        .build()
}

/// A page: the events after a place, and where to go on.
pub(super) async fn page(
    api: &Api,
    from: Option<From>,
    filter: &Filter,
    limit: Option<u32>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::new(
            ProblemKind::InvalidQuery,
            format!("`limit` must be from 1 to {LIMIT_MAX}"),
        ));
    }
    let retention = api.streams().config().retention;
    let beginning = oldest(api.clock(), retention);
    let mut next = match from {
        None | Some(From::Oldest | From::Now) => beginning,
        Some(From::After(position)) if is_behind(&position, api.clock(), retention) => {
            return Err(Problem::new(
                ProblemKind::CursorExpired,
                "you fell behind: events after this cursor are not kept any more; go on with \
                 `oldest`",
            )
            .with("oldest", beginning.to_string()));
        }
        Some(From::After(position)) => position,
    };
    let mut found: Vec<Logged> = Vec::new();
    let mut scan = Scan::new(next.clone());
    'readings: for _ in 0..READINGS_MAX {
        let Some(events) = scan.page(api.store().as_ref()).await? else {
            break;
        };
        for event in events {
            next = event.position.clone();
            if filter.takes(&event.event.account_id, event.event.kind) {
                found.push(event);
            }
            if found.len() == limit as usize {
                break 'readings;
            }
        }
    }
    Ok(Json(EventPage {
        events: found.iter().map(Logged::view).collect(),
        next: next.to_string(),
    })
    .into_response())
}
