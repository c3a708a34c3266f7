//! The files as they came, kept beside the session, sealed with the account's
//! data key: the way back, should something have gone wrong.
//!
//! `wa_sessions/{account}/original/{number}`: a tar.gz of the files in pieces.
//! `worker export-baileys --original` gives it back; it goes with the account, or
//! once the session has proved itself ([`keeper`]).

pub mod keeper;

use coordinator_lib::fence::FencedOutcome;
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{
    Collection, Document, Fields, Precondition, Query, Store, StoreError, Value, Write, limits,
    query_all,
};
use session::DataKey;
use whatsapp::baileys::Files;

use super::archive::{self, Entry};
use crate::account::term::{Term, TermError};
use crate::model::stored::SCHEMA_VERSION;

/// The field with a piece.
const SEALED: &str = "sealed";
/// Of the pieces, how many there are.
const PIECES: &str = "pieces";
/// A piece, before it is sealed; a document takes twice as much.
const PIECE_BYTES: usize = 512 * 1024;
/// More than the largest session has.
const PIECES_MAX: usize = 2_000;

/// Where an account's original is.
///
/// # Errors
/// None in practice.
pub fn collection(account: &AccountId) -> Result<Collection, StoreError> {
    account.head_path().collection_below("original")
}

/// Why the original cannot be given back.
#[derive(Debug, thiserror::Error)]
pub enum OriginalError {
    /// There is none.
    #[error("there is no original: the account was not imported, or it was removed")]
    None,
    /// A piece is missing or was altered.
    #[error("the original is damaged: piece {0} does not open")]
    Damaged(usize),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
}

/// Keeps the files, in the place of those of an earlier import.
///
/// # Errors
/// [`TermError`]: the claim was lost, or the store failed.
pub async fn keep(term: &Term, files: &Files) -> Result<(), TermError> {
    let entries: Vec<Entry> = files
        .iter()
        .map(|(name, bytes)| Entry {
            path: format!("{name}.json"),
            bytes: bytes.clone(),
        })
        .collect();
    let packed = archive::write_tar_gz(&entries)
        .map_err(|error| StoreError::unavailable(format!("packing the original: {error}")))?;
    let account = &term.account;
    let stored = documents(term.store(), account).await?;
    let pieces = packed.chunks(PIECE_BYTES);
    let count = pieces.len();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (number, piece) in pieces.enumerate() {
        let path = collection(account)?.doc(&piece_name(number))?;
        let before = stored.iter().find(|document| document.path == path);
        let sealed = term.data_key.seal_secret(
            term.rng().as_ref(),
            account.as_str(),
            &purpose(number, count),
            piece,
        );
        let fields: Fields = [
            (SCHEMA_VERSION.to_owned(), Value::Int(1)),
            (PIECES.to_owned(), Value::Int(count as i64)),
            (SEALED.to_owned(), Value::Bytes(sealed.into())),
        ]
        .into();
        let write = Write::Set {
            path,
            fields,
            precondition: before.map_or(Precondition::Absent, |document| {
                Precondition::Unchanged(document.update_time)
            }),
        };
        bytes += limits::write_bytes(&write);
        batch.push(write);
        if bytes > limits::COMMIT_BYTES_MAX / 2 {
            put(term, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        put(term, batch).await?;
    }
    Ok(())
}

async fn put(term: &Term, batch: Vec<Write>) -> Result<(), TermError> {
    match term.commit(batch).await? {
        FencedOutcome::Committed(_) => Ok(()),
        // Nobody else writes there.
        FencedOutcome::Lost => Err(StoreError::Contended {
            reason: "the original's documents kept changing".to_owned(),
        }
        .into()),
    }
}

/// Gives the files back, packed as a tar.gz.
///
/// # Errors
/// [`OriginalError`].
pub async fn give_back(
    store: &Store,
    account: &AccountId,
    data_key: &DataKey,
) -> Result<Vec<u8>, OriginalError> {
    let stored = documents(store, account).await?;
    let count = stored
        .first()
        .and_then(|document| match document.fields.get(PIECES) {
            Some(Value::Int(count)) => usize::try_from(*count).ok(),
            Some(_) | None => None,
        })
        .ok_or(OriginalError::None)?;
    let mut packed = Vec::new();
    for number in 0..count.min(PIECES_MAX) {
        let damaged = || OriginalError::Damaged(number);
        let name = piece_name(number);
        let document = stored.iter().find(|document| document.path.id() == name);
        let Some(Value::Bytes(sealed)) = document.and_then(|document| document.fields.get(SEALED))
        else {
            return Err(damaged());
        };
        let piece = data_key
            .open_secret(account.as_str(), &purpose(number, count), sealed)
            .map_err(|_| damaged())?;
        packed.extend_from_slice(&piece);
    }
    Ok(packed)
}

async fn documents(store: &Store, account: &AccountId) -> Result<Vec<Document>, StoreError> {
    let query = Query::new(collection(account)?).limit(8);
    query_all(store.as_ref(), &query, PIECES_MAX).await
}

fn piece_name(number: usize) -> String {
    format!("{number:04}")
}

/// Binds a piece to its place: none can be left out or moved.
fn purpose(number: usize, count: usize) -> String {
    format!("original {number} of {count}")
}
