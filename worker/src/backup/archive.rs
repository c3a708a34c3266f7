//! The file of a backup.
//!
//! ```text
//! magic (16)  version:u32  length:u32  header
//! 0 length:u32 sealed frame   … any number of them
//! 1 length:u32 sealed end     and nothing after it
//! ```
//! Numbers are big-endian. The header is a document's fields in bytes: when it was
//! made, and the archive's own key, wrapped for the key ring and its recipients.
//! Each frame is sealed with that key for its number and for this header
//! (AES-256-GCM), so that none can be altered, left out, moved, or come from
//! another archive; the end says how many there were.
//!
//! One frame at a time is in memory. Everything that is read has a limit, and an
//! archive may come from anybody who knows a public key: what is inside is checked
//! by [`super::contents`].

use std::io::{self, Read, Write};

use bytes::Bytes;
use coordinator_lib::rng::Rng;
use coordinator_lib::store::{
    Fields, Path, StoreError, StoreTime, fields_from_bytes, fields_to_bytes, from_fields, to_fields,
};
use prost::Message as _;
use proto::backup as pb;
use serde::{Deserialize, Serialize};
use session::{DataKey, KeyRing, WrappedKeys};
use sha2::{Digest as _, Sha256};

/// What an archive begins with.
const MAGIC: &[u8; 16] = b"leasehold-backup";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// A header: a ring of 64 keys takes less.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A frame ends once it holds so much; one document may add a mebibyte.
const FRAME_BYTES: usize = 1024 * 1024;
/// A sealed frame: what was written as one, and the longest paths.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Stands before a frame.
const FRAME: u8 = 0;
/// Stands before the end.
const END: u8 = 1;

/// Why an archive was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file or its disk.
    #[error("the file cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this is no backup of Leasehold")]
    Foreign,
    /// A newer program's.
    #[error("the backup has format version {0}, and this program reads version {VERSION}")]
    Newer(u32),
    /// It ends before its end.
    #[error("the backup is cut off: its end is missing")]
    CutOff,
    /// It was changed, or put together of several.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    /// No key opens it.
    #[error("the backup does not open with this key ring: {0}")]
    Keys(#[from] session::UnwrapError),
    /// A document that no archive takes.
    #[error("a document cannot be written: {0}")]
    Document(#[from] StoreError),
}

/// What stands in front, in clear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    /// Tells archives apart.
    id: String,
    /// When it was begun, by the store's clock.
    made_at: StoreTime,
    /// The archive's key.
    wrapped_keys: WrappedKeys,
}

/// What the archive's key is wrapped for and seals for, where an account's key
/// has the account: no account is called so.
fn label(id: &str) -> String {
    format!("backup/{id}")
}

/// One document.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it lies in the store.
    pub path: Path,
    /// What it holds.
    pub fields: Fields,
}

/// How much an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Accounts.
    pub accounts: u64,
    /// Documents.
    pub entries: u64,
}

/// The key of an archive, bound to its header.
struct Seal {
    key: DataKey,
    label: String,
    header_hash: String,
}

impl Seal {
    fn purpose(&self, kind: u8, number: u64) -> String {
        format!("frame {kind} {number} {}", self.header_hash)
    }
}

/// Writes an archive.
pub struct Writer<'a, W> {
    out: W,
    rng: &'a dyn Rng,
    seal: Seal,
    frame: pb::Frame,
    frame_bytes: usize,
    frames: u64,
    count: Count,
}

impl<'a, W: Write> Writer<'a, W> {
    /// Begins one, which opens with every key of the ring and its recipients'.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn begin(
        mut out: W,
        ring: &KeyRing,
        rng: &'a dyn Rng,
        made_at: StoreTime,
    ) -> Result<Self, ArchiveError> {
        let key = DataKey::generate(rng);
        let id = rng.nonce();
        let header = Header {
            wrapped_keys: ring.wrap(rng, &key, &label(&id)),
            id,
            made_at,
        };
        let bytes = fields_to_bytes(&to_fields(&header)?);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_be_bytes())?;
        out.write_all(&length(bytes.len())?)?;
        out.write_all(&bytes)?;
        Ok(Self {
            out,
            rng,
            seal: Seal {
                key,
                label: label(&header.id),
                header_hash: hash(&bytes),
            },
            frame: pb::Frame::default(),
            frame_bytes: 0,
            frames: 0,
            count: Count::default(),
        })
    }

    /// Adds a document. One at `accounts/{id}` begins an account.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn add(&mut self, path: &Path, fields: &Fields) -> Result<(), ArchiveError> {
        let entry = pb::Entry {
            path: path.to_string(),
            fields: fields_to_bytes(fields),
        };
        self.frame_bytes += entry.encoded_len() + 8;
        self.frame.entries.push(entry);
        self.count.entries += 1;
        if path.collection().to_string() == crate::model::collections::ACCOUNTS {
            self.count.accounts += 1;
        }
        if self.frame_bytes >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the end; the archive is whole then.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn end(mut self) -> Result<(Count, W), ArchiveError> {
        if !self.frame.entries.is_empty() {
            self.flush()?;
        }
        let end = pb::End {
            accounts: self.count.accounts,
            entries: self.count.entries,
            frames: self.frames,
        };
        self.write(END, &end.encode_to_vec())?;
        self.out.flush()?;
        Ok((self.count, self.out))
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        let frame = std::mem::take(&mut self.frame);
        self.frame_bytes = 0;
        self.write(FRAME, &frame.encode_to_vec())
    }

    fn write(&mut self, kind: u8, plain: &[u8]) -> Result<(), ArchiveError> {
        let purpose = self.seal.purpose(kind, self.frames);
        let seal = &self.seal;
        let sealed = seal.key.seal_secret(self.rng, &seal.label, &purpose, plain);
        self.out.write_all(&[kind])?;
        self.out.write_all(&length(sealed.len())?)?;
        self.out.write_all(&sealed)?;
        self.frames += 1;
        Ok(())
    }
}

/// Reads an archive from its beginning to its end.
pub struct Reader<R> {
    input: R,
    seal: Seal,
    made_at: StoreTime,
    frames: u64,
    count: Count,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    /// Opens one with a key of the ring.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(mut input: R, ring: &KeyRing) -> Result<Self, ArchiveError> {
        let mut magic = [0; MAGIC.len()];
        input
            .read_exact(&mut magic)
            .map_err(|error| short(error, ArchiveError::Foreign))?;
        if magic != *MAGIC {
            return Err(ArchiveError::Foreign);
        }
        match read_number(&mut input)? {
            VERSION => {}
            other => return Err(ArchiveError::Newer(other)),
        }
        let bytes = read_bytes(&mut input, HEADER_BYTES_MAX)?;
        let header_hash = hash(&bytes);
        let damaged = |_| ArchiveError::Damaged("its header cannot be read");
        let fields = fields_from_bytes(&bytes.into()).map_err(damaged)?;
        let header: Header = from_fields(&fields).map_err(damaged)?;
        let key = ring.unwrap(&header.wrapped_keys, &label(&header.id))?;
        Ok(Self {
            input,
            seal: Seal {
                key,
                label: label(&header.id),
                header_hash,
            },
            made_at: header.made_at,
            frames: 0,
            count: Count::default(),
            is_over: false,
        })
    }

    /// When the backup was begun.
    pub fn made_at(&self) -> StoreTime {
        self.made_at
    }

    /// The documents of the next frame; `None` once the end was there and right.
    ///
    /// # Errors
    /// [`ArchiveError`]; what was read before is not to be trusted to be whole.
    pub fn frame(&mut self) -> Result<Option<Vec<Entry>>, ArchiveError> {
        if self.is_over {
            return Ok(None);
        }
        let mut kind = [0];
        read_exact(&mut self.input, &mut kind)?;
        let [kind] = kind;
        let sealed = read_bytes(&mut self.input, FRAME_BYTES_MAX)?;
        let purpose = self.seal.purpose(kind, self.frames);
        let plain = self
            .seal
            .key
            .open_secret(&self.seal.label, &purpose, &sealed)
            .map_err(|_| ArchiveError::Damaged("a part was altered, moved or left out"))?;
        self.frames += 1;
        match kind {
            FRAME => self.entries(&plain).map(Some),
            END => self.end(&plain).map(|()| None),
            _ => Err(ArchiveError::Damaged("a part is of no known kind")),
        }
    }

    fn entries(&mut self, plain: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
        let damaged = || ArchiveError::Damaged("a part is no list of documents");
        let frame = pb::Frame::decode(plain).map_err(|_| damaged())?;
        let mut entries = Vec::with_capacity(frame.entries.len());
        for entry in frame.entries {
            let path = Path::new(&entry.path).map_err(|_| damaged())?;
            let fields = fields_from_bytes(&Bytes::from(entry.fields)).map_err(|_| damaged())?;
            self.count.entries += 1;
            if path.collection().to_string() == crate::model::collections::ACCOUNTS {
                self.count.accounts += 1;
            }
            entries.push(Entry { path, fields });
        }
        Ok(entries)
    }

    fn end(&mut self, plain: &[u8]) -> Result<(), ArchiveError> {
        let damaged = || ArchiveError::Damaged("its end does not fit what came before");
        let end = pb::End::decode(plain).map_err(|_| damaged())?;
        let is_right = end.frames + 1 == self.frames
            && end.entries == self.count.entries
            && end.accounts == self.count.accounts;
        if !is_right || self.input.read(&mut [0])? != 0 {
            return Err(damaged());
        }
        self.is_over = true;
        Ok(())
    }

    /// How much was read.
    pub fn count(&self) -> Count {
        self.count
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn length(bytes: usize) -> Result<[u8; 4], ArchiveError> {
    let bytes = u32::try_from(bytes).map_err(|_| StoreError::invalid("it is too large"))?;
    Ok(bytes.to_be_bytes())
}

fn read_number(input: &mut impl Read) -> Result<u32, ArchiveError> {
    let mut number = [0; 4];
    read_exact(input, &mut number)?;
    Ok(u32::from_be_bytes(number))
}

fn read_bytes(input: &mut impl Read, max: usize) -> Result<Vec<u8>, ArchiveError> {
    let length = read_number(input)? as usize;
    if length > max {
        return Err(ArchiveError::Damaged("a part is longer than any"));
    }
    let mut bytes = vec![0; length];
    read_exact(input, &mut bytes)?;
    Ok(bytes)
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), ArchiveError> {
    input
        .read_exact(bytes)
        .map_err(|error| short(error, ArchiveError::CutOff))
}

/// What it means that a file has ended, or else the error itself.
fn short(error: io::Error, ended: ArchiveError) -> ArchiveError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ended;
    }
    error.into()
}
