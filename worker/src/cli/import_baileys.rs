//! `worker import-baileys`: sessions of Baileys into accounts. Looks, checks and
//! reports; writes only if told to.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use coordinator_lib::clock::{Clock, SystemClock};
use coordinator_lib::identity::AccountId;
use serde_json::{Value, json};
use whatsapp::baileys::{AHEAD_DEFAULT, AHEAD_MAX, Files, ImportOptions, Imported, import};

use super::operate::{self, Tool};
use crate::baileys::intake::{Intake, IntakeOutcome};
use crate::baileys::source::{self, Found, SourceError};
use crate::config::StoreConfig;
use crate::exit::{self, Failure};

/// `worker import-baileys …`
#[derive(Debug, Args)]
pub(super) struct ImportCommand {
    /// A useMultiFileAuthState folder or a folder of them; a zip, tar or tar.gz of either; or a
    /// file of documents (JSON)
    source: PathBuf,
    /// Id of the account, for a source that holds one session [default: its folder's name]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Import; without it only a report is made. The old process must be stopped
    #[arg(long)]
    write: bool,
    /// Keep the accounts stopped after the import
    #[arg(long)]
    stopped: bool,
    /// Counters that sending chains are moved ahead by: more than was sent after the files were
    /// copied. Use 1000 for an old copy
    #[arg(long, value_name = "N", default_value_t = AHEAD_DEFAULT, value_parser = clap::value_parser!(u32).range(0..=i64::from(AHEAD_MAX)))]
    ahead: u32,
    /// One line of JSON a session instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreConfig,
}

/// How many of which.
#[derive(Debug, Default)]
struct Tally {
    imported: usize,
    already_there: usize,
    checked: usize,
    failed: usize,
}

impl ImportCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let found = source::find(&self.source).map_err(|error| source_failure(&error))?;
        if self.account.is_some() && found.len() > 1 {
            return Err(Failure::new(
                exit::CONFIG,
                format!(
                    "--account names one account, and the source holds {}: leave it out, and the \
                     folders' names are the ids",
                    found.len()
                ),
            ));
        }
        operate::block_on(self.act(&found))
    }

    async fn act(&self, found: &[Found]) -> Result<ExitCode, Failure> {
        let tool = if self.write {
            Some(Tool::open(&self.store, "import-baileys").await?)
        } else {
            None
        };
        let mut tally = Tally::default();
        for (index, session) in found.iter().enumerate() {
            let place = format!("[{}/{}]", index + 1, found.len());
            self.one(session, &place, tool.as_ref(), &mut tally).await;
        }
        if let Some(tool) = tool {
            tool.close().await;
        }
        if !self.json {
            println!(
                "{} imported, {} there already, {} checked only, {} failed",
                tally.imported, tally.already_there, tally.checked, tally.failed
            );
            if !self.write && tally.failed < found.len() {
                println!(
                    "Nothing was written. Stop the old process, copy the files anew, and add \
                     --write."
                );
            }
        }
        Ok(ExitCode::from(u8::from(tally.failed > 0)))
    }

    /// One session; its failure is told and counted, and the next one's turn.
    async fn one(&self, found: &Found, place: &str, tool: Option<&Tool>, tally: &mut Tally) {
        let id = self.account.as_deref().unwrap_or(&found.label);
        let outcome = async {
            let account = account_id(id)?;
            let files = found.files().map_err(|error| error.to_string())?;
            let now = SystemClock.wall().timestamp();
            let options = ImportOptions {
                ahead: self.ahead,
                ..ImportOptions::at(now)
            };
            let session = import(&files, options).map_err(|error| error.to_string())?;
            self.show(id, place, &session);
            let Some(tool) = tool else {
                return Ok(None);
            };
            self.write(account, &session, &files, tool).await.map(Some)
        };
        let said = match outcome.await {
            Ok(None) => {
                tally.checked += 1;
                "checked".to_owned()
            }
            Ok(Some(IntakeOutcome::Imported)) => {
                tally.imported += 1;
                "imported".to_owned()
            }
            Ok(Some(IntakeOutcome::AlreadyThere)) => {
                tally.already_there += 1;
                "already there".to_owned()
            }
            Err(why) => {
                tally.failed += 1;
                format!("FAILED: {why}")
            }
        };
        if self.json {
            println!("{}", json!({ "account": id, "outcome": said }));
        } else {
            println!("{place} {id}: {said}");
        }
    }

    async fn write(
        &self,
        account: AccountId,
        session: &Imported,
        files: &Files,
        tool: &Tool,
    ) -> Result<IntakeOutcome, String> {
        let intake = Intake {
            name: account.to_string(),
            account,
            session,
            files,
            start: !self.stopped,
        };
        intake
            .run(&tool.operator)
            .await
            .map_err(|error| error.to_string())
    }

    fn show(&self, id: &str, place: &str, session: &Imported) {
        if self.json {
            println!("{}", report_json(id, session));
            return;
        }
        println!("{place} {id}: +{}", session.own.number);
        println!(
            "      {:<20}{:>8}{:>8}{:>10}{:>9}",
            "", "found", "taken", "left out", "dropped"
        );
        for (part, report) in &session.report.parts {
            println!(
                "      {:<20}{:>8}{:>8}{:>10}{:>9}",
                part.as_str(),
                report.found,
                report.taken,
                report.left_out,
                report.dropped
            );
        }
        for problem in &session.report.problems {
            println!("      dropped {}: {}", problem.file, problem.reason);
        }
        for note in &session.report.notes {
            println!("      note: {note}");
        }
    }
}

/// A session's report as JSON.
fn report_json(id: &str, session: &Imported) -> Value {
    json!({ "account": id, "number": session.own.number, "report": session.report })
}

/// Ids are chosen by people here, so they must be harmless everywhere.
pub(super) fn account_id(id: &str) -> Result<AccountId, String> {
    let is_plain = (1..=100).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !is_plain {
        return Err(format!(
            "{id:?} cannot be an account's id (1 to 100 letters, digits, - and _): give one with \
             --account"
        ));
    }
    AccountId::new(id).map_err(|error| error.to_string())
}

fn source_failure(error: &SourceError) -> Failure {
    Failure::new(exit::DATA, error)
}
