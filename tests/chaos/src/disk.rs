//! The embedded store's disk: a small file system in memory of its own, which
//! can be filled up without harm to anything else.
//!
//! Mounting needs rights that not everybody has; without them the data is on
//! the machine's own disk, which is never filled up. With them the whole program
//! runs in mounts of its own (`unshare --mount`), so that none is left behind,
//! however it ends.

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::options::{Options, StoreKind};

/// Says that the program runs in mounts of its own already.
const MARK: &str = "LEASEHOLD_CHAOS_OWN_MOUNTS";

/// Room for a run of hours.
const SIZE: &str = "512m";

/// What fills it up.
const BALLAST: &str = "ballast";

/// Runs this program once more, in mounts of its own, where that is needed and
/// permitted; gives its exit code. `None` if it is to go on as it is.
pub(crate) fn in_own_mounts(options: &Options) -> Option<ExitCode> {
    let is_needed = options.store == StoreKind::Sqlite && !options.plan;
    if !is_needed || env::var_os(MARK).is_some() {
        return None;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    let is_permitted = unshare()
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_permitted {
        return None;
    }
    let program = env::current_exe().ok()?;
    let status = unshare()
        .arg(program)
        .args(env::args_os().skip(1))
        .env(MARK, "1")
        .status()
        .ok()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A disk that can be full.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one at `folder`; none where that is not permitted.
    ///
    /// # Errors
    /// There is no folder.
    pub(crate) fn at(folder: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(folder)?;
        if env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={SIZE},mode=700"))
            .arg("leasehold-chaos")
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        let is_mounted = status.is_ok_and(|status| status.success());
        Ok(is_mounted.then(|| Self {
            folder: folder.to_owned(),
        }))
    }

    /// Fills it up.
    ///
    /// # Errors
    /// It has room without end.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.folder.join(BALLAST))?;
        let block = vec![0; 1024 * 1024];
        for _ in 0..4096 {
            if ballast.write_all(&block).is_err() {
                return Ok(());
            }
        }
        bail!("the disk is not full")
    }

    /// Makes room.
    ///
    /// # Errors
    /// The disk stays full.
    pub(crate) fn clear(&self) -> Result<()> {
        match std::fs::remove_file(self.folder.join(BALLAST)) {
            Ok(()) => Ok(()),
            // Filled twice, on a machine that is slow: the first made room for both.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("the disk stays full"),
        }
    }
}
