//! Where sessions are found: a `useMultiFileAuthState` folder, or a folder of
//! them; a zip, tar or tar.gz of either; or a file of documents.
//!
//! The folder that holds `creds.json` is a session's, and its name is the
//! account's id. Nothing that is found is written anywhere here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use whatsapp::baileys::{FILE_BYTES_MAX, FILES_MAX, Files, TOTAL_BYTES_MAX};

use super::{archive, documents};

/// Sessions of one source.
pub const ACCOUNTS_MAX: usize = 10_000;
/// Folders are looked into so far down.
const DEPTH_MAX: usize = 4;
/// A packed source.
pub const ARCHIVE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The extension of a session's files.
const EXTENSION: &str = ".json";
/// The file that makes a folder a session's.
const CREDS: &str = "creds";

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The archive is broken, or not one.
    #[error("the archive cannot be read: {0}")]
    Archive(String),
    /// Neither a folder nor a known kind of file.
    #[error(
        "this is no folder, no zip, no tar, no tar.gz and no JSON: name a useMultiFileAuthState \
         folder, an archive of it, or a file of documents"
    )]
    Unknown,
    /// Documents that are not in one of the forms.
    #[error("the documents cannot be read: {0}")]
    Documents(String),
    /// Nothing in it.
    #[error("there is no creds.json in it: it holds no session")]
    Empty,
    /// Too much of something.
    #[error("it holds more {what} than are taken ({max} at most)")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        max: u64,
    },
    /// Two sessions for one account.
    #[error("it holds two sessions called {0}: rename one of the folders")]
    Twice(String),
}

/// A session that was found.
pub struct Found {
    /// What it is called: the name of its folder.
    pub label: String,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Memory(Files),
}

/// The files hold keys.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Found {
    /// A session whose files are here.
    pub fn here(label: &str, files: Files) -> Self {
        Self {
            label: label.to_owned(),
            place: Place::Memory(files),
        }
    }

    /// Its files.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn files(&self) -> Result<Cow<'_, Files>, SourceError> {
        match &self.place {
            Place::Memory(files) => Ok(Cow::Borrowed(files)),
            Place::Folder(path) => read_folder(path).map(Cow::Owned),
        }
    }
}

/// Finds the sessions of a source, by their names.
///
/// # Errors
/// [`SourceError`].
pub fn find(path: &Path) -> Result<Vec<Found>, SourceError> {
    let wrong = |source| SourceError::Read {
        path: path.to_owned(),
        source,
    };
    let facts = fs::metadata(path).map_err(wrong)?;
    let found = if facts.is_dir() {
        let mut found = Vec::new();
        walk(path, 0, &mut found)?;
        found
    } else {
        if facts.len() > ARCHIVE_BYTES_MAX {
            return Err(too_much("bytes", ARCHIVE_BYTES_MAX));
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        let stem = stem.as_deref().unwrap_or("session");
        from_bytes(
            &fs::read(path).map_err(wrong)?,
            stem.trim_end_matches(".tar"),
        )?
    };
    sorted(found)
}

/// Finds the sessions of a packed source; `label` is the name of one that has
/// none.
///
/// # Errors
/// [`SourceError`].
pub fn from_bytes(bytes: &[u8], label: &str) -> Result<Vec<Found>, SourceError> {
    let found = if let Some(entries) = archive::read(bytes)? {
        group(entries, label)?
    } else if bytes
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|first| matches!(first, b'{' | b'['))
    {
        documents::read(bytes)?
    } else {
        return Err(SourceError::Unknown);
    };
    sorted(found)
}

pub(super) fn too_much(what: &'static str, max: u64) -> SourceError {
    SourceError::TooMuch { what, max }
}

/// A file's name without its extension, if it is one of a session's.
fn record_name(name: &str) -> Option<&str> {
    name.strip_suffix(EXTENSION).filter(|name| !name.is_empty())
}

fn sorted(mut found: Vec<Found>) -> Result<Vec<Found>, SourceError> {
    if found.is_empty() {
        return Err(SourceError::Empty);
    }
    if found.len() > ACCOUNTS_MAX {
        return Err(too_much("sessions", ACCOUNTS_MAX as u64));
    }
    found.sort_by(|one, other| one.label.cmp(&other.label));
    if let Some(pair) = found.windows(2).find(|pair| pair[0].label == pair[1].label) {
        return Err(SourceError::Twice(pair[0].label.clone()));
    }
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<Found>) -> Result<(), SourceError> {
    if folder.join(format!("{CREDS}{EXTENSION}")).is_file() {
        let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let label = full.file_name().map(|name| name.to_string_lossy());
        found.push(Found {
            label: label.as_deref().unwrap_or("session").to_owned(),
            place: Place::Folder(folder.to_owned()),
        });
        return Ok(());
    }
    if depth == DEPTH_MAX {
        return Ok(());
    }
    let wrong = |source| SourceError::Read {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        // Links are not followed: they could lead anywhere, or in a circle.
        if entry.file_type().map_err(wrong)?.is_dir() {
            walk(&entry.path(), depth + 1, found)?;
        }
        if found.len() > ACCOUNTS_MAX {
            return Err(too_much("sessions", ACCOUNTS_MAX as u64));
        }
    }
    Ok(())
}

fn read_folder(folder: &Path) -> Result<Files, SourceError> {
    let mut files = Files::new();
    let mut total = 0;
    let wrong = |path: &Path, source| SourceError::Read {
        path: path.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(|error| wrong(folder, error))? {
        let entry = entry.map_err(|error| wrong(folder, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(record_name) else {
            continue;
        };
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| wrong(&path, error))?;
        if !kind.is_file() {
            continue;
        }
        let file = fs::File::open(&path).map_err(|error| wrong(&path, error))?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| wrong(&path, error))?;
        total += bytes.len();
        if total > TOTAL_BYTES_MAX {
            return Err(too_much("bytes", TOTAL_BYTES_MAX as u64));
        }
        files.insert(name.to_owned(), bytes);
        if files.len() > FILES_MAX {
            return Err(too_much("files", FILES_MAX as u64));
        }
    }
    Ok(files)
}

/// Sorts an archive's files by folder; folders without credentials are no
/// sessions.
fn group(entries: Vec<archive::Entry>, label: &str) -> Result<Vec<Found>, SourceError> {
    let mut folders: BTreeMap<String, Files> = BTreeMap::new();
    for entry in entries {
        let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        let Some(name) = record_name(name) else {
            continue;
        };
        folders
            .entry(folder.to_owned())
            .or_default()
            .insert(name.to_owned(), entry.bytes);
    }
    folders.retain(|_, files| files.contains_key(CREDS));
    let name_of = |folder: &str| match folder.rsplit('/').next() {
        None | Some("" | ".") => label.to_owned(),
        Some(name) => name.to_owned(),
    };
    Ok(folders
        .into_iter()
        .map(|(folder, files)| Found::here(&name_of(&folder), files))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        [("creds", "{}"), ("pre-key-1", "{}")]
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
            .into()
    }

    fn folder(path: &Path) {
        fs::create_dir_all(path).unwrap();
        for (name, bytes) in files() {
            fs::write(path.join(format!("{name}.json")), bytes).unwrap();
        }
        fs::write(path.join("README"), "not a record").unwrap();
    }

    fn labels(found: &[Found]) -> Vec<&str> {
        found.iter().map(|found| found.label.as_str()).collect()
    }

    #[test]
    fn a_folder_and_a_folder_of_folders_are_found() {
        let root = tempfile::tempdir().unwrap();
        folder(&root.path().join("auth/eu"));
        folder(&root.path().join("auth/us"));
        let found = find(root.path()).unwrap();
        assert_eq!(labels(&found), ["eu", "us"]);
        assert_eq!(*found[0].files().unwrap(), files());
        let found = find(&root.path().join("auth/us")).unwrap();
        assert_eq!(labels(&found), ["us"]);
    }

    #[test]
    fn archives_hold_what_the_folder_held() {
        let entries: Vec<archive::Entry> = files()
            .into_iter()
            .map(|(name, bytes)| archive::Entry {
                path: format!("eu/{name}.json"),
                bytes,
            })
            .collect();
        for packed in [
            archive::write_zip(&entries).unwrap(),
            archive::write_tar_gz(&entries).unwrap(),
        ] {
            let found = from_bytes(&packed, "x").unwrap();
            assert_eq!(labels(&found), ["eu"]);
            assert_eq!(*found[0].files().unwrap(), files());
            // Cut off anywhere: an error, or fewer files, but no panic.
            for length in 0..packed.len() {
                let _ = from_bytes(&packed[..length], "x");
            }
        }
    }

    #[test]
    fn what_is_no_source_says_so() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(find(root.path()), Err(SourceError::Empty)));
        assert!(matches!(
            find(&root.path().join("nowhere")),
            Err(SourceError::Read { .. })
        ));
        assert!(matches!(
            from_bytes(b"MZ\x90", "x"),
            Err(SourceError::Unknown)
        ));
        assert!(matches!(
            from_bytes(b"{\"a\": ", "x"),
            Err(SourceError::Documents(_))
        ));
    }

    #[test]
    fn two_sessions_of_one_name_are_refused() {
        let root = tempfile::tempdir().unwrap();
        folder(&root.path().join("a/eu"));
        folder(&root.path().join("b/eu"));
        assert!(matches!(find(root.path()), Err(SourceError::Twice(_))));
    }
}
