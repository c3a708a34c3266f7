//! Webhooks, how far each came with each account, and the log of deliveries.

use bytes::Bytes;
use coordinator_lib::store::{Stamp, StoreTime};
use serde::{Deserialize, Serialize};
use session::WrappedKeys;

use super::EventKind;
use super::stored::Stored;

/// `webhooks/{id}`: where events go.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDoc {
    /// What people call it.
    pub name: String,
    /// Where its events go.
    pub url: String,
    /// Of these accounts only; of all if absent.
    #[serde(default)]
    pub accounts: Option<Vec<String>>,
    /// Of these kinds only; all if absent.
    #[serde(default)]
    pub types: Option<Vec<EventKind>>,
    /// Whether anything is sent. Events wait while it is not.
    pub enabled: bool,
    /// The data key that its secret is sealed with, wrapped for the key ring.
    pub wrapped_keys: WrappedKeys,
    /// What deliveries are signed with.
    pub sealed_secret: Bytes,
    /// What they are signed with as well, for a while after a rotation.
    #[serde(default)]
    pub previous_secret: Option<PreviousSecretDoc>,
    /// What its deliveries look like.
    #[serde(default)]
    pub format: WebhookFormat,
    /// When it was made, by the store's clock: it gets what was stored later.
    pub created_at: Stamp,
}

impl Stored for WebhookDoc {}

/// The secret before the present one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousSecretDoc {
    /// The data key that it is sealed with, wrapped for the key ring.
    pub wrapped_keys: WrappedKeys,
    /// The secret.
    pub sealed_secret: Bytes,
    /// Not good any more from then on.
    pub until: StoreTime,
}

/// What the deliveries of a webhook look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// Events as `GET /v1/events` shows them.
    #[default]
    Leasehold,
    /// WAHA's events, with texts and numbers in them.
    Waha,
}

/// `webhook_lanes/{webhook}-{account}`: how far a webhook came with an account.
/// Written by the account's owner alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LaneDoc {
    /// Which webhook.
    pub webhook_id: String,
    /// Whose events.
    pub account_id: String,
    /// Every event up to and with this number was delivered, given up or not
    /// wanted.
    pub settled_seq: i64,
    /// Attempts at the event after it that failed.
    pub attempts: i64,
    /// Not before this is it tried again.
    pub next_attempt_at: Option<StoreTime>,
    /// Since when it fails.
    pub failing_since: Option<StoreTime>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl Stored for LaneDoc {}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// The receiver has it.
    Delivered,
    /// It failed and is tried again; the events behind it wait.
    Retrying,
    /// It was given up: a dead letter.
    Dead,
}

impl DeliveryState {
    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Delivered => "delivered",
            DeliveryState::Retrying => "retrying",
            DeliveryState::Dead => "dead",
        }
    }
}

/// `webhook_deliveries/{webhook}-{account}-{seq}`: what became of an event.
/// Written by the account's owner, but for `replay`, which clients set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryDoc {
    /// Which webhook.
    pub webhook_id: String,
    /// Whose event.
    pub account_id: String,
    /// The event's number.
    pub seq: i64,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// How it stands.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: i64,
    /// The status of the last answer, if there was one.
    #[serde(default)]
    pub status: Option<i64>,
    /// Why the last attempt failed.
    #[serde(default)]
    pub error: Option<String>,
    /// When the last attempt ended.
    pub at: StoreTime,
    /// How long it took.
    pub duration_ms: i64,
    /// A client wants it to be sent once more.
    pub replay: bool,
}

impl Stored for DeliveryDoc {}
