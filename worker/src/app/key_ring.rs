//! Where the key ring comes from: a variable, a file, or, on the very first
//! run, a random generator; what it is encrypted with there; and how a change of it
//! reaches a running worker.

pub mod uses;

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::identity::head_collection;
use coordinator_lib::rng::{Rng, SystemRng};
use coordinator_lib::store::{Query, Store};
use session::{
    Envelope, EnvelopeError, EnvironmentProvider, FileProvider, HeadDoc, KeyRing, KeyRingError,
    KeyRingProvider, ProviderError,
};
use tokio_util::sync::CancellationToken;

use crate::config::{StoreConfig, StoreKind};
use crate::exit::{self, Failure};

/// The variable that may hold a ring.
const VARIABLE: &str = "LEASEHOLD_KEY_RING_JSON";
/// How often a running worker looks whether its ring has changed. A rotation
/// waits for all of them.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// So many accounts' keys are tried at the start: a wrong ring opens none.
const HEADS_TRIED_MAX: u32 = 100;

/// The place that the configuration names.
///
/// # Errors
/// This program cannot decrypt what is there.
pub fn provider(config: &StoreConfig) -> Result<Arc<dyn KeyRingProvider>, Failure> {
    Ok(match &config.key_ring_json {
        Some(json) => Arc::new(EnvironmentProvider::new(
            VARIABLE,
            json.expose(),
            envelope(config)?,
        )),
        None => Arc::new(file(config)?),
    })
}

fn file(config: &StoreConfig) -> Result<FileProvider, Failure> {
    let (path, rng) = (config.key_ring_path(), SystemRng::shared());
    Ok(FileProvider::new(path, envelope(config)?, rng))
}

/// What encrypts the ring.
#[cfg(feature = "google-kms")]
#[allow(clippy::unnecessary_wraps, reason = "other builds refuse it")]
fn envelope(config: &StoreConfig) -> Result<Option<Arc<dyn Envelope>>, Failure> {
    let key = config.key_ring_kms.clone();
    Ok(key.map(|key| Arc::new(session::GoogleKms::new(key)) as Arc<dyn Envelope>))
}

/// What encrypts the ring.
#[cfg(not(feature = "google-kms"))]
fn envelope(config: &StoreConfig) -> Result<Option<Arc<dyn Envelope>>, Failure> {
    match config.key_ring_kms {
        None => Ok(None),
        // Commands do not check the options' relations as `serve` does.
        Some(_) => Err(Failure::new(exit::CONFIG, crate::config::KMS_NOT_BUILT_IN)),
    }
}

/// The ring that is there.
///
/// # Errors
/// A line that says what is wrong with it, and the exit code.
pub fn load(config: &StoreConfig) -> Result<KeyRing, Failure> {
    provider(config)?.load().map_err(provider_failure)
}

/// A ring in the file that the configuration names, made if there is none.
///
/// # Errors
/// As [`load`].
pub fn load_or_generate_file(config: &StoreConfig, rng: &dyn Rng) -> Result<KeyRing, Failure> {
    file(config)?
        .load_or_generate(rng)
        .map_err(provider_failure)
}

/// Encrypts the ring's file with the key that the configuration names; one that is
/// encrypted with it already, anew. Yields the ring, as it is read back.
///
/// # Errors
/// As [`load`]; the file is as it was.
pub fn seal(config: &StoreConfig) -> Result<KeyRing, Failure> {
    file(config)?.seal().map_err(provider_failure)
}

/// Takes a ring over that changes while the worker runs.
pub async fn follow(
    provider: Arc<dyn KeyRingProvider>,
    ring: Arc<KeyRing>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    if !provider.may_change() {
        return;
    }
    let mut was_told = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep(RELOAD_INTERVAL) => {}
        }
        let from = Arc::clone(&provider);
        let loaded = tokio::select! {
            biased;
            // A service that is asked may take its time.
            () = stop.cancelled() => return,
            loaded = tokio::task::spawn_blocking(move || from.load()) => loaded,
        };
        match loaded {
            Ok(Ok(new)) => {
                was_told = false;
                if ring.replace(&new) {
                    tracing::info!(key.fingerprint = %ring.active(), "key ring has changed");
                }
            }
            // The one in memory still opens what it opened.
            Ok(Err(error)) if !was_told => {
                was_told = true;
                tracing::warn!(%error, "the key ring cannot be read any more");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Refuses a ring that opens no account's session, and says which key it lacks.
///
/// # Errors
/// The line, and the exit code.
pub async fn check(store: &Store, ring: &KeyRing) -> Result<(), Failure> {
    let query = Query::new(head_collection()).limit(HEADS_TRIED_MAX);
    let page = match store.query(&query).await {
        Ok(page) => page,
        // Whether the store works is found out elsewhere.
        Err(error) => {
            tracing::warn!(%error, "the key ring could not be tried on the sessions");
            return Ok(());
        }
    };
    let (mut opened, mut lacking) = (0_usize, Vec::new());
    for head in &page.documents {
        let Ok(doc) = head.decode::<HeadDoc>() else {
            continue;
        };
        match ring.unwrap(&doc.wrapped_keys, head.path.id()) {
            Ok(_) => opened += 1,
            Err(error) => lacking.push(error),
        }
    }
    let Some(first) = lacking.first() else {
        return Ok(());
    };
    if opened == 0 {
        return Err(Failure::new(exit::DATA, first));
    }
    tracing::warn!(accounts = lacking.len(), opened, error = %first, "the key ring does not open every session");
    Ok(())
}

/// The end of the program that a provider's error means.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn provider_failure(error: ProviderError) -> Failure {
    match error {
        ProviderError::File(error) => failure(error),
        // Trying later helps.
        ref later @ ProviderError::Envelope {
            source: EnvelopeError::Unreachable | EnvelopeError::Quota,
            ..
        } => Failure::new(exit::BUSY, later),
        other @ (ProviderError::Environment { .. }
        | ProviderError::Envelope { .. }
        | ProviderError::ReadOnly { .. }) => Failure::new(exit::DATA, other),
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
    let ring = load_or_generate_file(config, rng)?;
    tracing::info!(
        key.ring = %path.display(),
        key.fingerprint = %ring.active(),
        "key ring made: keep a copy, without it no session can be opened"
    );
    Ok(ring)
}

/// Where the ring is, for people.
pub fn place(config: &StoreConfig) -> String {
    match &config.key_ring_json {
        Some(_) => VARIABLE.to_owned(),
        None => config.key_ring_path().display().to_string(),
    }
}

/// The end of the program that a ring's error means. Its text says what to do
/// and quotes nothing.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failure(error: KeyRingError) -> Failure {
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
    use std::os::unix::fs::PermissionsExt as _;

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

    #[cfg(not(feature = "google-kms"))]
    #[test]
    fn a_build_without_kms_says_how_to_get_one_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: folder.path().to_owned(),
            key_ring_kms: Some(
                "projects/p/locations/l/keyRings/r/cryptoKeys/k"
                    .parse()
                    .unwrap(),
            ),
            ..StoreConfig::default()
        };
        let failure = load_or_generate(&config, &SeededRng::new(1)).unwrap_err();
        assert_eq!(failure.code, exit::CONFIG);
        assert!(
            failure.message.contains("--features google-kms"),
            "{failure}"
        );
        assert!(!config.key_ring_path().exists(), "nothing in clear instead");
    }

    #[test]
    fn an_encrypted_ring_is_not_replaced_and_names_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: folder.path().to_owned(),
            ..StoreConfig::default()
        };
        let text = r#"{"schemaVersion":1,"sealedBy":"projects/p","ciphertext":"AA=="}"#;
        fs::write(config.key_ring_path(), text).unwrap();
        fs::set_permissions(config.key_ring_path(), fs::Permissions::from_mode(0o600)).unwrap();
        let failure = load_or_generate(&config, &SeededRng::new(1)).unwrap_err();
        assert_eq!(failure.code, exit::DATA);
        assert!(
            failure
                .message
                .contains("projects/p: name that with --key-ring-kms"),
            "{failure}"
        );
        assert_eq!(fs::read_to_string(config.key_ring_path()).unwrap(), text);
    }

    #[test]
    fn only_a_service_that_was_not_reached_is_worth_another_try() {
        let code = |source| {
            let place = "keyring.json".to_owned();
            provider_failure(ProviderError::Envelope { place, source }).code
        };
        assert_eq!(code(EnvelopeError::Unreachable), exit::BUSY);
        assert_eq!(code(EnvelopeError::NoCredentials), exit::DATA);
    }
}
