//! Sessions that ended with a logout and are kept for a while.

use coordinator_lib::store::Stamp;
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `session_archives/{account}-{epoch}`: that a session is kept, and since when.
/// Its files lie in `wa_sessions/{account}/archive`, sealed as they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionArchiveDoc {
    /// Whose session it was.
    pub account_id: String,
    /// The epoch in which it was put away.
    pub epoch: i64,
    /// Since when, by the store's clock.
    pub archived_at: Stamp,
    /// The number that it was linked to.
    #[serde(default)]
    pub phone: Option<String>,
    /// The names of its documents.
    pub files: Vec<String>,
}

impl Stored for SessionArchiveDoc {}
