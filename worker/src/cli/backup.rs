//! `worker backup`: accounts into one encrypted file, while they run.

use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use coordinator_lib::identity::{AccountId, account_collection};
use coordinator_lib::rng::SystemRng;
use coordinator_lib::store::{Query, Store};

use super::import_baileys::account_id;
use super::operate::{self, Tool};
use crate::backup::archive::{ArchiveError, Writer};
use crate::backup::collect::{CollectError, Source};
use crate::config::StoreConfig;
use crate::exit::{self, Failure};
use crate::purge::purged_at;

/// Accounts that are listed at a time.
const PAGE: u32 = 500;

/// `worker backup …`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["accounts", "all"]))]
pub(super) struct BackupCommand {
    /// Ids of the accounts
    accounts: Vec<String>,
    /// Every account there is
    #[arg(long)]
    all: bool,
    /// The file to make
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    store: StoreConfig,
}

impl BackupCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        // Before anything is read.
        if self.to.exists() {
            return Err(Failure::new(
                exit::CREATE,
                format!("{} is there already: name another file", self.to.display()),
            ));
        }
        operate::block_on(self.act())
    }

    async fn act(&self) -> Result<ExitCode, Failure> {
        let named: Result<Vec<AccountId>, String> =
            self.accounts.iter().map(|id| account_id(id)).collect();
        let named = named.map_err(|why| Failure::new(exit::CONFIG, why))?;
        let tool = Tool::open(&self.store, "backup").await?;
        let done = self.write(&tool, named).await;
        tool.close().await;
        done
    }

    async fn write(&self, tool: &Tool, named: Vec<AccountId>) -> Result<ExitCode, Failure> {
        let parts = tool.operator.parts();
        let accounts = match self.all {
            true => all_accounts(&parts.store).await?,
            false => named,
        };
        // Under another name until it is whole.
        let part = self.to.with_added_extension("part");
        let file = create(&part)?;
        let made = self.fill(tool, &accounts, file).await;
        match made {
            Ok(left_out) => {
                fs::rename(&part, &self.to).map_err(|error| unwritable(&self.to, &error))?;
                println!(
                    "{}: {} account(s). It opens with this key ring, or with a recipient's key: \
                     keep one of them apart from it.",
                    self.to.display(),
                    accounts.len() - left_out
                );
                Ok(ExitCode::from(u8::from(left_out > 0)))
            }
            Err(failure) => {
                // What is left of it is of no use.
                let _ = fs::remove_file(&part);
                Err(failure)
            }
        }
    }

    /// How many accounts could not be taken.
    async fn fill(
        &self,
        tool: &Tool,
        accounts: &[AccountId],
        file: File,
    ) -> Result<usize, Failure> {
        let parts = tool.operator.parts();
        let now = parts.store.ping().await;
        let now = now.map_err(|error| Failure::new(exit::BUSY, error))?;
        let mut out = Writer::begin(BufWriter::new(file), &parts.keys, &SystemRng, now)
            .map_err(|error| archive_failure(&self.to, &error))?;
        let source = Source {
            store: &parts.store,
            keys: &parts.keys,
            clock: &parts.clock,
        };
        let mut left_out = 0;
        for account in accounts {
            match source.account(account, &mut out).await {
                Ok(()) => println!("{account}: taken"),
                Err(
                    error @ (CollectError::Missing
                    | CollectError::Purged
                    | CollectError::NotOurs
                    | CollectError::Keys(_)
                    | CollectError::Session(_)),
                ) => {
                    left_out += 1;
                    println!("{account}: LEFT OUT: {error}");
                }
                Err(CollectError::Archive(error)) => return Err(archive_failure(&self.to, &error)),
                Err(CollectError::Store(error)) => return Err(Failure::new(exit::BUSY, error)),
            }
        }
        let (_, out) = out
            .end()
            .map_err(|error| archive_failure(&self.to, &error))?;
        let file = out
            .into_inner()
            .map_err(|error| unwritable(&self.to, error.error()))?;
        file.sync_all()
            .map_err(|error| unwritable(&self.to, &error))?;
        Ok(left_out)
    }
}

async fn all_accounts(store: &Store) -> Result<Vec<AccountId>, Failure> {
    let mut accounts = Vec::new();
    let mut query = Query::new(account_collection()).limit(PAGE);
    loop {
        let page = store.query(&query).await;
        let page = page.map_err(|error| Failure::new(exit::BUSY, error))?;
        for document in page.documents {
            if purged_at(&document.fields).is_none() {
                let id = AccountId::new(document.path.id());
                accounts.push(id.map_err(|error| Failure::new(exit::DATA, error))?);
            }
        }
        match page.next {
            Some(cursor) => query = query.start_after(cursor),
            None => return Ok(accounts),
        }
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| unwritable(path, &error))
}

pub(super) fn archive_failure(path: &Path, error: &ArchiveError) -> Failure {
    let code = match error {
        ArchiveError::Io(_) => exit::CREATE,
        ArchiveError::Foreign
        | ArchiveError::Newer(_)
        | ArchiveError::CutOff
        | ArchiveError::Damaged(_)
        | ArchiveError::Keys(_)
        | ArchiveError::Document(_) => exit::DATA,
    };
    Failure::new(code, format!("{}: {error}", path.display()))
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
