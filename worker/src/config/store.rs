//! Options of what is kept on disk: the embedded database and the key ring.

use std::path::PathBuf;

use clap::Args;

use super::ConfigError;
use super::secret::Secret;

/// Name of the database inside the data folder.
const DATABASE_NAME: &str = "leasehold.db";
/// Name of the folder of running workers inside the data folder.
const PRESENCE_NAME: &str = "workers";
/// Name of the key ring inside the data folder.
const KEY_RING_NAME: &str = "keyring.json";

/// Where the store and the keys are.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Store")]
pub struct StoreConfig {
    /// Folder of the database and the key ring; made on first use, for its owner only
    #[arg(
        long,
        env = "LEASEHOLD_DATA_DIR",
        value_name = "DIR",
        default_value = "leasehold-data"
    )]
    pub data_dir: PathBuf,

    /// File of the key ring, generated on first use [default: keyring.json in the data folder].
    /// Who loses it loses every session: keep a copy
    #[arg(long, env = "LEASEHOLD_KEY_RING", value_name = "FILE")]
    pub key_ring: Option<PathBuf>,

    /// The key ring itself instead of a file, as from a secret store; environment only
    // An argument would be seen in the list of processes.
    #[arg(
        long = "key-ring-json-from-environment-only",
        hide = true,
        env = "LEASEHOLD_KEY_RING_JSON",
        value_name = "JSON",
        hide_env_values = true
    )]
    pub key_ring_json: Option<Secret>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("leasehold-data"),
            key_ring: None,
            key_ring_json: None,
        }
    }
}

impl StoreConfig {
    /// Path of the embedded database.
    pub fn database_path(&self) -> PathBuf {
        self.data_dir.join(DATABASE_NAME)
    }

    /// Folder in which running workers show that they are there.
    pub fn presence_path(&self) -> PathBuf {
        self.data_dir.join(PRESENCE_NAME)
    }

    /// Path of the key ring's file.
    pub fn key_ring_path(&self) -> PathBuf {
        self.key_ring
            .clone()
            .unwrap_or_else(|| self.data_dir.join(KEY_RING_NAME))
    }

    /// Checks the relations between these options.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::relation("--data-dir must not be empty"));
        }
        if self.key_ring.is_some() && self.key_ring_json.is_some() {
            return Err(ConfigError::relation(
                "LEASEHOLD_KEY_RING_JSON and --key-ring both name a key ring: give one of them",
            ));
        }
        Ok(())
    }
}
