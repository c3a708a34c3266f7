//! What is looked at when somebody reads the metrics: how many accounts, how
//! much waits, how long leases still last.
//!
//! The sources are known once the worker has started; before that, and after its
//! end, these metrics are absent. Nothing here waits, and nothing asks the store.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coordinator_lib::clock::{Boottime, SharedClock};
use coordinator_lib::store::StoreTime;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use crate::app::{Lifecycle, Phase};
use crate::health::SessionSight;
use crate::health::monitor::StoreMonitor;
use crate::model::Status;

/// An account as far as it is measured.
#[derive(Debug, Clone, Copy)]
pub struct AccountMeasure {
    /// How it is.
    pub status: Status,
    /// Until when its lease may be acted on.
    pub deadline: Boottime,
    /// Whether its engine runs.
    pub is_running: bool,
    /// Bytes that its engine held when it was last looked at.
    pub memory: u64,
    /// Messages that wait.
    pub queued: usize,
    /// Messages under way.
    pub in_flight: usize,
    /// When the oldest of them was accepted.
    pub oldest: Option<StoreTime>,
    /// What waits for webhooks.
    pub webhooks: WebhookMeasure,
}

/// What waits for the webhooks of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookMeasure {
    /// Events that are still to be looked at, once for each webhook.
    pub backlog: u64,
    /// Webhooks whose receiver does not take the next event.
    pub failing: u64,
}

/// The worker's accounts and its session, without waiting for anything.
pub trait Measured: Send + Sync + 'static {
    /// The accounts that it owns.
    fn accounts(&self) -> Vec<AccountMeasure>;

    /// Its session.
    fn session(&self) -> SessionSight;
}

/// Where to look.
pub struct Sources {
    /// Accounts and session.
    pub measured: Arc<dyn Measured>,
    /// What was last seen of the store.
    pub monitor: StoreMonitor,
    /// How far the worker has come.
    pub lifecycle: Lifecycle,
    /// Accounts that it owns at most.
    pub capacity: u32,
    /// Time.
    pub clock: SharedClock,
}

static SOURCES: OnceLock<Sources> = OnceLock::new();

/// Says where to look; the first call counts.
pub fn install(sources: Sources) {
    if SOURCES.set(sources).is_err() {
        tracing::debug!("metrics are of the first worker of this process");
    }
}

/// How long one look is good for: all gauges of one reading share it.
const FRESH: Duration = Duration::from_millis(200);

/// One look, in numbers; `status` only for accounts by status.
type Seen = BTreeMap<&'static str, f64>;

#[derive(Default)]
struct Look {
    at: Boottime,
    numbers: Seen,
    statuses: BTreeMap<Status, u64>,
}

/// What is shown: name, unit, description.
const GAUGES: [(&str, &str, &str); 22] = [
    (
        "leasehold.accounts.owned",
        "",
        "Accounts that this worker owns",
    ),
    (
        "leasehold.accounts.running",
        "",
        "Accounts whose engine runs here",
    ),
    (
        "leasehold.capacity",
        "",
        "Accounts that this worker owns at most",
    ),
    ("leasehold.ready", "", "1 while this worker takes requests"),
    (
        "leasehold.frozen",
        "",
        "1 while this worker's session is suspended or frozen",
    ),
    (
        "leasehold.session.margin",
        "s",
        "Until the worker session's deadline",
    ),
    (
        "leasehold.lease.margin",
        "s",
        "Until the nearest deadline of a lease",
    ),
    (
        "leasehold.outbox.depth",
        "",
        "Messages that wait, of this worker's accounts",
    ),
    ("leasehold.outbox.in_flight", "", "Messages under way"),
    (
        "leasehold.outbox.age",
        "s",
        "Age of the oldest message that waits",
    ),
    (
        "leasehold.engine.memory",
        "By",
        "Memory that the engines hold",
    ),
    (
        "leasehold.webhook.backlog",
        "",
        "Events that webhooks are still to get, of this worker's accounts",
    ),
    (
        "leasehold.webhook.failing",
        "",
        "Webhooks whose receiver does not take the next event, once an account",
    ),
    (
        "leasehold.cluster.accounts",
        "",
        "All accounts, as last counted",
    ),
    (
        "leasehold.cluster.wanted",
        "",
        "Accounts that somebody should own",
    ),
    (
        "leasehold.cluster.unowned",
        "",
        "Wanted accounts that nobody owns",
    ),
    (
        "leasehold.cluster.logged_out",
        "",
        "Accounts that were unlinked",
    ),
    (
        "leasehold.cluster.workers",
        "",
        "Worker sessions that have not ended",
    ),
    (
        "leasehold.cluster.capacity",
        "",
        "Accounts that all workers own at most",
    ),
    ("leasehold.store.up", "", "1 while the store answers"),
    (
        "leasehold.store.ping",
        "s",
        "The store's last answer to a ping",
    ),
    (
        "leasehold.store.went_back",
        "",
        "1 once the store was seen to go back in time",
    ),
];

/// Registers the gauges.
pub(super) fn observe(meter: &Meter) {
    let look: Arc<Mutex<Look>> = Arc::default();
    for (name, unit, what) in GAUGES {
        let look = Arc::clone(&look);
        meter
            .f64_observable_gauge(name)
            .with_description(what)
            .with_unit(unit)
            .with_callback(move |observer| {
                if let Some(value) = fresh(&look, |look| look.numbers.get(name).copied()).flatten()
                {
                    observer.observe(value, &[]);
                }
            })
            .build();
    }
    meter
        .u64_observable_gauge("leasehold.accounts")
        .with_description("Accounts that this worker owns, by status")
        .with_callback(move |observer| {
            let statuses = fresh(&look, |look| look.statuses.clone());
            for (status, count) in statuses.into_iter().flatten() {
                observer.observe(count, &[KeyValue::new("status", status.as_str())]);
            }
        })
        .build();
}

/// Shows a look that is fresh; `None` before there is anything to look at.
fn fresh<T>(look: &Mutex<Look>, show: impl FnOnce(&Look) -> T) -> Option<T> {
    let sources = SOURCES.get()?;
    let now = sources.clock.boottime();
    let mut look = look.lock();
    if look.numbers.is_empty() || now - look.at > FRESH {
        *look = sources.look(now);
    }
    Some(show(&look))
}

impl Sources {
    fn look(&self, now: Boottime) -> Look {
        let accounts = self.measured.accounts();
        let session = self.measured.session();
        let mut statuses: BTreeMap<Status, u64> =
            Status::ALL.into_iter().map(|status| (status, 0)).collect();
        for account in &accounts {
            *statuses.entry(account.status).or_default() += 1;
        }
        let phase = self.lifecycle.get();
        let sum = |of: fn(&AccountMeasure) -> u64| accounts.iter().map(of).sum::<u64>() as f64;
        let margin = |deadline: Boottime| (deadline - now).as_secs_f64();
        let mut numbers = Seen::from([
            ("leasehold.accounts.owned", accounts.len() as f64),
            (
                "leasehold.accounts.running",
                sum(|account| u64::from(account.is_running)),
            ),
            ("leasehold.capacity", f64::from(self.capacity)),
            ("leasehold.ready", f64::from(u8::from(phase.is_ready()))),
            (
                "leasehold.frozen",
                f64::from(u8::from(is_frozen(phase, &session, now))),
            ),
            ("leasehold.session.margin", margin(session.deadline)),
            (
                "leasehold.outbox.depth",
                sum(|account| account.queued as u64),
            ),
            (
                "leasehold.outbox.in_flight",
                sum(|account| account.in_flight as u64),
            ),
            ("leasehold.outbox.age", self.age(&accounts).as_secs_f64()),
            ("leasehold.engine.memory", sum(|account| account.memory)),
            (
                "leasehold.webhook.backlog",
                sum(|account| account.webhooks.backlog),
            ),
            (
                "leasehold.webhook.failing",
                sum(|account| account.webhooks.failing),
            ),
            ("leasehold.cluster.workers", session.workers.len() as f64),
            (
                "leasehold.cluster.capacity",
                session
                    .workers
                    .iter()
                    .map(|worker| f64::from(worker.capacity))
                    .sum(),
            ),
            (
                "leasehold.store.went_back",
                f64::from(u8::from(session.went_back)),
            ),
        ]);
        if let Some(nearest) = accounts.iter().map(|account| account.deadline).min() {
            numbers.insert("leasehold.lease.margin", margin(nearest));
        }
        let store = self.monitor.sight();
        let is_up = store.failure.is_none() && store.answer.is_some();
        numbers.insert("leasehold.store.up", f64::from(u8::from(is_up)));
        if let Some(answer) = store.answer {
            numbers.insert("leasehold.store.ping", answer.latency.as_secs_f64());
        }
        if let Some(counts) = store.counts {
            numbers.insert("leasehold.cluster.accounts", counts.accounts as f64);
            numbers.insert("leasehold.cluster.wanted", counts.wanted as f64);
            numbers.insert("leasehold.cluster.unowned", counts.unowned as f64);
            numbers.insert("leasehold.cluster.logged_out", counts.logged_out as f64);
        }
        Look {
            at: now,
            numbers,
            statuses,
        }
    }

    /// How long the oldest message has waited.
    fn age(&self, accounts: &[AccountMeasure]) -> Duration {
        let now = StoreTime::from_datetime(self.clock.wall());
        let oldest = accounts.iter().filter_map(|account| account.oldest).min();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }
}

fn is_frozen(phase: Phase, session: &SessionSight, now: Boottime) -> bool {
    phase == Phase::Active && now >= session.deadline
}
