//! The account document, as its owner writes it: named fields, each time with
//! an `account.status` event, through the journal.
//!
//! What could not be written stays noted and goes with the next write.

use std::collections::BTreeSet;

use coordinator_lib::store::{Path, StoreError, StoreTime};

use crate::events::{Journal, JournalError};
use crate::model::{AccountDoc, EventKind, Status, collections};

/// The fields that an owner writes together: everything that goes with the
/// status.
const STATUS_FIELDS: [&str; 8] = [
    "status",
    "statusAt",
    "stage",
    "retryAt",
    "actionRequired",
    "attempt",
    "ladder",
    "startObeyed",
];

/// The owner's copy of the account document.
pub struct StatusRecord {
    account_id: String,
    path: Path,
    doc: AccountDoc,
    dirty: BTreeSet<&'static str>,
    /// What was written last, for the event.
    written: Status,
    reason: String,
}

impl StatusRecord {
    /// Begins with the document as it was read after the claim.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the id cannot be one.
    pub fn new(account_id: &str, doc: AccountDoc) -> Result<Self, StoreError> {
        Ok(Self {
            account_id: account_id.to_owned(),
            path: collections::account(account_id)?,
            written: doc.status,
            doc,
            dirty: BTreeSet::new(),
            reason: String::new(),
        })
    }

    /// The document as it will be.
    pub fn doc(&self) -> &AccountDoc {
        &self.doc
    }

    /// Changes what goes with the status, because of `reason`.
    pub fn change_status(&mut self, reason: &str, change: impl FnOnce(&mut AccountDoc)) {
        self.change(&STATUS_FIELDS, reason, change);
    }

    /// Changes the named fields, because of `reason`.
    pub fn change(
        &mut self,
        names: &[&'static str],
        reason: &str,
        change: impl FnOnce(&mut AccountDoc),
    ) {
        change(&mut self.doc);
        self.dirty.extend(names);
        reason.clone_into(&mut self.reason);
    }

    /// Whether there is something to write.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Writes what changed; nothing if nothing did.
    ///
    /// # Errors
    /// [`JournalError`]; what changed stays noted.
    pub async fn write(&mut self, journal: &Journal) -> Result<(), JournalError> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        // The sequence number is a floor for the next owner, so the one before
        // this event will do.
        self.doc.event_seq = self.doc.event_seq.max(journal.seq());
        self.dirty.insert("eventSeq");
        let names: Vec<&'static str> = self.dirty.iter().copied().collect();
        let fields = self
            .doc
            .named(&names)
            .map_err(|error| JournalError::Draft(error.into()))?;
        let (path, from, to, reason) = (
            self.path.clone(),
            self.written,
            self.doc.status,
            self.reason.clone(),
        );
        let applied = journal.apply(Vec::new(), move |draft| {
            draft.update(path.clone(), fields.clone());
            draft.event(
                EventKind::AccountStatus,
                [
                    ("from", from.to_string()),
                    ("to", to.to_string()),
                    ("reason", reason.clone()),
                ],
            );
            Ok(())
        });
        match applied.await {
            Ok(()) => {
                self.dirty.clear();
                self.written = to;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(account.id = %self.account_id, %error, "status was not written");
                Err(error)
            }
        }
    }

    /// Counts the end of a connection under its number and name.
    pub fn count_disconnect(&mut self, reason: &whatsapp::DisconnectReason, at: StoreTime) {
        self.change(
            &["disconnectCounts", "lastDisconnectReason"],
            reason.name(),
            |doc| {
                *doc.disconnect_counts.entry(reason.key()).or_default() += 1;
                doc.last_disconnect_reason = Some(crate::model::DisconnectReasonDoc {
                    code: i64::from(reason.code()),
                    name: reason.name().to_owned(),
                    at,
                });
            },
        );
    }
}
