//! Who is not to be written to.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// `do_not_contact/{id}`: nobody writes to this address. The id is derived from
/// the address.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoNotContactDoc {
    /// A phone number's address, a LID or a group.
    pub address: String,
    /// Why, as whoever made the entry says.
    #[serde(default)]
    pub note: Option<String>,
    /// When the entry was made.
    pub since: StoreTime,
}

impl Stored for DoNotContactDoc {}

/// Hides whom it concerns.
impl std::fmt::Debug for DoNotContactDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DoNotContactDoc")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
