//! Lets a request through if its key may do what it asks for, and notes who
//! changed what.

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::{Precondition, StoreTime, Write};

use super::limits;
use super::problem::{Problem, ProblemKind};
use super::rules::{self, Reach, Rule};
use super::sign_in;
use super::state::Api;
use super::webhooks;
use crate::auth::book::Refused;
use crate::auth::{Admission, Grant, Scope, SignIn, SignInError};
use crate::model::{AuditDoc, OutboxDoc, Stored, ThreadDoc, WebhookDoc, collections, ids};

/// The header that a key may come in, beside `Authorization: Bearer`.
const KEY_HEADER: &str = "x-api-key";

/// What the guard works with.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) api: Api,
    /// Something else guards the port: without a key everybody is let through.
    pub(super) is_insecure: bool,
    /// `/metrics` is for everybody.
    pub(super) metrics_public: bool,
}

/// The middleware. A request without a route is let through, to be told so.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let rule = match route {
        None => Rule::Public,
        Some("/metrics") if guard.metrics_public => Rule::Public,
        Some(route) => rules::of(&parts.method, route),
    };
    let subject = subject(&mut parts).await;
    let grant = match guard.admit(&parts, rule, subject.as_deref()).await {
        Ok(grant) => grant,
        Err(problem) => return problem.into_response(),
    };
    let method = parts.method.clone();
    let note = match (rule, route) {
        (Rule::Key(Scope::Control | Scope::Admin, _), Some(route)) if !method.is_safe() => {
            Some((grant.clone(), route.to_owned()))
        }
        (Rule::Key(..) | Rule::Public, _) => None,
    };
    parts.extensions.insert(grant);
    let response = next.run(Request::from_parts(parts, body)).await;
    if let Some((grant, route)) = note {
        let status = response.status().as_u16();
        guard.note(grant, &method, route, subject, status).await;
    }
    response
}

/// The first id in the path.
async fn subject(parts: &mut Parts) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params.iter().next().map(|(_, value)| value.to_owned())
}

impl Guard {
    async fn admit(
        &self,
        parts: &Parts,
        rule: Rule,
        subject: Option<&str>,
    ) -> Result<Grant, Problem> {
        let presented = presented(&parts.headers)?;
        let admission = match (rule, presented) {
            // Whoever asks how this worker is must not need the store for it.
            (Rule::Public, _) => match self.api.book().is_open().await {
                Ok(true) => Admission::Open,
                Ok(false) | Err(_) => return Ok(Grant::of_nobody()),
            },
            (Rule::Key(..), Presented::Key(key)) => {
                self.api.book().admit(key).await.map_err(refusal)?
            }
            (Rule::Key(..), Presented::SignIn(token)) => self.admit_signed_in(parts, token).await?,
        };
        let grant = match admission {
            Admission::Granted(grant) => grant,
            Admission::Open => {
                if !self.is_insecure {
                    check_origin(&parts.headers, &parts.uri, &parts.method)?;
                }
                Grant::of_this_machine()
            }
        };
        if let Rule::Key(scope, reach) = rule {
            if !grant.has(scope) {
                return Err(Problem::new(
                    ProblemKind::NotPermitted,
                    format!("this needs a key with the right `{}`", scope.as_str()),
                ));
            }
            if !grant.is_for_all() {
                self.check_reach(&grant, reach, subject.unwrap_or_default())
                    .await?;
            }
        }
        Ok(grant)
    }

    /// A request that a browser's cookie came with.
    async fn admit_signed_in(&self, parts: &Parts, token: &str) -> Result<Admission, Problem> {
        let api = &self.api;
        let admitted = match SignIn::from_text(token, api.keys(), api.clock().wall()) {
            Ok(sign_in) => {
                let admitted = api.book().admit_signed_in(&sign_in.key_id).await;
                admitted.map_err(refusal)
            }
            Err(SignInError::Unreadable | SignInError::Ended) => Err(Problem::new(
                ProblemKind::Unauthorized,
                "the sign-in has ended; sign in again",
            )),
        };
        match admitted {
            Ok(_) if !is_own(parts) => Err(sign_in::foreign()),
            Ok(grant) => Ok(Admission::Granted(grant)),
            // The cookie is of a time when there were keys.
            Err(problem) => match api.book().is_open().await {
                Ok(true) => Ok(Admission::Open),
                Ok(false) | Err(_) => Err(problem),
            },
        }
    }

    /// Whether a limited key reaches what the request is about. What belongs to
    /// others does not exist for it.
    async fn check_reach(&self, grant: &Grant, reach: Reach, id: &str) -> Result<(), Problem> {
        let (account, unknown) = match reach {
            Reach::Nobody | Reach::List => return Ok(()),
            Reach::Cluster => {
                return Err(Problem::new(
                    ProblemKind::NotPermitted,
                    "this needs a key that is not limited to some accounts",
                ));
            }
            Reach::Account => (Some(id.to_owned()), ProblemKind::UnknownAccount),
            Reach::Webhook => {
                let webhook = self.read::<WebhookDoc>(collections::webhook(id)).await?;
                let is_within = webhook
                    .is_some_and(|webhook| webhooks::is_within(grant, webhook.accounts.as_deref()));
                return match is_within {
                    true => Ok(()),
                    false => Err(Problem::new(
                        ProblemKind::UnknownWebhook,
                        "this key knows no such one",
                    )),
                };
            }
            Reach::Thread => {
                let path = collections::thread(id);
                let thread = self.read::<ThreadDoc>(path).await?;
                (
                    thread.map(|thread| thread.account_id),
                    ProblemKind::UnknownThread,
                )
            }
            Reach::Message => {
                let path = collections::outbox(id);
                let message = self.read::<OutboxDoc>(path).await?;
                (
                    message.map(|message| message.account_id),
                    ProblemKind::UnknownMessage,
                )
            }
        };
        match account {
            Some(account) if grant.is_for(&account) => Ok(()),
            Some(_) | None => Err(Problem::new(unknown, "this key knows no such one")),
        }
    }

    async fn read<T: Stored>(
        &self,
        path: Result<coordinator_lib::store::Path, coordinator_lib::store::StoreError>,
    ) -> Result<Option<T>, Problem> {
        // An id that can be none names nothing.
        let Ok(path) = path else {
            return Ok(None);
        };
        let found = self.api.store().get(&[path]).await?;
        let document = found.documents.iter().flatten().next();
        Ok(document
            .and_then(T::read_or_skip)
            .map(|record| record.value))
    }

    /// Writes down who changed what. The change has been made: that it is not
    /// written down is no reason to say otherwise.
    async fn note(
        &self,
        grant: Grant,
        method: &Method,
        route: String,
        subject: Option<String>,
        status: u16,
    ) {
        let api = &self.api;
        let now = api.clock().wall();
        let entry = AuditDoc {
            at: StoreTime::from_datetime(now),
            key_id: grant.key_id,
            key_name: grant.name,
            method: method.to_string(),
            route,
            subject,
            status: i64::from(status),
            worker: api.info().worker_name.clone(),
        };
        let noted = async {
            let write = Write::Set {
                path: collections::audit(&ids::audit(now, api.rng().as_ref()))?,
                fields: entry.to_document()?,
                precondition: Precondition::Absent,
            };
            api.store().commit(vec![write]).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, entry.route, "a change was not written into the audit log");
        }
    }
}

fn check_origin(headers: &HeaderMap, uri: &Uri, method: &Method) -> Result<(), Problem> {
    match limits::foreign_origin(headers, uri, method.is_safe()) {
        None => Ok(()),
        Some(detail) => Err(Problem::new(ProblemKind::ForbiddenOrigin, detail)),
    }
}

/// Whether the worker's own page made the browser ask; following a link, which
/// changes nothing, needs no page.
fn is_own(parts: &Parts) -> bool {
    let is_plain_read = parts.method.is_safe() && !parts.headers.contains_key(header::UPGRADE);
    is_plain_read || sign_in::is_own_page(&parts.headers, &parts.uri)
}

/// What a request brings to be let in.
enum Presented<'a> {
    /// A key, or nothing.
    Key(Option<&'a str>),
    /// What a browser keeps in the place of a key. A key counts before it.
    SignIn(&'a str),
}

fn presented(headers: &HeaderMap) -> Result<Presented<'_>, Problem> {
    let key = presented_key(headers)?;
    Ok(match (key, sign_in::token(headers)) {
        (None, Some(token)) => Presented::SignIn(token),
        (key, _) => Presented::Key(key),
    })
}

/// The key that a request brings.
fn presented_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let unreadable = || {
        Problem::new(
            ProblemKind::Unauthorized,
            "send `Authorization: Bearer lh_…`, or the key in `X-Api-Key`",
        )
    };
    if let Some(value) = headers.get(KEY_HEADER) {
        return value.to_str().map(Some).map_err(|_| unreadable());
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.to_str().map_err(|_| unreadable())?;
    match value.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(key.trim())),
        Some(_) | None => Err(unreadable()),
    }
}

/// What somebody is told who is not let in.
pub(super) fn refusal(refused: Refused) -> Problem {
    match refused {
        Refused::NoKey => Problem::new(
            ProblemKind::Unauthorized,
            "send `Authorization: Bearer lh_…`; `worker apikeys create` makes a key",
        ),
        Refused::Unknown => Problem::new(
            ProblemKind::Unauthorized,
            "the key is not one of this cluster; `worker apikeys list` shows which there are",
        ),
        Refused::Revoked => Problem::new(
            ProblemKind::Unauthorized,
            "the key was revoked; `worker apikeys create` makes another",
        ),
        Refused::TooFast(wait) => {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
            Problem::new(
                ProblemKind::RateLimited,
                "fewer requests a second with this key, or more with --api-rate",
            )
            .retry_after(seconds.saturating_add(1))
        }
        Refused::Store(error) => error.into(),
    }
}
