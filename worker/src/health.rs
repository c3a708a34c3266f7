//! The `/health` document: the predecessor's keys with the truth in them, and
//! new ones beside. Pure: made from what is known, asks nobody.
//!
//! It is open to everybody who reaches the port, so it carries no phone
//! numbers, no QR codes and no secrets.

pub mod monitor;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use coordinator_lib::clock::Boottime;
use coordinator_lib::coordinator::{CoordinatorView, LeaseView};
use coordinator_lib::store::StoreTime;
use coordinator_lib::worker_session::WorkerSession;
use serde::Serialize;
use serde_json::{Value, json};

use self::monitor::StoreSight;
use crate::app::{Phase, WorkerInfo};
use crate::model::{LastError, Status};

/// A store that has not answered for so long makes the worker unhealthy: by
/// then nothing it does is proven (the worker session's ttl).
const STORE_SILENCE_MAX: Duration = Duration::from_secs(10);
/// A lease warning appears when less than this share of a lease is left.
const LEASE_WARNING_SHARE: f64 = 1.0 / 3.0;

/// What the worker knows about itself and its accounts, without asking the store.
#[derive(Debug, Clone, Default)]
pub struct WorkerSnapshot {
    /// The accounts that it owns, by id.
    pub accounts: Vec<OwnedAccount>,
    /// Its worker session.
    pub session: SessionSight,
}

/// What a worker knows of its worker session, and of the others.
#[derive(Debug, Clone, Default)]
pub struct SessionSight {
    /// This worker's session.
    pub id: String,
    /// When the last acknowledged heartbeat was sent.
    pub beat_at: Boottime,
    /// Until when the worker may act without another one.
    pub deadline: Boottime,
    /// All worker sessions that have not ended, as last read.
    pub workers: Vec<WorkerSession>,
    /// Accounts without a living owner that it knows of.
    pub free: u64,
    /// The store went back in time; nothing is claimed any more.
    pub went_back: bool,
}

impl SessionSight {
    /// What the coordinator knows.
    pub fn new(view: &CoordinatorView) -> Self {
        Self {
            id: view.me.session_id.as_str().to_owned(),
            beat_at: view.beat_at,
            deadline: view.deadline,
            workers: view.sessions.clone(),
            free: view.free as u64,
            went_back: view.went_back,
        }
    }
}

/// An account that this worker owns.
#[derive(Debug, Clone)]
pub struct OwnedAccount {
    /// Its id.
    pub account_id: String,
    /// Its lease.
    pub lease: OwnedLease,
    /// How it is.
    pub seen: ObservedAccount,
}

impl OwnedAccount {
    /// An account with this lease, of which its task has shown so much.
    pub fn new(view: &LeaseView, seen: ObservedAccount) -> Self {
        let state = match (view.closed, view.asked) {
            (Some(_), _) if seen.lease != LeaseState::Releasing => LeaseState::Lost,
            (Some(_), _) | (None, Some(_)) => LeaseState::Releasing,
            (None, None) => seen.lease,
        };
        Self {
            account_id: view.lease.account_id.to_string(),
            lease: OwnedLease {
                epoch: view.lease.epoch,
                claimed_at: view.lease.claimed_at,
                lease_until: view.lease.lease_until,
                deadline: view.lease.deadline,
                state,
                renewal_failed: view.renewal_failed,
            },
            seen,
        }
    }
}

/// What the task of an account shows.
#[derive(Debug, Clone)]
pub struct ObservedAccount {
    /// Whether it is giving the account back, or knows that it was lost.
    pub lease: LeaseState,
    /// How it is.
    pub status: Status,
    /// Since when.
    pub status_at: Option<StoreTime>,
    /// How far a connection attempt has come.
    pub stage: Option<String>,
    /// Its last failure.
    pub last_error: Option<LastError>,
    /// How often each reason ended its connection.
    pub disconnect_counts: BTreeMap<String, i64>,
    /// Flushes of its session that are durable.
    pub last_flush_seq: u64,
    /// What `/debug` shows besides.
    pub debug: Value,
}

impl Default for ObservedAccount {
    /// An account whose task has not shown anything yet.
    fn default() -> Self {
        Self {
            lease: LeaseState::Held,
            status: Status::Idle,
            status_at: None,
            stage: None,
            last_error: None,
            disconnect_counts: BTreeMap::new(),
            last_flush_seq: 0,
            debug: Value::Null,
        }
    }
}

/// The lease on an account that this worker owns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnedLease {
    /// The fencing number.
    pub epoch: i64,
    /// Since when, in store time.
    pub claimed_at: StoreTime,
    /// Until when others leave it alone, in store time.
    pub lease_until: StoreTime,
    /// Until when this worker acts on it, by its own clock.
    pub deadline: Boottime,
    /// Whether it is being given back, or was lost.
    pub state: LeaseState,
    /// The last renewal failed.
    pub renewal_failed: bool,
}

/// What is happening to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// It is this worker's.
    Held,
    /// The account is stopping; the lease is given back then.
    Releasing,
    /// It is another's by now.
    Lost,
}

/// All that the document is made from.
#[derive(Debug)]
pub struct HealthInputs<'a> {
    /// Who this worker is.
    pub info: &'a WorkerInfo,
    /// How far it has come.
    pub phase: Phase,
    /// Its accounts.
    pub snapshot: &'a WorkerSnapshot,
    /// What was last seen of the store.
    pub store: &'a StoreSight,
    /// The monotonic clock.
    pub now: Boottime,
    /// The wall clock, for people.
    pub wall: DateTime<Utc>,
}

/// How the worker is as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Healthy,
    /// It does its job, and a person should look.
    Degraded,
    /// It cannot do its job.
    Unhealthy,
}

impl HealthInputs<'_> {
    /// How the worker is.
    pub fn verdict(&self) -> Verdict {
        let works = match self.phase {
            Phase::Starting | Phase::Active | Phase::Draining => true,
            Phase::Suspended | Phase::Frozen | Phase::Closed => false,
        };
        if !works || !self.store_is_reachable() {
            Verdict::Unhealthy
        } else if self.store.failure.is_some()
            || self.snapshot.session.went_back
            || !self.warnings().is_empty()
        {
            Verdict::Degraded
        } else {
            Verdict::Healthy
        }
    }

    /// Whether the store has answered lately enough to rely on it.
    pub fn store_is_reachable(&self) -> bool {
        self.store
            .answer
            .is_some_and(|answer| self.now - answer.at <= STORE_SILENCE_MAX)
    }

    /// The document.
    pub fn document(&self) -> Value {
        let info = self.info;
        json!({
            "status": self.verdict(),
            "version": crate::VERSION,
            "commit": crate::COMMIT,
            "bootTimestamp": rfc3339(info.started_wall),
            "deploymentId": info.deployment_id,
            "workerId": info.worker_name,
            "sessionId": self.snapshot.session.id,
            "mode": "cluster",
            "simulation": whatsapp::SIMULATION,
            "uptime": (self.now - info.started).as_secs(),
            "timestamp": rfc3339(self.wall),
            "accounts": self.accounts(),
            "cluster": self.cluster(),
            "firestore": self.firestore(),
            "lock": self.lock(),
            "errorsByStatus": self.errors_by_status(),
            "lastDisconnectReasons": self.disconnect_reasons(),
        })
    }

    /// This worker's accounts by status. All but `total` and `max` add up to `total`.
    fn accounts(&self) -> Value {
        let mut counts: BTreeMap<&str, usize> = Status::ALL
            .iter()
            .map(|status| (counted_as(*status), 0))
            .collect();
        for account in &self.snapshot.accounts {
            *counts.entry(counted_as(account.seen.status)).or_default() += 1;
        }
        counts.insert("total", self.snapshot.accounts.len());
        counts.insert("max", self.info.capacity as usize);
        json!(counts)
    }

    fn cluster(&self) -> Value {
        let counts = self.store.counts;
        let session = &self.snapshot.session;
        let others = session
            .workers
            .iter()
            .filter(|worker| worker.id.as_str() != session.id);
        // This worker's own numbers are known better here than from the roster.
        let (workers, capacity) = others.fold(
            (1_u64, u64::from(self.info.capacity)),
            |(workers, capacity), worker| (workers + 1, capacity + u64::from(worker.capacity)),
        );
        json!({
            "accounts": counts.map(|counts| counts.accounts),
            "owned": counts.map(|counts| counts.wanted.saturating_sub(counts.unowned.max(session.free))),
            // What a dead owner left counts before anybody has claimed it.
            "unowned": counts.map(|counts| counts.unowned.max(session.free)),
            "loggedOut": counts.map(|counts| counts.logged_out),
            "workers": workers,
            "capacity": capacity,
            "asOf": counts.map(|counts| counts.as_of),
        })
    }

    /// The key keeps the predecessor's name whatever the store is.
    fn firestore(&self) -> Value {
        let connected = self.store_is_reachable();
        let lease = &self.info.lease;
        json!({
            "status": if connected { "connected" } else { "disconnected" },
            "backend": self.info.store_backend,
            "latencyMs": self.store.answer.map(|answer| answer.latency.as_millis() as u64),
            "clockOffsetMs": self.store.answer.map(|answer| answer.clock_offset_ms),
            "error": self.store.failure.as_ref().map(|_| "the store does not answer; the worker's log says more"),
            "policy": {
                "collections": [
                    "accounts - account metadata and status",
                    "wa_sessions - encrypted session files",
                    "threads - conversation threads",
                    "threads/{threadId}/messages - messages per thread",
                    "outbox - queued outbound messages",
                    "wa_outbox - WhatsApp-specific outbox",
                ],
                "ownership": "Lease per account: one worker owns an account, and every write proves it",
                "lease": format!(
                    "claimedBy, claimedAt, leaseUntil: {} s, refreshed every {} s; worker session {} s; fenced by epoch",
                    lease.duration.as_secs(),
                    lease.refresh.as_secs(),
                    lease.session_ttl.as_secs()
                ),
            },
        })
    }

    fn lock(&self) -> Value {
        let leases: Vec<Value> = self
            .snapshot
            .accounts
            .iter()
            .map(|account| {
                json!({
                    "accountId": account.account_id,
                    "epoch": account.lease.epoch,
                    "claimedAt": account.lease.claimed_at,
                    "leaseUntil": account.lease.lease_until,
                    "secondsLeft": self.left(account.lease.deadline).as_secs(),
                    "state": account.lease.state,
                    "status": account.seen.status,
                    "lastFlushSeq": account.seen.last_flush_seq,
                })
            })
            .collect();
        let session = &self.snapshot.session;
        let margin = self.left(session.deadline);
        json!({
            "owner": self.info.worker_name,
            "sessionId": session.id,
            "state": self.lock_state(),
            "expiresAt": rfc3339(self.wall + margin),
            "heartbeatAgeMs": (self.now - session.beat_at).as_millis() as u64,
            "marginMs": margin.as_millis() as u64,
            "leases": leases,
            "warnings": self.warnings(),
            "note": self.lock_note(),
        })
    }

    /// The worker session's state, as the lock of the predecessor's document.
    fn lock_state(&self) -> &'static str {
        match self.phase {
            // Whoever finds a session dead seals it; all that it owned freezes.
            Phase::Frozen => "sealed",
            Phase::Starting
            | Phase::Active
            | Phase::Suspended
            | Phase::Draining
            | Phase::Closed => self.phase.as_str(),
        }
    }

    fn lock_note(&self) -> &'static str {
        match self.phase {
            Phase::Starting => "The worker is starting",
            Phase::Active if self.snapshot.session.went_back => {
                "The store went back in time, as after a restored backup: nothing is claimed any more. Stop every worker, and link accounts anew whose sessions are older than what was sent"
            }
            Phase::Active => "The worker session lives, and every lease is proven with every write",
            Phase::Suspended => {
                "No heartbeat was acknowledged in time: nothing leaves until one is. Look at the store"
            }
            Phase::Frozen => {
                "The worker session was sealed by another worker: its accounts are being ended here, and a new session begins"
            }
            Phase::Draining => "The worker hands its accounts off and ends",
            Phase::Closed => "The worker session has ended, and every lease was given back",
        }
    }

    fn warnings(&self) -> Vec<Value> {
        let soon = self.info.lease.duration.mul_f64(LEASE_WARNING_SHARE);
        self.snapshot
            .accounts
            .iter()
            .filter_map(|account| {
                let left = self.left(account.lease.deadline);
                let code = match account.lease.state {
                    LeaseState::Lost => "lease_lost",
                    // A lease that is given back is not renewed.
                    LeaseState::Releasing => return None,
                    LeaseState::Held if account.lease.renewal_failed => "lease_renewal_failed",
                    LeaseState::Held if left < soon => "lease_expires_soon",
                    LeaseState::Held => return None,
                };
                Some(json!({
                    "accountId": account.account_id,
                    "code": code,
                    "secondsLeft": left.as_secs(),
                }))
            })
            .collect()
    }

    /// Accounts with a failure, by status. The predecessor's three lists are
    /// always there. A connected account's failure is over.
    fn errors_by_status(&self) -> Value {
        let mut lists: BTreeMap<&str, Vec<Value>> =
            ["qr_ready", "connected", "connecting", "disconnected"]
                .map(|status| (status, Vec::new()))
                .into();
        for account in &self.snapshot.accounts {
            let Some(error) = &account.seen.last_error else {
                continue;
            };
            let is_over = account.seen.status == Status::Connected
                && account
                    .seen
                    .status_at
                    .is_some_and(|connected_at| error.at <= connected_at);
            if is_over {
                continue;
            }
            lists
                .entry(account.seen.status.as_str())
                .or_default()
                .push(json!({
                    "accountId": account.account_id,
                    "lastError": error.message,
                    "at": error.at,
                    "stage": error.stage,
                    "retryAt": error.retry_at,
                }));
        }
        json!(lists)
    }

    fn disconnect_reasons(&self) -> Value {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (reason, count) in self
            .snapshot
            .accounts
            .iter()
            .flat_map(|account| &account.seen.disconnect_counts)
        {
            *sums.entry(reason).or_default() += count;
        }
        json!(sums)
    }

    fn left(&self, deadline: Boottime) -> Duration {
        deadline - self.now
    }
}

/// The name under which `/health` counts a status: the predecessor's `needs_qr`
/// held every account that waits for a scan.
fn counted_as(status: Status) -> &'static str {
    match status {
        Status::QrReady | Status::NeedsQr => "needs_qr",
        Status::Connecting | Status::Pairing => "connecting",
        Status::Idle
        | Status::Connected
        | Status::Disconnected
        | Status::Banned
        | Status::Locked
        | Status::Conflict
        | Status::Degraded
        | Status::LoggedOut
        | Status::Failed
        | Status::Stopped
        | Status::NeedsImport => status.as_str(),
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
