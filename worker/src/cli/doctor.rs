//! `worker doctor`: looks at everything that the worker needs, and says what
//! to do about what is wrong. Changes nothing but a few documents that it
//! writes, reads and deletes again.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use coordinator_lib::clock::{Clock, SystemClock};
use coordinator_lib::rng::{Rng, SystemRng};
use coordinator_lib::store::doctor::{self, Check, Finding};
use coordinator_lib::store::{
    Collection, CommitOutcome, DocumentStore, Precondition, StoreTime, Value as StoreValue, Write,
};
use serde_json::{Value, json};
use session::KeyRing;
use tokio::net::{TcpStream, lookup_host};

use super::output;
use crate::app::key_ring::uses::{self, Holder};
use crate::app::{backend::Backend, key_ring};
use crate::config::{Config, StoreConfig, StoreKind};
use crate::exit::Failure;
use crate::media::{MediaPlace, MediaStore};

/// A name server or a server that takes longer is as good as none.
const NETWORK_LIMIT: Duration = Duration::from_secs(5);
/// A clock that is off by more confuses people and certificates.
const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(30);
/// This program did not exist before: an earlier clock is not set.
const BUILT_AFTER: i64 = 1_767_225_600;

/// `worker doctor`
#[derive(Debug, Args)]
pub(super) struct DoctorCommand {
    /// Print JSON for programs instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

impl DoctorCommand {
    /// Runs all checks; fails if one does.
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(1, format!("no runtime: {error}")))?;
        let report = Report::new(self.json);
        runtime.block_on(examine(&self.config, report)).end()
    }
}

async fn examine(config: &Config, mut report: Report) -> Report {
    let valid = config.validate(whatsapp::SIMULATION);
    report.add(
        "options",
        valid
            .map(|()| "fit together".to_owned())
            .map_err(|e| e.to_string()),
    );
    report.add("program", program());
    report.add("data folder", data_folder(&config.store));
    let ring = key_ring::load(&config.store);
    report.add("key ring", key_ring_finding(config, &ring));
    report.add("clock", wall_clock(SystemClock.wall()));
    let is_there =
        config.store.store == StoreKind::Firestore || config.store.database_path().exists();
    if is_there {
        match open(config).await {
            Ok(backend) => {
                let store = backend.store.as_ref();
                report.add("store", write_and_read(store).await);
                for check in promises(store).await {
                    report.add(check.name, check.finding);
                }
                if let Ok(ring) = &ring {
                    report.add("data keys", data_keys(store, ring).await);
                }
            }
            Err(wrong) => report.add("store", Err(wrong)),
        }
    } else {
        report.add(
            "store",
            Ok("no database yet; the worker makes it on its first run".to_owned()),
        );
    }
    report.add("media store", media_store(config).await);
    report.add("whatsapp", reach(config).await);
    report
}

/// Prints findings as they come and remembers whether one is bad.
#[derive(Debug)]
struct Report {
    failed: usize,
    /// For programs: everything at the end.
    findings: Option<Vec<Value>>,
}

impl Report {
    fn new(json: bool) -> Self {
        Self {
            failed: 0,
            findings: json.then(Vec::new),
        }
    }

    fn add(&mut self, name: &str, finding: Finding) {
        self.failed += usize::from(finding.is_err());
        if let Some(findings) = &mut self.findings {
            findings.push(match finding {
                Ok(fact) => json!({ "check": name, "ok": true, "detail": fact }),
                Err(wrong) => json!({ "check": name, "ok": false, "detail": wrong }),
            });
            return;
        }
        match finding {
            Ok(fact) => println!("ok    {name:<13} {fact}"),
            Err(wrong) => println!("FAIL  {name:<13} {wrong}"),
        }
    }

    fn end(self) -> Result<ExitCode, Failure> {
        match self.findings {
            Some(findings) => output::json(&Value::Array(findings))?,
            None if self.failed == 0 => println!("All is well."),
            None => println!("{} to look at.", self.failed),
        }
        Ok(match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

async fn media_store(config: &Config) -> Finding {
    let Some(place) = config.media.place(&config.store) else {
        return Ok("none, so files are refused; --media-store names one".to_owned());
    };
    if let MediaPlace::Own(folder) = &place
        && !folder.exists()
    {
        return Ok("no folder yet; the worker makes it on its first run".to_owned());
    }
    let scratch = config.store.data_dir.clone();
    let tried = async {
        let media = MediaStore::open(Some(&place), scratch, config.media.limits())?;
        media.probe(&SystemRng.nonce()).await
    };
    match tried.await {
        Ok(()) => Ok(format!("{place}: a file was written, read and removed")),
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
            Err(format!("{place}: {error}{cause}: see to --media-store"))
        }
    }
}

fn program() -> Finding {
    whatsapp::assert_chain_is_verified().map_err(|error| error.to_string())?;
    Ok(if whatsapp::SIMULATION {
        "built for the simulated WhatsApp: accepts forged certificates, on this machine only"
    } else {
        "refuses forged WhatsApp certificates"
    }
    .to_owned())
}

fn data_folder(config: &StoreConfig) -> Finding {
    let path = config.data_dir.display();
    match std::fs::metadata(&config.data_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(format!(
            "{path} is not there yet; the worker makes it on its first run"
        )),
        Err(error) => Err(format!(
            "{path} cannot be looked at ({error}): name another one with --data-dir"
        )),
        Ok(found) if !found.is_dir() => Err(format!(
            "{path} is not a folder: name another one with --data-dir"
        )),
        Ok(found) => {
            let mode = found.permissions().mode() & 0o777;
            if mode & 0o077 == 0 {
                Ok(format!("{path}, for its owner only"))
            } else {
                Err(format!(
                    "{path} has mode {mode:04o}, so others can look into it: chmod 700 it"
                ))
            }
        }
    }
}

fn key_ring_finding(config: &Config, ring: &Result<KeyRing, Failure>) -> Finding {
    let place = key_ring::place(&config.store);
    match ring {
        Ok(ring) => Ok(format!(
            "{place}, {} key(s), active {}; keep a copy",
            ring.fingerprints().len(),
            ring.active()
        )),
        Err(_) if config.store.key_ring_json.is_none() && is_first_run(&config.store) => {
            Ok("not there yet; the worker makes it on its first run".to_owned())
        }
        Err(failure) => Err(failure.message.clone()),
    }
}

fn is_first_run(config: &StoreConfig) -> bool {
    !config.key_ring_path().exists() && !config.database_path().exists()
}

fn wall_clock(now: DateTime<Utc>) -> Finding {
    if now.timestamp() > BUILT_AFTER {
        Ok(now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    } else {
        Err(format!(
            "it is not {now}: set this machine's clock, or certificates will not verify"
        ))
    }
}

async fn open(config: &Config) -> Result<Backend, String> {
    let (clock, rng) = (SystemClock::shared(), SystemRng::shared());
    Backend::open(&config.store, &config.lease.lease(), &clock, &rng)
        .await
        .map_err(|failure| failure.to_string())
}

async fn write_and_read(store: &dyn DocumentStore) -> Finding {
    let began = SystemClock.boottime();
    let path = Collection::new("config")
        .and_then(|config| config.doc(&format!("doctor-{}", SystemRng.nonce())))
        .map_err(|error| error.to_string())?;
    let write = Write::Set {
        path: path.clone(),
        fields: [("schemaVersion".to_owned(), StoreValue::Int(1))].into(),
        precondition: Precondition::Absent,
    };
    let written = store
        .commit(vec![write])
        .await
        .map_err(|error| error.to_string())?;
    let CommitOutcome::Committed(commit) = written else {
        return Err("a fresh document was refused; run this again".to_owned());
    };
    let read = store
        .get(std::slice::from_ref(&path))
        .await
        .map_err(|error| error.to_string())?;
    let delete = Write::Delete {
        path,
        precondition: Precondition::None,
    };
    let deleted = store
        .commit(vec![delete])
        .await
        .map_err(|error| error.to_string())?;
    if !matches!(read.documents.as_slice(), [Some(_)]) || deleted == CommitOutcome::Rejected {
        return Err(
            "what was written was not read back: restore the database from a backup".into(),
        );
    }
    let took = SystemClock.boottime() - began;
    let wall = StoreTime::from_datetime(SystemClock.wall());
    let offset = wall.since(commit.time).max(commit.time.since(wall));
    if offset > CLOCK_OFFSET_MAX {
        return Err(format!(
            "{} works, but its time is {} s away from this machine's clock: set the clock",
            store.backend(),
            offset.as_secs()
        ));
    }
    Ok(format!(
        "{}, written and read in {} ms",
        store.backend(),
        took.as_millis()
    ))
}

/// Whether the store keeps the promises that leases rest on.
async fn promises(store: &dyn DocumentStore) -> Vec<Check> {
    match Collection::new("scratch") {
        Ok(scratch) => doctor::checks(store, &scratch, &SystemClock, &SystemRng).await,
        Err(error) => vec![Check {
            name: "store",
            finding: Err(error.to_string()),
        }],
    }
}

/// Whether the key ring opens every data key, of accounts and of webhooks.
async fn data_keys(store: &dyn DocumentStore, ring: &KeyRing) -> Finding {
    let uses = uses::read(store).await.map_err(|error| error.to_string())?;
    let closed: Vec<_> = uses.iter().filter(|one| !one.opens_with(ring)).collect();
    let counts = Holder::ALL.map(|holder| {
        let count = uses.iter().filter(|one| one.holder == holder).count();
        format!("{count} {}", holder.plural())
    });
    if closed.is_empty() {
        return Ok(format!("the key ring opens all {}", counts.join(" and ")));
    }
    Err(format!(
        "the key ring does not open what these need, of {}: {}. Restore the ring that they were \
         made with; a webhook can be given a new secret",
        counts.join(" and "),
        uses::describe(closed.into_iter())
    ))
}

/// Whether WhatsApp's name is found and its port takes connections.
async fn reach(config: &Config) -> Finding {
    let url = &config.whatsapp.whatsapp_url;
    let (host, port) = (url.host().to_owned(), url.port());
    let found = limited(lookup_host((host.clone(), port)))
        .await
        .map_err(|error| {
            format!("{host} is not found ({error}): check this machine's name server and network")
        })?;
    let addresses: Vec<_> = found.collect();
    let mut refused = "it has no address".to_owned();
    for address in &addresses {
        match limited(TcpStream::connect(address)).await {
            Ok(_) => return Ok(format!("{host} takes connections on port {port}")),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(format!(
        "{host} does not take connections on port {port} ({refused}): check network, firewall and \
         --whatsapp-url"
    ))
}

async fn limited<T>(call: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(NETWORK_LIMIT, call)
        .await
        .unwrap_or_else(|_| {
            Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no answer in time",
            ))
        })
}
