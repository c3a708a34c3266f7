//! `worker restore`: accounts from a backup. Reads all of it first; writes
//! nothing unless every part of it is right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use coordinator_lib::identity::AccountId;

use super::backup::archive_failure;
use super::import_baileys::account_id;
use super::operate::{self, Tool};
use super::output::Table;
use crate::backup::archive::Reader;
use crate::backup::contents::{Contents, ContentsError, Part, SavedSession};
use crate::backup::restore::{Restore, RestoreError, RestoreOptions, Restored};
use crate::config::StoreConfig;
use crate::exit::{self, Failure};

/// What everybody has to know who restores.
const WARNING: &str = "A restored session is an old one: it must not run anywhere else, now or \
later. Its counters were moved ahead; what was sent to it since the backup was made may come once \
more, or be asked for again.";

/// `worker restore …`
#[derive(Debug, Args)]
pub(super) struct RestoreCommand {
    /// The backup
    file: PathBuf,
    /// Only these accounts [default: all that are in it]
    accounts: Vec<String>,
    /// Read and check all of it, say what is in it, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Also over a session that went on since the backup was made, or that does not open
    #[arg(long)]
    force_stale: bool,
    /// Connect the accounts at once; otherwise they are stopped
    #[arg(long)]
    start: bool,
    #[command(flatten)]
    store: StoreConfig,
}

/// What a backup has of an account.
#[derive(Debug, Default)]
struct Summary {
    records: usize,
    version: u64,
    documents: usize,
}

impl RestoreCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        operate::block_on(self.act())
    }

    async fn act(&self) -> Result<ExitCode, Failure> {
        let wanted: Result<BTreeSet<AccountId>, String> =
            self.accounts.iter().map(|id| account_id(id)).collect();
        let wanted = wanted.map_err(|why| Failure::new(exit::CONFIG, why))?;
        // Before a store is made for nothing.
        drop(self.open_file()?);
        let tool = Tool::open(&self.store, "restore").await?;
        let done = self.checked(&tool, &wanted).await;
        tool.close().await;
        done
    }

    async fn checked(
        &self,
        tool: &Tool,
        wanted: &BTreeSet<AccountId>,
    ) -> Result<ExitCode, Failure> {
        let found = self.check(tool)?;
        if let Some(missing) = wanted.iter().find(|id| !found.contains_key(*id)) {
            return Err(Failure::new(
                exit::CONFIG,
                format!("{missing} is not in {}", self.file.display()),
            ));
        }
        if self.dry_run {
            println!("Nothing was written.");
            return Ok(ExitCode::SUCCESS);
        }
        let failed = self.restore(tool, wanted).await?;
        println!("{WARNING}");
        Ok(ExitCode::from(u8::from(failed > 0)))
    }

    fn open_file(&self) -> Result<File, Failure> {
        File::open(&self.file).map_err(|error| {
            Failure::new(
                exit::CONFIG,
                format!("{} cannot be read: {error}", self.file.display()),
            )
        })
    }

    fn contents(&self, tool: &Tool) -> Result<Contents<BufReader<File>>, Failure> {
        let file = BufReader::new(self.open_file()?);
        let reader = Reader::open(file, &tool.operator.parts().keys)
            .map_err(|error| archive_failure(&self.file, &error))?;
        Ok(Contents::new(reader))
    }

    /// Reads all of it, and says what is there.
    fn check(&self, tool: &Tool) -> Result<BTreeMap<AccountId, Summary>, Failure> {
        let mut contents = self.contents(tool)?;
        let mut found: BTreeMap<AccountId, Summary> = BTreeMap::new();
        let mut current = None;
        let refused = |error| self.refused(&error);
        while let Some(part) = contents.part().map_err(refused)? {
            match part {
                Part::Session(saved) => {
                    let (_, snapshot) = saved.open(&tool.operator.parts().keys).map_err(refused)?;
                    let summary = Summary {
                        records: snapshot.records.len(),
                        version: snapshot.version,
                        documents: 0,
                    };
                    current = Some(saved.account.clone());
                    found.insert(saved.account, summary);
                }
                Part::Conversations(entries) => {
                    let summary = current.as_ref().and_then(|account| found.get_mut(account));
                    if let Some(summary) = summary {
                        summary.documents += entries.len();
                    }
                }
            }
        }
        println!("made {}", contents.made_at());
        let mut table = Table::new(&["ACCOUNT", "SESSION", "RECORDS", "DOCUMENTS"]);
        for (account, summary) in &found {
            table.row([
                account.to_string(),
                summary.version.to_string(),
                summary.records.to_string(),
                summary.documents.to_string(),
            ]);
        }
        table.print()?;
        Ok(found)
    }

    /// How many accounts were not restored.
    async fn restore(&self, tool: &Tool, wanted: &BTreeSet<AccountId>) -> Result<usize, Failure> {
        let mut contents = self.contents(tool)?;
        let mut current: Option<One> = None;
        let mut failed = 0;
        loop {
            let part = contents.part().map_err(|error| self.refused(&error))?;
            match part {
                Some(Part::Conversations(entries)) => {
                    if let Some(one) = &mut current {
                        one.add(tool, entries).await;
                    }
                }
                Some(Part::Session(saved)) => {
                    failed += ended(tool, current.take()).await;
                    if wanted.is_empty() || wanted.contains(&saved.account) {
                        current = Some(self.begin(tool, *saved).await?);
                    }
                }
                None => return Ok(failed + ended(tool, current.take()).await),
            }
        }
    }

    async fn begin(&self, tool: &Tool, saved: SavedSession) -> Result<One, Failure> {
        let keys = &tool.operator.parts().keys;
        let (data_key, snapshot) = saved.open(keys).map_err(|error| self.refused(&error))?;
        let mut one = One {
            saved,
            data_key,
            options: RestoreOptions {
                force_stale: self.force_stale,
                start: self.start,
            },
            restored: Restored::Kept,
            added: 0,
            failure: None,
        };
        let outcome = one.restore(tool).session(snapshot).await;
        match outcome {
            Ok(restored) => one.restored = restored,
            Err(error) => one.failure = Some(error),
        }
        Ok(one)
    }

    fn refused(&self, error: &ContentsError) -> Failure {
        match error {
            ContentsError::Archive(error) => archive_failure(&self.file, error),
            ContentsError::Wrong(_)
            | ContentsError::Newer { .. }
            | ContentsError::Document(_)
            | ContentsError::Keys(_)
            | ContentsError::Session(_) => Failure::new(
                exit::DATA,
                format!("{}: {error}; nothing was written", self.file.display()),
            ),
        }
    }
}

/// An account that is being restored.
struct One {
    saved: SavedSession,
    data_key: session::DataKey,
    options: RestoreOptions,
    restored: Restored,
    added: u64,
    failure: Option<RestoreError>,
}

impl One {
    fn restore<'a>(&'a self, tool: &'a Tool) -> Restore<'a> {
        Restore {
            operator: &tool.operator,
            saved: &self.saved,
            data_key: &self.data_key,
            options: self.options,
        }
    }

    async fn add(&mut self, tool: &Tool, entries: Vec<crate::backup::archive::Entry>) {
        if self.failure.is_some() {
            return;
        }
        let outcome = self.restore(tool).conversations(entries).await;
        match outcome {
            Ok(added) => self.added += added,
            Err(error) => self.failure = Some(error),
        }
    }
}

/// Ends an account's restore, and says what became of it; 1 if it failed.
async fn ended(tool: &Tool, one: Option<One>) -> usize {
    let Some(mut one) = one else {
        return 0;
    };
    if one.failure.is_none() {
        let opened = one.restore(tool).open().await;
        one.failure = opened.err();
    }
    let account = &one.saved.account;
    if let Some(error) = &one.failure {
        println!("{account}: FAILED: {error}");
        return 1;
    }
    let session = match one.restored {
        Restored::Made => "made, with the backup's session",
        Restored::Replaced => "has the backup's session",
        Restored::Kept => "has its session still",
    };
    println!("{account}: {session}; {} document(s) added", one.added);
    0
}
