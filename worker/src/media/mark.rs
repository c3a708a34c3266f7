//! The mark of a cluster on its place of files.
//!
//! A small file, `leasehold-cluster`, says whose the place is: with another
//! cluster's mark it is not to be used, since its files would be strays here;
//! and without the mark it is not the place, but a folder whose disk is not
//! mounted. A worker's own folder gets it whenever it has none.

use bytes::Bytes;
use coordinator_lib::rng::Rng;
use coordinator_lib::store::StoreError;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::sweep::{SweepDoc, SweepError};
use super::{MediaStore, MediaStoreError};
use crate::model::Agreed;

/// The name of the file.
const MARK: &str = "leasehold-cluster";

/// Bytes of a mark: 128 bits in hexadecimal.
const MARK_BYTES: u64 = 32;

/// Looks at the document that others' changes keep getting ahead of.
const ATTEMPTS_MAX: usize = 8;

/// Makes sure that a place is this cluster's: it gets the mark once.
///
/// # Errors
/// [`SweepError::Foreign`], [`SweepError::Unmarked`]; what the store or the
/// place says.
pub(super) async fn ensure(
    document: &Agreed<SweepDoc>,
    media: &MediaStore,
    rng: &dyn Rng,
) -> Result<(), SweepError> {
    for _ in 0..ATTEMPTS_MAX {
        let seen = document.read().await?;
        let mut doc = seen.value;
        if doc.is_marked {
            return check(media, &doc.mark).await;
        }
        if doc.mark.is_empty() {
            doc.mark = rng.nonce();
        } else {
            media.put_mark(&doc.mark).await?;
            check(media, &doc.mark).await?;
            doc.is_marked = true;
        }
        // Rejected, another worker does the same: look again.
        let _ = document.write(&doc, seen.unchanged).await?;
    }
    Err(StoreError::invalid("the mark of the files changes without end").into())
}

async fn check(media: &MediaStore, mark: &str) -> Result<(), SweepError> {
    let mut found = media.read_mark().await?;
    if found.is_none() && media.is_own() {
        media.put_mark(mark).await?;
        found = media.read_mark().await?;
    }
    match found {
        Some(found) if found == mark.as_bytes() => Ok(()),
        Some(_) => Err(SweepError::Foreign),
        None => Err(SweepError::Unmarked),
    }
}

impl MediaStore {
    /// Whether the place is a folder of the worker's own.
    fn is_own(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.is_own)
    }

    /// Gives the place a mark, unless it has one.
    pub(super) async fn put_mark(&self, mark: &str) -> Result<(), MediaStoreError> {
        let files = self.files()?;
        let payload = PutPayload::from(Bytes::copy_from_slice(mark.as_bytes()));
        let create = PutOptions::from(PutMode::Create);
        let path = files.prefix.clone().join(MARK);
        match files.objects.put_opts(&path, payload, create).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The place's mark, if it has one.
    pub(super) async fn read_mark(&self) -> Result<Option<Bytes>, MediaStoreError> {
        let files = self.files()?;
        let path = files.prefix.clone().join(MARK);
        match files.objects.get_range(&path, 0..MARK_BYTES).await {
            Ok(mark) => Ok(Some(mark)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
