//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::network::NetworkKind;

/// Where `k8s/check --write` puts what it renders.
const RENDERED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../k8s/rendered/production.yaml"
);

/// Rolls, scales and breaks worker processes as Kubernetes would, and counts.
#[derive(Debug, Clone, Parser)]
#[command(name = "rollout")]
pub(crate) struct Options {
    /// The rendered manifests that the numbers are from
    #[arg(long, default_value = RENDERED, hide_default_value = true)]
    pub(crate) manifest: PathBuf,
    /// Where the workers keep their accounts
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    pub(crate) store: StoreKind,
    /// Which network the pods have
    #[arg(long, value_enum, default_value_t = NetworkKind::Auto)]
    pub(crate) network: NetworkKind,
    /// Accounts to link
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..=26))]
    pub(crate) accounts: u32,
    /// Phones that each of them chats with
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) contacts: u32,
    /// Acts to play, with commas between, instead of all
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) acts: Vec<ActKind>,
    /// The program of the version that is rolled out from, instead of the same one
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) from: Option<PathBuf>,
    /// Write what a worker of this version leaves into a folder, and end
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write_fixture: Option<PathBuf>,
    /// End with the report as one JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
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

/// Something that happens to the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActKind {
    /// All pods are replaced by pods of a new version
    Roll,
    /// The count is doubled, then cut down to two, then as before
    Scale,
    /// Two pods are lost at once, without a word
    NodeLoss,
    /// A pod stands still when it is told to end, and is killed at last
    Hang,
}

impl Options {
    /// The acts in their order.
    pub(crate) fn acts(&self) -> Vec<ActKind> {
        match self.acts.as_slice() {
            [] => ActKind::value_variants().to_vec(),
            chosen => chosen.to_vec(),
        }
    }

    /// Between two messages of one side of a conversation.
    pub(crate) fn pace(&self) -> Duration {
        Duration::from_secs(match self.store {
            StoreKind::Sqlite => 4,
            // The emulator does one thing at a time.
            StoreKind::Firestore => 12,
        })
    }

    /// For a client to find a pod that accepts a message.
    pub(crate) fn accept_limit(&self) -> Duration {
        Duration::from_secs(180)
    }
}
