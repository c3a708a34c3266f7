//! `worker keys`: makes the key ring, or shows the fingerprints of its keys.
//! Never shows a key.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use coordinator_lib::rng::SystemRng;
use session::KeyRing;

use crate::app::{data_dir, key_ring};
use crate::config::StoreConfig;
use crate::exit::{self, Failure};

/// `worker keys …`
#[derive(Debug, Args)]
pub(super) struct KeysCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key ring where there is none
    Generate(StoreConfig),
    /// Show the fingerprints of the ring's keys
    Show(StoreConfig),
}

impl KeysCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Generate(store) => generate(&store),
            Action::Show(store) => {
                let ring = key_ring::load(&store)?;
                show(&ring);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn generate(store: &StoreConfig) -> Result<ExitCode, Failure> {
    let path = store.key_ring_path();
    if store.key_ring_json.is_some() || path.exists() {
        return Err(Failure::new(
            exit::CONFIG,
            format!(
                "there is a key ring already ({}): a new one could not open the sessions of the \
                 old, so nothing was changed",
                key_ring::place(store)
            ),
        ));
    }
    data_dir::prepare(&store.data_dir)?;
    let ring = KeyRing::load_or_generate(&path, &SystemRng).map_err(key_ring::failure)?;
    println!(
        "made {}; keep a copy, without it no session can be opened",
        path.display()
    );
    show(&ring);
    Ok(ExitCode::SUCCESS)
}

fn show(ring: &KeyRing) {
    for fingerprint in ring.fingerprints() {
        let note = if fingerprint == *ring.active() {
            "  active"
        } else {
            ""
        };
        println!("{fingerprint}{note}");
    }
}
