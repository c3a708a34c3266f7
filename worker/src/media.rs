//! The folder of files that clients gave, to be sent.
//!
//! Only where all workers share a machine: the worker that sends is not the one
//! that took the file. With a cluster's database there is no such folder, and
//! files are refused. What came with messages is not kept here: it is fetched
//! from WhatsApp when somebody wants it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The folder, where there is one.
#[derive(Debug, Clone, Default)]
pub struct MediaFolder {
    folder: Option<PathBuf>,
    /// Bytes of one file.
    pub bytes_max: u64,
}

impl MediaFolder {
    /// A folder below the data folder, made when it is needed; or none.
    pub fn new(data_folder: Option<&Path>, bytes_max: u64) -> Self {
        Self {
            folder: data_folder.map(|folder| folder.join("media")),
            bytes_max,
        }
    }

    /// Whether files can be kept.
    pub fn is_there(&self) -> bool {
        self.folder.is_some()
    }

    /// Where a file is or would be. The id is one of ours, and no path.
    pub fn path(&self, id: &str) -> Option<PathBuf> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let folder = self.folder.as_ref()?;
        (!id.is_empty() && id.bytes().all(is_id)).then(|| folder.join(id))
    }

    /// A new file that only this user can read.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub fn create(&self, id: &str) -> io::Result<File> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let path = self
            .path(id)
            .ok_or_else(|| io::Error::other("there is no media folder"))?;
        if let Some(folder) = &self.folder {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600).open(path)
    }

    /// A nameless file, for what is fetched and passed on.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn temporary(&self) -> io::Result<File> {
        match &self.folder {
            Some(folder) if folder.is_dir() => tempfile::tempfile_in(folder),
            Some(_) | None => tempfile::tempfile(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leads_out_of_the_folder() {
        let folder = MediaFolder::new(Some(Path::new("/data")), 1);
        assert_eq!(folder.path("med_1"), Some("/data/media/med_1".into()));
        for id in ["", "..", "../x", "a/b", "a.b"] {
            assert_eq!(folder.path(id), None, "{id}");
        }
        assert_eq!(MediaFolder::default().path("med_1"), None);
    }
}
