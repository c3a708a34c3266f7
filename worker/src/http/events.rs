//! `/v1/events`: what happens to all accounts, from any worker.
//!
//! Three forms of one log: server-sent events, a WebSocket, and pages of JSON.
//! Each takes `accounts` and `types`, and a cursor to go on from that means the
//! same on every worker.

pub(super) mod pages;
mod sse;
mod ws;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::Parameters;
use super::problem::{Problem, ProblemKind};
use super::state::Api;
use crate::auth::Grant;
use crate::events::streams::{From, Refused, Wanted};
use crate::events::{Filter, Position};
use crate::model::EventKind;

/// The header with which a client goes on where it was.
const LAST_EVENT_ID: &str = "last-event-id";

/// The `after` that begins with the oldest event there is.
const OLDEST: &str = "oldest";

/// Names in a list.
const NAMES_MAX: usize = 100;

/// Parameters of all forms.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventParameters {
    /// A cursor, or `oldest`.
    after: Option<String>,
    /// Ids, with commas between them.
    accounts: Option<String>,
    /// Types, with commas between them.
    types: Option<String>,
    /// Most events of a page; pages of JSON only.
    limit: Option<u32>,
}

impl EventParameters {
    fn from(&self, headers: &HeaderMap) -> Result<Option<From>, Problem> {
        // A client that reconnects by itself keeps the address, `after` and all.
        let last = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty());
        let text = match (last, &self.after) {
            (Some(last), _) => last.to_str().map_err(|_| foreign_cursor())?,
            (None, Some(after)) => after,
            (None, None) => return Ok(None),
        };
        if text == OLDEST {
            return Ok(Some(From::Oldest));
        }
        let position: Position = text.parse().map_err(|_| foreign_cursor())?;
        Ok(Some(From::After(position)))
    }

    /// What the client wants to see, of what its key may see.
    fn filter(&self, grant: &Grant) -> Result<Filter, Problem> {
        let accounts = match (
            names(self.accounts.as_deref(), "accounts")?,
            &grant.accounts,
        ) {
            (None, own) => own.clone(),
            (Some(named), _) => {
                if let Some(other) = named.iter().find(|account| !grant.is_for(account)) {
                    return Err(Problem::new(
                        ProblemKind::UnknownAccount,
                        format!("this key knows no account {other:?}"),
                    ));
                }
                Some(named)
            }
        };
        let kinds = names(self.types.as_deref(), "types")?
            .map(|names| {
                let kinds = names.iter().map(|name| kind(name));
                kinds.collect::<Result<Vec<_>, _>>()
            })
            .transpose()?;
        Ok(Filter { accounts, kinds })
    }
}

/// The kind of event of this name.
///
/// # Errors
/// There is none; the answer lists all.
fn kind(name: &str) -> Result<EventKind, Problem> {
    EventKind::of_name(name).ok_or_else(|| {
        let known: Vec<&str> = EventKind::ALL.map(EventKind::as_str).to_vec();
        Problem::new(
            ProblemKind::InvalidQuery,
            format!("{name:?} is no type of event: {}", known.join(", ")),
        )
    })
}

fn names(list: Option<&str>, parameter: &str) -> Result<Option<Vec<String>>, Problem> {
    let Some(list) = list else {
        return Ok(None);
    };
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    if names.len() > NAMES_MAX || names.iter().any(String::is_empty) {
        return Err(Problem::new(
            ProblemKind::InvalidQuery,
            format!("`{parameter}` has 1 to {NAMES_MAX} names, with commas between them"),
        ));
    }
    Ok(Some(names))
}

fn foreign_cursor() -> Problem {
    Problem::new(
        ProblemKind::InvalidQuery,
        "`after` and `Last-Event-ID` take the `id` of an event of a stream, the `next` of a page, \
         or `oldest`",
    )
}

/// `GET /v1/events`: a stream of server-sent events, or, for who accepts JSON
/// and no stream, a page.
///
/// # Errors
/// `invalid_query`, `unknown_account`, `too_many_streams`; for a page
/// `cursor_expired`.
pub(super) async fn show(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Parameters(parameters): Parameters<EventParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let from = parameters.from(&headers)?;
    let filter = parameters.filter(&grant)?;
    if wants_page(&headers) {
        return pages::page(&api, from, &filter, parameters.limit).await;
    }
    refuse_limit(&parameters)?;
    let frames = open(&api, grant, filter, from)?;
    Ok(sse::response(frames))
}

/// `GET /v1/events/ws`: the same as a WebSocket.
///
/// # Errors
/// As for [`show`]; `invalid_header` for what is no request for a WebSocket.
pub(super) async fn socket(
    State(api): State<Api>,
    Extension(grant): Extension<Grant>,
    Parameters(parameters): Parameters<EventParameters>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let from = parameters.from(&parts.headers)?;
    let filter = parameters.filter(&grant)?;
    refuse_limit(&parameters)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(
            ProblemKind::InvalidHeader,
            format!("this is for WebSockets ({rejection}); GET /v1/events is the same as a stream"),
        )
    })?;
    let frames = open(&api, grant, filter, from)?;
    Ok(upgrade
        .max_message_size(ws::MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| ws::run(socket, frames))
        .into_response())
}

fn refuse_limit(parameters: &EventParameters) -> Result<(), Problem> {
    match parameters.limit {
        None => Ok(()),
        Some(_) => Err(Problem::new(
            ProblemKind::InvalidQuery,
            "a stream has no `limit`; send `Accept: application/json` for a page",
        )),
    }
}

fn open(
    api: &Api,
    grant: Grant,
    filter: Filter,
    from: Option<From>,
) -> Result<tokio::sync::mpsc::Receiver<crate::events::streams::Frame>, Problem> {
    let wanted = Wanted {
        key_id: grant.key_id.clone(),
        filter,
        from: from.unwrap_or(From::Now),
    };
    let book = api.clone();
    let still_good = Box::new(move || {
        let (api, grant) = (book.clone(), grant.clone());
        let asked = async move { api.book().is_still_good(&grant).await };
        Box::pin(asked) as futures::future::BoxFuture<'static, bool>
    });
    api.streams().open(wanted, still_good).map_err(|refused| {
        let (kind, detail) = match refused {
            Refused::TooMany(_) => (
                ProblemKind::TooManyStreams,
                format!(
                    "{refused}; one stream shows all accounts, and --streams-per-key sets the limit"
                ),
            ),
            Refused::Full => (
                ProblemKind::WorkerBusy,
                format!("{refused}; connect to another one"),
            ),
        };
        Problem::new(kind, detail).retry_after(1)
    })
}

/// Whether JSON is accepted and a stream is not.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepted: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|media| media.split(';').next().unwrap_or_default().trim())
        .collect();
    accepted.contains(&"application/json") && !accepted.contains(&"text/event-stream")
}
