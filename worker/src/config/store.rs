//! Options of the store: the embedded database or Firestore, and the key ring.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use session::GoogleKmsKey;

use super::ConfigError;
use super::secret::Secret;

/// Name of the database inside the data folder.
const DATABASE_NAME: &str = "leasehold.db";
/// Name of the folder of running workers inside the data folder.
const PRESENCE_NAME: &str = "workers";
/// Name of the key ring inside the data folder.
const KEY_RING_NAME: &str = "keyring.json";

/// What a build without Google Cloud KMS says to `--key-ring-kms`.
pub(crate) const KMS_NOT_BUILT_IN: &str = "--key-ring-kms needs a worker that was built with Google \
     Cloud KMS: `cargo build --release -p worker --features google-kms`";

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StoreKind {
    /// A file in the data folder, for the workers of one machine.
    #[default]
    Sqlite,
    /// Google Cloud Firestore, for workers on any number of machines.
    Firestore,
}

/// Where the store and the keys are.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Store")]
pub struct StoreConfig {
    /// Which store: `sqlite`, a file for the workers of one machine, or `firestore`, for a cluster
    #[arg(long, env = "LEASEHOLD_STORE", value_name = "KIND", value_enum, default_value_t = StoreKind::Sqlite)]
    pub store: StoreKind,

    /// Google Cloud project of the Firestore database
    #[arg(long, env = "GOOGLE_CLOUD_PROJECT", value_name = "PROJECT")]
    pub firestore_project: Option<String>,

    /// Name of the Firestore database
    #[arg(
        long,
        env = "LEASEHOLD_FIRESTORE_DATABASE",
        value_name = "NAME",
        default_value = "(default)"
    )]
    pub firestore_database: String,

    /// Address of a Firestore emulator, such as 127.0.0.1:8081, instead of Google's service
    #[arg(long, env = "FIRESTORE_EMULATOR_HOST", value_name = "HOST:PORT")]
    pub firestore_emulator_host: Option<String>,

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

    /// Key of Google Cloud KMS that encrypts the ring where it is kept:
    /// projects/P/locations/L/keyRings/R/cryptoKeys/K. Needs a build with the feature google-kms
    #[arg(long, env = "LEASEHOLD_KEY_RING_KMS", value_name = "KEY")]
    pub key_ring_kms: Option<GoogleKmsKey>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            store: StoreKind::Sqlite,
            firestore_project: None,
            firestore_database: "(default)".to_owned(),
            firestore_emulator_host: None,
            data_dir: PathBuf::from("leasehold-data"),
            key_ring: None,
            key_ring_json: None,
            key_ring_kms: None,
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
        if self.store == StoreKind::Firestore && self.firestore_project.is_none() {
            return Err(ConfigError::relation(
                "--store firestore needs --firestore-project (or GOOGLE_CLOUD_PROJECT)",
            ));
        }
        if self.key_ring_kms.is_some() && !cfg!(feature = "google-kms") {
            return Err(ConfigError::relation(KMS_NOT_BUILT_IN));
        }
        if self.key_ring.is_some() && self.key_ring_json.is_some() {
            return Err(ConfigError::relation(
                "LEASEHOLD_KEY_RING_JSON and --key-ring both name a key ring: give one of them",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_kms_is_taken_by_builds_with_kms_only() {
        let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
        let config = StoreConfig {
            key_ring_kms: Some(key.parse().unwrap()),
            ..StoreConfig::default()
        };
        let expected = if cfg!(feature = "google-kms") {
            Ok(())
        } else {
            Err(ConfigError::relation(KMS_NOT_BUILT_IN))
        };
        assert_eq!(config.validate(), expected);
    }
}
