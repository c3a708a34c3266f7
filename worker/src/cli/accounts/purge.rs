//! `worker accounts purge`: asks once more, and then goes on until nothing is
//! left.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use coordinator_lib::clock::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::output;
use crate::exit::{self, Failure};

/// An answer, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Step {
    state: String,
    removed: u64,
    owner: Option<String>,
}

/// Erases an account.
pub(super) fn purge(
    client: &Client,
    id: &str,
    yes: bool,
    wait: Duration,
    json: bool,
) -> Result<ExitCode, Failure> {
    if !yes && !is_confirmed(id)? {
        return Err(Failure::new(1, "nothing was erased"));
    }
    let until = SystemClock.boottime() + wait;
    let mut removed = 0;
    loop {
        let answer: Value = client.delete(&format!("/v1/accounts/{id}?confirm={id}"))??;
        let step = Step::deserialize(&answer)
            .map_err(|error| Failure::new(1, format!("this is no answer of a worker: {error}")))?;
        removed += step.removed;
        if step.state == "purged" {
            match json {
                true => output::json(&answer)?,
                false => println!("{id} is erased: {removed} document(s), and its files"),
            }
            return Ok(ExitCode::SUCCESS);
        }
        if !json {
            match step.owner {
                Some(owner) => println!("waiting for worker {owner} to stop it"),
                None => println!("{removed} document(s) erased so far"),
            }
        }
        if SystemClock.boottime() >= until {
            return Err(Failure::new(
                exit::UNFINISHED,
                format!("{id} is not erased yet: run this again, it goes on where it was"),
            ));
        }
    }
}

/// Whether a person types the id.
fn is_confirmed(id: &str) -> Result<bool, Failure> {
    let unasked = || {
        Failure::new(
            exit::CONFIG,
            "nobody is there to be asked: --yes erases without asking",
        )
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(unasked());
    }
    print!(
        "This erases the session, every conversation and all that the store knows of {id}, for \
         good.\nIts phone still lists it as a linked device, unless it is logged out first.\nType \
         the id to go on: "
    );
    let mut typed = String::new();
    let read = std::io::stdout()
        .flush()
        .and_then(|()| stdin.lock().read_line(&mut typed));
    read.map_err(|_| unasked())?;
    Ok(typed.trim() == id)
}
