//! A file that a client gave, to be sent.

use bytes::Bytes;
use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `media/{id}`: what is known of a file in the media store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaDoc {
    /// What its client says it is.
    pub mime_type: String,
    /// Its size.
    pub bytes: i64,
    /// When it came.
    pub created_at: StoreTime,
    /// It is there at least until then, and as long as a message that waits to
    /// be sent needs it. Using it moves this on.
    pub keep_until: StoreTime,
    /// Of a picture: pixels, as it is to be looked at.
    #[serde(default)]
    pub width: Option<i64>,
    /// Of a picture: pixels, as it is to be looked at.
    #[serde(default)]
    pub height: Option<i64>,
    /// Of a picture: a small JPEG of it, of some kilobytes.
    #[serde(default)]
    pub thumbnail: Option<Bytes>,
}

impl Stored for MediaDoc {}
