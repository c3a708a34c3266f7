//! Against a service of our own that speaks KMS's REST over a real socket.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use coordinator_lib::rng::SystemRng;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use super::*;
use crate::datakey;
use crate::{FileProvider, KeyRingProvider as _};

const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
const OTHER_KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/other";

/// What the service does with a request.
#[derive(Clone, Copy)]
enum Manner {
    Good,
    /// An error of Google's shape that quotes the request.
    Refuses(u16, &'static str),
    /// Something in between that knows nothing of Google's shapes.
    Proxy(u16),
    /// So many times, then it is good.
    Away(usize),
    WrongChecksum,
    /// Says that it did not get what was meant.
    Unverified,
    Nonsense,
    Silent,
}

struct Service {
    manner: Mutex<Manner>,
    requests: AtomicUsize,
}

type Answer = (StatusCode, Json<Value>);

async fn serve(
    State(service): State<Arc<Service>>,
    Path(path): Path<String>,
    Json(request): Json<Value>,
) -> Answer {
    let before = service.requests.fetch_add(1, Ordering::Relaxed);
    let manner = *service.manner.lock();
    match manner {
        Manner::Refuses(code, status) => refuse(code, status, &request.to_string()),
        Manner::Proxy(code) => (
            StatusCode::from_u16(code).unwrap(),
            Json(json!(format!("who are you? {request}"))),
        ),
        Manner::Away(times) if before < times => refuse(503, "UNAVAILABLE", ""),
        Manner::Nonsense => (
            StatusCode::OK,
            Json(json!({ "plaintext": 7, "ciphertext": 7 })),
        ),
        Manner::Silent => std::future::pending().await,
        Manner::Good | Manner::Away(_) | Manner::WrongChecksum | Manner::Unverified => {
            let mut answer = answer(&path, &request);
            let fields = answer.1.0.as_object_mut().unwrap();
            if matches!(manner, Manner::WrongChecksum) {
                for field in ["ciphertextCrc32c", "plaintextCrc32c"] {
                    fields.insert(field.to_owned(), json!("1"));
                }
            }
            if matches!(manner, Manner::Unverified) {
                fields.remove("verifiedPlaintextCrc32c");
            }
            answer
        }
    }
}

fn refuse(code: u16, status: &str, message: &str) -> Answer {
    let body = json!({ "error": { "code": code, "status": status, "message": message } });
    (StatusCode::from_u16(code).unwrap(), Json(body))
}

fn bytes_of(request: &Value, field: &str) -> Vec<u8> {
    // JSON of a protobuf message leaves out what is empty.
    let text = request[field].as_str().unwrap_or_default();
    let bytes = BASE64.decode(text).unwrap();
    let sum = request[format!("{field}Crc32c")].as_str().unwrap();
    assert_eq!(sum, checksum(&bytes).to_string(), "{field}");
    bytes
}

/// Each key name is a key of its own.
fn answer(path: &str, request: &Value) -> Answer {
    let (name, verb) = path.rsplit_once(':').unwrap();
    let secret = datakey::derive(name.as_bytes(), b"", &[b"test"]);
    let data = bytes_of(request, "additionalAuthenticatedData");
    assert_eq!(data, b"leasehold/key-ring/v1");
    match verb {
        "encrypt" => {
            let clear = bytes_of(request, "plaintext");
            let sealed = datakey::seal(&secret, &SystemRng, &data, &clear);
            let body = json!({
                "name": format!("{name}/cryptoKeyVersions/1"),
                "ciphertext": BASE64.encode(&sealed),
                "ciphertextCrc32c": checksum(&sealed).to_string(),
                "verifiedPlaintextCrc32c": true,
                "verifiedAdditionalAuthenticatedDataCrc32c": true,
            });
            (StatusCode::OK, Json(body))
        }
        "decrypt" => match datakey::open(&secret, &data, &bytes_of(request, "ciphertext")) {
            Ok(clear) => {
                let body = json!({
                    "plaintext": BASE64.encode(&clear),
                    "plaintextCrc32c": checksum(&clear).to_string(),
                    "usedPrimary": true,
                });
                (StatusCode::OK, Json(body))
            }
            Err(_) => refuse(400, "INVALID_ARGUMENT", "Decryption failed"),
        },
        other => panic!("no such request: {other}"),
    }
}

struct Fake {
    address: String,
    service: Arc<Service>,
    _runtime: Runtime,
}

impl Fake {
    fn start(manner: Manner) -> Self {
        let service = Arc::new(Service {
            manner: Mutex::new(manner),
            requests: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let routes = Router::new()
            .route("/v1/{*path}", post(serve))
            .with_state(Arc::clone(&service));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await
        });
        Self {
            address,
            service,
            _runtime: runtime,
        }
    }

    fn becomes(&self, manner: Manner) {
        *self.service.manner.lock() = manner;
    }

    fn requests(&self) -> usize {
        self.service.requests.load(Ordering::Relaxed)
    }

    fn key(&self, name: &str) -> GoogleKms {
        key_at(&self.address, name)
    }
}

fn key_at(address: &str, name: &str) -> GoogleKms {
    GoogleKms {
        address: Some(address.to_owned()),
        ..GoogleKms::new(name.parse().unwrap())
    }
}

#[test]
fn what_is_encrypted_is_decrypted_again() {
    let fake = Fake::start(Manner::Good);
    let sealed = fake.key(KEY).seal(b"clear").unwrap();
    assert!(!sealed.windows(5).any(|part| part == b"clear"));
    assert_eq!(*fake.key(KEY).open(&sealed).unwrap(), b"clear");
    // From inside a runtime, too: a worker starts in one.
    let runtime = Runtime::new().unwrap();
    let opened = runtime.block_on(async { fake.key(KEY).open(&sealed) });
    assert_eq!(*opened.unwrap(), b"clear");
}

#[test]
fn another_key_and_altered_ciphertext_open_nothing() {
    let fake = Fake::start(Manner::Good);
    let mut sealed = fake.key(KEY).seal(b"clear").unwrap();
    let not_opened = |key: &str| EnvelopeError::NotOpened {
        key: key.to_owned(),
    };
    let error = fake.key(OTHER_KEY).open(&sealed).unwrap_err();
    assert_eq!(error, not_opened(OTHER_KEY));
    sealed[15] ^= 1;
    assert_eq!(fake.key(KEY).open(&sealed), Err(not_opened(KEY)));
    assert_eq!(fake.key(KEY).open(b""), Err(not_opened(KEY)));
}

#[test]
fn a_ring_in_a_file_follows_changes_and_asks_for_nothing_else() {
    let fake = Fake::start(Manner::Good);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.json");
    let provider = || {
        let key = Arc::new(fake.key(KEY));
        FileProvider::new(path.clone(), Some(key), SystemRng::shared())
    };
    let made = provider().load_or_generate(&SystemRng).unwrap();
    assert_eq!(fake.requests(), 2, "encrypted, and tried");
    let follower = provider();
    for _ in 0..3 {
        assert_eq!(follower.load().unwrap().active(), made.active());
    }
    assert_eq!(fake.requests(), 3);
    let changed = made.with_new_key(&SystemRng).unwrap();
    provider().store(&changed).unwrap();
    assert_eq!(follower.load().unwrap().active(), changed.active());
    assert_eq!(fake.requests(), 6);
    // What was opened before needs the service no more.
    fake.becomes(Manner::Refuses(403, "PERMISSION_DENIED"));
    assert_eq!(follower.load().unwrap().active(), changed.active());
    assert!(provider().load().is_err());
}

#[test]
fn a_refusal_says_what_to_do_and_quotes_nothing() {
    let fake = Fake::start(Manner::Good);
    let key = || KEY.to_owned();
    let refused = |code: &str| EnvelopeError::Refused {
        code: code.to_owned(),
    };
    for (manner, expected) in [
        (
            Manner::Refuses(403, "PERMISSION_DENIED"),
            EnvelopeError::Denied { key: key() },
        ),
        (
            Manner::Refuses(404, "NOT_FOUND"),
            EnvelopeError::NoSuchKey { key: key() },
        ),
        (
            Manner::Refuses(400, "FAILED_PRECONDITION"),
            EnvelopeError::Disabled { key: key() },
        ),
        (
            Manner::Refuses(401, "UNAUTHENTICATED"),
            EnvelopeError::NoCredentials,
        ),
        (
            Manner::Refuses(429, "RESOURCE_EXHAUSTED"),
            EnvelopeError::Quota,
        ),
        (Manner::Refuses(500, "INTERNAL"), refused("INTERNAL")),
        (Manner::Proxy(407), refused("407")),
        (Manner::Proxy(502), EnvelopeError::Unreachable),
        (Manner::Nonsense, EnvelopeError::Damaged),
        (Manner::WrongChecksum, EnvelopeError::Damaged),
        (Manner::Unverified, EnvelopeError::Damaged),
    ] {
        fake.becomes(manner);
        let error = fake.key(KEY).seal(b"canary").unwrap_err();
        assert_eq!(error, expected);
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("canary"), "{shown}");
            assert!(!shown.contains(&BASE64.encode("canary")), "{shown}");
        }
    }
}

#[test]
fn credentials_that_may_come_yet_are_told_from_none() {
    let of = |is_transient| {
        let cause = CredentialsError::from_msg(is_transient, "canary");
        without_credentials(&Error::authentication(cause))
    };
    assert_eq!(of(true), EnvelopeError::Unreachable);
    assert_eq!(of(false), EnvelopeError::NoCredentials);
}

#[test]
fn a_wrong_answer_opens_nothing() {
    let fake = Fake::start(Manner::Good);
    let sealed = fake.key(KEY).seal(b"clear").unwrap();
    for manner in [Manner::WrongChecksum, Manner::Nonsense] {
        fake.becomes(manner);
        assert_eq!(fake.key(KEY).open(&sealed), Err(EnvelopeError::Damaged));
    }
}

#[test]
fn a_service_that_was_away_for_a_moment_is_asked_again_and_one_that_stays_away_is_not_for_long() {
    let fake = Fake::start(Manner::Away(2));
    assert!(fake.key(KEY).seal(b"clear").is_ok());
    assert_eq!(fake.requests(), 3);

    let fake = Fake::start(Manner::Away(usize::MAX));
    assert_eq!(
        fake.key(KEY).seal(b"clear"),
        Err(EnvelopeError::Unreachable)
    );
    assert_eq!(fake.requests(), 3);
}

#[test]
fn nobody_at_the_address_and_no_answer_are_the_same_error() {
    // Has its port, and does not listen.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let nobody_there = format!("http://{}", nobody.local_addr().unwrap());
    let error = key_at(&nobody_there, KEY).open(b"sealed").unwrap_err();
    assert_eq!(error, EnvelopeError::Unreachable);

    let fake = Fake::start(Manner::Silent);
    let impatient = GoogleKms {
        call_time_max: Duration::from_millis(500),
        ..fake.key(KEY)
    };
    assert_eq!(impatient.open(b"sealed"), Err(EnvelopeError::Unreachable));
}
