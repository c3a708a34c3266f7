//! The account's head, `wa_sessions/{account}`, as far as this crate is
//! concerned: the wrapped data key. Epoch and owner stand beside it and are
//! written by claims alone.

use coordinator_lib::store::{Fields, StoreError, Value, to_fields};
use serde::{Deserialize, Serialize};

use crate::WrappedKeys;

/// The field with the wrapped keys; a purged account's head has none.
pub const WRAPPED_KEYS_FIELD: &str = "wrappedKeys";

/// The version of the head that is written.
const SCHEMA_VERSION: i64 = 1;

/// What the head holds of the account's session. Reading ignores the fence's
/// fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadDoc {
    /// The data key, wrapped for each key of the ring.
    pub wrapped_keys: WrappedKeys,
}

impl HeadDoc {
    /// The fields of a new head, `schemaVersion` among them; the fence's are
    /// added by whoever creates the account.
    ///
    /// # Errors
    /// None in practice: wrapped keys have a form in every store.
    pub fn to_document(&self) -> Result<Fields, StoreError> {
        let mut fields = to_fields(self)?;
        fields.insert("schemaVersion".to_owned(), Value::Int(SCHEMA_VERSION));
        Ok(fields)
    }
}
