//! Files that clients gave, until they are sent; and, where that is wanted,
//! files that came with messages.
//!
//! The worker that sends is not the one that took the file, so files lie where
//! every worker finds them: in the data folder where all workers share a
//! machine; in a cluster in a bucket, or in a folder that every worker mounts.
//! What came lies there as WhatsApp had it, encrypted: see [`keeping`].
//!
//! A file is there whole or not at all, and never changes. Its document
//! (`media/{id}`, `received_media/{id}`) is removed before it, so that what a
//! crash leaves is a file without a document, which the sweep removes.
//!
//! Neither way a whole file is in memory: a worker takes [`UPLOADS_MAX`] files
//! at a time, each with one part of some megabytes at most.
//!
//! | Module | Holds |
//! |---|---|
//! | [`place`] | where files lie, as it is configured |
//! | [`name`] | what they are called there; pure |
//! | [`mark`] | whose the place is |
//! | [`upload`] | a file on its way in |
//! | [`keeping`] | fetches what came, to keep it |
//! | [`sweep`] | removes files that nobody needs any more |
//! | [`thumbnail`] | a small picture of a picture |

#[cfg(test)]
mod bucket;
pub mod keeping;
pub mod mark;
pub mod name;
pub mod place;
pub mod sweep;
pub mod thumbnail;
pub mod upload;

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::name::FileName;
pub use self::place::MediaPlace;
use self::place::Opened;
use self::thumbnail::{Picture, Pictures};
pub use self::upload::Upload;

/// Files that one worker takes at a time; others wait.
pub const UPLOADS_MAX: usize = 8;

/// Bytes that are read from a file at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// WhatsApp's clients take files of 64 MiB in most kinds, documents up to 2 GiB.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Limits of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// Bytes of one file, sent or fetched.
    pub bytes_max: u64,
    /// How long a file that no queued message needs is kept.
    pub retention: Duration,
}

impl Default for MediaLimits {
    fn default() -> Self {
        Self {
            bytes_max: BYTES_MAX,
            retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// The files. Clones are the same.
#[derive(Clone, Default)]
pub struct MediaStore {
    files: Option<Arc<Files>>,
    /// Limits of files.
    pub limits: MediaLimits,
    /// The folder of nameless files.
    scratch: Option<PathBuf>,
    pictures: Pictures,
}

/// A place of files, opened.
struct Files {
    objects: Arc<dyn ObjectStore>,
    /// Before the name of each file.
    prefix: Path,
    /// The folder, if it is one.
    folder: Option<PathBuf>,
    /// It is one of the worker's own.
    is_own: bool,
    /// Bytes that a part has.
    part_bytes: usize,
    uploads: Arc<Semaphore>,
    /// Uploads that are given up.
    given_up: TaskTracker,
}

/// Why a file was not taken, or not given.
#[derive(Debug, thiserror::Error)]
pub enum MediaStoreError {
    /// No place for files is configured.
    #[error("there is no place for files")]
    NoPlace,
    /// It is larger than allowed.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// There is no such file.
    #[error("there is no such file")]
    Gone,
    /// There is no room for it.
    #[error("there is no room for the file")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// The place of files does not answer, or refuses.
    #[error("the place of files cannot be used")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl MediaStore {
    /// Opens a place of files; without one files are refused. Nameless files
    /// are made in the folder `scratch`.
    ///
    /// # Errors
    /// [`MediaStoreError::Unavailable`]: the place cannot be one.
    pub fn open(
        place: Option<&MediaPlace>,
        scratch: PathBuf,
        limits: MediaLimits,
    ) -> Result<Self, MediaStoreError> {
        let files = place
            .map(|place| place.open().map(Files::new))
            .transpose()?;
        Ok(Self {
            files: files.map(Arc::new),
            limits,
            scratch: Some(scratch),
            pictures: Pictures::default(),
        })
    }

    /// Whether files can be kept.
    pub fn is_there(&self) -> bool {
        self.files.is_some()
    }

    /// Begins to take a file. Waits while many others come.
    ///
    /// # Errors
    /// [`MediaStoreError::NoPlace`], [`MediaStoreError::Unavailable`].
    pub async fn begin(&self, name: &FileName) -> Result<Upload, MediaStoreError> {
        let files = self.files()?;
        let path = name.below(&files.prefix);
        if !files.is_own && self.read_mark().await?.is_none() {
            return Err(unmarked());
        }
        Upload::begin(Arc::clone(files), path, self.limit(name)).await
    }

    /// Takes a file that lies here, in pieces: its size in bytes.
    ///
    /// # Errors
    /// As [`MediaStore::begin`] and [`Upload::write`].
    pub async fn put(&self, name: &FileName, file: File) -> Result<u64, MediaStoreError> {
        let mut upload = self.begin(name).await?;
        let mut file = tokio::fs::File::from_std(file);
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            match file.read_buf(&mut piece).await {
                Ok(0) => return upload.finish().await,
                Ok(_) => upload.write(piece.freeze()).await?,
                Err(error) => {
                    upload.give_up().await;
                    return Err(error.into());
                }
            }
        }
    }

    /// Opens a file to be read from its beginning.
    ///
    /// # Errors
    /// All of [`MediaStoreError`].
    pub async fn read(&self, name: &FileName) -> Result<File, MediaStoreError> {
        let files = self.files()?;
        let limit = self.limit(name);
        let found = match files.objects.get(&name.below(&files.prefix)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) if self.read_mark().await?.is_none() => {
                return Err(unmarked());
            }
            Err(error) => return Err(error.into()),
        };
        if found.meta.size > limit {
            return Err(MediaStoreError::TooLarge { limit });
        }
        match found.payload {
            GetResultPayload::File(file, _) => Ok(file),
            GetResultPayload::Stream(mut pieces) => {
                let mut copy = tokio::fs::File::from_std(self.temporary()?);
                let mut bytes = 0;
                while let Some(piece) = pieces.next().await {
                    let piece = piece?;
                    bytes += piece.len() as u64;
                    if bytes > limit {
                        return Err(MediaStoreError::TooLarge { limit });
                    }
                    copy.write_all(&piece).await?;
                }
                copy.flush().await?;
                let mut copy = copy.into_std().await;
                copy.rewind()?;
                Ok(copy)
            }
        }
    }

    /// A small picture of a stored picture, and its size; none of what is not
    /// one, or a larger one than [`thumbnail`] takes.
    pub async fn picture(&self, id: &str, mime_type: &str) -> Option<Picture> {
        if !thumbnail::is_picture(mime_type) {
            return None;
        }
        let file = match FileName::given(id) {
            Ok(name) => self.read(&name).await,
            Err(error) => Err(error),
        };
        match file {
            Ok(file) => self.pictures.look(file).await,
            Err(error) => {
                tracing::warn!(media.id = id, %error, "a picture gets no thumbnail");
                None
            }
        }
    }

    /// Removes a file. One that is not there is as good as removed.
    ///
    /// # Errors
    /// [`MediaStoreError::NoPlace`], [`MediaStoreError::Unavailable`].
    pub async fn remove(&self, name: &FileName) -> Result<(), MediaStoreError> {
        let files = self.files()?;
        files.delete(&name.below(&files.prefix)).await
    }

    /// Removes all files that came to an account: how many there were. Their
    /// documents must be gone.
    ///
    /// # Errors
    /// [`MediaStoreError::NoPlace`], [`MediaStoreError::Unavailable`]; some may be
    /// left.
    pub async fn remove_received(&self, account: &str) -> Result<usize, MediaStoreError> {
        let files = self.files()?;
        let below = name::account_prefix(account);
        let prefix: Path = files.prefix.parts().chain(below.parts()).collect();
        let mut found = files.objects.list(Some(&prefix));
        let mut removed = 0;
        while let Some(object) = found.next().await {
            files.delete(&object?.location).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Every file with the time of its last change, by the clock of its place.
    /// In no order; what is not one of our files is left out.
    ///
    /// # Errors
    /// [`MediaStoreError::NoPlace`]; in the stream [`MediaStoreError::Unavailable`].
    pub fn list(
        &self,
    ) -> Result<
        impl Stream<Item = Result<(FileName, DateTime<Utc>), MediaStoreError>>,
        MediaStoreError,
    > {
        let files = self.files()?;
        let found = files.objects.list(Some(&files.prefix));
        Ok(found
            .map_err(MediaStoreError::from)
            .try_filter_map(async |object| {
                let below = object.location.prefix_match(&files.prefix);
                let name = below.and_then(|parts| FileName::of(parts.collect()));
                Ok(name.map(|name| (name, object.last_modified)))
            }))
    }

    /// Writes, reads and removes a file of this name, which no file has.
    ///
    /// # Errors
    /// All of [`MediaStoreError`].
    pub async fn probe(&self, name: &str) -> Result<(), MediaStoreError> {
        let files = self.files()?;
        let path = files
            .prefix
            .clone()
            .join(format!("leasehold-doctor-{name}"));
        let content = Bytes::copy_from_slice(name.as_bytes());
        files.objects.put(&path, content.clone().into()).await?;
        let read = files.objects.get(&path).await?.bytes().await?;
        files.objects.delete(&path).await?;
        match read == content {
            true => Ok(()),
            false => Err(MediaStoreError::Unavailable(
                "it does not give back what was written".into(),
            )),
        }
    }

    /// Bytes that a file may have. What came was held to its own limit when it
    /// was fetched, and that may have been another one then.
    fn limit(&self, name: &FileName) -> u64 {
        match name.is_given() {
            true => self.limits.bytes_max,
            false => u64::MAX,
        }
    }

    /// A nameless file, for what is passed on.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn temporary(&self) -> io::Result<File> {
        match &self.scratch {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }

    fn files(&self) -> Result<&Arc<Files>, MediaStoreError> {
        self.files.as_ref().ok_or(MediaStoreError::NoPlace)
    }
}

impl Files {
    fn new(opened: Opened) -> Self {
        Self {
            objects: opened.objects,
            prefix: opened.prefix,
            folder: opened.folder,
            is_own: opened.is_own,
            part_bytes: opened.part_bytes,
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            given_up: TaskTracker::new(),
        }
    }

    /// Removes what lies there. What does not is as good as removed.
    async fn delete(&self, path: &Path) -> Result<(), MediaStoreError> {
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn unmarked() -> MediaStoreError {
    MediaStoreError::Unavailable("the place has no mark of a cluster: is its disk mounted?".into())
}

impl From<object_store::Error> for MediaStoreError {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return Self::Gone;
        }
        // What the disk said is below.
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            if this.downcast_ref().is_some_and(is_full) {
                return Self::Full(error.into());
            }
            cause = this.source();
        }
        Self::Unavailable(error.into())
    }
}

impl From<io::Error> for MediaStoreError {
    fn from(error: io::Error) -> Self {
        match is_full(&error) {
            true => Self::Full(error.into()),
            false => Self::Unavailable(error.into()),
        }
    }
}

/// Whether a disk has no more room for the file.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    [StorageFull, QuotaExceeded, FileTooLarge].contains(&error.kind())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};

    use object_store::memory::InMemory;

    use super::*;

    /// A store in a folder that is removed with the first value.
    pub(crate) fn in_folder() -> (tempfile::TempDir, MediaStore) {
        let folder = tempfile::tempdir().unwrap();
        let place = MediaPlace::Own(folder.path().join("media"));
        let limits = MediaLimits {
            bytes_max: 1_000_000,
            ..MediaLimits::default()
        };
        let store = MediaStore::open(Some(&place), folder.path().to_owned(), limits).unwrap();
        (folder, store)
    }

    /// The same as a bucket: in pieces, and not as a file.
    fn in_memory() -> MediaStore {
        MediaStore {
            files: Some(Arc::new(Files::new(Opened {
                objects: Arc::new(InMemory::new()),
                prefix: Path::from("some/where"),
                folder: None,
                is_own: true,
                part_bytes: 1_000,
            }))),
            limits: MediaLimits {
                bytes_max: 1_000_000,
                ..MediaLimits::default()
            },
            ..MediaStore::default()
        }
    }

    pub(crate) fn given(id: &str) -> FileName {
        FileName::given(id).unwrap()
    }

    pub(crate) async fn put(store: &MediaStore, id: &str, content: &[u8]) {
        let mut upload = store.begin(&given(id)).await.unwrap();
        for piece in content.chunks(700) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(upload.finish().await.unwrap(), content.len() as u64);
    }

    pub(crate) async fn names(store: &MediaStore) -> Vec<String> {
        let found = store.list().unwrap();
        let ids = found.map_ok(|(name, _)| name.document().unwrap().id().to_owned());
        ids.try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn what_was_taken_is_given() {
        let (_folder, folder) = in_folder();
        for store in [folder, in_memory()] {
            store.put_mark(&"m".repeat(32)).await.unwrap();
            for bytes in [1, 999, 1_000, 1_001, 300_000] {
                let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
                put(&store, "med_1", &content).await;
                let mut read = Vec::new();
                let mut file = store.read(&given("med_1")).await.unwrap();
                file.read_to_end(&mut read).unwrap();
                assert!(read == content, "{bytes}");
            }
            assert_eq!(names(&store).await, ["med_1"]);
            store.remove(&given("med_1")).await.unwrap();
            store.remove(&given("med_1")).await.unwrap();
            let gone = store.read(&given("med_1")).await;
            assert!(matches!(gone, Err(MediaStoreError::Gone)));
        }
    }

    #[tokio::test]
    async fn what_is_given_up_leaves_nothing() {
        let (folder, store) = in_folder();
        for bytes in [10, 800_000] {
            let mut upload = store.begin(&given("med_1")).await.unwrap();
            upload.write(Bytes::from(vec![7; bytes])).await.unwrap();
            drop(upload);
            let mut upload = store.begin(&given("med_2")).await.unwrap();
            upload.write(Bytes::from(vec![7; bytes])).await.unwrap();
            upload.give_up().await;
        }
        let mut upload = store.begin(&given("med_3")).await.unwrap();
        upload.write(Bytes::from(vec![7; 700_000])).await.unwrap();
        let refused = upload.write(Bytes::from(vec![7; 700_000])).await;
        assert!(matches!(refused, Err(MediaStoreError::TooLarge { .. })));
        drop(upload);
        let files = store.files().unwrap();
        files.given_up.close();
        files.given_up.wait().await;
        let left: Vec<_> = std::fs::read_dir(folder.path().join("media"))
            .unwrap()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn without_a_place_nothing_is_taken() {
        let nowhere = MediaStore::default();
        let refused = nowhere.begin(&given("med_1")).await;
        assert!(matches!(refused, Err(MediaStoreError::NoPlace)));
    }

    #[tokio::test]
    async fn what_came_to_one_account_is_removed_at_once_and_nothing_else() {
        let (_folder, folder) = in_folder();
        for store in [folder, in_memory()] {
            store.put_mark(&"m".repeat(32)).await.unwrap();
            put(&store, "med_1", b"given").await;
            for (account, id) in [("a1", "rec_1"), ("a1", "rec_2"), ("a12", "rec_3")] {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&[7; 200_000]).unwrap();
                file.rewind().unwrap();
                let name = FileName::received(account, id).unwrap();
                assert_eq!(store.put(&name, file).await.unwrap(), 200_000);
                let mut read = Vec::new();
                let mut file = store.read(&name).await.unwrap();
                file.read_to_end(&mut read).unwrap();
                assert!(read == [7; 200_000]);
            }
            assert_eq!(store.remove_received("a1").await.unwrap(), 2);
            assert_eq!(store.remove_received("a1").await.unwrap(), 0);
            let mut left = names(&store).await;
            left.sort();
            assert_eq!(left, ["med_1", "rec_3"]);
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let io = |kind| object_store::Error::Generic {
            store: "test",
            source: Box::new(io::Error::from(kind)),
        };
        let full = MediaStoreError::from(io(io::ErrorKind::StorageFull));
        assert!(matches!(full, MediaStoreError::Full(_)));
        let other = MediaStoreError::from(io(io::ErrorKind::PermissionDenied));
        assert!(matches!(other, MediaStoreError::Unavailable(_)));
    }
}
