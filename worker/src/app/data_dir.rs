//! The data folder: made for its owner alone, and checked for it.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::exit::{self, Failure};

/// Read, write and enter for the owner; nothing for anybody else.
const OWNER_ONLY: u32 = 0o700;

/// Makes the folder where there is none.
///
/// # Errors
/// A line that says what is in the way, and the exit code.
pub fn prepare(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            return Err(Failure::new(
                exit::CREATE,
                format!("{shown} is not a folder: name another one with --data-dir"),
            ));
        }
        Ok(found) => {
            if found.permissions().mode() & 0o077 != 0 {
                tracing::warn!(
                    data.dir = %shown,
                    "other users of this machine can look into the data folder: chmod 700 it"
                );
            }
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(path, &error)),
    }
    DirBuilder::new()
        .recursive(true)
        .mode(OWNER_ONLY)
        .create(path)
        .map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        exit::CREATE,
        format!(
            "the data folder {} cannot be used ({error}): name one that this user may write to \
             with --data-dir",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_made_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        prepare(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            OWNER_ONLY
        );
        prepare(&path).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "").unwrap();
        let failure = prepare(&path).unwrap_err();
        assert_eq!(failure.code, exit::CREATE);
        assert!(failure.message.contains("--data-dir"), "{failure}");
        let below = prepare(&path.join("x")).unwrap_err();
        assert_eq!(below.code, exit::CREATE);
    }
}
