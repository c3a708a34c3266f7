//! Keys of the API, and what was done with them.

use bytes::Bytes;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::stored::Stored;
use crate::auth::Scope;

/// `api_keys/{id}`: what is known of a key. The key itself is nowhere.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyDoc {
    /// What people call it.
    pub name: String,
    /// The hash of its secret.
    pub hash: Bytes,
    /// Its rights.
    pub scopes: Vec<Scope>,
    /// The only accounts that it is for; all if absent.
    #[serde(default)]
    pub accounts: Option<Vec<String>>,
    /// When it was made.
    pub created_at: StoreTime,
    /// Since when it is good for nothing.
    #[serde(default)]
    pub revoked_at: Option<StoreTime>,
    /// When it was last used, to within some minutes.
    #[serde(default)]
    pub last_used_at: Option<StoreTime>,
}

impl Stored for ApiKeyDoc {}

/// `audit/{id}`: something that a client changed, or tried to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Audited)]
pub struct AuditDoc {
    /// When.
    pub at: StoreTime,
    /// The id of the key that it was done with.
    pub key_id: String,
    /// What people called the key then.
    pub key_name: String,
    /// `POST`, …
    pub method: String,
    /// The route, such as `/v1/accounts/{id}/stop`.
    pub route: String,
    /// What stood in the route's place of `{id}`.
    #[serde(default)]
    pub subject: Option<String>,
    /// The HTTP status of the answer.
    pub status: i64,
    /// The worker that answered.
    pub worker: String,
}

impl Stored for AuditDoc {}
