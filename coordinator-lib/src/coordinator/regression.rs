//! Notices a store that went back in time: pure.
//!
//! Epochs only grow. A document that was written later than another version of
//! it and names a smaller epoch comes from a restored backup; so, perhaps, do
//! the session files, and going on with them would fork a session. Whoever
//! notices claims nothing any more.

use std::collections::BTreeMap;

use crate::identity::AccountId;
use crate::lease::LEASE_EPOCH_FIELD;
use crate::store::{Document, StoreTime, Value};

/// The highest epoch that was seen of each account, and in which version.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    seen: BTreeMap<AccountId, (i64, StoreTime)>,
    went_back: bool,
}

impl Epochs {
    /// Takes in an account's document; true if it is the first sign that the
    /// store went back.
    pub(super) fn look(&mut self, account: &AccountId, document: &Document) -> bool {
        let epoch = match document.fields.get(LEASE_EPOCH_FIELD) {
            Some(Value::Int(epoch)) => *epoch,
            Some(_) | None => return false,
        };
        let Some(seen) = self.seen.get_mut(account) else {
            self.seen
                .insert(account.clone(), (epoch, document.update_time));
            return false;
        };
        // An older version that comes late says nothing.
        if document.update_time <= seen.1 {
            return false;
        }
        if epoch < seen.0 {
            return !std::mem::replace(&mut self.went_back, true);
        }
        *seen = (epoch, document.update_time);
        false
    }

    /// Whether the store went back.
    pub(super) fn went_back(&self) -> bool {
        self.went_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fields;

    fn document(epoch: i64, time: i64) -> Document {
        Document {
            path: AccountId::new("a1").unwrap().account_path(),
            fields: Fields::from([(LEASE_EPOCH_FIELD.to_owned(), epoch.into())]),
            update_time: StoreTime::from_micros(time),
        }
    }

    #[test]
    fn a_later_version_with_a_smaller_epoch_gives_the_store_away() {
        let account = AccountId::new("a1").unwrap();
        let mut epochs = Epochs::default();
        for (epoch, time) in [(3, 30), (5, 50), (4, 40), (5, 60)] {
            assert!(!epochs.look(&account, &document(epoch, time)));
        }
        assert!(!epochs.went_back());
        assert!(epochs.look(&account, &document(4, 70)));
        assert!(epochs.went_back());
        assert!(!epochs.look(&account, &document(4, 80)), "said once");
    }
}
