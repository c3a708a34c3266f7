//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Shows the main job on this machine: pair, chat, lose workers, count.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo")]
pub(crate) struct Options {
    /// Where the workers keep their accounts
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    pub(crate) store: StoreKind,
    /// Leave everything running afterwards, to be tried by hand
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print the closing table as one JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Fewer accounts and messages, a shorter pause
    #[arg(long)]
    pub(crate) quick: bool,
    /// Break the rules on purpose (fence and gates off): must end with
    /// violations, and with exit code 1
    #[arg(long)]
    pub(crate) unfenced: bool,
    /// Accounts to link [default: 12, or 6 with --quick]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..=26))]
    accounts: Option<u32>,
    /// Messages that each phone and each account writes in each conversation at
    /// least; they write until the last act is over [default: 12, or 4 with --quick]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(3..=1000))]
    messages: Option<u32>,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreKind {
    /// An embedded database, shared by the workers of this machine
    Sqlite,
    /// The official Firestore emulator, started for the demo
    Firestore,
}

impl StoreKind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "sqlite",
            StoreKind::Firestore => "firestore",
        }
    }
}

impl Options {
    /// How many accounts are linked.
    pub(crate) fn accounts(&self) -> usize {
        self.accounts.unwrap_or(if self.quick { 6 } else { 12 }) as usize
    }

    /// Messages in each direction of each conversation, at least.
    pub(crate) fn messages(&self) -> usize {
        self.messages.unwrap_or(if self.quick { 4 } else { 12 }) as usize
    }

    /// How many phones every account chats with.
    pub(crate) fn contacts(&self) -> usize {
        if self.quick { 2 } else { 3 }
    }

    /// How long the paused worker stands still: longer than its session lives.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(if self.quick { 15 } else { 60 })
    }

    /// Between two messages of one conversation: slow enough that many
    /// conversations on a small machine do not wait for each other. The emulator
    /// does one thing at a time, some hundred in a second.
    pub(crate) fn pace(&self) -> Duration {
        Duration::from_secs(match (self.store, self.quick) {
            (StoreKind::Sqlite, true) => 2,
            (StoreKind::Sqlite, false) => 4,
            (StoreKind::Firestore, true) => 8,
            (StoreKind::Firestore, false) => 20,
        })
    }
}
