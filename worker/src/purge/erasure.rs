//! Removes what belongs to an account, collection by collection.
//!
//! Every step can be repeated: it looks for what is there and removes that, a
//! bounded number of documents at a time. Interrupted anywhere, the next run
//! finds what is left.

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{
    Collection, CommitOutcome, Cursor, Document, Fields, Precondition, Query, Store, StoreError,
    Value, Write,
};

use super::belongings::{BELONGINGS, Belonging, own_name, root_name};
use crate::media::{FileName, MediaStore, MediaStoreError};
use crate::model::{collections, queries};

/// Documents that are read and removed at a time.
const BATCH: u32 = 200;
/// Attempts at a change that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;
/// The list of accounts of a key or a webhook.
const ACCOUNTS: &str = "accounts";
/// What an entry of the audit log is about.
const SUBJECT: &str = "subject";
/// The file that a message is sent with.
const MEDIA_ID: &str = "mediaId";
/// Whose a document is.
const ACCOUNT_ID: &str = "accountId";

/// Why not everything was removed.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// A file was not removed.
    #[error("a file was not removed: {0}")]
    Media(#[from] MediaStoreError),
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nothing is left but the roots.
    End,
    /// The time was up.
    Limit,
}

/// One run.
pub(super) struct Erasure<'a> {
    pub(super) store: &'a Store,
    pub(super) media: &'a MediaStore,
    pub(super) clock: &'a SharedClock,
    pub(super) account: &'a AccountId,
    /// Not longer than until then.
    pub(super) until: Boottime,
    /// Documents that were removed.
    pub(super) removed: u64,
}

impl Erasure<'_> {
    /// Removes everything that the table names, but for the roots.
    pub(super) async fn run(&mut self) -> Result<Reached, EraseError> {
        for (name, belonging, _) in BELONGINGS {
            let reached = match belonging {
                Belonging::Root | Belonging::Nobodys(_) => Reached::End,
                Belonging::BelowRoot => self.below_root(name).await?,
                Belonging::ById => self.by_id(name).await?,
                Belonging::ByAccount => self.all(self.of_account(name)?).await?,
                Belonging::Below(parent) => self.below(name, parent).await?,
                Belonging::ByUse => self.files().await?,
                Belonging::Listed => self.listed(name).await?,
                Belonging::Named => self.named(name).await?,
            };
            if reached == Reached::Limit {
                return Ok(Reached::Limit);
            }
        }
        // Without a place there are no files.
        if self.media.is_there() {
            self.media.remove_received(self.account.as_str()).await?;
        }
        Ok(Reached::End)
    }

    fn is_over(&self) -> bool {
        self.clock.boottime() >= self.until
    }

    fn of_account(&self, collection: &str) -> Result<Query, StoreError> {
        queries::of_account(collection, self.account.as_str())
    }

    async fn below_root(&mut self, name: &str) -> Result<Reached, EraseError> {
        let root = Collection::new(root_name(name))?.doc(self.account.as_str())?;
        self.all(Query::new(root.collection_below(own_name(name))?))
            .await
    }

    async fn by_id(&mut self, name: &str) -> Result<Reached, EraseError> {
        let path = Collection::new(name)?.doc(self.account.as_str())?;
        let found = self.store.get(std::slice::from_ref(&path)).await?;
        self.remove(found.documents.into_iter().flatten().collect())
            .await?;
        Ok(Reached::End)
    }

    /// What lies below documents of the account, which themselves stay.
    async fn below(&mut self, name: &str, parent: &str) -> Result<Reached, EraseError> {
        let mut next: Option<Cursor> = None;
        loop {
            let query = self.of_account(parent)?.limit(BATCH);
            let query = match next.take() {
                Some(next) => query.start_after(next),
                None => query,
            };
            let page = self.store.query(&query).await?;
            for document in &page.documents {
                let below = document.path.collection_below(own_name(name))?;
                if self.all(Query::new(below)).await? == Reached::Limit {
                    return Ok(Reached::Limit);
                }
            }
            match page.next {
                Some(cursor) => next = Some(cursor),
                None => return Ok(Reached::End),
            }
        }
    }

    /// Everything that a query finds.
    async fn all(&mut self, query: Query) -> Result<Reached, EraseError> {
        let query = query.limit(BATCH);
        loop {
            let page = self.store.query(&query).await?;
            let is_last = page.next.is_none();
            self.remove(page.documents).await?;
            if is_last {
                return Ok(Reached::End);
            }
            if self.is_over() {
                return Ok(Reached::Limit);
            }
        }
    }

    async fn remove(&mut self, documents: Vec<Document>) -> Result<(), StoreError> {
        if documents.is_empty() {
            return Ok(());
        }
        let count = documents.len() as u64;
        let removals = documents.into_iter().map(|document| Write::Delete {
            path: document.path,
            precondition: Precondition::None,
        });
        // Without a condition none of them is rejected.
        let _ = self.store.commit(removals.collect()).await?;
        self.removed += count;
        Ok(())
    }

    /// Files of the account's messages that no other account's message names.
    async fn files(&mut self) -> Result<Reached, EraseError> {
        let mut next: Option<Cursor> = None;
        loop {
            let query = self.of_account(collections::WA_OUTBOX)?.limit(BATCH);
            let query = match next.take() {
                Some(next) => query.start_after(next),
                None => query,
            };
            let page = self.store.query(&query).await?;
            for message in &page.documents {
                if let Some(id) = message.fields.get(MEDIA_ID).and_then(Value::as_text) {
                    self.file(id).await?;
                }
            }
            match page.next {
                None => return Ok(Reached::End),
                Some(_) if self.is_over() => return Ok(Reached::Limit),
                Some(cursor) => next = Some(cursor),
            }
        }
    }

    /// The document goes first, on the condition that it is as it was before the
    /// messages were asked for: one that takes the file meanwhile wins.
    async fn file(&mut self, id: &str) -> Result<(), EraseError> {
        let path = collections::media(id)?;
        for _ in 0..ATTEMPTS_MAX {
            let found = self.store.get(std::slice::from_ref(&path)).await?;
            let document = found.documents.into_iter().flatten().next();
            if self.is_used_by_others(id).await? {
                return Ok(());
            }
            if let Some(document) = document {
                let removal = Write::Delete {
                    path: document.path,
                    precondition: Precondition::Unchanged(document.update_time),
                };
                match self.store.commit(vec![removal]).await? {
                    CommitOutcome::Committed(_) => self.removed += 1,
                    CommitOutcome::Rejected => continue,
                }
            }
            // Without a place there are no files.
            if self.media.is_there() {
                self.media.remove(&FileName::given(id)?).await?;
            }
            return Ok(());
        }
        Err(contended(id).into())
    }

    async fn is_used_by_others(&self, media: &str) -> Result<bool, StoreError> {
        let mut query = queries::wa_outbox_with(media)?.limit(BATCH);
        loop {
            let page = self.store.query(&query).await?;
            let own = self.account.as_str();
            let whose = |message: &Document| {
                message.fields.get(ACCOUNT_ID).and_then(Value::as_text) == Some(own)
            };
            if !page.documents.iter().all(whose) {
                return Ok(true);
            }
            match page.next {
                Some(cursor) => query = query.start_after(cursor),
                None => return Ok(false),
            }
        }
    }

    /// Takes the account out of lists. What was for this account alone is for
    /// none then; a webhook without accounts would never be sent anything.
    async fn listed(&mut self, name: &str) -> Result<Reached, EraseError> {
        let mut query = Query::new(Collection::new(name)?).limit(BATCH);
        loop {
            let page = self.store.query(&query).await?;
            for document in page.documents {
                self.unlist(name, document).await?;
            }
            match page.next {
                Some(cursor) => query = query.start_after(cursor),
                None => return Ok(Reached::End),
            }
        }
    }

    async fn unlist(&mut self, name: &str, mut document: Document) -> Result<(), EraseError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(rest) = without(&document.fields, self.account.as_str()) else {
                return Ok(());
            };
            let precondition = Precondition::Unchanged(document.update_time);
            let path = document.path.clone();
            let write = if rest.is_empty() && name == collections::WEBHOOKS {
                Write::Delete { path, precondition }
            } else {
                Write::Update {
                    path,
                    fields: [(ACCOUNTS.to_owned(), Value::List(rest))].into(),
                    precondition,
                }
            };
            if let CommitOutcome::Committed(_) = self.store.commit(vec![write]).await? {
                self.removed += 1;
                return Ok(());
            }
            // Changed meanwhile: look again.
            let found = self.store.get(std::slice::from_ref(&document.path)).await?;
            match found.documents.into_iter().flatten().next() {
                Some(now) => document = now,
                None => return Ok(()),
            }
        }
        Err(contended(document.path.id()).into())
    }

    /// Takes the account's name out of entries about it. That somebody purged it
    /// stays on record.
    async fn named(&mut self, name: &str) -> Result<Reached, EraseError> {
        let query = Query::new(Collection::new(name)?).filter(
            SUBJECT,
            coordinator_lib::store::Op::Eq,
            Value::Text(self.account.as_str().to_owned()),
        );
        let mut query = query.limit(BATCH);
        loop {
            let page = self.store.query(&query).await?;
            let blanks: Vec<Write> = page
                .documents
                .into_iter()
                .filter(|entry| !tells_of_a_purge(&entry.fields))
                .map(|entry| Write::Update {
                    path: entry.path,
                    fields: [(SUBJECT.to_owned(), Value::Null)].into(),
                    // Entries never change; one that was swept stays away.
                    precondition: Precondition::Exists,
                })
                .collect();
            if !blanks.is_empty() {
                self.removed += blanks.len() as u64;
                let _ = self.store.commit_each(blanks).await?;
            }
            match page.next {
                None => return Ok(Reached::End),
                Some(_) if self.is_over() => return Ok(Reached::Limit),
                Some(cursor) => query = query.start_after(cursor),
            }
        }
    }
}

/// The list of accounts without this one; `None` if it is not in it.
fn without(fields: &Fields, account: &str) -> Option<Vec<Value>> {
    let Some(Value::List(listed)) = fields.get(ACCOUNTS) else {
        return None;
    };
    let is_other = |value: &&Value| value.as_text() != Some(account);
    let rest: Vec<Value> = listed.iter().filter(is_other).cloned().collect();
    (rest.len() < listed.len()).then_some(rest)
}

fn tells_of_a_purge(entry: &Fields) -> bool {
    let text = |name: &str| entry.get(name).and_then(Value::as_text);
    text("method") == Some("DELETE") && text("route") == Some("/v1/accounts/{id}")
}

fn contended(what: &str) -> StoreError {
    StoreError::Contended {
        reason: format!("{what} kept changing"),
    }
}
