//! `/v1/accounts/{id}/qr`: the code that the phone scans, in the form that the
//! client asks for. The code is a secret while it is valid: it is stored sealed
//! and never logged.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts;
use super::extract::{Id, Parameters};
use super::problem::{Problem, ProblemKind};
use super::sealed::{data_key, open_text};
use super::state::Api;
use crate::model::account::QR_PURPOSE;
use crate::model::{AccountDoc, SealedQr, Status};
use crate::qr;

/// Parameters of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QrParameters {
    /// The form; otherwise the header `Accept` decides.
    format: Option<Format>,
    /// Not looked at: a page adds it so that each code has an address of its own.
    #[serde(rename = "seq")]
    _seq: Option<i64>,
}

/// A form of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = QrFormat)]
pub(super) enum Format {
    Json,
    Png,
    Svg,
    /// Half-block characters, for a terminal.
    #[serde(alias = "txt")]
    Text,
}

/// The code as JSON.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QrCode)]
pub(super) struct CodeView {
    /// What is to be drawn.
    pub(super) qr: String,
    /// Counts the codes of a round.
    seq: i64,
    expires_at: StoreTime,
}

/// `GET /v1/accounts/{id}/qr`.
///
/// # Errors
/// `unknown_account`; `nothing_to_scan` with the reason; `not_acceptable`.
pub(super) async fn show(
    State(api): State<Api>,
    Id(id): Id,
    Parameters(parameters): Parameters<QrParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = match parameters.format {
        Some(format) => format,
        None => accepted(&headers)?,
    };
    let account = accounts::find(&api, &id).await?.value;
    let view = present(&api, &id, &account).await?;
    let code = &view.qr;
    let drawn = match format {
        Format::Json => return Ok(Json(view).into_response()),
        Format::Png => qr::png(code).map(|file| typed("image/png", file)),
        Format::Svg => qr::svg(code).map(|document| typed("image/svg+xml", document)),
        Format::Text => qr::terminal(code).map(|text| typed("text/plain; charset=utf-8", text)),
    };
    drawn.map_err(|error| not_drawn(&error))
}

/// The code that is to be scanned now.
///
/// # Errors
/// `nothing_to_scan` with the reason; `stored_data_unreadable`.
pub(super) async fn present(
    api: &Api,
    id: &str,
    account: &AccountDoc,
) -> Result<CodeView, Problem> {
    let now = StoreTime::from_datetime(api.clock().wall());
    let sealed = account.qr.as_ref();
    let Some(sealed) = sealed.filter(|qr| is_to_scan(account, qr, now)) else {
        return Err(nothing_to_scan(account));
    };
    Ok(CodeView {
        qr: open(api, id, sealed).await?,
        seq: sealed.seq,
        expires_at: sealed.expires_at,
    })
}

/// A code that cannot be drawn is a fault.
pub(super) fn not_drawn(error: &impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a QR code could not be drawn");
    Problem::new(
        ProblemKind::Internal,
        "the code could not be drawn; ask for it as it is (format=json, format=raw)",
    )
}

fn typed(content_type: &'static str, body: impl IntoResponse) -> Response {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))],
        body,
    )
        .into_response()
}

fn is_to_scan(account: &AccountDoc, qr: &SealedQr, now: StoreTime) -> bool {
    account.status == Status::QrReady && qr.expires_at > now
}

fn nothing_to_scan(account: &AccountDoc) -> Problem {
    let why = match account.status {
        Status::Connected => "the account is linked and connected",
        Status::Pairing => "the code was scanned; the link is being made",
        Status::Idle => "the account has not started yet; try again in a moment",
        Status::Connecting => "the account is on its way to WhatsApp; try again in a moment",
        Status::QrReady => "the next code is about to come; try again in a moment",
        Status::NeedsQr => {
            "the codes expired before one was scanned: POST /v1/accounts/{id}/start makes new ones"
        }
        Status::Disconnected | Status::Degraded => {
            "WhatsApp is not reached at the moment; lastError of the account says why, and it is \
             tried again at retryAt"
        }
        Status::Banned => "WhatsApp has banned the account for a time",
        Status::Locked => "WhatsApp has locked the account for a time",
        Status::Conflict => "another client uses the account's connection",
        Status::LoggedOut => {
            "the account was unlinked on the phone: POST /v1/accounts/{id}/start links it anew"
        }
        Status::Failed => "a person must act first: see actionRequired of the account",
        Status::Stopped => "the account is stopped: POST /v1/accounts/{id}/start starts it",
        Status::NeedsImport => "the account belongs to the old system and is not imported yet",
    };
    Problem::new(ProblemKind::NothingToScan, why).with("accountStatus", account.status.as_str())
}

async fn open(api: &Api, id: &str, sealed: &SealedQr) -> Result<String, Problem> {
    let data_key = data_key(api, id).await?;
    open_text(&data_key, id, QR_PURPOSE, &sealed.sealed)
}

/// The first form that the client accepts, by its own preference; JSON if it
/// takes anything.
fn accepted(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(accept) = headers.get(header::ACCEPT) else {
        return Ok(Format::Json);
    };
    let mut ranges: Vec<(&str, f32)> = accept
        .to_str()
        .unwrap_or("*/*")
        .split(',')
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            (name, quality.unwrap_or(1.0))
        })
        .filter(|(_, quality)| *quality > 0.0)
        .collect();
    // Stable: equal preferences keep the client's order.
    ranges.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    ranges
        .iter()
        .find_map(|(range, _)| format_of(range))
        .ok_or_else(|| {
            Problem::new(
                ProblemKind::NotAcceptable,
                "accept application/json, image/png, image/svg+xml or text/plain, or add ?format=",
            )
        })
}

fn format_of(range: &str) -> Option<Format> {
    match range {
        "application/json" | "application/*" | "*/*" => Some(Format::Json),
        "image/png" | "image/*" => Some(Format::Png),
        "image/svg+xml" => Some(Format::Svg),
        "text/plain" | "text/*" => Some(Format::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &'static str) -> Option<Format> {
        let headers = [(header::ACCEPT, HeaderValue::from_static(value))]
            .into_iter()
            .collect();
        accepted(&headers).ok()
    }

    #[test]
    fn the_clients_preference_decides() {
        assert_eq!(accepted(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(accepts("*/*"), Some(Format::Json));
        assert_eq!(accepts("image/png"), Some(Format::Png));
        assert_eq!(accepts("image/svg+xml, image/png;q=0.5"), Some(Format::Svg));
        assert_eq!(
            accepts("image/png;q=0.4, text/plain;q=0.9"),
            Some(Format::Text)
        );
        assert_eq!(
            accepts("image/avif, image/webp, image/*, */*;q=0.8"),
            Some(Format::Png)
        );
        assert_eq!(accepts("video/mp4"), None);
        assert_eq!(accepts("image/png;q=0, text/html"), None);
    }
}
