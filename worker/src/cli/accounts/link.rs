//! Links an account: draws each QR code as it comes, and waits.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::client::Client;
use super::Account;
use crate::config::duration::format_duration;
use crate::exit::Failure;
use crate::qr;

/// How often the account is looked at.
const POLL: Duration = Duration::from_millis(500);
/// Bright white on black, whatever the terminal's own colours are.
const QR_COLOURS: &str = "\u{1b}[97;40m";
const QR_COLOURS_END: &str = "\u{1b}[0m";

#[derive(Debug, Deserialize)]
struct Code {
    qr: String,
    seq: i64,
}

/// Waits until an account is connected, and yields it. Codes and progress go to
/// `out`: standard error where standard output is for programs.
pub(super) fn link(
    client: &Client,
    id: &str,
    wait: Duration,
    out: &mut Screen,
) -> Result<Value, Failure> {
    let mut drawn = None;
    let mut status = String::new();
    let mut waited = Duration::ZERO;
    while waited <= wait {
        let found: Value = client.get(&format!("/v1/accounts/{id}"))??;
        let account = Account::read(&found)?;
        if account.status != status {
            status.clone_from(&account.status);
            eprintln!("{id}: {status}");
        }
        match status.as_str() {
            "connected" => return Ok(found),
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
            && let Ok(code) = client.get::<Code>(&format!("/v1/accounts/{id}/qr"))?
            && drawn != Some(code.seq)
        {
            drawn = Some(code.seq);
            out.draw(&code.qr)?;
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

/// Where codes are drawn.
pub(super) enum Screen {
    /// Standard output, for people.
    Output,
    /// Standard error, because programs read standard output.
    Error,
}

impl Screen {
    fn draw(&mut self, code: &str) -> Result<(), Failure> {
        let drawing = qr::terminal(code).map_err(|error| Failure::new(1, error))?;
        let written = match self {
            Screen::Output => {
                let coloured = std::io::stdout().is_terminal();
                write(&mut std::io::stdout().lock(), &drawing, coloured)
            }
            Screen::Error => {
                let coloured = std::io::stderr().is_terminal();
                write(&mut std::io::stderr().lock(), &drawing, coloured)
            }
        };
        written.map_err(|error| Failure::new(1, format!("the terminal is gone: {error}")))
    }
}

fn write(out: &mut impl Write, drawing: &str, coloured: bool) -> std::io::Result<()> {
    for line in drawing.lines() {
        match coloured {
            true => writeln!(out, "{QR_COLOURS}{line}{QR_COLOURS_END}")?,
            false => writeln!(out, "{line}")?,
        }
    }
    writeln!(
        out,
        "Scan it in WhatsApp on the phone: Settings, Linked devices, Link a device."
    )
}
