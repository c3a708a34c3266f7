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

use coordinator_lib::clock::SharedClock;
use serde::{Deserialize, Serialize};
use wacore::download::{DownloadWriter, MediaRoute, MediaType};
use wacore::upload::{EncryptedMediaInfo, UploadSource, encrypt_media_streaming_with_key};
use waproto::whatsapp as wa;
use whatsapp_rust::download::{DownloadParams, MediaDownloadError, MediaDownloader};

use self::host::MediaHost;
use crate::content::MediaKind;
use crate::proxy::Proxy;
use crate::runtime::TaskRuntime;

/// Bytes of a media key.
pub const MEDIA_KEY_BYTES: usize = 32;

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
    /// It could not be written here.
    #[error("the file could not be written")]
    Disk(#[source] io::Error),
}

/// Fetches files. Needs no session: any worker can fetch what any other got.
#[derive(Clone)]
pub struct MediaFetcher {
    media_url: Option<String>,
    clock: SharedClock,
}

impl MediaFetcher {
    /// A fetcher that asks WhatsApp's media hosts, or, in a simulation, the one
    /// at this address.
    pub fn new(media_url: Option<String>, clock: SharedClock) -> Self {
        Self { media_url, clock }
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
        if media.bytes > limit {
            return Err(MediaError::TooLarge { limit });
        }
        let params = DownloadParams::encrypted(
            media.direct_path.clone(),
            &media.key,
            &media.sha256,
            &media.encrypted_sha256,
            media.bytes,
            media_type(media.kind),
        );
        let runtime = TaskRuntime::new(self.clock.clone());
        let downloader = MediaDownloader::new(
            Arc::new(MediaHost::new(self.media_url.clone(), proxy)),
            Arc::new(runtime),
            MediaRoute::default_hosts(),
        );
        let writer = Limited { file, limit };
        match downloader.download_to_writer(&params, writer).await {
            Ok(writer) => Ok(writer.file),
            Err(MediaDownloadError::ReferenceRejected(_)) => Err(MediaError::Gone),
            Err(MediaDownloadError::NoHosts | MediaDownloadError::Other(_)) => {
                Err(MediaError::Incomplete)
            }
            // Which of several failures it was is only in texts.
            Err(_) => Err(MediaError::Unavailable),
        }
    }
}

/// A file that grows to a limit only.
struct Limited {
    file: File,
    limit: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.stream_position()? + bytes.len() as u64 > self.limit {
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
        };
        assert!(limited.write_all(&[0; 10]).is_ok());
        assert!(limited.write_all(&[0]).is_err());
    }
}
