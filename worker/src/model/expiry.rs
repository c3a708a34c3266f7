//! When a message disappears.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `expiries/{id}`, with the id of the message, in the commit that stores it:
/// what the owner looks through, and gone together with the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiryDoc {
    /// Whose message.
    pub account_id: String,
    /// In which thread.
    pub thread_id: String,
    /// When it is to be gone.
    pub expires_at: StoreTime,
}

impl Stored for ExpiryDoc {}
