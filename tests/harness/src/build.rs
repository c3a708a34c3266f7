//! Builds the `worker-sim` binary with a command of its own.
//!
//! Programs that play with workers do not depend on the worker, so that its
//! features are chosen by this command alone and never unified with somebody
//! else's.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::binary::{self, BINARY_NAME, BINARY_VARIABLE};

/// What is built, and how.
const ARGUMENTS: [&str; 8] = [
    "build",
    "--release",
    "-p",
    "worker",
    "--features",
    "simulation",
    "--bin",
    BINARY_NAME,
];

/// What `cargo run` tells the program that it starts about its package. Build
/// scripts that look at these variables would run again, and with them half of
/// all dependencies.
const PER_PACKAGE: [&str; 5] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
    "CARGO_PRIMARY_",
];

/// The binary's path: the one named by the environment, or else freshly built.
/// Cargo's progress is shown.
///
/// # Errors
/// It does not build.
pub async fn worker_sim() -> Result<PathBuf> {
    if env::var_os(BINARY_VARIABLE).is_some() {
        return binary::worker_sim();
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Cargo sets it for `cargo run`; a program started by hand knows where it was built.
    let home = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    println!("  cargo {}", ARGUMENTS.join(" "));
    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if PER_PACKAGE.iter().any(|start| name_text.starts_with(start)) {
            command.env_remove(name);
        }
    }
    let output = command
        .args(ARGUMENTS)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(home)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("cargo cannot be started; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!("the worker does not build");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == BINARY_NAME)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo does not say where it put the worker")
}
