//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::plan::Setting;

/// Lets everything go wrong on this machine for a while, and counts.
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos")]
pub(crate) struct Options {
    /// How long things go wrong
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// What happens when follows from it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the workers keep their accounts
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    pub(crate) store: StoreKind,
    /// Accounts to link
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=26))]
    pub(crate) accounts: u32,
    /// Phones that each of them chats with
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) contacts: u32,
    /// End with the report as one JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print what would happen, and end
    #[arg(long)]
    pub(crate) plan: bool,
    /// Rules that the workers break on purpose, with commas between: must be
    /// noticed, and end with exit code 1
    #[arg(long, value_name = "NAMES", default_value = "")]
    pub(crate) mutations: String,
    /// Kinds of fault to choose from, with commas between, instead of all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreKind {
    /// An embedded database, shared by the workers of this machine
    Sqlite,
    /// The official Firestore emulator, started for the run
    Firestore,
}

impl Options {
    /// What the plan depends on besides its seed.
    pub(crate) fn setting(&self) -> Setting {
        Setting {
            store: self.store,
            length: Duration::from_secs_f64(self.minutes * 60.0),
            accounts: self.accounts as usize,
            only: self.only.clone(),
        }
    }

    /// Between two messages of one side of a conversation.
    pub(crate) fn pace(&self) -> Duration {
        Duration::from_secs(match self.store {
            StoreKind::Sqlite => 4,
            // The emulator does one thing at a time, and with each commit it asks every
            // watch's query anew: the more there is, the slower it gets.
            StoreKind::Firestore => 30,
        })
    }

    /// For a client to find a worker that accepts a message: longer than all
    /// that holds the store up.
    pub(crate) fn accept_limit(&self) -> Duration {
        Duration::from_secs(180)
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.5..=600.0).contains(&minutes) {
        Ok(minutes)
    } else {
        Err("between 0.5 and 600".to_owned())
    }
}
