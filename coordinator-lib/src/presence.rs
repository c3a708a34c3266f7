//! Proof that a worker session of the same machine is gone.
//!
//! The operating system knows at once when a process has ended, however that
//! happened. Where all workers share one machine (the embedded store) nobody
//! has to wait for a heartbeat to be missed: each session holds a lock on a
//! file of its own, which goes with the process; whoever gets that lock has
//! proof that the session will never act again, and may seal it.
//!
//! The proof is one of a session's *end* only. A session that holds its lock
//! may hang or be paused: heartbeats decide about it as anywhere.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::WorkerSessionId;

/// Tells which worker sessions are gone.
pub trait Presence: Send + Sync + 'static {
    /// Shows that a session is here, until the answer is dropped or the process
    /// ends. To be called before the session exists in the store.
    ///
    /// # Errors
    /// The operating system's.
    fn enter(&self, session: &WorkerSessionId) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Whether it is certain that the session's process has ended. False where
    /// nothing is known.
    fn has_left(&self, session: &WorkerSessionId) -> bool;
}

/// Locks on files of one folder, which lies on this machine.
#[derive(Debug)]
pub struct FolderPresence {
    folder: PathBuf,
}

/// Holds a session's lock.
struct Held {
    path: PathBuf,
    _file: File,
}

impl FolderPresence {
    /// Keeps lock files in this folder; it is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, session: &WorkerSessionId) -> PathBuf {
        self.folder.join(format!("{}.lock", session.as_str()))
    }
}

impl Presence for FolderPresence {
    fn enter(&self, session: &WorkerSessionId) -> io::Result<Box<dyn Any + Send + Sync>> {
        let path = self.path(session);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::AlreadyExists),
            TryLockError::Error(error) => error,
        })?;
        Ok(Box::new(Held { path, _file: file }))
    }

    fn has_left(&self, session: &WorkerSessionId) -> bool {
        // Without a file nothing is known: another machine's, or long gone.
        match File::open(self.path(session)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(_) => false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A session that ends in an orderly way says so in the store.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_here_as_long_as_it_holds_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let session = WorkerSessionId::from_text("s1");
        let (mine, others) = (
            FolderPresence::new(folder.path()).unwrap(),
            FolderPresence::new(folder.path()).unwrap(),
        );
        assert!(!others.has_left(&session), "nothing is known of it");
        let held = mine.enter(&session).unwrap();
        assert!(!others.has_left(&session));
        assert!(others.enter(&session).is_err());
        drop(held);
        assert!(!others.has_left(&session), "it left in an orderly way");
    }

    #[test]
    fn a_session_whose_process_ended_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let presence = FolderPresence::new(folder.path()).unwrap();
        let session = WorkerSessionId::from_text("s1");
        // What a killed process leaves: the file, and no lock on it.
        File::create(presence.path(&session)).unwrap();
        assert!(presence.has_left(&session));
    }
}
