//! Somebody whom an account knows.

use coordinator_lib::store::StoreTime;
use serde::{Deserialize, Serialize};

use super::stored::Stored;
use super::thread::title_key;

/// `contacts/{id}`. One document a person, for whichever of the two addresses
/// is known; for the phone number's as soon as that is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContactDoc {
    /// Whose contact.
    pub account_id: String,
    /// The address by phone number, where known.
    #[serde(default)]
    pub pn: Option<String>,
    /// The address by LID, where known.
    #[serde(default)]
    pub lid: Option<String>,
    /// The name in the phone's address book.
    #[serde(default)]
    pub name: Option<String>,
    /// The name that this person goes by.
    #[serde(default)]
    pub push_name: Option<String>,
    /// What it is listed and searched by: the name in small letters, or the
    /// address where there is no name.
    pub name_key: String,
    /// When something of this was last learnt.
    pub updated_at: StoreTime,
}

impl Stored for ContactDoc {}

impl ContactDoc {
    /// The name to show: the address book's first.
    pub fn shown_name(&self) -> Option<&str> {
        self.name.as_deref().or(self.push_name.as_deref())
    }

    /// The `name_key` that belongs to the names and addresses.
    pub fn key(&self) -> String {
        let address = self.pn.as_deref().or(self.lid.as_deref());
        title_key(self.shown_name().or(address).unwrap_or_default())
    }
}

/// Names nobody.
impl std::fmt::Debug for ContactDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContactDoc").finish_non_exhaustive()
    }
}
