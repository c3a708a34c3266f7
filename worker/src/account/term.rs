//! One claim of an account: everything that belongs to its epoch.
//!
//! The order is the protocol's: the session files are read *after* the claim was
//! acknowledged; at the end the store gate closes before the release is
//! committed. The session stays in memory for the whole claim, across
//! engines: what one engine has not made durable is not lost to the next.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::coordinator::{Ownership, ReleaseOutcome};
use coordinator_lib::fence::{
    FenceLimits, FencedError, FencedOutcome, FencedWriter, FencedWriterParts,
};
use coordinator_lib::gate::{CloseReason, Gates};
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::identity::AccountId;
use coordinator_lib::rng::SharedRng;
use coordinator_lib::store::{Precondition, Store, StoreError, StoreTime, Write};
use session::{
    DataKey, FLUSH_DELAY, Flusher, HeadDoc, KeyRing, SessionError, SessionFiles, SessionParts,
    UnwrapError,
};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::rewrap::{Rewrap, RewrapOutcome};
use crate::events::{Journal, JournalParts};
use crate::groups::keeper::GroupNewsBoard;
use crate::messages::contacts::ContactBook;
use crate::messages::expiry::NextExpiry;
use crate::messages::presence::Presences;
use crate::messages::receipts::SentIndex;
use crate::messages::threads::ThreadBook;
use crate::model::{AccountDoc, EventDoc, LastError, Read, Status, Stored, queries};
use crate::outbox::marks::InboundMarks;
use crate::webhooks::lanes::LaneBoard;

/// What a person is told of an account whose session is damaged.
const SESSION_DAMAGED: &str = "its stored session was altered, or put back from an older time: \
     restore the database or a backup (`worker restore --force-stale`), then start the account; or \
     log it out and link it anew";

/// Attempts at a change that others' changes keep getting ahead of.
const CHANGE_ATTEMPTS_MAX: usize = 8;

/// What a claim needs.
#[derive(Clone)]
pub struct TermParts {
    /// The documents.
    pub store: Store,
    /// Opens data keys.
    pub keys: Arc<KeyRing>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: SharedRng,
    /// How long writes are tried.
    pub limits: FenceLimits,
    /// Owns the tasks.
    pub tracker: TaskTracker,
}

/// One claim.
pub struct Term {
    /// The account.
    pub account: AccountId,
    /// The account document, as it was after the claim.
    pub doc: AccountDoc,
    /// What stands in the way of every write of this epoch.
    pub gates: Gates,
    /// Through which everything but session files is written.
    pub journal: Journal,
    /// The session.
    pub files: SessionFiles,
    /// The account's data key.
    pub data_key: Arc<DataKey>,
    /// Which thread a chat belongs to.
    pub threads: Arc<ThreadBook>,
    /// Who is who.
    pub contacts: Arc<ContactBook>,
    /// What was sent lately.
    pub sent: Arc<SentIndex>,
    /// When the next message is to be gone.
    pub expiries: Arc<NextExpiry>,
    /// Tells that a file has come that is to be kept.
    pub files_came: Arc<Notify>,
    /// Who was last seen doing what.
    pub presences: Arc<Presences>,
    /// What is to be asked about groups.
    pub groups: Arc<GroupNewsBoard>,
    /// Who has just written here.
    pub marks: Arc<InboundMarks>,
    /// How far webhooks are.
    pub lanes: Arc<LaneBoard>,
    /// The right to act for the account.
    pub ownership: Ownership,
    writer: FencedWriter,
    flusher: Flusher,
    rewrap: Rewrap,
    parts: TermParts,
}

/// Why there is no term.
#[derive(Debug, thiserror::Error)]
pub enum TermError {
    /// The account's document or head is gone.
    #[error("account was removed")]
    Missing,
    /// A newer worker wrote the account.
    #[error("account was written by a newer worker (schema version {0})")]
    Newer(i64),
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// The data key does not open.
    #[error("data key of the account does not open with this key ring")]
    Keys(#[from] UnwrapError),
    /// The session cannot be read.
    #[error("session of the account cannot be read")]
    Session(#[from] SessionError),
    /// The claim was lost before anything began.
    #[error("another epoch owns the account")]
    Lost,
}

/// What a claim proved, before anything is built on it.
struct Facts {
    doc: AccountDoc,
    data_key: DataKey,
    /// The data key is to be wrapped anew.
    is_due: bool,
    seq: i64,
}

impl Term {
    /// Reads everything that belongs to an account that was claimed.
    ///
    /// # Errors
    /// [`TermError`]; the account is released again.
    pub async fn begin(parts: TermParts, ownership: Ownership) -> Result<Self, TermError> {
        let account = ownership.account().clone();
        let revisions = parts.keys.revisions();
        let read = match read_account(&parts, &account).await {
            Ok(read) => read,
            Err(error) => return Err(give_back(ownership, error).await),
        };
        let gates = ownership.gates();
        let writer = FencedWriter::spawn(
            FencedWriterParts {
                store: Arc::clone(&parts.store),
                fence: ownership.fence().clone(),
                gates: gates.clone(),
                clock: Arc::clone(&parts.clock),
                rng: Arc::clone(&parts.rng),
                limits: parts.limits.clone(),
            },
            &parts.tracker,
        );
        let loaded = SessionFiles::load(SessionParts {
            account: account.clone(),
            store: Arc::clone(&parts.store),
            writer: writer.clone(),
            data_key: read.data_key.clone(),
            clock: Arc::clone(&parts.clock),
            rng: Arc::clone(&parts.rng),
        });
        let files = match loaded.await {
            Ok(files) => files,
            Err(error) => {
                gates.freeze(CloseReason::Stopped);
                if error.is_damage() {
                    ask_for_help(&parts, &account, &error).await;
                }
                return Err(give_back(ownership, error.into()).await);
            }
        };
        let journal = Journal::spawn(
            JournalParts {
                account_id: account.to_string(),
                store: Arc::clone(&parts.store),
                writer: writer.clone(),
                clock: Arc::clone(&parts.clock),
                rng: Arc::clone(&parts.rng),
                seq: read.seq,
            },
            &parts.tracker,
        );
        let flusher = files.spawn_flusher(&parts.tracker, FLUSH_DELAY);
        let rewrap = Rewrap {
            store: Arc::clone(&parts.store),
            keys: Arc::clone(&parts.keys),
            clock: Arc::clone(&parts.clock),
            rng: Arc::clone(&parts.rng),
            account: account.clone(),
            data_key: read.data_key.clone(),
            fence: ownership.fence().clone(),
            gate: gates.store.clone(),
        };
        parts
            .tracker
            .spawn(rewrap.clone().keep(revisions, read.is_due));
        let threads = ThreadBook::new(account.to_string(), Arc::clone(&parts.store));
        let contacts = ContactBook::new(account.to_string(), Arc::clone(&parts.store));
        Ok(Self {
            account,
            doc: read.doc,
            gates,
            journal,
            files,
            data_key: Arc::new(read.data_key),
            threads: Arc::new(threads),
            contacts: Arc::new(contacts),
            sent: Arc::default(),
            expiries: Arc::default(),
            files_came: Arc::default(),
            presences: Arc::default(),
            groups: Arc::default(),
            marks: Arc::default(),
            lanes: Arc::default(),
            ownership,
            writer,
            flusher,
            rewrap,
            parts,
        })
    }

    /// The documents.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Through which documents of the account are written.
    pub fn writer(&self) -> &FencedWriter {
        &self.writer
    }

    /// Time.
    pub fn clock(&self) -> &SharedClock {
        &self.parts.clock
    }

    /// Randomness.
    pub fn rng(&self) -> &SharedRng {
        &self.parts.rng
    }

    /// Runs something that belongs to the claim and that nobody waits for.
    pub fn track(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.parts.tracker.spawn(work);
    }

    /// The epoch that the claim began.
    pub fn epoch(&self) -> i64 {
        self.ownership.fence().epoch
    }

    /// Wraps the data key anew, if that is due.
    ///
    /// # Errors
    /// The store's.
    pub async fn rewrap(&self) -> Result<RewrapOutcome, StoreError> {
        self.rewrap.once().await
    }

    /// Commits documents of the account under this claim, all or none.
    ///
    /// # Errors
    /// [`TermError::Lost`] if the claim is; the store's.
    pub async fn commit(&self, batch: Vec<Write>) -> Result<FencedOutcome, TermError> {
        self.writer
            .commit(batch)
            .await
            .map_err(|error| match error {
                FencedError::Fenced | FencedError::GateClosed(_) => TermError::Lost,
                FencedError::Invalid { reason } => StoreError::Invalid { reason }.into(),
                FencedError::Unavailable(error) => error.into(),
            })
    }

    /// Changes named fields of the account's document under this claim. For
    /// tools: the account's task keeps a record of its own.
    ///
    /// # Errors
    /// As [`Term::commit`]; [`TermError::Missing`].
    pub async fn change_account(
        &self,
        names: &[&str],
        apply: impl Fn(&mut AccountDoc) + Send,
    ) -> Result<(), TermError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let snapshot = self.store().get(&[self.account.account_path()]).await?;
            let document = snapshot.documents.into_iter().flatten().next();
            let mut record = match AccountDoc::read(&document.ok_or(TermError::Missing)?)? {
                Read::Known(record) => record,
                Read::Newer(version) => return Err(TermError::Newer(version)),
            };
            apply(&mut record.value);
            let write = Write::Update {
                path: record.path,
                fields: record.value.named(names)?,
                precondition: Precondition::Unchanged(record.update_time),
            };
            match self.commit(vec![write]).await? {
                FencedOutcome::Committed(_) => return Ok(()),
                // Somebody else changed the account: look again.
                FencedOutcome::Lost => {}
            }
        }
        Err(StoreError::Contended {
            reason: "the account's document kept changing".to_owned(),
        }
        .into())
    }

    /// Ends the claim in order: flush, close, release. There is no engine any
    /// more.
    ///
    /// # Errors
    /// The store failed; the lease stands until it ends by itself.
    pub async fn release(
        self,
        reason: ReleaseReason,
        limit: Duration,
    ) -> Result<ReleaseOutcome, StoreError> {
        let clock = &self.parts.clock;
        let orderly = async {
            self.journal.settled().await;
            if let Err(error) = self.flusher.stop().await {
                tracing::warn!(account.id = %self.account, %error, "session was not flushed before the release");
            }
            self.writer.idle().await;
        };
        tokio::select! {
            biased;
            () = orderly => {}
            () = clock.sleep(limit) => {
                tracing::warn!(account.id = %self.account, "writes did not settle before the release");
            }
        }
        self.gates.freeze(CloseReason::Released);
        tokio::select! {
            biased;
            () = self.gates.store.drained() => {}
            () = clock.sleep(limit) => {}
        }
        self.ownership.release(reason).await
    }

    /// Ends a claim that was lost, or must be taken for lost: nothing more is
    /// written.
    pub fn abandon(self, reason: CloseReason) {
        self.ownership.freeze(reason);
        self.gates.freeze(reason);
    }
}

async fn read_account(parts: &TermParts, account: &AccountId) -> Result<Facts, TermError> {
    let snapshot = parts
        .store
        .get(&[account.account_path(), account.head_path()])
        .await?;
    let [Some(document), Some(head)] = &snapshot.documents[..] else {
        return Err(TermError::Missing);
    };
    let doc = match AccountDoc::read(document)? {
        Read::Known(record) => record.value,
        Read::Newer(version) => return Err(TermError::Newer(version)),
    };
    let head: HeadDoc = head.decode()?;
    let data_key = parts.keys.unwrap(&head.wrapped_keys, account.as_str())?;
    let page = parts
        .store
        .query(&queries::event_last(account.as_str())?)
        .await?;
    let last = page.documents.first().and_then(EventDoc::read_or_skip);
    let seq = last.map_or(0, |record| record.value.seq).max(doc.event_seq);
    Ok(Facts {
        doc,
        data_key,
        is_due: parts.keys.is_due(&head.wrapped_keys),
        seq,
    })
}

/// Says in the account that its session is damaged, while it is ours. Nothing is
/// connected with it; once it is put right, a start tries again.
async fn ask_for_help(parts: &TermParts, account: &AccountId, error: &SessionError) {
    let said = async {
        let snapshot = parts.store.get(&[account.account_path()]).await?;
        let Some(document) = snapshot.documents.into_iter().flatten().next() else {
            return Ok(());
        };
        let Read::Known(mut record) = AccountDoc::read(&document)? else {
            return Ok(());
        };
        let now = StoreTime::from_datetime(parts.clock.wall());
        let doc = &mut record.value;
        doc.status = Status::Failed;
        doc.status_at = Some(now);
        doc.action_required = Some(SESSION_DAMAGED.to_owned());
        doc.last_error = Some(LastError {
            message: error.to_string(),
            at: now,
            stage: None,
            retry_at: None,
        });
        let names = ["status", "statusAt", "actionRequired", "lastError"];
        let write = Write::Update {
            fields: record.value.named(&names)?,
            path: record.path,
            precondition: Precondition::Unchanged(record.update_time),
        };
        parts.store.commit(vec![write]).await.map(drop)
    };
    let said: Result<(), StoreError> = said.await;
    if let Err(failure) = said {
        tracing::warn!(account.id = %account, error = %failure, "that a session is damaged could not be noted");
    }
}

async fn give_back(ownership: Ownership, error: TermError) -> TermError {
    match ownership.release(ReleaseReason::Failed).await {
        Ok(ReleaseOutcome::Released | ReleaseOutcome::Lost) => {}
        Err(failure) => {
            tracing::warn!(error = %failure, "claim was not given back; it ends by itself")
        }
    }
    error
}
