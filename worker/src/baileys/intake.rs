//! One session into an account.
//!
//! 1. The account and its head come to be in one commit, with the status
//!    `needs_import`: no worker takes it.
//! 2. It is claimed; the records and the sealed original are written under the
//!    claim, after whatever an attempt before had left there was removed.
//! 3. One last commit makes it an account that runs; then it is given back.
//!
//! Interrupted anywhere, it is `needs_import` still, and the same command goes
//! on: nothing ever runs with half a session.

use coordinator_lib::identity::AccountId;
use coordinator_lib::lease;
use coordinator_lib::store::{
    CommitOutcome, Document, Fields, Precondition, StoreError, StoreTime, Value, Write,
};
use session::{DataKey, HeadDoc, Kind, RecordError};
use whatsapp::baileys::{Files, Imported};

use super::original;
use crate::account::term::{Term, TermError};
use crate::model::account::OriginalDoc;
use crate::model::{AccountDoc, Desired, Read, Status, Stored};
use crate::operator::{Operator, OperatorError};

/// Attempts at a change that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;
/// What a person is told of an account that is being imported.
const UNDER_WAY: &str = "its import was begun and has not ended: run `worker import-baileys` again";

/// What is imported into which account.
pub struct Intake<'a> {
    /// The account's id.
    pub account: AccountId,
    /// What it is called, if it is new.
    pub name: String,
    /// The session.
    pub session: &'a Imported,
    /// The files that it was read from.
    pub files: &'a Files,
    /// Whether it is to be connected at once.
    pub start: bool,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntakeOutcome {
    /// The session is the account's.
    Imported,
    /// The account has this session, or one that followed it, already.
    AlreadyThere,
}

/// Why a session was not imported.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The account is somebody's.
    #[error("the account is linked already, to another number or device: give another id")]
    Occupied,
    /// The old program, or a worker, has it.
    #[error("{by} holds the account: stop that process first; two with one session destroy it")]
    Held {
        /// Who.
        by: String,
    },
    /// The operator cannot work on it.
    #[error("{0}")]
    Operator(#[from] OperatorError),
    /// The account was erased.
    #[error("the account was purged, and its id is not used again: give another id")]
    Purged,
    /// A record that the session does not take.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// A newer worker's document.
    #[error("the account was written by a newer worker (schema version {0})")]
    Newer(i64),
    /// Others keep changing the account.
    #[error("the account keeps changing; try again")]
    Busy,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The claim was lost, or something cannot be written.
    #[error("{0}")]
    Term(#[from] TermError),
}

impl Intake<'_> {
    /// Imports it.
    ///
    /// # Errors
    /// [`IntakeError`]; the account stays as it was, or `needs_import`.
    pub async fn run(&self, operator: &Operator) -> Result<IntakeOutcome, IntakeError> {
        if self.prepare(operator).await? == Prepared::AlreadyThere {
            return Ok(IntakeOutcome::AlreadyThere);
        }
        let term = match operator.claim(&self.account).await {
            Err(OperatorError::Held) => {
                return Err(IntakeError::Held {
                    by: "a worker".to_owned(),
                });
            }
            other => other?,
        };
        let filled = self.fill(&term).await;
        // Also after a failure: the next attempt needs it free.
        let given = operator.give_back(term).await;
        filled?;
        given?;
        Ok(IntakeOutcome::Imported)
    }

    /// Makes sure that the account is there, with a head, and that nobody runs
    /// it.
    async fn prepare(&self, operator: &Operator) -> Result<Prepared, IntakeError> {
        let store = &operator.parts().store;
        for _ in 0..ATTEMPTS_MAX {
            let paths = [self.account.account_path(), self.account.head_path()];
            let snapshot = store.get(&paths).await?;
            let writes = match &snapshot.documents[..] {
                [Some(account), Some(_)] => match self.look(account)? {
                    Next::Go => return Ok(Prepared::Ready),
                    Next::AlreadyThere => return Ok(Prepared::AlreadyThere),
                    Next::Write(write) => vec![write],
                },
                [Some(account), _] => self.adopt(operator, account, snapshot.read_time)?,
                _ => self.create(operator, self.name.clone())?.into(),
            };
            match store.commit(writes).await? {
                CommitOutcome::Committed(_) => return Ok(Prepared::Ready),
                CommitOutcome::Rejected => {}
            }
        }
        Err(IntakeError::Busy)
    }

    /// What is to be done with an account of ours.
    fn look(&self, document: &Document) -> Result<Next, IntakeError> {
        let record = match AccountDoc::read(document)? {
            Read::Known(record) => record,
            Read::Newer(version) => return Err(IntakeError::Newer(version)),
        };
        let mut doc = record.value;
        match doc.desired {
            Desired::Running | Desired::Stopped | Desired::LoggedOut => {}
            Desired::Purging | Desired::Purged => return Err(IntakeError::Purged),
        }
        if doc.status == Status::NeedsImport {
            return Ok(Next::Go);
        }
        if doc.jid.as_ref() == Some(&self.session.own.jid) && doc.status != Status::LoggedOut {
            return Ok(Next::AlreadyThere);
        }
        if doc.jid.is_some() && doc.status != Status::LoggedOut {
            return Err(IntakeError::Occupied);
        }
        if let Some(by) = doc.claimed_by {
            return Err(IntakeError::Held {
                by: format!("worker {by}"),
            });
        }
        // Made by a client, and not linked: it waits for just this.
        doc.claimed_by = None;
        doc.status = Status::NeedsImport;
        doc.action_required = Some(UNDER_WAY.to_owned());
        Ok(Next::Write(Write::Update {
            path: record.path,
            fields: doc.named(&["status", "actionRequired"])?,
            precondition: Precondition::Unchanged(record.update_time),
        }))
    }

    /// Makes an account of the predecessor's one of ours. Its other fields stay.
    fn adopt(
        &self,
        operator: &Operator,
        document: &Document,
        now: StoreTime,
    ) -> Result<Vec<Write>, IntakeError> {
        let text = |name: &str| document.fields.get(name).and_then(Value::as_text);
        // Its lease is a field that its own process keeps up to date.
        if let Some(Value::Time(until)) = document.fields.get("leaseUntil")
            && *until > now
        {
            let by = text("claimedBy").unwrap_or("the old program").to_owned();
            return Err(IntakeError::Held { by });
        }
        let name = text("name").unwrap_or(&self.name).to_owned();
        let [account, head] = self.create(operator, name)?;
        let Write::Set { path, fields, .. } = account else {
            return Err(IntakeError::Busy);
        };
        let account = Write::Update {
            path,
            fields,
            precondition: Precondition::Unchanged(document.update_time),
        };
        Ok(vec![account, head])
    }

    fn create(&self, operator: &Operator, name: String) -> Result<[Write; 2], IntakeError> {
        let parts = operator.parts();
        let doc = AccountDoc {
            name,
            phone: Some(format!("+{}", self.session.own.number)),
            desired: Desired::Stopped,
            status: Status::NeedsImport,
            action_required: Some(UNDER_WAY.to_owned()),
            created_at: StoreTime::from_datetime(parts.clock.wall()),
            ..AccountDoc::default()
        };
        let data_key = DataKey::generate(parts.rng.as_ref());
        let head = HeadDoc {
            wrapped_keys: parts
                .keys
                .wrap(parts.rng.as_ref(), &data_key, self.account.as_str()),
        };
        let account_fields: Fields = doc.to_document()?;
        Ok(lease::create_account(
            &self.account,
            account_fields,
            head.to_document()?,
        ))
    }

    /// Writes the session under the claim, and then what makes it run.
    async fn fill(&self, term: &Term) -> Result<(), IntakeError> {
        term.files.edit(|edit| {
            for ((kind, key), value) in &self.session.records {
                edit.put(*kind, key, value.clone())?;
            }
            Ok::<(), RecordError>(())
        })?;
        // What an earlier attempt left, and this session does not have.
        for kind in Kind::ALL {
            term.files.retain(kind, |key, _| {
                let place = (kind, key.to_vec());
                self.session.records.contains_key(&place)
            });
        }
        term.files.flush().await.map_err(TermError::from)?;
        original::keep(term, self.files).await?;
        self.open(term).await
    }

    /// The commit that makes it an account like any other.
    async fn open(&self, term: &Term) -> Result<(), IntakeError> {
        let own = &self.session.own;
        let now = StoreTime::from_datetime(term.clock().wall());
        term.change_account(
            &[
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
                "original",
            ],
            |doc| {
                doc.status = if self.start {
                    Status::Idle
                } else {
                    Status::Stopped
                };
                doc.desired = if self.start {
                    Desired::Running
                } else {
                    Desired::Stopped
                };
                doc.status_at = Some(now);
                doc.phone = Some(format!("+{}", own.number));
                doc.jid = Some(own.jid.clone());
                doc.lid.clone_from(&own.lid);
                doc.push_name.clone_from(&own.push_name);
                doc.paired_at = Some(now);
                doc.action_required = None;
                doc.last_error = None;
                doc.retry_at = None;
                doc.original = Some(OriginalDoc::default());
            },
        )
        .await?;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepared {
    Ready,
    AlreadyThere,
}

/// What is to be done with an account that is there.
enum Next {
    Go,
    AlreadyThere,
    Write(Write),
}
