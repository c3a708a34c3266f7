//! Sessions of links that are gone: put away before the account is linked anew,
//! and erased once their time is over, or when somebody asks for that.
//!
//! A record ([`SessionArchiveDoc`]) names the documents and is written with the
//! first of them, so nothing is put away that a sweep does not find. The files
//! stay sealed with the account's data key.

use coordinator_lib::store::{
    Precondition, Query, Stamp, Store, StoreError, Write, limits, query_all,
};
use session::Kind;

use super::term::{Term, TermError};
use crate::model::stored::Record;
use crate::model::{SessionArchiveDoc, Stored, collections};

/// Session files that one archive holds at most: far more than there are.
const FILES_MAX: usize = 10_000;
/// Documents that are removed at a time.
const BATCH: usize = 200;

/// Keeps the stored session under another name and begins an empty one: the old
/// link is gone and the account will be linked anew.
///
/// # Errors
/// [`TermError`]: the claim was lost, or the store failed; the session is as it
/// was.
pub async fn keep(term: &Term) -> Result<(), TermError> {
    let account = &term.account;
    let query = Query::new(session::files_collection(account));
    let stored = query_all(term.store().as_ref(), &query, FILES_MAX).await?;
    let archive = collections::archived_files(account.as_str())?;
    let names: Vec<String> = stored
        .iter()
        .map(|file| format!("{}-{}", term.epoch(), file.path.id()))
        .collect();
    let record = SessionArchiveDoc {
        account_id: account.to_string(),
        epoch: term.epoch(),
        archived_at: Stamp::Commit,
        phone: term.doc.phone.clone(),
        files: names.clone(),
    };
    let mut batch = vec![Write::Set {
        path: collections::session_archive(account.as_str(), term.epoch())?,
        fields: record.to_document()?,
        precondition: Precondition::Absent,
    }];
    let mut bytes = 0;
    // Where a write is lost, it was made before: an epoch has one archive.
    for (name, file) in names.iter().zip(stored) {
        let write = Write::Set {
            path: archive.doc(name)?,
            fields: file.fields,
            precondition: Precondition::Absent,
        };
        bytes += limits::write_bytes(&write);
        batch.push(write);
        if bytes > limits::COMMIT_BYTES_MAX / 2 {
            let _ = term.commit(std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        let _ = term.commit(batch).await?;
    }
    for kind in Kind::ALL {
        term.files.retain(kind, |_, _| false);
    }
    term.files.flush().await?;
    tracing::info!(account.id = %account, "old session archived");
    Ok(())
}

/// Erases an archive: its files, and then the record. Can be repeated; nobody
/// writes to an archive that is there.
///
/// # Errors
/// The store's; what was erased by then is, and the record still names the rest.
pub async fn erase(store: &Store, record: &Record<SessionArchiveDoc>) -> Result<(), StoreError> {
    let archived = &record.value;
    let archive = collections::archived_files(&archived.account_id)?;
    let remove = |path| Write::Delete {
        path,
        precondition: Precondition::None,
    };
    for names in archived.files.chunks(BATCH) {
        let paths = names.iter().map(|name| archive.doc(name));
        let removals: Result<Vec<Write>, StoreError> = paths.map(|path| path.map(remove)).collect();
        // Without a condition none of them is rejected.
        let _ = store.commit(removals?).await?;
    }
    let _ = store.commit(vec![remove(record.path.clone())]).await?;
    Ok(())
}
