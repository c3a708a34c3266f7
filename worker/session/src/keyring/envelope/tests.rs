use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use coordinator_lib::rng::{SeededRng, SystemRng};
use tempfile::TempDir;

use super::super::{
    EnvironmentProvider, FileProvider, KeyRing, KeyRingError, KeyRingProvider, ProviderError, file,
};
use super::*;
use crate::datakey;

const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
const OTHER_KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/other";
const SECRET: [u8; 32] = [7; 32];

/// Encrypts by itself, and counts what it is asked.
struct OwnKey {
    name: &'static str,
    opened: AtomicUsize,
}

impl OwnKey {
    fn named(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            opened: AtomicUsize::new(0),
        })
    }
}

impl Envelope for OwnKey {
    fn key(&self) -> &str {
        self.name
    }

    fn seal(&self, clear: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        Ok(datakey::seal(&SECRET, &SystemRng, b"", clear))
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        datakey::open(&SECRET, b"", sealed).map_err(|_| EnvelopeError::NotOpened {
            key: self.name.to_owned(),
        })
    }
}

fn path_in(folder: &TempDir) -> PathBuf {
    folder.path().join("keyring.json")
}

fn clear_file(path: &Path) -> FileProvider {
    FileProvider::new(path.to_owned(), None, SystemRng::shared())
}

fn sealed_file(path: &Path, key: &Arc<OwnKey>) -> FileProvider {
    let key = Arc::clone(key) as Arc<dyn Envelope>;
    FileProvider::new(path.to_owned(), Some(key), SystemRng::shared())
}

fn envelope_error(result: Result<KeyRing, ProviderError>) -> EnvelopeError {
    match result.unwrap_err() {
        ProviderError::Envelope { source, .. } => source,
        other @ (ProviderError::File(_)
        | ProviderError::Environment { .. }
        | ProviderError::ReadOnly { .. }) => panic!("not the envelope's: {other}"),
    }
}

#[test]
fn a_ring_is_made_changed_and_read_without_lying_there_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let key = OwnKey::named(KEY);
    let made = sealed_file(&path, &key)
        .load_or_generate(&SeededRng::new(1))
        .unwrap();
    let with_more = made.with_new_key(&SeededRng::new(2)).unwrap();
    sealed_file(&path, &key).store(&with_more).unwrap();
    let read = sealed_file(&path, &key).load().unwrap();
    assert_eq!(read.fingerprints(), with_more.fingerprints());
    assert_eq!(read.active(), with_more.active());

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(KEY), "{text}");
    assert!(!text.contains(made.active().as_str()), "{text}");
    // A variable that holds the same text.
    let variable = EnvironmentProvider::new("RING", &text, Some(key));
    assert_eq!(
        variable.load().unwrap().fingerprints(),
        with_more.fingerprints()
    );
}

#[test]
fn the_key_is_asked_again_only_once_the_file_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let key = OwnKey::named(KEY);
    let ring = sealed_file(&path, &key)
        .load_or_generate(&SystemRng)
        .unwrap();
    let follower = sealed_file(&path, &key);
    let asked = || key.opened.swap(0, Ordering::Relaxed);
    assert_eq!(asked(), 1, "what is written is tried");
    for _ in 0..5 {
        follower.load().unwrap();
    }
    assert_eq!(asked(), 1);
    let changed = ring.with_new_key(&SystemRng).unwrap();
    sealed_file(&path, &key).store(&changed).unwrap();
    assert_eq!(asked(), 1, "what is written is tried");
    for _ in 0..5 {
        assert_eq!(follower.load().unwrap().active(), changed.active());
    }
    assert_eq!(asked(), 1);
}

#[test]
fn a_ring_in_clear_and_an_encrypted_one_are_not_taken_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let key = OwnKey::named(KEY);
    clear_file(&path).load_or_generate(&SystemRng).unwrap();
    let error = envelope_error(sealed_file(&path, &key).load());
    assert_eq!(error, EnvelopeError::Clear);
    assert!(error.to_string().contains("keys seal"), "{error}");

    let ring = clear_file(&path).load().unwrap();
    sealed_file(&path, &key).store(&ring).unwrap();
    let asked = key.opened.load(Ordering::Relaxed);
    let error = envelope_error(clear_file(&path).load());
    assert_eq!(
        error,
        EnvelopeError::Sealed {
            key: KEY.to_owned()
        }
    );
    let error = envelope_error(sealed_file(&path, &OwnKey::named(OTHER_KEY)).load());
    assert_eq!(
        error,
        EnvelopeError::OtherKey {
            found: KEY.to_owned(),
            given: OTHER_KEY.to_owned()
        }
    );
    assert_eq!(
        key.opened.load(Ordering::Relaxed),
        asked,
        "nothing of this needs the service"
    );
}

#[test]
fn a_file_in_clear_is_encrypted_in_its_place_and_an_encrypted_one_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let key = OwnKey::named(KEY);
    let ring = clear_file(&path).load_or_generate(&SystemRng).unwrap();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let sealed = sealed_file(&path, &key).seal().unwrap();
        assert_eq!(sealed.fingerprints(), ring.fingerprints());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(ring.active().as_str()), "{text}");
        assert!(!texts.contains(&text), "{text}");
        texts.push(text);
    }
    let read = sealed_file(&path, &key).load().unwrap();
    assert_eq!(read.fingerprints(), ring.fingerprints());
}

#[test]
fn a_key_that_only_encrypts_leaves_the_file_in_clear() {
    /// May encrypt, and not decrypt.
    struct OneWay;
    impl Envelope for OneWay {
        fn key(&self) -> &str {
            KEY
        }
        fn seal(&self, _clear: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
            Ok(vec![0])
        }
        fn open(&self, _sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
            Err(EnvelopeError::Denied {
                key: KEY.to_owned(),
            })
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let ring = clear_file(&path).load_or_generate(&SystemRng).unwrap();
    let one_way = FileProvider::new(path.clone(), Some(Arc::new(OneWay)), SystemRng::shared());
    assert!(matches!(
        envelope_error(one_way.seal()),
        EnvelopeError::Denied { .. }
    ));
    let read = clear_file(&path).load().unwrap();
    assert_eq!(read.fingerprints(), ring.fingerprints());
}

#[test]
fn what_is_altered_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let key = OwnKey::named(KEY);
    let provider = sealed_file(&path, &key);
    provider.load_or_generate(&SystemRng).unwrap();
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut json = good.clone();
        json[field] = value;
        json
    };
    let mut altered = BASE64.decode(good["ciphertext"].as_str().unwrap()).unwrap();
    altered[20] ^= 1;
    let not_opened = EnvelopeError::NotOpened {
        key: KEY.to_owned(),
    };
    for (json, expected) in [
        (
            with("ciphertext", BASE64.encode(&altered).into()),
            not_opened.clone(),
        ),
        (with("ciphertext", "".into()), not_opened),
        (with("ciphertext", "&".into()), EnvelopeError::Malformed),
        (with("ciphertext", 7.into()), EnvelopeError::Malformed),
        (with("more", 7.into()), EnvelopeError::Malformed),
        (with("sealedBy", 7.into()), EnvelopeError::Malformed),
        (
            with("schemaVersion", 2.into()),
            EnvelopeError::Schema { found: 2 },
        ),
    ] {
        let text = json.to_string();
        std::fs::write(&path, &text).unwrap();
        let error = envelope_error(provider.load_or_generate(&SystemRng));
        assert_eq!(error, expected, "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn what_opens_but_is_no_ring_is_refused_without_quoting_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder);
    let key = OwnKey::named(KEY);
    let cover = Cover::new(Some(Arc::clone(&key) as Arc<dyn Envelope>));
    let text = cover
        .seal(Zeroizing::new("{\"canary\":1}".to_owned()))
        .unwrap();
    file::write(&path, text.as_bytes(), &SystemRng).unwrap();
    let error = sealed_file(&path, &key).load().unwrap_err();
    assert!(
        matches!(error, ProviderError::File(KeyRingError::Broken { .. })),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
