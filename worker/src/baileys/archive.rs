//! Archives: zip, tar and tar.gz, told apart by their first bytes.
//!
//! Read into memory within limits, whatever the archive says of itself: of a
//! packed file no more is unpacked than is taken. Only plain files count, and
//! their paths are only names: nothing is written to disk.

use std::io::{Cursor, Read, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use whatsapp::baileys::{FILE_BYTES_MAX, FILES_MAX};
use zip::write::SimpleFileOptions;

use super::source::{SourceError, too_much};

/// Everything in an archive, unpacked.
const UNPACKED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A path in an archive.
const PATH_BYTES_MAX: usize = 1024;

/// One file.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, with `/`.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Reads an archive; `None` if the bytes are none.
///
/// # Errors
/// [`SourceError`]: it is broken, or holds too much.
pub fn read(bytes: &[u8]) -> Result<Option<Vec<Entry>>, SourceError> {
    if bytes.starts_with(b"PK") {
        return read_zip(bytes).map(Some);
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return read_tar(GzDecoder::new(bytes)).map(Some);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return read_tar(bytes).map(Some);
    }
    Ok(None)
}

/// Counts what was unpacked.
#[derive(Default)]
struct Taken {
    entries: Vec<Entry>,
    bytes: u64,
}

impl Taken {
    fn take(&mut self, path: &str, content: impl Read) -> Result<(), SourceError> {
        if self.entries.len() >= FILES_MAX {
            return Err(too_much("files", FILES_MAX as u64));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(too_much("bytes in a path", PATH_BYTES_MAX as u64));
        }
        let mut bytes = Vec::new();
        content
            .take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(broken)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(too_much("bytes in a file", FILE_BYTES_MAX as u64));
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > UNPACKED_BYTES_MAX {
            return Err(too_much("bytes", UNPACKED_BYTES_MAX));
        }
        self.entries.push(Entry {
            path: path.to_owned(),
            bytes,
        });
        Ok(())
    }
}

fn read_zip(bytes: &[u8]) -> Result<Vec<Entry>, SourceError> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let mut taken = Taken::default();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(broken)?;
        if file.is_file() {
            let path = file.name().map_err(broken)?.into_owned();
            taken.take(&path, file)?;
        }
    }
    Ok(taken.entries)
}

fn read_tar(bytes: impl Read) -> Result<Vec<Entry>, SourceError> {
    // Headers of files that do not count take room, too.
    let mut archive = tar::Archive::new(bytes.take(2 * UNPACKED_BYTES_MAX));
    let mut taken = Taken::default();
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if entry.header().entry_type().is_file() {
            let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
            taken.take(path.trim_start_matches("./"), entry)?;
        }
    }
    Ok(taken.entries)
}

/// Packs files as a zip.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn write_zip(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .unix_permissions(0o600);
    for entry in entries {
        writer.start_file(entry.path.as_str(), options)?;
        writer.write_all(&entry.bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

/// Packs files as a tar.gz.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn write_tar_gz(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut writer = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.bytes.len() as u64);
        header.set_mode(0o600);
        writer.append_data(&mut header, &entry.path, entry.bytes.as_slice())?;
    }
    writer.into_inner()?.finish()
}

fn broken(error: impl std::fmt::Display) -> SourceError {
    // The text of an error may quote the archive, at length.
    SourceError::Archive(error.to_string().chars().take(200).collect())
}
