//! Where a test begins: a simulated WhatsApp in this process, a folder, and the
//! ledgers of what clients and phones did.
//!
//! [`play`] runs a test inside a scene and asks at its end what every test must
//! ask: no violation seen by the oracle, no unexpected ERROR line, no planted
//! text, number or key in a log. A test that fails prints the ends of the logs.
//!
//! Two kinds of phones are here. An *account's* phone holds the number that a
//! worker is linked to. A *contact's* phone is somebody who writes to accounts
//! and is written to; ledgers are counted between accounts and contacts.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use wa_sim::oracle::Violation;
use wa_sim::phone::Phone;
use wa_sim::{Sim, SimConfig};

use crate::api::{Account, Api, Direction};
use crate::binary;
use crate::ledger::{Accepted, Arrival, Counts, Ledgers, PhoneSent, Stored};
use crate::log::{Canary, Log, check_canaries};
use crate::wait::{self, Look};
use crate::worker::WorkerSetup;

/// From the creation of an account to its QR code, and from the scan to
/// `connected`: a debug build on a busy machine.
pub const LINK_LIMIT: Duration = Duration::from_secs(60);
/// For a message or receipt to come through.
pub const DELIVERY_LIMIT: Duration = Duration::from_secs(30);
/// Every number here begins with this. Nobody has it: 999 is no country.
const NUMBER_PREFIX: &str = "999";

/// See the module.
pub struct Scene {
    sim: Sim,
    folder: TempDir,
    logs: Mutex<Vec<Log>>,
    allowed_errors: Mutex<Vec<String>>,
    canaries: Mutex<Vec<Canary>>,
    accepted: Mutex<Vec<Accepted>>,
    linked: Mutex<Vec<Linked>>,
    contacts: Mutex<Vec<Phone>>,
    not_ours: Mutex<BTreeSet<String>>,
    qr_scans_at_mark: Mutex<Option<u64>>,
    numbers: AtomicU32,
    texts: AtomicU32,
}

/// An account and the phone that it is linked to.
#[derive(Debug, Clone)]
pub struct Linked {
    /// Its id at the worker.
    pub id: String,
    /// The phone with its number.
    pub phone: Phone,
}

impl Linked {
    /// Its number's digits.
    pub fn number(&self) -> &str {
        self.phone.number()
    }
}

/// Runs a test in a scene of its own, and then the questions of
/// [`Scene::check`].
///
/// # Errors
/// The test's, or the answer to one of the questions; the logs' ends are
/// printed.
pub async fn play<F>(test: F) -> Result<()>
where
    F: AsyncFnOnce(&Scene) -> Result<()>,
{
    let scene = Scene::new().await?;
    let outcome = match test(&scene).await {
        Ok(()) => scene.check(),
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        scene.print_logs();
    }
    outcome
}

impl Scene {
    /// A scene without workers and phones.
    ///
    /// # Errors
    /// No port or no folder.
    pub async fn new() -> Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST).await
    }

    /// The same with its WhatsApp at another address of the loopback range, for
    /// workers in networks of their own.
    ///
    /// # Errors
    /// As for [`Scene::new`].
    pub async fn at(address: Ipv4Addr) -> Result<Self> {
        let config = SimConfig {
            address,
            ..SimConfig::default()
        };
        Ok(Self {
            sim: Sim::start(config).await?,
            folder: tempfile::Builder::new().prefix("leasehold-").tempdir()?,
            logs: Mutex::default(),
            allowed_errors: Mutex::default(),
            canaries: Mutex::default(),
            accepted: Mutex::default(),
            linked: Mutex::default(),
            contacts: Mutex::default(),
            not_ours: Mutex::default(),
            qr_scans_at_mark: Mutex::default(),
            numbers: AtomicU32::new(1),
            texts: AtomicU32::new(1),
        })
    }

    /// The simulated WhatsApp.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// The scene's folder: databases, key rings, logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder after the scene's end.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// A worker that speaks to this scene's WhatsApp; workers of one scene have
    /// one data folder.
    ///
    /// # Errors
    /// There is no `worker-sim` binary.
    pub fn worker(&self, name: &str) -> Result<WorkerSetup> {
        let setup = WorkerSetup::new(binary::worker_sim()?, name, self.folder(), &self.sim.url());
        self.watch(&setup);
        Ok(setup)
    }

    /// Includes a worker's log in the checks at the end.
    pub fn watch(&self, setup: &WorkerSetup) {
        lock(&self.logs).push(setup.log());
    }

    /// An ERROR line that holds `part` is expected in this test.
    pub fn allow_error(&self, part: &str) {
        lock(&self.allowed_errors).push(part.to_owned());
    }

    /// A text that no log may show.
    pub fn plant(&self, what: &'static str, text: &str) {
        lock(&self.canaries).push(Canary::new(what, text));
    }

    /// Everything planted so far.
    pub fn canaries(&self) -> Vec<Canary> {
        lock(&self.canaries).clone()
    }

    /// A text unlike all others, planted.
    pub fn text(&self, label: &str) -> String {
        let number = self.texts.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "{label} #{number} {:016x}",
            RandomState::new().build_hasher().finish()
        );
        self.plant("message text", &text);
        text
    }

    /// Another program is linked to this number: what rules it breaks does not
    /// count.
    pub fn is_not_ours(&self, number: &str) {
        lock(&self.not_ours).insert(number.to_owned());
    }

    /// What the oracle saw workers do that no client may do.
    pub fn violations(&self) -> Vec<Violation> {
        let not_ours = lock(&self.not_ours);
        let mut violations = self.sim.oracle().violations;
        violations.retain(|violation| !not_ours.contains(&*violation.device.account));
        violations
    }

    /// How many there are of each kind.
    ///
    /// # Errors
    /// A kind has no name.
    pub fn violation_kinds(&self) -> Result<BTreeMap<String, usize>> {
        let mut kinds = BTreeMap::new();
        for violation in self.violations() {
            let kind = serde_json::to_value(violation.kind)?;
            let kind = kind.as_str().unwrap_or_default().to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        Ok(kinds)
    }

    /// The phone of somebody whom accounts write to.
    ///
    /// # Errors
    /// The simulator has no room.
    pub fn contact(&self, name: &str) -> Result<Phone> {
        let phone = self.phone(name)?;
        lock(&self.contacts).push(phone.clone());
        Ok(phone)
    }

    /// A phone with a number of its own.
    fn phone(&self, name: &str) -> Result<Phone> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let number = format!("{NUMBER_PREFIX}{number:09}");
        self.plant("phone number", &number);
        Ok(self.sim.add_phone(&number, name)?)
    }

    /// The phone for an account that is not linked yet.
    ///
    /// # Errors
    /// The simulator has no room.
    pub fn account_phone(&self, name: &str) -> Result<Phone> {
        self.phone(name)
    }

    /// Creates an account, scans its QR code with a phone of its own, and waits
    /// until it is connected.
    ///
    /// # Errors
    /// One of the steps failed.
    pub async fn link(&self, api: &Api, name: &str) -> Result<Linked> {
        let phone = self.account_phone(name)?;
        let account = api.create_account(name).await?;
        let linked = Linked {
            id: account.id,
            phone,
        };
        self.scan(api, &linked).await?;
        api.until_status(&linked.id, &["connected"], LINK_LIMIT)
            .await?;
        Ok(linked)
    }

    /// Waits for the account's QR code and has its phone scan it.
    ///
    /// # Errors
    /// No code in time, or the phone refuses it.
    pub async fn scan(&self, api: &Api, linked: &Linked) -> Result<()> {
        let code = wait::until("a QR code to scan", LINK_LIMIT, async || {
            let code = api.qr(&linked.id).await?;
            let status = match &code {
                Some(_) => String::new(),
                None => format!("status {}", api.account(&linked.id).await?.status),
            };
            Ok(Look::some(code, status))
        })
        .await?;
        self.plant_code(&code.qr);
        linked
            .phone
            .scan(&code.qr)
            .await
            .context("scanning the QR code")?;
        let mut all = lock(&self.linked);
        if !all.iter().any(|known| known.id == linked.id) {
            all.push(linked.clone());
        }
        Ok(())
    }

    /// Plants the secret inside a linking code: its fourth part.
    fn plant_code(&self, code: &str) {
        let code = code.rsplit('#').next().unwrap_or(code);
        if let Some(secret) = code.split(',').nth(3) {
            self.plant("secret of a QR code", secret);
        }
    }

    /// Asks the API to send a new text, and notes the 202. Returns its id.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn send(&self, api: &Api, from: &Linked, to: &Phone, label: &str) -> Result<Sent> {
        let text = self.text(label);
        let message_id = api.send_text(&from.id, to.number(), &text).await?;
        self.note_accepted(&from.id, to, &text);
        Ok(Sent { message_id, text })
    }

    /// Notes a 202.
    pub fn note_accepted(&self, account: &str, to: &Phone, text: &str) {
        lock(&self.accepted).push(Accepted {
            account: account.to_owned(),
            to: to.number().to_string(),
            text: text.to_owned(),
        });
    }

    /// Has a contact write a new text to an account. Returns the message's id.
    ///
    /// # Errors
    /// The simulator refuses it.
    pub fn write(&self, from: &Phone, to: &Linked, label: &str) -> Result<Sent> {
        let text = self.text(label);
        let message_id = from.send_text(to.number(), &text)?;
        Ok(Sent { message_id, text })
    }

    /// From here on QR scans count as `qr_after_restart`.
    pub fn mark_restart(&self) {
        *lock(&self.qr_scans_at_mark) = Some(self.sim.oracle().counts.qr_scans);
    }

    /// Everything that was noted, with what phones and the worker at `api` have now.
    ///
    /// # Errors
    /// The worker does not answer.
    pub async fn ledgers(&self, api: &Api) -> Result<Ledgers> {
        let linked = lock(&self.linked).clone();
        let contacts = lock(&self.contacts).clone();
        let mut ledgers = Ledgers {
            accepted: lock(&self.accepted).clone(),
            ..Ledgers::default()
        };
        for contact in &contacts {
            let ledger = contact.ledger();
            ledgers
                .arrived
                .extend(ledger.received.into_iter().map(|received| Arrival {
                    phone: contact.number().to_string(),
                    wa_id: received.id,
                    text: received.text,
                    repeats: received.repeats as usize,
                }));
            ledgers
                .phone_sent
                .extend(ledger.sent.into_iter().filter_map(|sent| {
                    let to = linked
                        .iter()
                        .find(|account| account.number() == &*sent.to)?;
                    Some(PhoneSent {
                        account: to.id.clone(),
                        text: sent.text,
                    })
                }));
        }
        for account in &linked {
            let incoming = api.all_messages(&account.id).await?.into_iter();
            ledgers.stored.extend(
                incoming
                    .filter(|message| message.direction == Direction::In)
                    .map(|message| Stored {
                        account: account.id.clone(),
                        wa_id: message.wa_message_id,
                        text: message.text.unwrap_or_default(),
                    }),
            );
        }
        let oracle = self.sim.oracle();
        ledgers.violations = self.violations().len();
        ledgers.qr_after_restart =
            lock(&self.qr_scans_at_mark).map_or(0, |mark| oracle.counts.qr_scans - mark);
        Ok(ledgers)
    }

    /// Waits until nothing is on its way any more: everything was seen at its
    /// other end. Then the counts must have no fault.
    ///
    /// # Errors
    /// Something is missing at the deadline, or a count that must be 0 is not.
    pub async fn settle(&self, api: &Api, limit: Duration) -> Result<Counts> {
        let counts = self.settled(api, limit).await?;
        let faults = counts.faults();
        if faults.is_empty() {
            return Ok(counts);
        }
        bail!("{faults:?} of {counts:?}; {:?}", self.violations())
    }

    /// Waits as [`Scene::settle`] does, but for `limit` at most, and returns
    /// the counts whatever they are.
    ///
    /// # Errors
    /// The worker does not answer.
    pub async fn settled(&self, api: &Api, limit: Duration) -> Result<Counts> {
        let all = wait::until("every message is at its other end", limit, async || {
            let counts = self.ledgers(api).await?.count();
            Ok(Look::some((counts.lost == 0).then_some(counts), counts))
        })
        .await;
        match all {
            Ok(counts) => Ok(counts),
            Err(error) => match self.ledgers(api).await {
                Ok(ledgers) => Ok(ledgers.count()),
                Err(_) => Err(error),
            },
        }
    }

    /// What every test asks at its end.
    ///
    /// # Errors
    /// A violation, an unexpected ERROR line, or a canary.
    pub fn check(&self) -> Result<()> {
        let violations = self.violations();
        if !violations.is_empty() {
            bail!("the oracle saw violations: {violations:#?}");
        }
        self.check_logs()
    }

    /// The part of [`Scene::check`] that concerns the logs.
    ///
    /// # Errors
    /// An unexpected ERROR line, or a canary.
    pub fn check_logs(&self) -> Result<()> {
        let allowed = lock(&self.allowed_errors).clone();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        let canaries = self.canaries();
        for log in self.logs() {
            log.check_errors(&allowed)?;
            log.check_canaries(&canaries)?;
        }
        Ok(())
    }

    /// Fails if a planted text, number or key stands in clear text in `bytes`.
    ///
    /// # Errors
    /// The first one found.
    pub fn check_bytes(&self, bytes: &[u8], kinds: &[&str]) -> Result<()> {
        let canaries: Vec<Canary> = self
            .canaries()
            .into_iter()
            .filter(|canary| kinds.contains(&canary.what))
            .collect();
        if canaries.is_empty() {
            bail!("nothing of {kinds:?} was planted");
        }
        check_canaries(&String::from_utf8_lossy(bytes), &canaries)
    }

    /// The logs, each once.
    fn logs(&self) -> Vec<Log> {
        let mut seen = BTreeSet::new();
        let logs = lock(&self.logs).clone();
        logs.into_iter()
            .filter(|log| seen.insert(log.path().to_owned()))
            .collect()
    }

    fn print_logs(&self) {
        for log in self.logs() {
            eprintln!("---- {} ----\n{}\n", log.path().display(), log.tail());
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A failed assertion unwinds past `play`.
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

/// A message that was accepted or taken over.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The 202's id, or WhatsApp's for a phone's message.
    pub message_id: String,
    /// Its text.
    pub text: String,
}

/// Waits until the worker has stored an incoming text.
///
/// # Errors
/// It has not within `limit`.
pub async fn until_stored(
    api: &Api,
    account: &Linked,
    text: &str,
    limit: Duration,
) -> Result<crate::api::Message> {
    wait::until("an incoming message is stored", limit, async || {
        let messages = api.all_messages(&account.id).await?;
        let count = messages.len();
        let found = messages.into_iter().find(|message| {
            message.direction == Direction::In && message.text.as_deref() == Some(text)
        });
        Ok(Look::some(found, format!("{count} other messages")))
    })
    .await
}

/// Waits until the account is connected, in the worker's eyes and the server's.
///
/// # Errors
/// It is not within `limit`.
pub async fn until_connected(
    scene: &Scene,
    api: &Api,
    account: &Linked,
    limit: Duration,
) -> Result<Account> {
    let view = api.until_status(&account.id, &["connected"], limit).await?;
    scene.sim().wait_connected(account.number(), limit).await?;
    Ok(view)
}

/// Waits until the server has no connection of the account's worker any more.
///
/// # Errors
/// It has at the deadline.
pub async fn until_gone(scene: &Scene, account: &Linked, limit: Duration) -> Result<()> {
    let is_connected = || {
        let connections = scene.sim().oracle().connections;
        connections.iter().any(|connection| {
            let device = connection.device.as_ref();
            let is_its = device
                .is_some_and(|device| &*device.account == account.number() && device.device != 0);
            is_its && connection.closed_ms.is_none()
        })
    };
    let gone = scene
        .sim()
        .wait("it is gone from the server", limit, || !is_connected());
    Ok(gone.await?)
}

/// A test that panicked while it held one of these locks is failing anyway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
