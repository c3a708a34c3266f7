//! An account: who it is, what is wanted of it, how it is.
//!
//! Three writers share the document, each writing only its own named fields:
//! clients (name, desired state), the owner (status and what belongs to it) and
//! the coordinator (the lease).

use std::collections::BTreeMap;

use coordinator_lib::store::{Fields, StoreError, StoreTime, Value};
use serde::{Deserialize, Serialize};
use session::DataKey;
use utoipa::ToSchema;
use whatsapp::Proxy;

use super::stored::{SCHEMA_VERSION, Stored};

/// `accounts/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountDoc {
    /// What people call it.
    pub name: String,
    /// The number, as its creator gave it or as pairing showed it.
    pub phone: Option<String>,
    /// What clients want.
    pub desired: Desired,
    /// Grows with each `start` (where there is no attempt) and each `restart`:
    /// a request to begin anew, whatever the account does now.
    pub start_request: i64,
    /// The last `startRequest` that the owner has obeyed.
    pub start_obeyed: i64,
    /// The epoch whose owner is asked to hand the account off.
    pub release_request: i64,
    /// Its own proxy.
    pub proxy: Option<SealedProxy>,
    /// It is to be shown as online while it is connected, or not to be; where
    /// nothing is said the engine's own ways hold.
    pub available: Option<bool>,
    /// Accounts of the same group are kept on different workers, where there is a
    /// choice.
    pub spread: Option<String>,
    /// When it was created.
    pub created_at: StoreTime,

    /// How it is.
    pub status: Status,
    /// When `status` last changed.
    pub status_at: Option<StoreTime>,
    /// While connecting: how far it has come (`dns` … `sync`).
    pub stage: Option<String>,
    /// Until when a ban, a lock or a pause lasts, where that is known.
    pub retry_at: Option<StoreTime>,
    /// What a person must do, where the worker cannot go on by itself.
    pub action_required: Option<String>,
    /// Connection attempts since the account was last stable; a new owner goes on
    /// with the one that it finds.
    pub attempt: i64,
    /// What else went wrong since then: the next owner goes on from here.
    pub ladder: LadderDoc,
    /// The last failure; kept after a recovery, for the record.
    pub last_error: Option<LastError>,
    /// Why the connection last ended.
    pub last_disconnect_reason: Option<DisconnectReasonDoc>,
    /// How often each reason was seen: `"428 connectionClosed"` → 3.
    pub disconnect_counts: BTreeMap<String, i64>,
    /// The QR code to scan, while there is one.
    pub qr: Option<SealedQr>,
    /// What WhatsApp wants of a passkey, while it waits for that.
    pub passkey: Option<SealedStep>,
    /// Own address by phone number, once paired.
    pub jid: Option<String>,
    /// Own address by LID, once paired.
    pub lid: Option<String>,
    /// The name that the phone carries.
    pub push_name: Option<String>,
    /// When it was linked.
    pub paired_at: Option<StoreTime>,
    /// While the files of an import are kept.
    pub original: Option<OriginalDoc>,
    /// A floor for the event sequence, in case the log itself was swept.
    pub event_seq: i64,
    /// Of a tombstone: when the account was purged. It has no other business
    /// field.
    pub purged_at: Option<StoreTime>,

    /// Lease: the owner's name. The lease's fields are read-only here.
    #[serde(skip_serializing)]
    pub claimed_by: Option<String>,
    /// Lease: since when.
    #[serde(skip_serializing)]
    pub claimed_at: Option<StoreTime>,
    /// Lease: until when, unless renewed.
    #[serde(skip_serializing)]
    pub lease_until: Option<StoreTime>,
    /// Lease: the fencing number, only ever grows.
    #[serde(skip_serializing)]
    pub lease_epoch: i64,
    /// Lease: the owner's worker session.
    #[serde(skip_serializing)]
    pub lease_session: Option<String>,
    /// Lease: the last epoch that ended in an orderly release.
    #[serde(skip_serializing)]
    pub released_epoch: Option<i64>,
    /// Lease: W3C trace context of the last claim or release.
    #[serde(skip_serializing)]
    pub lease_trace: Option<String>,
}

impl Default for AccountDoc {
    fn default() -> Self {
        Self {
            name: String::new(),
            phone: None,
            desired: Desired::Running,
            start_request: 0,
            start_obeyed: 0,
            release_request: 0,
            proxy: None,
            available: None,
            spread: None,
            created_at: StoreTime::from_micros(0),
            status: Status::Idle,
            status_at: None,
            stage: None,
            retry_at: None,
            action_required: None,
            attempt: 0,
            ladder: LadderDoc::default(),
            last_error: None,
            last_disconnect_reason: None,
            disconnect_counts: BTreeMap::new(),
            qr: None,
            passkey: None,
            jid: None,
            lid: None,
            push_name: None,
            paired_at: None,
            original: None,
            event_seq: 0,
            purged_at: None,
            claimed_by: None,
            claimed_at: None,
            lease_until: None,
            lease_epoch: 0,
            lease_session: None,
            released_epoch: None,
            lease_trace: None,
        }
    }
}

impl Stored for AccountDoc {}

impl AccountDoc {
    /// Whether this is a tombstone: for clients there is no such account.
    pub fn is_purged(&self) -> bool {
        self.desired == Desired::Purged
    }

    /// The named top-level fields of this document, for an update that touches
    /// nothing else.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when a name is not a field that may be written:
    /// the lease's are the coordinator's.
    pub fn named(&self, names: &[&str]) -> Result<Fields, StoreError> {
        let mut all = self.to_document()?;
        let mut fields = Fields::new();
        for name in names {
            let value = all.remove(*name).ok_or_else(|| StoreError::Invalid {
                reason: format!("account field {name} is not written here"),
            })?;
            fields.insert((*name).to_owned(), value);
        }
        fields.insert(
            SCHEMA_VERSION.to_owned(),
            Value::Int(<Self as Stored>::VERSION),
        );
        Ok(fields)
    }
}

/// The files of an import, which are kept until its session has proved itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OriginalDoc {
    /// For how long it has been well so far, as far as that is noted.
    pub healthy_seconds: i64,
}

/// What clients want of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Connected, or on the way there.
    #[default]
    Running,
    /// Off, with its session kept.
    Stopped,
    /// Unlinked from the phone; the session is archived.
    LoggedOut,
    /// Off, and then erased: no other wish comes after it.
    Purging,
    /// Erased: what is left is a tombstone.
    Purged,
}

impl Desired {
    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Desired::Running => "running",
            Desired::Stopped => "stopped",
            Desired::LoggedOut => "logged_out",
            Desired::Purging => "purging",
            Desired::Purged => "purged",
        }
    }
}

/// How an account is, in the names of the API.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not yet started.
    #[default]
    Idle,
    /// On the way to WhatsApp.
    Connecting,
    /// A QR code waits to be scanned.
    QrReady,
    /// Must be linked; a new QR code is made on request.
    NeedsQr,
    /// Scanned; the link is being made.
    Pairing,
    /// Frames flow.
    Connected,
    /// Not connected; tried again at `retryAt`.
    Disconnected,
    /// Banned by WhatsApp for a time.
    Banned,
    /// Locked by WhatsApp; tried again after a cool-down.
    Locked,
    /// Another client keeps taking the connection.
    Conflict,
    /// Connects, and is thrown out right away.
    Degraded,
    /// Unlinked; must be linked anew.
    LoggedOut,
    /// A person must act: see `actionRequired`.
    Failed,
    /// Off, as was asked.
    Stopped,
    /// An account of the predecessor, not yet imported.
    NeedsImport,
}

impl Status {
    /// All of them, in the order in which people list them.
    pub const ALL: [Status; 15] = [
        Status::Idle,
        Status::Connecting,
        Status::QrReady,
        Status::NeedsQr,
        Status::Pairing,
        Status::Connected,
        Status::Disconnected,
        Status::Banned,
        Status::Locked,
        Status::Conflict,
        Status::Degraded,
        Status::LoggedOut,
        Status::Failed,
        Status::Stopped,
        Status::NeedsImport,
    ];

    /// The status of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// The name in the store and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Idle => "idle",
            Status::Connecting => "connecting",
            Status::QrReady => "qr_ready",
            Status::NeedsQr => "needs_qr",
            Status::Pairing => "pairing",
            Status::Connected => "connected",
            Status::Disconnected => "disconnected",
            Status::Banned => "banned",
            Status::Locked => "locked",
            Status::Conflict => "conflict",
            Status::Degraded => "degraded",
            Status::LoggedOut => "logged_out",
            Status::Failed => "failed",
            Status::Stopped => "stopped",
            Status::NeedsImport => "needs_import",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong since an account was last stable, besides `attempt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LadderDoc {
    /// Locks (403).
    pub locks: u32,
    /// Errors of the server (500) in a row, each soon after connecting.
    pub early_errors: u32,
    /// A QR code was shown since the last request for one.
    pub qr_shown: bool,
    /// When foreign clients took the connection lately.
    pub conflicts: Vec<StoreTime>,
}

/// A failure, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// What happened; some texts are a contract (the connecting timeout's).
    pub message: String,
    /// When.
    pub at: StoreTime,
    /// How far the connection had come.
    #[serde(default)]
    pub stage: Option<String>,
    /// When it is tried again, if it is.
    #[serde(default)]
    pub retry_at: Option<StoreTime>,
}

/// Why a connection ended, under the predecessor's number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DisconnectReason)]
pub struct DisconnectReasonDoc {
    /// For example 428.
    pub code: i64,
    /// For example `connectionClosed`.
    pub name: String,
    /// When.
    pub at: StoreTime,
}

/// A QR code in flight. Its text holds the pairing secret, so it is sealed with
/// the account's data key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedQr {
    /// The text, sealed for the purpose [`QR_PURPOSE`].
    pub sealed: bytes::Bytes,
    /// After this it is of no use.
    pub expires_at: StoreTime,
    /// Counts the codes of one pairing, from 1.
    pub seq: i64,
}

/// The purpose under which a QR code is sealed with the data key.
pub const QR_PURPOSE: &str = "qr";

/// An account's own proxy, sealed: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedProxy {
    /// Its text, sealed for the purpose [`PROXY_PURPOSE`].
    pub sealed: bytes::Bytes,
    /// The same without credentials, for people.
    pub address: String,
}

/// The stored proxy does not open, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account's stored proxy cannot be read; set it anew")]
pub struct ProxyUnreadable;

impl SealedProxy {
    /// Opens it with the account's data key.
    ///
    /// # Errors
    /// [`ProxyUnreadable`].
    pub fn open(&self, data_key: &DataKey, account: &str) -> Result<Proxy, ProxyUnreadable> {
        let text = data_key
            .open_secret(account, PROXY_PURPOSE, &self.sealed)
            .map_err(|_| ProxyUnreadable)?;
        let text = std::str::from_utf8(&text).map_err(|_| ProxyUnreadable)?;
        text.parse().map_err(|_| ProxyUnreadable)
    }
}

/// The purpose under which a proxy is sealed with the data key.
pub const PROXY_PURPOSE: &str = "proxy";

/// A step of linking by passkey, sealed: its code is a secret as a QR code is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedStep {
    /// The step as JSON, sealed for the purpose [`PASSKEY_PURPOSE`].
    pub sealed: bytes::Bytes,
    /// Since when it waits.
    pub at: StoreTime,
}

/// The purpose under which a passkey's step is sealed with the data key.
pub const PASSKEY_PURPOSE: &str = "passkey";

impl std::fmt::Debug for SealedStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedStep")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SealedQr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedQr")
            .field("expires_at", &self.expires_at)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}
