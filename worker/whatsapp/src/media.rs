//! Files that go with messages: encrypted on this side, kept by WhatsApp's
//! media hosts, fetched and decrypted when somebody wants them.
//!
//! Nothing here holds a whole file in memory: files are read and written in
//! pieces of some kilobytes, whatever their size. A file has a limit, which is
//! kept to while it comes and not only believed as the sender says it.

pub(crate) mod host;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coordinator_lib::clock::SharedClock;
use coordinator_lib::gate::Gate;
use serde::{Deserialize, Serialize};
use wacore::download::{DownloadUtils, DownloadWriter, MediaRoute, MediaType};
use wacore::upload::{EncryptedMediaInfo, UploadSource, encrypt_media_streaming_with_key};
use waproto::whatsapp as wa;
use whatsapp_rust::download::{DownloadParams, MediaDownloadError, MediaDownloader};

use self::host::MediaHost;
use crate::content::MediaKind;
use crate::proxy::Proxy;
use crate::runtime::TaskRuntime;

/// Bytes of a media key.
pub const MEDIA_KEY_BYTES: usize = 32;

/// What encryption adds to a file at most: a block of padding, and the MAC.
const SEALED_BYTES_MORE: u64 = 16 + 10;

/// Bytes of a path on the media host, and of a hash.
const PATH_BYTES_MAX: usize = 1_024;
const HASH_BYTES: usize = 32;

/// Where a file is and how it is opened: secret, like the file itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRef {
    /// What it is: goes into its keys.
    pub kind: MediaKind,
    /// Its place on the media host.
    pub direct_path: String,
    /// Its key.
    pub key: Vec<u8>,
    /// SHA-256 of the file.
    pub sha256: Vec<u8>,
    /// SHA-256 of what the host keeps.
    pub encrypted_sha256: Vec<u8>,
    /// Its size, as the sender says.
    pub bytes: u64,
}

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It is larger than allowed.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The media host does not have it any more.
    #[error("WhatsApp does not have the file any more")]
    Gone,
    /// No media host answers, or what it answers is not the file.
    #[error("WhatsApp's media host does not answer")]
    Unavailable,
    /// What is known of it is not enough.
    #[error("what is known of the file is not enough to fetch it")]
    Incomplete,
    /// It is what its sender put there, and its key does not open it.
    #[error("the file does not open with its key")]
    Broken,
    /// It could not be written here.
    #[error("the file could not be written")]
    Disk(#[source] io::Error),
}

/// Fetches files. Needs no session: any worker can fetch what any other got.
#[derive(Clone)]
pub struct MediaFetcher {
    media_url: Option<String>,
    clock: SharedClock,
    wire: Option<Gate>,
}

impl MediaFetcher {
    /// A fetcher that asks WhatsApp's media hosts, or, in a simulation, the one
    /// at this address.
    pub fn new(media_url: Option<String>, clock: SharedClock) -> Self {
        Self {
            media_url,
            clock,
            wire: None,
        }
    }

    /// The same for an account's owner, who asks only while the gate is open.
    #[must_use]
    pub fn behind(mut self, wire: Gate) -> Self {
        self.wire = Some(wire);
        self
    }

    /// Fetches and decrypts a file into `file`, which is empty, and gives it
    /// back at its beginning; through the proxy of the account that got it, if
    /// that has one. What fails leaves it empty.
    ///
    /// # Errors
    /// [`MediaError`].
    pub async fn fetch(
        &self,
        media: &MediaRef,
        proxy: Option<Proxy>,
        file: File,
        limit: u64,
    ) -> Result<File, MediaError> {
        let params = DownloadParams::encrypted(
            media.direct_path.clone(),
            &media.key,
            &media.sha256,
            &media.encrypted_sha256,
            media.bytes,
            media_type(media.kind),
        );
        self.download(&params, proxy, file, limit, limit).await
    }

    /// Fetches a file as the host keeps it, encrypted, into `file`, as
    /// [`MediaFetcher::fetch`] does; its hash and its MAC are right then.
    ///
    /// # Errors
    /// [`MediaError`].
    pub async fn fetch_sealed(
        &self,
        media: &MediaRef,
        proxy: Option<Proxy>,
        file: File,
        limit: u64,
    ) -> Result<File, MediaError> {
        // To the engine this is a file without a key: taken as it is, and held
        // against the hash of what the host keeps.
        let params = DownloadParams {
            direct_path: media.direct_path.clone(),
            media_key: None,
            file_sha256: media.encrypted_sha256.clone(),
            file_enc_sha256: None,
            file_length: media.bytes,
            media_type: media_type(media.kind),
        };
        let sealed_limit = limit.saturating_add(SEALED_BYTES_MORE);
        let sealed = self.download(&params, proxy, file, sealed_limit, limit);
        unseal(media, sealed.await?, io::sink()).await
    }

    async fn download(
        &self,
        params: &DownloadParams,
        proxy: Option<Proxy>,
        file: File,
        written_max: u64,
        limit: u64,
    ) -> Result<File, MediaError> {
        if params.file_length > limit {
            return Err(MediaError::TooLarge { limit });
        }
        let runtime = TaskRuntime::new(self.clock.clone());
        let host = MediaHost::new(self.media_url.clone(), proxy);
        let host = match &self.wire {
            Some(wire) => host.behind(wire.clone()),
            None => host,
        };
        let downloader = MediaDownloader::new(
            Arc::new(host),
            Arc::new(runtime),
            MediaRoute::default_hosts(),
        );
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = Limited {
            file,
            limit: written_max,
            is_over: Arc::clone(&is_over),
        };
        match downloader.download_to_writer(params, writer).await {
            Ok(writer) => Ok(writer.file),
            Err(MediaDownloadError::ReferenceRejected(_)) => Err(MediaError::Gone),
            Err(MediaDownloadError::NoHosts | MediaDownloadError::Other(_)) => {
                Err(MediaError::Incomplete)
            }
            Err(_) if is_over.load(Ordering::Relaxed) => Err(MediaError::TooLarge { limit }),
            // Which of several failures it was is only in texts.
            Err(_) => Err(MediaError::Unavailable),
        }
    }
}

/// Decrypts a file that [`MediaFetcher::fetch_sealed`] gave into `plain`, which
/// is empty, and gives that back at its beginning.
///
/// # Errors
/// [`MediaError::Broken`], [`MediaError::Disk`]; `plain` is worth nothing then.
pub async fn open(media: &MediaRef, sealed: File, plain: File) -> Result<File, MediaError> {
    let mut opened = plain.try_clone().map_err(MediaError::Disk)?;
    unseal(media, sealed, io::BufWriter::new(plain)).await?;
    opened.rewind().map_err(MediaError::Disk)?;
    Ok(opened)
}

/// Decrypts a file, and gives it back as it was, at its beginning.
async fn unseal(
    media: &MediaRef,
    mut sealed: File,
    mut into: impl Write + Send + 'static,
) -> Result<File, MediaError> {
    let (key, kind) = (media.key.clone(), media_type(media.kind));
    let work = tokio::task::spawn_blocking(move || {
        sealed.rewind().map_err(MediaError::Disk)?;
        let reader = io::BufReader::new(&sealed);
        let written = DownloadUtils::decrypt_stream_to_writer(reader, &key, kind, &mut into);
        written.map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => MediaError::Disk(error),
            Err(_) => MediaError::Broken,
        })?;
        into.flush().map_err(MediaError::Disk)?;
        sealed.rewind().map_err(MediaError::Disk)?;
        Ok(sealed)
    });
    match work.await {
        Ok(done) => done,
        Err(error) => Err(MediaError::Disk(io::Error::other(error))),
    }
}

/// A file that grows to a limit only.
struct Limited {
    file: File,
    limit: u64,
    /// It was to grow beyond it.
    is_over: Arc<AtomicBool>,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.stream_position()? + bytes.len() as u64 > self.limit {
            self.is_over.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the file is larger than allowed"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Limited {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl DownloadWriter for Limited {
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// The file that goes with a message, and an empty one for what becomes of it.
/// Clones are the same two.
#[derive(Clone)]
pub struct Attachment(Arc<Files>);

struct Files {
    plain: File,
    encrypted: File,
}

impl Attachment {
    /// A file to be sent, and an empty file to be written and read.
    pub fn new(plain: File, encrypted: File) -> Self {
        Self(Arc::new(Files { plain, encrypted }))
    }
}

impl PartialEq for Attachment {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attachment {}

/// An encrypted file, on its way to the media host.
pub(crate) struct EncryptedFile(File);

/// Encrypts a file. The same key makes the same ciphertext, so that every
/// attempt at a message sends the same file.
pub(crate) fn encrypt(
    attachment: &Attachment,
    kind: MediaKind,
    key: &[u8; MEDIA_KEY_BYTES],
) -> io::Result<(EncryptedFile, EncryptedMediaInfo)> {
    let mut plain = attachment.0.plain.try_clone()?;
    plain.rewind()?;
    let mut encrypted = attachment.0.encrypted.try_clone()?;
    encrypted.rewind()?;
    encrypted.set_len(0)?;
    let info = encrypt_media_streaming_with_key(
        io::BufReader::new(plain),
        io::BufWriter::new(encrypted.try_clone()?),
        media_type(kind),
        Some(key),
        None,
    )
    .map_err(io::Error::other)?;
    Ok((EncryptedFile(encrypted), info))
}

impl UploadSource for EncryptedFile {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn reader_from(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.0.try_clone()?;
        file.seek(io::SeekFrom::Start(offset))?;
        Ok(Box::new(io::BufReader::new(file)))
    }
}

/// The engine's name for a kind.
pub(crate) fn media_type(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    }
}

/// Where the file of a message is, if it has one.
pub(crate) fn reference(base: &wa::Message, kind: MediaKind) -> Option<MediaRef> {
    macro_rules! reference_of {
        ($field:ident) => {{
            let media = base.$field.as_option()?;
            (
                media.direct_path.clone(),
                media.media_key.clone(),
                media.file_sha256.clone(),
                media.file_enc_sha256.clone(),
                media.file_length,
            )
        }};
    }
    let (direct_path, key, sha256, encrypted_sha256, bytes) = match kind {
        MediaKind::Image => reference_of!(image_message),
        MediaKind::Video => reference_of!(video_message),
        MediaKind::Audio | MediaKind::Voice => reference_of!(audio_message),
        MediaKind::Document => reference_of!(document_message),
        MediaKind::Sticker => reference_of!(sticker_message),
    };
    let direct_path = direct_path.filter(|path| path.len() <= PATH_BYTES_MAX)?;
    // The path is put after a host's name: it must not become part of it.
    if !direct_path.starts_with('/') {
        return None;
    }
    let exactly =
        |bytes: Option<Vec<u8>>, length: usize| bytes.filter(|bytes| bytes.len() == length);
    Some(MediaRef {
        kind,
        direct_path,
        key: exactly(key, MEDIA_KEY_BYTES)?,
        sha256: exactly(sha256, HASH_BYTES)?,
        encrypted_sha256: exactly(encrypted_sha256, HASH_BYTES)?,
        bytes: bytes?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_makes_the_same_file() {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(&[7; 100_000]).unwrap();
        let attachment = Attachment::new(plain, tempfile::tempfile().unwrap());
        let read = |source: EncryptedFile| {
            let mut bytes = Vec::new();
            source
                .reader_from(0)
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            assert_eq!(source.len(), bytes.len() as u64);
            bytes
        };
        let (one, info) = encrypt(&attachment, MediaKind::Image, &[1; 32]).unwrap();
        let one = read(one);
        let (two, _) = encrypt(&attachment, MediaKind::Image, &[1; 32]).unwrap();
        assert_eq!(one, read(two));
        assert_eq!(info.file_length, 100_000);
        assert!(!one.windows(8).any(|window| window == [7; 8]));
    }

    #[test]
    fn a_file_that_is_larger_than_allowed_is_cut_off_while_it_comes() {
        let mut limited = Limited {
            file: tempfile::tempfile().unwrap(),
            limit: 10,
            is_over: Arc::default(),
        };
        assert!(limited.write_all(&[0; 10]).is_ok());
        assert!(!limited.is_over.load(Ordering::Relaxed));
        assert!(limited.write_all(&[0]).is_err());
        assert!(limited.is_over.load(Ordering::Relaxed));
    }

    /// A file as the host keeps it, and what opens it.
    fn sealed(plain: &[u8]) -> (File, MediaRef) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(plain).unwrap();
        let attachment = Attachment::new(file, tempfile::tempfile().unwrap());
        let (sealed, info) = encrypt(&attachment, MediaKind::Document, &[9; 32]).unwrap();
        let media = MediaRef {
            kind: MediaKind::Document,
            direct_path: "/v/1".to_owned(),
            key: vec![9; 32],
            sha256: info.file_sha256.to_vec(),
            encrypted_sha256: info.file_enc_sha256.to_vec(),
            bytes: info.file_length,
        };
        (sealed.0, media)
    }

    #[tokio::test]
    async fn what_was_sealed_is_opened_and_nothing_else_is() {
        for bytes in [1, 15, 16, 17, 100_000] {
            let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            let (file, media) = sealed(&content);
            let length = file.metadata().unwrap().len();
            assert!(length <= media.bytes + SEALED_BYTES_MORE, "{length}");
            let plain = tempfile::tempfile().unwrap();
            let mut plain = open(&media, file.try_clone().unwrap(), plain)
                .await
                .unwrap();
            let mut read = Vec::new();
            plain.read_to_end(&mut read).unwrap();
            assert!(read == content, "{bytes}");

            let other = MediaRef {
                key: vec![8; 32],
                ..media.clone()
            };
            let plain = tempfile::tempfile().unwrap();
            let refused = open(&other, file.try_clone().unwrap(), plain).await;
            assert!(matches!(refused, Err(MediaError::Broken)), "{bytes}");
            file.set_len(length - 1).unwrap();
            let refused = open(&media, file, tempfile::tempfile().unwrap()).await;
            assert!(matches!(refused, Err(MediaError::Broken)), "{bytes}");
        }
    }
}
