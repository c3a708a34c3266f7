//! Whether the parts outside of Rust are there: Node and the npm packages.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use crate::PeerError;

/// What installs the packages, from the repository's root.
pub const INSTALL_COMMAND: &str = "npm ci --prefix tests/baileys";

const NODE_COMMAND: &str = "apt-get install -y nodejs npm";

/// The oldest Node that Baileys 7 runs on.
const NODE_MAJOR_MIN: u32 = 20;

/// Which Baileys a peer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 7.0.0-rc14
    Seven,
    /// 6.7.24
    Six,
}

impl Version {
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Version::Seven => "7",
            Version::Six => "6",
        }
    }

    /// The folder in `node_modules`, and the version that must be in it.
    fn package(self) -> (&'static str, &'static str) {
        match self {
            Version::Seven => ("baileys", "7.0.0-rc14"),
            Version::Six => ("baileys6", "6.7.24"),
        }
    }
}

/// Where `peer.mjs` and `node_modules` are.
pub(crate) fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks that Node can run that version.
///
/// # Errors
/// Something is missing, or is not the pinned version → [`PeerError::Missing`],
/// which names the command that installs it.
pub(crate) async fn check(version: Version) -> Result<(), PeerError> {
    let node = Command::new("node")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                return missing("Node", NODE_COMMAND);
            }
            PeerError::Spawn(source)
        })?;
    let found = String::from_utf8_lossy(&node.stdout);
    if major(&found).is_none_or(|major| major < NODE_MAJOR_MIN) {
        return Err(missing("Node 20 or newer", NODE_COMMAND));
    }

    let (folder, pinned) = version.package();
    let manifest: PathBuf = home()
        .join("node_modules")
        .join(folder)
        .join("package.json");
    let installed = tokio::fs::read(manifest)
        .await
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    match installed
        .as_ref()
        .and_then(|manifest| manifest["version"].as_str())
    {
        Some(installed) if installed == pinned => Ok(()),
        _ => Err(missing("Baileys", INSTALL_COMMAND)),
    }
}

fn major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

fn missing(what: &'static str, command: &'static str) -> PeerError {
    PeerError::Missing { what, command }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_lock_file_pins_both_versions_wherever_they_come_from() {
        let lock: Value = serde_json::from_str(include_str!("../package-lock.json")).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        for version in [Version::Seven, Version::Six] {
            let (folder, pinned) = version.package();
            assert_eq!(
                packages[&format!("node_modules/{folder}")]["version"],
                pinned
            );
        }
        for (folder, package) in packages.iter().filter(|(folder, _)| !folder.is_empty()) {
            assert!(package["integrity"].is_string(), "{folder}");
            assert!(package["resolved"].is_null(), "{folder}");
        }
    }

    #[test]
    fn versions_of_node_are_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn what_is_missing_names_its_command() {
        let error = missing("Baileys", INSTALL_COMMAND).to_string();
        assert_eq!(
            error,
            "Baileys is not installed; run: npm ci --prefix tests/baileys"
        );
    }
}
