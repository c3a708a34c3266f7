//! `worker accounts`: what a person does with accounts, over the API of a
//! running worker.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::client::Client;
use crate::config::duration::{format_duration, parse_duration};
use crate::exit::Failure;
use crate::qr;

/// How often a command looks again while it waits.
const POLL: Duration = Duration::from_millis(500);
/// Bright white on black, whatever the terminal's own colours are.
const QR_COLOURS: &str = "\u{1b}[97;40m";
const QR_COLOURS_END: &str = "\u{1b}[0m";

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
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show all accounts
    List,
    /// Create an account, draw its QR code and wait until it is connected
    Add {
        /// What to call it
        name: String,
        /// Only create it; its QR code is on the worker's page
        #[arg(long)]
        no_wait: bool,
        /// Give up after this time
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
        wait: Duration,
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
}

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
    accounts: Vec<Account>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Qr {
    qr: String,
    seq: i64,
}

impl AccountsCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let client = Client::new(&self.api, self.api_key);
        match self.action {
            Action::List => list(&client),
            Action::Add {
                name,
                no_wait,
                wait,
            } => {
                let account: Account = client.post("/v1/accounts", &json!({ "name": name }))??;
                println!("created {}", account.id);
                if no_wait {
                    Ok(ExitCode::SUCCESS)
                } else {
                    link(&client, &account.id, wait)
                }
            }
            Action::Qr { id, wait } => link(&client, &id, wait),
            Action::Start { id } => change(&client, &id, "start"),
            Action::Stop { id } => change(&client, &id, "stop"),
        }
    }
}

fn list(client: &Client) -> Result<ExitCode, Failure> {
    let mut accounts = Vec::new();
    let mut path = "/v1/accounts?limit=200".to_owned();
    loop {
        let page: AccountPage = client.get(&path)??;
        accounts.extend(page.accounts);
        match page.next {
            Some(next) => path = format!("/v1/accounts?limit=200&after={next}"),
            None => break,
        }
    }
    if accounts.is_empty() {
        println!("no accounts yet; add one with `worker accounts add NAME`");
        return Ok(ExitCode::SUCCESS);
    }
    let width = |of: fn(&Account) -> &str| accounts.iter().map(|a| of(a).chars().count()).max();
    let name_width = width(|account| &account.name).unwrap_or(0).max(4);
    println!(
        "{:<34}  {:<name_width$}  {:<12}  OWNER",
        "ID", "NAME", "STATUS"
    );
    for account in &accounts {
        let owner = account.owner.as_ref().map_or("–", |owner| &owner.worker);
        println!(
            "{:<34}  {:<name_width$}  {:<12}  {owner}",
            account.id, account.name, account.status
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn change(client: &Client, id: &str, action: &str) -> Result<ExitCode, Failure> {
    let account: Account = client.post_empty(&format!("/v1/accounts/{id}/{action}"))??;
    println!(
        "{} {action}: asked for; it is {} now",
        account.id, account.status
    );
    Ok(ExitCode::SUCCESS)
}

/// Draws each QR code as it comes, until the account is connected.
fn link(client: &Client, id: &str, wait: Duration) -> Result<ExitCode, Failure> {
    let mut drawn = None;
    let mut status = String::new();
    let mut waited = Duration::ZERO;
    while waited <= wait {
        let account: Account = client.get(&format!("/v1/accounts/{id}"))??;
        if account.status != status {
            status.clone_from(&account.status);
            eprintln!("{id}: {status}");
        }
        match status.as_str() {
            "connected" => {
                println!("{id} is connected");
                return Ok(ExitCode::SUCCESS);
            }
            "needs_qr" => {
                return Err(Failure::new(
                    1,
                    format!(
                        "the QR codes expired before one was scanned: \
                         `worker accounts start {id}` makes new ones"
                    ),
                ));
            }
            "logged_out" | "failed" | "stopped" | "needs_import" => {
                let reason = account
                    .action_required
                    .or(account.last_error.map(|error| error.message))
                    .unwrap_or_else(|| "no reason was given".to_owned());
                return Err(Failure::new(1, format!("{id} is {status}: {reason}")));
            }
            _ => {}
        }
        if status == "qr_ready"
            && let Ok(code) = client.get::<Qr>(&format!("/v1/accounts/{id}/qr"))?
            && drawn != Some(code.seq)
        {
            drawn = Some(code.seq);
            draw(&code.qr)?;
        }
        std::thread::sleep(POLL);
        waited += POLL;
    }
    let limit = format_duration(wait);
    Err(Failure::new(
        1,
        format!("{id} is {status}, and not connected after {limit}"),
    ))
}

fn draw(code: &str) -> Result<(), Failure> {
    let drawing = qr::terminal(code).map_err(|error| Failure::new(1, error))?;
    let coloured = std::io::stdout().is_terminal();
    let mut out = std::io::stdout().lock();
    let written = drawing.lines().try_for_each(|line| {
        if coloured {
            writeln!(out, "{QR_COLOURS}{line}{QR_COLOURS_END}")
        } else {
            writeln!(out, "{line}")
        }
    });
    written
        .and_then(|()| {
            writeln!(
                out,
                "Scan it in WhatsApp on the phone: Settings, Linked devices, Link a device."
            )
        })
        .map_err(|error| Failure::new(1, format!("the terminal is gone: {error}")))
}
