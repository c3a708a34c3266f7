//! People who are not written to: the do-not-contact list.
//!
//! One list for all accounts: who does not want to be written to does not want
//! it from another number either. It is looked at when a message is accepted,
//! and once more right before it leaves, so that an entry also stops what was
//! queued before. Entries are by address; a person's phone number and LID are
//! two, and both are looked for where both are known.

use coordinator_lib::store::{DocumentStore, Path, StoreError};

use crate::model::{collections, ids};
use crate::outbox::verdict::Reason;

/// Why such a message is given up.
pub fn reason() -> Reason {
    Reason::new(
        CODE,
        "the recipient is on the do-not-contact list; DELETE /v1/do-not-contact/{address} takes \
         an entry off",
    )
}

/// The code of that reason.
pub const CODE: &str = "do_not_contact";

/// Where the entry for an address is, or would be.
///
/// # Errors
/// [`StoreError::Invalid`], which a derived id never is.
pub fn path(address: &str) -> Result<Path, StoreError> {
    collections::do_not_contact(&ids::do_not_contact(address))
}

/// Whether any of these addresses is on the list, as it is now.
///
/// # Errors
/// The store's failure.
pub async fn any<'a>(
    store: &dyn DocumentStore,
    addresses: impl IntoIterator<Item = &'a str>,
) -> Result<bool, StoreError> {
    let mut paths = Vec::new();
    for address in addresses {
        let path = path(address)?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Ok(false);
    }
    let found = store.get(&paths).await?;
    Ok(found.documents.iter().any(Option::is_some))
}
