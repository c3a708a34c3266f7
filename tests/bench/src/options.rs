//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measures the workers, and in the same run what they are compared with.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub(crate) struct Options {
    /// What is measured
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// Where the workers keep their accounts [default: as the scenario's]
    #[arg(long, value_enum)]
    store: Option<StoreKind>,
    /// How often each side is measured, in turns; the medians are compared
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    rounds: u32,
    /// Little of everything, to see that it runs and counts; its figures mean nothing
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Print the results as one JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the results in this folder, as SCENARIO.json, and a plot as SCENARIO.svg
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save: Option<PathBuf>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// From the end of a worker until its accounts are connected elsewhere
    Failover,
    /// Store operations of accounts that are only held (virtual time)
    Steady,
    /// Messages taken in, beside Baileys
    Inbound,
    /// Messages sent, beside Baileys
    Outbound,
    /// Memory and CPU of idle connections, beside Baileys
    Density,
    /// From the claim of an account that knows many people until it is connected
    Takeover,
    /// Thousands of accounts on a hundred workers (virtual time)
    Scale,
    /// What exporting traces and metrics costs
    Telemetry,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreKind {
    /// An embedded database, shared by the workers of this machine
    Sqlite,
    /// The official Firestore emulator, started for the run
    Firestore,
    /// In the bench's own memory, on virtual time
    Memory,
}

impl Scenario {
    fn store(self) -> StoreKind {
        match self {
            Scenario::Failover => StoreKind::Firestore,
            Scenario::Inbound
            | Scenario::Outbound
            | Scenario::Density
            | Scenario::Takeover
            | Scenario::Telemetry => StoreKind::Sqlite,
            Scenario::Steady | Scenario::Scale => StoreKind::Memory,
        }
    }

    fn is_virtual(self) -> bool {
        self.store() == StoreKind::Memory
    }
}

impl Options {
    /// Which store the scenario runs on.
    ///
    /// # Errors
    /// The scenario cannot run on the one that was asked for.
    pub(crate) fn store(&self) -> anyhow::Result<StoreKind> {
        let store = self.store.unwrap_or_else(|| self.scenario.store());
        if self.scenario.is_virtual() != (store == StoreKind::Memory) {
            anyhow::bail!(
                "steady and scale run in memory, on virtual time; the others need a store that \
                 processes share: leave out --store"
            );
        }
        Ok(store)
    }

    /// How often each side is measured.
    pub(crate) fn rounds(&self) -> u32 {
        if self.smoke { 1 } else { self.rounds }
    }

    /// `full`, or `smoke` in a smoke run.
    pub(crate) fn size<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }
}
