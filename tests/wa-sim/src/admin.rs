//! The admin HTTP API: everything a test wants of the simulation from another
//! process. JSON in and out; an error is `{"error": "…"}`. The README of this
//! crate lists the routes.
//!
//! It trusts everyone who reaches it, which is why it is on loopback only.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    fault::{Disconnect, Fault, FaultError, FaultId},
    phone::{History, PhoneError},
    server::DeviceId,
    sim::{Sim, WaitError, WeakSim},
};

/// The longest wait that one request may ask for.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Serves until cancelled.
pub(crate) async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the admin API ended");
    }
}

/// All routes.
pub(crate) fn router(sim: WeakSim) -> Router {
    Router::new()
        .route("/state", get(state))
        .route("/oracle", get(oracle))
        .route("/phones", post(add_phone))
        .route("/phones/{number}/scan", post(scan))
        .route("/phones/{number}/code", post(enter_code))
        .route("/phones/{number}/messages", post(send_text))
        .route("/phones/{number}/read", post(read))
        .route("/phones/{number}/echo", post(echo))
        .route("/phones/{number}/unlink", post(unlink))
        .route("/phones/{number}/history", post(remember))
        .route("/phones/{number}/ledger", get(ledger))
        .route("/accounts/{number}/disconnect", post(disconnect))
        .route("/accounts/{number}/connected", get(connected))
        .route("/faults", post(inject).delete(clear_faults))
        .route("/faults/{id}", delete(clear_fault))
        .with_state(sim)
}

/// A request that came to nothing.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, error: &(dyn std::error::Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let parts: Vec<_> = chain.map(ToString::to_string).collect();
        Self {
            status,
            message: parts.join(": "),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<PhoneError> for Refusal {
    fn from(error: PhoneError) -> Self {
        let status = match &error {
            PhoneError::UnknownNumber | PhoneError::UnknownMessage | PhoneError::UnknownDevice => {
                StatusCode::NOT_FOUND
            }
            PhoneError::NumberTaken => StatusCode::CONFLICT,
            PhoneError::BadNumber | PhoneError::Qr(_) => StatusCode::BAD_REQUEST,
            PhoneError::Pair(_)
            | PhoneError::Signal(_)
            | PhoneError::Refused(_)
            | PhoneError::Group(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, &error)
    }
}

impl From<FaultError> for Refusal {
    fn from(error: FaultError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &error)
    }
}

impl From<WaitError> for Refusal {
    fn from(error: WaitError) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, &error)
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: rejection.status(),
            message: rejection.body_text(),
        }
    }
}

type Answer = Result<Json<Value>, Refusal>;
type Body<T> = Result<Json<T>, JsonRejection>;

fn the(sim: &WeakSim) -> Result<Sim, Refusal> {
    sim.upgrade().ok_or_else(|| Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "the simulation has stopped".to_owned(),
    })
}

async fn state(State(sim): State<WeakSim>) -> Answer {
    Ok(Json(json!(the(&sim)?.state())))
}

async fn oracle(State(sim): State<WeakSim>) -> Answer {
    Ok(Json(json!(the(&sim)?.oracle())))
}

#[derive(Deserialize)]
struct NewPhone {
    number: String,
    #[serde(default)]
    name: String,
}

async fn add_phone(State(sim): State<WeakSim>, body: Body<NewPhone>) -> Answer {
    let Json(new) = body?;
    let phone = the(&sim)?.add_phone(&new.number, &new.name)?;
    Ok(Json(json!({ "number": phone.number() })))
}

#[derive(Deserialize)]
struct Scan {
    qr: String,
}

async fn scan(State(sim): State<WeakSim>, Path(number): Path<String>, body: Body<Scan>) -> Answer {
    let Json(Scan { qr }) = body?;
    let DeviceId { device, .. } = the(&sim)?.phone(&number)?.scan(&qr).await?;
    Ok(Json(json!({ "device": device })))
}

#[derive(Deserialize)]
struct TypedCode {
    code: String,
}

async fn enter_code(
    State(sim): State<WeakSim>,
    Path(number): Path<String>,
    body: Body<TypedCode>,
) -> Answer {
    let Json(TypedCode { code }) = body?;
    let DeviceId { device, .. } = the(&sim)?.phone(&number)?.enter_code(&code).await?;
    Ok(Json(json!({ "device": device })))
}

#[derive(Deserialize)]
struct NewMessage {
    to: String,
    text: String,
}

async fn send_text(
    State(sim): State<WeakSim>,
    Path(number): Path<String>,
    body: Body<NewMessage>,
) -> Answer {
    let Json(NewMessage { to, text }) = body?;
    let id = the(&sim)?.phone(&number)?.send_text(&to, &text)?;
    Ok(Json(json!({ "id": id })))
}

#[derive(Deserialize)]
struct Read {
    ids: Vec<String>,
}

async fn read(State(sim): State<WeakSim>, Path(number): Path<String>, body: Body<Read>) -> Answer {
    let Json(Read { ids }) = body?;
    the(&sim)?.phone(&number)?.read(&ids)?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Echo {
    prefix: Option<String>,
}

async fn echo(State(sim): State<WeakSim>, Path(number): Path<String>, body: Body<Echo>) -> Answer {
    let Json(Echo { prefix }) = body?;
    the(&sim)?.phone(&number)?.set_echo(prefix);
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Unlink {
    device: u16,
}

async fn unlink(
    State(sim): State<WeakSim>,
    Path(number): Path<String>,
    body: Body<Unlink>,
) -> Answer {
    let Json(Unlink { device }) = body?;
    the(&sim)?.phone(&number)?.unlink(device)?;
    Ok(Json(json!({})))
}

async fn remember(
    State(sim): State<WeakSim>,
    Path(number): Path<String>,
    body: Body<History>,
) -> Answer {
    let Json(history) = body?;
    the(&sim)?.phone(&number)?.remember(history);
    Ok(Json(json!({})))
}

async fn ledger(State(sim): State<WeakSim>, Path(number): Path<String>) -> Answer {
    Ok(Json(json!(the(&sim)?.phone(&number)?.ledger())))
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    device: Option<u16>,
    #[serde(flatten)]
    how: Disconnect,
}

async fn disconnect(
    State(sim): State<WeakSim>,
    Path(number): Path<String>,
    body: Body<Ending>,
) -> Answer {
    let Json(Ending { device, how }) = body?;
    let count = the(&sim)?.disconnect(&number, device, how);
    Ok(Json(json!({ "connections": count })))
}

#[derive(Deserialize)]
struct Wait {
    #[serde(default)]
    wait_ms: u64,
}

async fn connected(
    State(sim): State<WeakSim>,
    Path(number): Path<String>,
    Query(Wait { wait_ms }): Query<Wait>,
) -> Answer {
    let sim = the(&sim)?;
    let deadline = Duration::from_millis(wait_ms).min(WAIT_MAX);
    sim.wait_connected(&number, deadline).await?;
    Ok(Json(json!({})))
}

async fn inject(State(sim): State<WeakSim>, body: Body<Fault>) -> Answer {
    let Json(fault) = body?;
    let id = the(&sim)?.inject(fault)?;
    Ok(Json(json!({ "id": id })))
}

async fn clear_faults(State(sim): State<WeakSim>) -> Answer {
    the(&sim)?.clear_faults();
    Ok(Json(json!({})))
}

async fn clear_fault(State(sim): State<WeakSim>, Path(id): Path<u64>) -> Answer {
    match the(&sim)?.clear_fault(FaultId(id)) {
        true => Ok(Json(json!({}))),
        false => Err(Refusal {
            status: StatusCode::NOT_FOUND,
            message: "no such fault stands".to_owned(),
        }),
    }
}
