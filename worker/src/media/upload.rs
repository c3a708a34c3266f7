//! A file on its way in: in parts, and visible only once it is whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::sync::OwnedSemaphorePermit;

use super::{Files, MediaStoreError};

/// A file that is being taken. Dropped before it is finished, it is given up,
/// and what was stored of it is removed.
pub struct Upload {
    files: Arc<Files>,
    path: Path,
    limit: u64,
    bytes: u64,
    /// What has come and is not stored.
    part: BytesMut,
    /// What is stored, if that is more than nothing.
    stored: Option<Box<dyn MultipartUpload>>,
    _permit: OwnedSemaphorePermit,
}

impl Upload {
    pub(super) async fn begin(
        files: Arc<Files>,
        path: Path,
        limit: u64,
    ) -> Result<Self, MediaStoreError> {
        let permit = Arc::clone(&files.uploads).acquire_owned().await;
        let permit = permit.map_err(|closed| MediaStoreError::Unavailable(closed.into()))?;
        Ok(Self {
            files,
            path,
            limit,
            bytes: 0,
            part: BytesMut::new(),
            stored: None,
            _permit: permit,
        })
    }

    /// Takes the next piece. After an error the file cannot be finished.
    ///
    /// # Errors
    /// [`MediaStoreError::TooLarge`], [`MediaStoreError::Full`],
    /// [`MediaStoreError::Unavailable`].
    pub async fn write(&mut self, piece: Bytes) -> Result<(), MediaStoreError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limit {
            return Err(MediaStoreError::TooLarge { limit: self.limit });
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let room = self.files.part_bytes - self.part.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.part.extend_from_slice(now);
            rest = later;
            if self.part.len() == self.files.part_bytes {
                self.store_part().await?;
            }
        }
        Ok(())
    }

    /// Makes the file visible: its size in bytes.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub async fn finish(mut self) -> Result<u64, MediaStoreError> {
        if self.stored.is_none() {
            let whole = PutPayload::from(self.part.split().freeze());
            self.files.objects.put(&self.path, whole).await?;
            return Ok(self.bytes);
        }
        if !self.part.is_empty() {
            self.store_part().await?;
        }
        if let Some(stored) = &mut self.stored {
            stored.complete().await?;
        }
        self.stored = None;
        Ok(self.bytes)
    }

    /// Gives the file up and removes what was stored of it.
    pub async fn give_up(mut self) {
        if let Some(stored) = self.stored.take() {
            abort(stored).await;
        }
    }

    async fn store_part(&mut self) -> Result<(), MediaStoreError> {
        let part = PutPayload::from(self.part.split().freeze());
        if self.stored.is_none() {
            self.stored = Some(self.files.objects.put_multipart(&self.path).await?);
        }
        if let Some(stored) = &mut self.stored {
            stored.put_part(part).await?;
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(stored) = self.stored.take()
            && let Ok(handle) = tokio::runtime::Handle::try_current()
        {
            self.files.given_up.spawn_on(abort(stored), &handle);
        }
    }
}

/// What cannot be removed now is removed by the sweep, or by the bucket's rule
/// for unfinished uploads.
async fn abort(mut stored: Box<dyn MultipartUpload>) {
    if let Err(error) = stored.abort().await {
        tracing::warn!(%error, "what was stored of a file that was given up is left");
    }
}
