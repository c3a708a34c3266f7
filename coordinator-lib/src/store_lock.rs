//! The right to be the one worker of a SQLite store.
//!
//! An operating system's lock on a file beside the database: it goes with the
//! process, however that ends, so a successor never waits. As long as it is
//! held no other worker session is alive on this store, which is what lets the
//! coordinator claim what an earlier session left behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// How much of the lock file is read to name its holder.
const HOLDER_BYTES_MAX: u64 = 256;

/// The right to be the one worker of a SQLite store; gone with the process.
#[derive(Debug)]
pub struct StoreLock {
    /// Holds the lock; the file itself stays, for whoever comes next.
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum StoreLockError {
    /// Another worker has it.
    #[error(
        "the database is in use by another worker ({holder}); stop it first, or give this one another data folder"
    )]
    Held {
        /// Its name and process id, as far as they can be read.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot use the lock file {path}; check the folder's rights and space")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl StoreLock {
    /// Takes the lock beside a database file (`leasehold.db` → `leasehold.db.lock`).
    ///
    /// # Errors
    /// See [`StoreLockError`].
    pub fn acquire(database: &Path, worker_name: &str) -> Result<Self, StoreLockError> {
        let path = lock_path(database);
        let failed = |source| StoreLockError::Io {
            path: path.display().to_string(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreLockError::Held {
                    holder: holder(file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The text is for the next one's error message only; a full disk must
        // not keep a worker from starting.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{worker_name}, process {}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn holder(file: File) -> String {
    let mut text = Vec::new();
    match file.take(HOLDER_BYTES_MAX).read_to_end(&mut text) {
        Ok(0) | Err(_) => "of unknown name".to_owned(),
        Ok(_) => String::from_utf8_lossy(&text).escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worker_is_refused_and_told_who_holds_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("leasehold.db");
        let lock = StoreLock::acquire(&database, "alice").unwrap();
        let refused = StoreLock::acquire(&database, "bob")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("alice, process"), "{refused}");
        drop(lock);
        let _again = StoreLock::acquire(&database, "bob").unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            StoreLock::acquire(&folder.path().join("none/leasehold.db"), "alice").unwrap_err();
        assert!(error.to_string().contains("leasehold.db.lock"), "{error}");
    }
}
