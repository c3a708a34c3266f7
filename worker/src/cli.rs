//! The command line: `worker` serves; the other commands talk to a running
//! worker or look at its files.

mod accounts;
mod apikeys;
mod backup;
mod client;
mod doctor;
mod export_baileys;
mod import_baileys;
mod keys;
mod operate;
mod output;
mod restore;
mod serve;
mod show_config;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Config;
use crate::exit::{self, Failure};

/// Runs many WhatsApp accounts: keeps them connected, stores what arrives,
/// sends what is queued.
///
/// Without a command it serves. This is an unofficial client of WhatsApp: write
/// only to people who want it.
#[derive(Debug, Parser)]
#[command(name = "worker", version = crate::VERSION, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve accounts and the API (what `worker` alone does)
    Serve(Box<Config>),
    /// List, add, start and stop accounts of a running worker
    Accounts(accounts::AccountsCommand),
    /// Make, list and revoke the keys that requests to the API need
    Apikeys(Box<apikeys::ApiKeysCommand>),
    /// Move sessions of Baileys in: report, check, and with --write import
    ImportBaileys(Box<import_baileys::ImportCommand>),
    /// Move an account's session out, as files for Baileys
    ExportBaileys(Box<export_baileys::ExportCommand>),
    /// Put accounts into one encrypted file, while they run
    Backup(Box<backup::BackupCommand>),
    /// Put accounts of a backup back: session, counters moved ahead, conversations
    Restore(Box<restore::RestoreCommand>),
    /// Make or show the key ring that encrypts the sessions
    Keys(keys::KeysCommand),
    /// Check data folder, keys, store, clock and reachability, and say what to do
    Doctor(Box<doctor::DoctorCommand>),
    /// Show every option with its value in force
    Config(Box<show_config::ConfigCommand>),
    /// Print the description of the API (OpenAPI 3.1)
    Openapi,
    /// Print the completions for a shell
    #[command(after_help = "For example: worker completions bash > \
        ~/.local/share/bash-completion/completions/worker")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the program with the process's arguments and environment.
pub fn run() -> ExitCode {
    match try_run(std::env::args_os()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn try_run(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let matches = match parse(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match cli.command {
        None => serve::run(cli.config),
        Some(Command::Serve(config)) => serve::run(*config),
        Some(Command::Accounts(command)) => command.run(),
        Some(Command::Apikeys(command)) => command.run(),
        Some(Command::ImportBaileys(command)) => command.run(),
        Some(Command::ExportBaileys(command)) => command.run(),
        Some(Command::Backup(command)) => command.run(),
        Some(Command::Restore(command)) => command.run(),
        Some(Command::Keys(command)) => command.run(),
        Some(Command::Doctor(command)) => command.run(),
        Some(Command::Config(command)) => command.run(&matches),
        Some(Command::Openapi) => {
            output::text(crate::http::openapi::text())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Completions { shell }) => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "worker", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<ArgMatches, clap::Error> {
    Cli::command().try_get_matches_from(arguments)
}

/// Shows help or the version; turns anything else into one line and exit code 64.
fn refuse(error: &clap::Error) -> Result<ExitCode, Failure> {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !is_help {
        return Err(Failure::new(
            exit::CONFIG,
            one_line(&error.render().to_string()),
        ));
    }
    // Nothing is left to do if the terminal is gone.
    let _ = error.print();
    // Help that nobody asked for stands in for an argument that is missing.
    Ok(ExitCode::from(u8::from(error.use_stderr()) * exit::CONFIG))
}

/// The sentences of clap's message, without usage and pointers to it.
fn one_line(message: &str) -> String {
    let sentences: Vec<&str> = message
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .map(|line| line.trim_start_matches("error: "))
        .collect();
    format!("{} (see --help)", sentences.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(arguments: &[&str]) -> Result<ExitCode, Failure> {
        try_run(
            std::iter::once("worker")
                .chain(arguments.iter().copied())
                .map(OsString::from),
        )
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_options_are_one_line_and_code_64() {
        for (arguments, names) in [
            (&["--listen", "here"][..], "--listen"),
            (&["--grace", "soon"], "--grace"),
            (&["--grace", "30"], "whole number and a unit"),
            (&["--lisen", "127.0.0.1:0"], "--lisen"),
            (&["--whatsapp-version", "2"], "three numbers"),
            (&["--log-format", "xml"], "pretty"),
            (
                &["apikeys", "create", "--name", "x", "--scope", "all"],
                "admin",
            ),
            (&["--capacity", "0"], "--capacity"),
            (&["dance"], "dance"),
            (&["completions", "tcsh"], "bash"),
            (&["accounts", "show"], "<ID>"),
            (&["accounts", "purge"], "<ID>"),
            (&["backup", "--to", "file"], "--all"),
            (&["backup", "--all"], "--to"),
            (&["restore"], "<FILE>"),
        ] {
            let failure = run_with(arguments).unwrap_err();
            assert_eq!(failure.code, exit::CONFIG, "{failure}");
            assert!(failure.message.contains(names), "{failure}");
            assert!(!failure.message.contains('\n'), "{failure}");
        }
    }
}
