//! A file that a client gave, to be sent.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `media/{id}`: what is known of a file in the media folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaDoc {
    /// What its client says it is.
    pub mime_type: String,
    /// Its size.
    pub bytes: i64,
    /// When it came.
    pub created_at: StoreTime,
}

impl Stored for MediaDoc {}
