//! `worker accounts archives` and `erase-archive`: sessions of links that are
//! gone.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::PAGE;
use crate::cli::client::Client;
use crate::cli::output::{self, Table};
use crate::exit::Failure;

/// An archived session, as far as these commands look at it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Archive {
    epoch: i64,
    archived_at: Option<String>,
    phone: Option<String>,
    files: usize,
}

#[derive(Debug, Deserialize)]
struct ArchivePage {
    archives: Vec<Value>,
    next: Option<String>,
}

/// Shows the archived sessions of an account.
pub(super) fn list(client: &Client, id: &str, json: bool) -> Result<ExitCode, Failure> {
    let first = format!("/v1/accounts/{id}/archives?limit={PAGE}");
    let mut archives = Vec::new();
    let mut path = first.clone();
    loop {
        let page: ArchivePage = client.get(&path)??;
        archives.extend(page.archives);
        match page.next {
            Some(next) => path = format!("{first}&after={next}"),
            None => break,
        }
    }
    if json {
        output::json(&Value::Array(archives))?;
        return Ok(ExitCode::SUCCESS);
    }
    if archives.is_empty() {
        println!("{id} has no archived session");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["EPOCH", "ARCHIVED", "NUMBER", "FILES"]);
    for found in &archives {
        let archive = Archive::deserialize(found)
            .map_err(|error| Failure::new(1, format!("this is no archive of a worker: {error}")))?;
        table.row([
            archive.epoch.to_string(),
            archive.archived_at.unwrap_or_else(|| "–".to_owned()),
            archive.phone.unwrap_or_else(|| "–".to_owned()),
            archive.files.to_string(),
        ]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

/// Erases one.
pub(super) fn erase(
    client: &Client,
    id: &str,
    epoch: i64,
    json: bool,
) -> Result<ExitCode, Failure> {
    let erased: Value = client.delete(&format!("/v1/accounts/{id}/archives/{epoch}"))??;
    match json {
        true => output::json(&erased)?,
        false => println!("the session of {id} that was archived in epoch {epoch} is erased"),
    }
    Ok(ExitCode::SUCCESS)
}
