//! `worker export-baileys`: an account's session as Baileys' files, the way back.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use whatsapp::baileys::{Files, Generation};

use super::import_baileys::account_id;
use super::operate::{self, Tool};
use crate::baileys::outlet;
use crate::config::StoreConfig;
use crate::exit::{self, Failure};

/// `worker export-baileys …`
#[derive(Debug, Args)]
pub(super) struct ExportCommand {
    /// Id of the account; it must be stopped, and is needs_import afterwards
    account: String,
    /// The folder to make for the files; with --original, the tar.gz to make
    target: PathBuf,
    /// The Baileys that is to read them
    #[arg(long, value_enum, default_value_t = For::Seven)]
    baileys: For,
    /// The files as they were imported, instead of the session as it is now
    #[arg(long)]
    original: bool,
    #[command(flatten)]
    store: StoreConfig,
}

/// Which Baileys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum For {
    /// Version 6
    #[value(name = "6")]
    Six,
    /// Version 7
    #[value(name = "7")]
    Seven,
}

impl ExportCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        // Before anything is changed.
        if self.target.exists() {
            return Err(Failure::new(
                exit::CREATE,
                format!(
                    "{} is there already: name another place",
                    self.target.display()
                ),
            ));
        }
        operate::block_on(self.act())
    }

    async fn act(&self) -> Result<ExitCode, Failure> {
        let account = account_id(&self.account).map_err(|why| Failure::new(exit::CONFIG, why))?;
        let tool = Tool::open(&self.store, "export-baileys").await?;
        let done = if self.original {
            match outlet::as_imported(&tool.operator, &account).await {
                Ok(packed) => write_file(&self.target, &packed).map(|()| 1),
                Err(error) => Err(Failure::new(exit::DATA, error)),
            }
        } else {
            let generation = match self.baileys {
                For::Six => Generation::Six,
                For::Seven => Generation::Seven,
            };
            match outlet::current(&tool.operator, &account, generation).await {
                Ok(exported) => {
                    for problem in &exported.report.problems {
                        println!("left out {}: {}", problem.file, problem.reason);
                    }
                    write_folder(&self.target, &exported.files)
                }
                Err(error) => Err(Failure::new(exit::DATA, error)),
            }
        };
        tool.close().await;
        println!(
            "{}: {} file(s). Whoever has them has the account: keep them from others.",
            self.target.display(),
            done?
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn write_folder(target: &Path, files: &Files) -> Result<usize, Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(target)
        .map_err(|error| unwritable(target, &error))?;
    for (name, bytes) in files {
        write_file(&target.join(format!("{name}.json")), bytes)?;
    }
    Ok(files.len())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unwritable(path, &error))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        exit::CREATE,
        format!(
            "{} cannot be written ({error}): name another place",
            path.display()
        ),
    )
}
