//! What the workers cost and how fast they are, beside what they are compared
//! with: `cargo run --release -p bench -- SCENARIO`.
//!
//! Everything that is compared runs in the same run on the same simulated
//! WhatsApp, in turns, and only ratios are claimed. Processor time is that of
//! the client's process alone; counts come from phones and the server.
//!
//! | Module | Holds |
//! |---|---|
//! | [`options`] | the command line |
//! | [`scenario`] | what is measured, a module each |
//! | [`stage`] | workers, linked accounts, conversations |
//! | [`peer`] | the same accounts on Baileys |
//! | [`fleet`] | coordinators alone, on virtual time |
//! | [`metrics`], [`process`] | what a worker counts, what the kernel counts |
//! | [`report`], [`stats`], [`plot`] | the table, the ratios, the bars |

// Real processes, in real time.
#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod fleet;
mod metrics;
mod options;
mod peer;
mod plot;
mod process;
mod report;
mod scenario;
mod stage;
mod stats;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use harness::wait::interruption;

use self::options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures. True if nothing was lost or doubled meanwhile.
async fn run(options: &Options) -> Result<bool> {
    // Whatever is dropped here half-way ends its processes.
    let report = tokio::select! {
        report = scenario::run(options) => report?,
        interrupted = interruption() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
    };
    report.print();
    if let Some(folder) = &options.save {
        report.save(folder)?;
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(report.is_sound())
}
