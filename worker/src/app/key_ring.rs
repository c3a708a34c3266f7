//! Where the key ring comes from: a variable, a file, or, on the very first
//! run, a random generator.

use coordinator_lib::rng::Rng;
use session::{KeyRing, KeyRingError};

use crate::config::{StoreConfig, StoreKind};
use crate::exit::{self, Failure};

/// The ring that is there.
///
/// # Errors
/// A line that says what is wrong with it, and the exit code.
pub fn load(config: &StoreConfig) -> Result<KeyRing, Failure> {
    match &config.key_ring_json {
        Some(json) => KeyRing::from_json(json.expose()).map_err(|error| {
            Failure::new(
                exit::DATA,
                format!("LEASEHOLD_KEY_RING_JSON is no key ring: {error}"),
            )
        }),
        None => KeyRing::load(&config.key_ring_path()).map_err(failure),
    }
}

/// The ring that is there, or a new one if nothing depends on an old one yet.
///
/// # Errors
/// As [`load`]; and when the database is there but its ring is gone: a new
/// ring would open none of its sessions.
pub fn load_or_generate(config: &StoreConfig, rng: &dyn Rng) -> Result<KeyRing, Failure> {
    let path = config.key_ring_path();
    let database = config.database_path();
    // Looked at first: the ring is made before the database, also by another
    // worker that starts at this moment.
    let is_in_use = database.exists();
    if config.key_ring_json.is_some() || path.exists() {
        return load(config);
    }
    if config.store == StoreKind::Firestore {
        // Every worker of the cluster needs the same one.
        return Err(Failure::new(
            exit::DATA,
            format!(
                "the key ring {} is missing: `worker keys generate` makes one; give the same to \
                 every worker of the cluster, and keep a copy",
                path.display()
            ),
        ));
    }
    if is_in_use {
        return Err(Failure::new(
            exit::DATA,
            format!(
                "the key ring {} is missing, and the database {} is there: its sessions open only \
                 with the ring they were made with. Restore the file, or name it with --key-ring; \
                 if it is lost for good, `worker keys generate` makes a new one, and every account \
                 must be added and linked anew",
                path.display(),
                database.display()
            ),
        ));
    }
    let ring = KeyRing::load_or_generate(&path, rng).map_err(failure)?;
    tracing::info!(
        key.ring = %path.display(),
        key.fingerprint = %ring.active(),
        "key ring made: keep a copy, without it no session can be opened"
    );
    Ok(ring)
}

/// Where the ring is, for people.
pub fn place(config: &StoreConfig) -> String {
    if config.key_ring_json.is_some() {
        "LEASEHOLD_KEY_RING_JSON".to_owned()
    } else {
        config.key_ring_path().display().to_string()
    }
}

/// The end of the program that a ring's error means. Its text says what to do
/// and quotes nothing.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn failure(error: KeyRingError) -> Failure {
    let text = error.to_string();
    // What the system said helps, where the text does not have it already.
    let source = std::error::Error::source(&error)
        .map(ToString::to_string)
        .filter(|source| !text.contains(source))
        .map(|source| format!(" ({source})"));
    Failure::new(exit::DATA, text + &source.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use coordinator_lib::rng::SeededRng;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_lost_ring_is_not_replaced_while_a_database_depends_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: folder.path().to_owned(),
            ..StoreConfig::default()
        };
        let rng = SeededRng::new(1);
        let made = load_or_generate(&config, &rng).unwrap();
        fs::write(config.database_path(), "").unwrap();
        let again = load_or_generate(&config, &rng).unwrap();
        assert_eq!(made.fingerprints(), again.fingerprints());
        fs::remove_file(config.key_ring_path()).unwrap();
        let failure = load_or_generate(&config, &rng).unwrap_err();
        assert_eq!(failure.code, exit::DATA);
        assert!(failure.message.contains("Restore"), "{failure}");
        assert!(!config.key_ring_path().exists());
    }

    #[test]
    fn a_broken_ring_is_named_and_not_quoted() {
        let config = StoreConfig {
            key_ring_json: Some(Secret::new("{\"canary\":1}")),
            ..StoreConfig::default()
        };
        let failure = load(&config).unwrap_err();
        assert!(
            failure.message.contains("LEASEHOLD_KEY_RING_JSON"),
            "{failure}"
        );
        assert!(!failure.message.contains("canary"), "{failure}");
    }
}
