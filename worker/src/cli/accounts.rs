//! `worker accounts`: what a person does with accounts, over the API of a
//! running worker.

mod archives;
mod link;
mod purge;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::link::{Screen, link};
use super::client::Client;
use super::output::{self, Table};
use crate::config::duration::parse_duration;
use crate::exit::Failure;

/// Entries that one request asks for: the most that the API gives.
const PAGE: u32 = 200;

/// `worker accounts …`
#[derive(Debug, Args)]
pub(super) struct AccountsCommand {
    /// Address of a running worker
    #[arg(
        long,
        global = true,
        env = "LEASEHOLD_API",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    api: String,
    /// A key of the API, where one is needed
    #[arg(
        long,
        global = true,
        env = "LEASEHOLD_API_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// Print JSON for programs instead of tables and sentences
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show all accounts
    List {
        /// Only those of one status, such as needs_qr
        #[arg(long)]
        status: Option<String>,
    },
    /// Create an account, draw its QR code and wait until it is connected
    Add {
        /// What to call it
        name: String,
        /// Its number, with country code: for a pairing code
        #[arg(long, value_name = "NUMBER")]
        phone: Option<String>,
        /// Only create it; its QR code is on the worker's page
        #[arg(long)]
        no_wait: bool,
        /// Give up after this time
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
        wait: Duration,
    },
    /// Show one account in full
    Show {
        /// Id of the account
        id: String,
    },
    /// Draw the QR code of an account and wait until it is connected
    Qr {
        /// Id of the account
        id: String,
        /// Give up after this time
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
        wait: Duration,
    },
    /// Connect an account; makes a new QR code if it is not linked
    Start {
        /// Id of the account
        id: String,
    },
    /// Disconnect an account and keep its session
    Stop {
        /// Id of the account
        id: String,
    },
    /// Make an account begin anew, whatever it does now
    Restart {
        /// Id of the account
        id: String,
    },
    /// Ask the worker that owns an account to hand it off to another
    Release {
        /// Id of the account
        id: String,
    },
    /// Unlink an account from its phone; conversations are kept
    Logout {
        /// Id of the account
        id: String,
    },
    /// Show the sessions of an account that ended with a logout and are kept for a while
    Archives {
        /// Id of the account
        id: String,
    },
    /// Erase one of them before its time
    EraseArchive {
        /// Id of the account
        id: String,
        /// Its epoch, as `archives` shows it
        epoch: i64,
    },
    /// Erase an account: session, conversations, files, everything, for good
    Purge {
        /// Id of the account
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Give up after this time; the same command goes on
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
        wait: Duration,
    },
}

/// An account, as far as these commands look at it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    id: String,
    name: String,
    status: String,
    owner: Option<Owner>,
    last_error: Option<LastError>,
    action_required: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    worker: String,
}

#[derive(Debug, Deserialize)]
struct LastError {
    message: String,
}

#[derive(Debug, Deserialize)]
struct AccountPage {
    accounts: Vec<Value>,
    next: Option<String>,
}

impl Account {
    fn read(found: &Value) -> Result<Self, Failure> {
        Self::deserialize(found)
            .map_err(|error| Failure::new(1, format!("this is no account of a worker: {error}")))
    }
}

impl AccountsCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let client = Client::new(&self.api, self.api_key);
        let json = self.json;
        match self.action {
            Action::List { status } => list(&client, status.as_deref(), json),
            Action::Add {
                name,
                phone,
                no_wait,
                wait,
            } => {
                let body = json!({ "name": name, "phone": phone });
                let created: Value = client.post("/v1/accounts", &body)??;
                let id = Account::read(&created)?.id;
                if !json {
                    println!("created {id}");
                } else if no_wait {
                    output::json(&created)?;
                }
                match no_wait {
                    true => Ok(ExitCode::SUCCESS),
                    false => connect(&client, &id, wait, json),
                }
            }
            Action::Show { id } => show(&client, &id, json),
            Action::Qr { id, wait } => connect(&client, &id, wait, json),
            Action::Start { id } => change(&client, &id, "start", json),
            Action::Stop { id } => change(&client, &id, "stop", json),
            Action::Restart { id } => change(&client, &id, "restart", json),
            Action::Release { id } => change(&client, &id, "release", json),
            Action::Logout { id } => change(&client, &id, "logout", json),
            Action::Archives { id } => archives::list(&client, &id, json),
            Action::EraseArchive { id, epoch } => archives::erase(&client, &id, epoch, json),
            Action::Purge { id, yes, wait } => purge::purge(&client, &id, yes, wait, json),
        }
    }
}

fn list(client: &Client, status: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let mut first = format!("/v1/accounts?limit={PAGE}");
    if let Some(status) = status {
        first = format!("{first}&status={status}");
    }
    let mut accounts = Vec::new();
    let mut path = first.clone();
    loop {
        let page: AccountPage = client.get(&path)??;
        accounts.extend(page.accounts);
        match page.next {
            Some(next) => path = format!("{first}&after={next}"),
            None => break,
        }
    }
    if json {
        output::json(&Value::Array(accounts))?;
        return Ok(ExitCode::SUCCESS);
    }
    if accounts.is_empty() {
        println!("no accounts; add one with `worker accounts add NAME`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["ID", "NAME", "STATUS", "OWNER"]);
    for found in &accounts {
        let account = Account::read(found)?;
        let owner = account.owner.map_or("–".to_owned(), |owner| owner.worker);
        table.row([account.id, account.name, account.status, owner]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn show(client: &Client, id: &str, json: bool) -> Result<ExitCode, Failure> {
    let found: Map<String, Value> = client.get(&format!("/v1/accounts/{id}"))??;
    if json {
        output::json(&Value::Object(found))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["WHAT", "VALUE"]);
    for (name, value) in found {
        match value {
            Value::Null => {}
            Value::Object(inner) => {
                for (inner_name, value) in inner {
                    table.row([format!("{name}.{inner_name}"), output::plain(&value)]);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                table.row([name, output::plain(&value)]);
            }
        }
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn change(client: &Client, id: &str, action: &str, json: bool) -> Result<ExitCode, Failure> {
    let found: Value = client.post_empty(&format!("/v1/accounts/{id}/{action}"))??;
    if json {
        output::json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let account = Account::read(&found)?;
    println!(
        "{} {action}: asked for; it is {} now",
        account.id, account.status
    );
    Ok(ExitCode::SUCCESS)
}

fn connect(client: &Client, id: &str, wait: Duration, json: bool) -> Result<ExitCode, Failure> {
    let mut screen = match json {
        true => Screen::Error,
        false => Screen::Output,
    };
    let connected = link(client, id, wait, &mut screen)?;
    match json {
        true => output::json(&connected)?,
        false => println!("{id} is connected"),
    }
    Ok(ExitCode::SUCCESS)
}
