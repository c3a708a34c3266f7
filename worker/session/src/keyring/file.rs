//! The file of a key ring.
//!
//! It belongs to its owner alone (mode 0600). A file that is somebody else's, as
//! Kubernetes mounts a secret for a process that is not root, may be read by the
//! group that lets this process read it (0440). A new one appears whole or not at
//! all: written beside its place under another name, synced, then linked into
//! place. Linking, unlike renaming, fails where a file already is, so two
//! workers that start together end with one ring, and a ring that exists is
//! overwritten by [`write`] alone, whole or not at all.
//!
//! What the bytes mean is [`super::provider`]'s business. Blocking calls.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use coordinator_lib::rng::Rng;
use zeroize::Zeroizing;

use super::ParseError;

/// Many times the size of the largest ring.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const MODE: u32 = 0o600;
/// Permission bits of anybody but the owner.
const OTHERS: u32 = 0o077;
/// The group may read.
const GROUP_READS: u32 = 0o040;

/// Why there is no key ring. Says what to do, and never quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The file cannot be opened or read.
    #[error("key ring {} cannot be read: check that it is a file that this user may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There was no file, and none could be written.
    #[error("key ring {} cannot be created: check that its folder exists, is writable and has room", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner have access.
    #[error("key ring {} has mode {mode:04o}, so others can read every session; run `chmod 600` on it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What the file holds is not a key ring.
    #[error("key ring {} is broken: {source}; restore it from a backup, since sessions cannot be opened without it (only if this worker never held an account: move it away, and a new one is made)", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParseError,
    },
    /// The file is far larger than a ring.
    #[error("key ring {} is larger than {FILE_BYTES_MAX} bytes, so it is no key ring; check the path", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the file at `path`.
///
/// # Errors
/// [`KeyRingError`] says what is wrong and what to do.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyRingError> {
    let unreadable = |source| KeyRingError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that was opened, whatever the path names by now.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !is_private(mode, metadata.uid(), rustix::process::geteuid().as_raw()) {
        return Err(KeyRingError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut content = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyRingError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(content)
}

/// Whether a file of this mode is kept from everybody that it does not concern.
fn is_private(mode: u32, owner: u32, reader: u32) -> bool {
    let needed = if owner == reader { 0 } else { GROUP_READS };
    mode & OTHERS & !needed == 0
}

/// What became of a new file.
pub(super) enum Placed {
    Here,
    AnotherWasFaster,
}

/// Writes a file in the place of the one at `path`.
///
/// # Errors
/// [`KeyRingError::Create`]: the old one is still there.
pub(super) fn write(path: &Path, content: &[u8], rng: &dyn Rng) -> Result<(), KeyRingError> {
    overwrite(path, content, rng).map_err(|source| not_created(path, source))
}

/// Writes a file where there is none.
///
/// # Errors
/// [`KeyRingError::Create`].
pub(super) fn place(path: &Path, content: &[u8], rng: &dyn Rng) -> Result<Placed, KeyRingError> {
    link_new(path, content, rng).map_err(|source| not_created(path, source))
}

fn not_created(path: &Path, source: io::Error) -> KeyRingError {
    KeyRingError::Create {
        path: path.to_owned(),
        source,
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Writes a synced file beside its place.
fn write_beside(path: &Path, content: &[u8], rng: &dyn Rng) -> io::Result<Temporary> {
    let name = format!(".keyring-{}.tmp", rng.nonce());
    let temporary = Temporary(folder_of(path).join(name));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&temporary.0)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(temporary)
}

fn overwrite(path: &Path, content: &[u8], rng: &dyn Rng) -> io::Result<()> {
    let temporary = write_beside(path, content, rng)?;
    fs::rename(&temporary.0, path)?;
    File::open(folder_of(path))?.sync_all()
}

fn link_new(path: &Path, content: &[u8], rng: &dyn Rng) -> io::Result<Placed> {
    let temporary = write_beside(path, content, rng)?;
    match fs::hard_link(&temporary.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Ok(Placed::AnotherWasFaster);
        }
        // A file system without links. Renaming may overwrite what another
        // process placed meanwhile, but nothing that was there before.
        Err(_) if !path.exists() => fs::rename(&temporary.0, path)?,
        Err(error) => return Err(error),
    }
    // The name, too, must survive a power cut.
    File::open(folder_of(path))?.sync_all()?;
    Ok(Placed::Here)
}

/// Removes the file under its temporary name, however the writing ended.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already if it was renamed; otherwise nothing depends on it.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use coordinator_lib::rng::{SeededRng, SystemRng};

    use super::super::{FileProvider, KeyRing, ProviderError};
    use super::*;

    fn load_or_generate(path: &Path) -> Result<KeyRing, KeyRingError> {
        let provider = FileProvider::new(path.to_owned(), None, SystemRng::shared());
        provider
            .load_or_generate(&SystemRng)
            .map_err(|error| match error {
                ProviderError::File(error) => error,
                other @ (ProviderError::Environment { .. }
                | ProviderError::Envelope { .. }
                | ProviderError::ReadOnly { .. }) => panic!("not the file's: {other}"),
            })
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_ring_is_made_once_for_its_owner_alone_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        let made = load_or_generate(&path).unwrap();
        assert_eq!(mode_of(&path), 0o600);
        let read = load_or_generate(&path).unwrap();
        assert_eq!(read.fingerprints(), made.fingerprints());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn workers_that_start_together_share_one_ring() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        let rings: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| load_or_generate(&path).unwrap()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap().fingerprints())
                .collect()
        });
        assert!(rings.iter().all(|ring| *ring == rings[0]), "{rings:?}");
    }

    #[test]
    fn a_mode_that_lets_others_in_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        load_or_generate(&path).unwrap();
        for loose in [0o640, 0o604, 0o666, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
            let error = load_or_generate(&path).unwrap_err();
            assert!(matches!(error, KeyRingError::Mode { mode, .. } if mode == loose));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load_or_generate(&path).is_ok());
    }

    #[test]
    fn a_mounted_secret_is_read_through_its_group() {
        let (root, worker) = (0, 65_532);
        for (mode, owner, is_fine) in [
            (0o600, worker, true),
            (0o440, worker, false),
            (0o440, root, true),
            (0o640, root, true),
            (0o444, root, false),
            (0o660, root, false),
            (0o450, root, false),
        ] {
            let found = is_private(mode, owner, worker);
            assert_eq!(found, is_fine, "{mode:o} of {owner}");
        }
    }

    #[test]
    fn garbage_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        for garbage in [
            "",
            "not json",
            "{}",
            "[]",
            "\u{0}\u{1}",
            r#"{"schemaVersion":1}"#,
        ] {
            put(&path, garbage, 0o600);
            let error = load_or_generate(&path).unwrap_err();
            assert!(
                matches!(error, KeyRingError::Broken { .. }),
                "{garbage:?}: {error}"
            );
            assert!(error.to_string().contains("backup"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
        }
    }

    #[test]
    fn an_unknown_schema_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        put(
            &path,
            r#"{"schemaVersion":7,"rings":"of a later shape"}"#,
            0o600,
        );
        let error = load_or_generate(&path).unwrap_err();
        assert!(error.to_string().contains("schema version is 7"), "{error}");
    }

    #[test]
    fn a_missing_folder_a_folder_in_its_place_and_a_huge_file_are_clear_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("absent").join("keyring.json");
        let error = load_or_generate(&missing).unwrap_err();
        assert!(matches!(error, KeyRingError::Create { .. }), "{error}");
        assert!(error.to_string().contains("folder exists"), "{error}");

        let huge = folder.path().join("huge");
        put(&huge, &"x".repeat(70_000), 0o600);
        let error = load_or_generate(&huge).unwrap_err();
        assert!(matches!(error, KeyRingError::TooLarge { .. }), "{error}");

        let subfolder = folder.path().join("folder");
        fs::create_dir(&subfolder).unwrap();
        fs::set_permissions(&subfolder, fs::Permissions::from_mode(0o700)).unwrap();
        let error = load_or_generate(&subfolder).unwrap_err();
        assert!(matches!(error, KeyRingError::Read { .. }), "{error}");
    }

    #[test]
    fn no_error_quotes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        let good = KeyRing::generate(&SeededRng::new(3)).to_json();
        let secret = good
            .split('"')
            .find(|part| part.len() == 44)
            .unwrap()
            .to_owned();
        let damaged = [
            good.replace("\"active\"", "\"actve\""),
            good.replace("\"keys\"", "\"kyes\""),
            good.replace("\"schemaVersion\": 1", "\"schemaVersion\": \"one\""),
            good.replace(&secret, &format!("{secret}x")),
            good.replace(&secret, &secret.to_lowercase()),
        ];
        for text in damaged {
            assert_ne!(text, *good);
            put(&path, &text, 0o600);
            let error = load_or_generate(&path).unwrap_err();
            for output in [format!("{error}"), format!("{error:?}")] {
                let output = output.to_lowercase();
                assert!(!output.contains(&secret.to_lowercase()), "{output}");
            }
        }
    }
}
