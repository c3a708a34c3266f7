//! From an archive into the store.
//!
//! 1. The account is there, or is made, as `needs_import`: no worker takes it.
//!    Its epoch goes on above the backup's.
//! 2. It is claimed, which nobody can who owns it at that time; the backup is
//!    held against what is stored ([`super::verdict`]).
//! 3. The session is written under the claim, every chain that sends moved ahead.
//! 4. Conversations are added where nothing is: what is stored stays as it is.
//! 5. One last commit makes it an account like any other, stopped unless told
//!    otherwise.
//!
//! Interrupted anywhere, it is `needs_import` still, and the same command goes on.

use std::sync::Arc;

use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::{self, EPOCH_FIELD, LEASE_EPOCH_FIELD, RELEASED_EPOCH_FIELD};
use coordinator_lib::store::{
    CommitOutcome, Document, Fields, Precondition, Query, StoreError, StoreTime, Value, Write,
    WriteOutcome, limits, query_all,
};
use session::{DataKey, HeadDoc, Kind, RecordError, SessionSnapshot, UnwrapError};
use whatsapp::baileys::Fault;
use whatsapp::stale::moved_ahead;

use super::archive::Entry;
use super::contents::SavedSession;
use super::verdict::{Compared, Verdict, judge};
use super::{AHEAD, NUMBERS_AHEAD};
use crate::account::term::{Term, TermError};
use crate::model::{AccountDoc, Desired, Read, Status, Stored as _};
use crate::operator::{Operator, OperatorError};

/// Attempts at a change that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;
/// Documents that are written at a time.
const BATCH: usize = 200;
/// What a person is told of an account that is being restored.
const UNDER_WAY: &str = "its restore was begun and has not ended: run `worker restore` again";

/// What is asked of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Also over a session that went on since the backup, or does not open.
    pub force_stale: bool,
    /// Connect the accounts at once.
    pub start: bool,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The account was made.
    Made,
    /// The backup's session took the stored one's place.
    Replaced,
    /// The stored session is the backup's.
    Kept,
}

/// Why an account was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It was erased, which is for good.
    #[error("the account was purged here, and its id is not used again")]
    Purged,
    /// The predecessor's.
    #[error("the account is the predecessor's and was never imported")]
    NotOurs,
    /// Another account of the same name.
    #[error("the account of this id is another one: its sessions have another key")]
    Another,
    /// The backup is the older one.
    #[error(
        "the stored session went on since the backup was made (version {stored} against {saved}): \
         with the older one, messages that came since may have to be sent again by their senders. \
         --force-stale restores it nevertheless; what is stored now is lost then"
    )]
    Stale {
        /// The stored session's version.
        stored: u64,
        /// The backup's.
        saved: u64,
    },
    /// A record that cannot be moved ahead.
    #[error("a record of the session cannot be moved ahead: {0}")]
    Record(#[from] Fault),
    /// A record that the session does not take.
    #[error("{0}")]
    Size(#[from] RecordError),
    /// A newer worker's document.
    #[error("the account was written by a newer worker (schema version {0})")]
    Newer(i64),
    /// The stored head does not open.
    #[error("{0}")]
    Keys(#[from] UnwrapError),
    /// The operator cannot work on it.
    #[error("{0}")]
    Operator(#[from] OperatorError),
    /// The claim was lost, or something cannot be written.
    #[error("{0}")]
    Term(#[from] TermError),
    /// Others keep changing the account.
    #[error("the account keeps changing; try again")]
    Busy,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
}

/// One account's restore.
pub struct Restore<'a> {
    /// Claims it.
    pub operator: &'a Operator,
    /// What was saved.
    pub saved: &'a SavedSession,
    /// The account's data key, from the backup.
    pub data_key: &'a DataKey,
    /// What is asked for.
    pub options: RestoreOptions,
}

impl Restore<'_> {
    /// Restores the session; conversations and [`Restore::open`] come after it.
    ///
    /// # Errors
    /// [`RestoreError`]; the account stays as it was, or is `needs_import`.
    pub async fn session(&self, snapshot: SessionSnapshot) -> Result<Restored, RestoreError> {
        let found = self.prepare().await?;
        let term = self.claim().await?;
        let is_later_epoch = found.is_some_and(|epoch| epoch > self.saved.epoch);
        let written = self.write(&term, snapshot, is_later_epoch).await;
        // Also after a failure: the next attempt needs it free.
        let given = self.operator.give_back(term).await;
        let restored = written?;
        given?;
        Ok(match found {
            None => Restored::Made,
            Some(_) => restored,
        })
    }

    fn account(&self) -> &AccountId {
        &self.saved.account
    }

    /// Makes sure that the account is there, is the backup's, and has an epoch
    /// above the backup's. The epoch that it had; `None` if it was made.
    async fn prepare(&self) -> Result<Option<i64>, RestoreError> {
        let store = &self.operator.parts().store;
        let paths = [self.account().account_path(), self.account().head_path()];
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = store.get(&paths).await?;
            let writes = match &snapshot.documents[..] {
                [Some(account), Some(head)] => match self.lift(account, head)? {
                    None => return Ok(Some(lease_epoch(account))),
                    Some(writes) => writes,
                },
                [Some(_), _] => return Err(RestoreError::NotOurs),
                _ => self.make()?,
            };
            let found = snapshot.documents[0].as_ref().map(lease_epoch);
            match store.commit(writes).await? {
                CommitOutcome::Committed(_) => return Ok(found),
                CommitOutcome::Rejected => {}
            }
        }
        Err(RestoreError::Busy)
    }

    fn make(&self) -> Result<Vec<Write>, RestoreError> {
        let parts = self.operator.parts();
        let saved = &self.saved.doc;
        let doc = AccountDoc {
            name: saved.name.clone(),
            phone: saved.phone.clone(),
            proxy: saved.proxy.clone(),
            available: saved.available,
            created_at: saved.created_at,
            desired: Desired::Stopped,
            status: Status::NeedsImport,
            action_required: Some(UNDER_WAY.to_owned()),
            event_seq: saved.event_seq.saturating_add(NUMBERS_AHEAD),
            ..AccountDoc::default()
        };
        // The same key: what it sealed in conversations opens still.
        let head = HeadDoc {
            wrapped_keys: parts.keys.wrap(
                parts.rng.as_ref(),
                self.data_key,
                self.account().as_str(),
            ),
        };
        let [mut account, mut head] =
            lease::create_account(self.account(), doc.to_document()?, head.to_document()?);
        let epoch = self.epoch_ahead();
        insert(
            &mut account,
            &[LEASE_EPOCH_FIELD, RELEASED_EPOCH_FIELD],
            epoch,
        );
        insert(&mut head, &[EPOCH_FIELD], epoch);
        Ok(vec![account, head])
    }

    /// Workers that have seen later epochs than the backup must see none twice.
    fn epoch_ahead(&self) -> i64 {
        self.saved.epoch.saturating_add(NUMBERS_AHEAD)
    }

    /// What has to be changed of an account that is there, before its claim.
    fn lift(
        &self,
        account: &Document,
        head: &Document,
    ) -> Result<Option<Vec<Write>>, RestoreError> {
        let doc = match AccountDoc::read(account)? {
            Read::Known(record) => record.value,
            Read::Newer(version) => return Err(RestoreError::Newer(version)),
        };
        match doc.desired {
            Desired::Running | Desired::Stopped | Desired::LoggedOut => {}
            Desired::Purging | Desired::Purged => return Err(RestoreError::Purged),
        }
        let keys = &self.operator.parts().keys;
        let stored: HeadDoc = head.decode()?;
        let stored = keys.unwrap(&stored.wrapped_keys, self.account().as_str())?;
        if !stored.is_same(self.data_key) {
            return Err(RestoreError::Another);
        }
        // The whole store is older than the backup.
        let is_behind = doc.lease_epoch < self.saved.epoch;
        if !is_behind || doc.lease_session.is_some() {
            return Ok(None);
        }
        let epoch = self.epoch_ahead();
        Ok(Some(vec![
            raise(account, &[LEASE_EPOCH_FIELD, RELEASED_EPOCH_FIELD], epoch),
            raise(head, &[EPOCH_FIELD], epoch),
        ]))
    }

    /// Claims it; if its session does not open and that is to be overwritten,
    /// without that session.
    async fn claim(&self) -> Result<Term, RestoreError> {
        match self.operator.claim(self.account()).await {
            Err(OperatorError::Term(TermError::Session(error))) if self.options.force_stale => {
                tracing::warn!(account.id = %self.account(), %error, "a session that does not open is removed");
                self.clear().await?;
                Ok(self.operator.claim(self.account()).await?)
            }
            other => Ok(other?),
        }
    }

    async fn clear(&self) -> Result<(), RestoreError> {
        let ownership = self.operator.hold(self.account()).await?;
        let store = Arc::clone(&self.operator.parts().store);
        let cleared = async {
            let query = Query::new(session::files_collection(self.account()));
            let files = query_all(store.as_ref(), &query, limits::COMMIT_WRITES_MAX * 10).await?;
            for batch in files.chunks(BATCH) {
                let removals = batch.iter().map(|file| Write::Delete {
                    path: file.path.clone(),
                    precondition: Precondition::None,
                });
                let _ = store.commit(removals.collect()).await?;
            }
            Ok::<(), StoreError>(())
        };
        let cleared = cleared.await;
        let _ = ownership
            .release(coordinator_lib::history::ReleaseReason::Asked)
            .await?;
        Ok(cleared?)
    }

    async fn write(
        &self,
        term: &Term,
        snapshot: SessionSnapshot,
        is_later_epoch: bool,
    ) -> Result<Restored, RestoreError> {
        let compared = Compared {
            stored: term.files.stats().last_version,
            saved: snapshot.version,
            is_later_epoch,
            is_under_way: term.doc.action_required.as_deref() == Some(UNDER_WAY),
        };
        match judge(compared) {
            Verdict::Keep => return Ok(Restored::Kept),
            Verdict::Restore => {}
            Verdict::Stale if self.options.force_stale => {}
            Verdict::Stale => {
                return Err(RestoreError::Stale {
                    stored: compared.stored,
                    saved: compared.saved,
                });
            }
        }
        // Before anything is written that would be new.
        let mut records = Vec::with_capacity(snapshot.records.len());
        for (kind, key, record) in snapshot.records {
            if let Some(record) = moved_ahead(kind, record, AHEAD)? {
                records.push((kind, key, record));
            }
        }
        let names = ["status", "statusAt", "desired", "actionRequired", "retryAt"];
        let now = StoreTime::from_datetime(term.clock().wall());
        term.change_account(&names, |doc| {
            doc.status = Status::NeedsImport;
            doc.status_at = Some(now);
            doc.desired = Desired::Stopped;
            doc.action_required = Some(UNDER_WAY.to_owned());
            doc.retry_at = None;
        })
        .await?;
        term.files.edit(|edit| {
            for (kind, key, record) in &records {
                edit.put(*kind, key, record.clone())?;
            }
            Ok::<(), RecordError>(())
        })?;
        let kept: std::collections::BTreeSet<(Kind, &[u8])> = records
            .iter()
            .map(|(kind, key, _)| (*kind, key.as_ref()))
            .collect();
        for kind in Kind::ALL {
            term.files
                .retain(kind, |key, _| kept.contains(&(kind, key.as_ref())));
        }
        term.files.flush().await.map_err(TermError::from)?;
        Ok(Restored::Replaced)
    }

    /// Adds conversations where there is nothing; how many documents.
    ///
    /// # Errors
    /// The store's.
    pub async fn conversations(&self, entries: Vec<Entry>) -> Result<u64, RestoreError> {
        let store = &self.operator.parts().store;
        let mut added = 0;
        for batch in batches(entries) {
            let outcomes = store.commit_each(batch).await?;
            let is_added = |outcome: &&WriteOutcome| matches!(outcome, WriteOutcome::Written(_));
            added += outcomes.iter().filter(is_added).count() as u64;
        }
        Ok(added)
    }

    /// Makes it an account like any other, unless it was one all along.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn open(&self) -> Result<(), RestoreError> {
        let term = self.operator.claim(self.account()).await?;
        let opened = match term.doc.action_required.as_deref() {
            Some(UNDER_WAY) => self.settle(&term).await,
            Some(_) | None => Ok(()),
        };
        let given = self.operator.give_back(term).await;
        opened?;
        given?;
        Ok(())
    }

    async fn settle(&self, term: &Term) -> Result<(), RestoreError> {
        let saved = &self.saved.doc;
        let start = self.options.start;
        let is_linked = saved.paired_at.is_some();
        let now = StoreTime::from_datetime(term.clock().wall());
        let names = [
            "status",
            "statusAt",
            "desired",
            "phone",
            "jid",
            "lid",
            "pushName",
            "pairedAt",
            "actionRequired",
            "lastError",
            "retryAt",
        ];
        term.change_account(&names, |doc| {
            (doc.status, doc.desired) = match start && is_linked {
                true => (Status::Idle, Desired::Running),
                false => (Status::Stopped, Desired::Stopped),
            };
            doc.status_at = Some(now);
            doc.phone.clone_from(&saved.phone);
            doc.jid.clone_from(&saved.jid);
            doc.lid.clone_from(&saved.lid);
            doc.push_name.clone_from(&saved.push_name);
            doc.paired_at = saved.paired_at;
            doc.action_required = None;
            doc.last_error = None;
            doc.retry_at = None;
        })
        .await?;
        Ok(())
    }
}

fn lease_epoch(account: &Document) -> i64 {
    match account.fields.get(LEASE_EPOCH_FIELD) {
        Some(Value::Int(epoch)) => *epoch,
        Some(_) | None => 0,
    }
}

fn insert(write: &mut Write, names: &[&str], number: i64) {
    if let Write::Set { fields, .. } = write {
        for name in names {
            fields.insert((*name).to_owned(), Value::Int(number));
        }
    }
}

fn raise(document: &Document, names: &[&str], number: i64) -> Write {
    let fields: Fields = names
        .iter()
        .map(|name| ((*name).to_owned(), Value::Int(number)))
        .collect();
    Write::Update {
        path: document.path.clone(),
        fields,
        precondition: Precondition::Unchanged(document.update_time),
    }
}

/// Writes that add documents, as many at a time as the store takes.
fn batches(entries: Vec<Entry>) -> Vec<Vec<Write>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for Entry { path, fields } in entries {
        let write = Write::Set {
            path,
            fields,
            precondition: Precondition::Absent,
        };
        bytes += limits::write_bytes(&write);
        batch.push(write);
        if batch.len() == BATCH || bytes > limits::COMMIT_BYTES_MAX / 2 {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}
