//! What others see of a running account: its handlers and what they have seen,
//! the trail of its state machine, its lease.
//!
//! Shared between the account's task, which writes, and `/health` and `/debug`,
//! which read; nobody waits for anybody. It also holds what must be ended when
//! the task itself cannot do it any more, after a panic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coordinator_lib::clock::Boottime;
use coordinator_lib::gate::Gates;
use coordinator_lib::store::StoreTime;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use session::{DataKey, SessionFiles};
use whatsapp::EngineEvent;

use super::link::Link;
use super::pulse::Stall;
use crate::events::Journal;
use crate::health::{LeaseState, ObservedAccount};
use crate::messages::inbox::InboxCounters;
use crate::model::{LastError, Status};
use crate::outbox::status::PumpStatus;
use crate::telemetry::gauges::AccountMeasure;
use crate::webhooks::lanes::LaneBoard;

/// Transitions that the trail remembers.
const TRAIL_MAX: usize = 64;

/// Every handler of an engine's events, by the event's name. All of them are
/// attached by the one path that starts an engine.
pub const HANDLERS: [&str; 17] = [
    "call",
    "chat_archived",
    "connected",
    "contact_named",
    "disconnected",
    "group",
    "message",
    "paired",
    "passkey",
    "presence",
    "qr",
    "qr_exhausted",
    "receipt",
    "server_ack",
    "stage",
    "stopped",
    "undecryptable",
];

/// What others see of one account.
#[derive(Default)]
pub struct Observed {
    view: Mutex<View>,
    /// What its inbox has seen.
    pub inbox: Arc<InboxCounters>,
    /// What its outbox is doing.
    pub pump: Arc<PumpStatus>,
    /// Receipts that were not looked at because too many waited.
    pub receipts_dropped: AtomicU64,
    /// Engines started.
    pub engines: AtomicU64,
    /// Bytes that the engine held when it was last looked at.
    pub memory: AtomicU64,
}

#[derive(Default)]
struct View {
    status: Status,
    status_at: Option<StoreTime>,
    stage: Option<&'static str>,
    last_error: Option<LastError>,
    disconnect_counts: BTreeMap<String, i64>,
    seen: BTreeMap<&'static str, u64>,
    trail: VecDeque<Transition>,
    stalls: BTreeMap<&'static str, u64>,
    lease: Option<LeaseState>,
    running: Option<Running>,
    term: Option<TermView>,
}

/// One step of the state machine that changed the status.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transition {
    /// When.
    pub at: StoreTime,
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// What happened.
    pub reason: String,
}

/// An engine that runs.
#[derive(Clone)]
pub struct Running {
    /// The engine.
    pub link: Arc<dyn Link>,
    /// What stands in its way.
    pub gates: Gates,
}

/// What a claim brought with it.
#[derive(Clone)]
pub struct TermView {
    /// The session.
    pub files: SessionFiles,
    /// The journal.
    pub journal: Journal,
    /// What stands in the way of every write.
    pub gates: Gates,
    /// Opens and seals what passes through the store.
    pub data_key: Arc<DataKey>,
    /// How far webhooks are.
    pub lanes: Arc<LaneBoard>,
}

/// What is left of an account whose task has ended without a word.
pub struct Remains {
    /// Its engine, if it had one.
    pub running: Option<Running>,
    /// What stood in the way of its writes.
    pub gates: Option<Gates>,
}

impl Observed {
    /// An event was handled.
    pub fn saw(&self, event: &EngineEvent) {
        *self.view.lock().seen.entry(event.name()).or_default() += 1;
    }

    /// How many events of this name were handled.
    pub fn seen(&self, event: &str) -> u64 {
        self.view.lock().seen.get(event).copied().unwrap_or(0)
    }

    /// How the account is.
    pub fn status(&self) -> Status {
        self.view.lock().status
    }

    /// The status changed.
    pub fn moved(&self, transition: Transition) {
        let mut view = self.view.lock();
        view.status = transition.to;
        view.status_at = Some(transition.at);
        if view.trail.len() >= TRAIL_MAX {
            view.trail.pop_front();
        }
        view.trail.push_back(transition);
    }

    /// The attempt came so far.
    pub fn reached(&self, stage: Option<&'static str>) {
        self.view.lock().stage = stage;
    }

    /// What went wrong so far.
    pub fn failed(&self, last_error: Option<LastError>, disconnect_counts: BTreeMap<String, i64>) {
        let mut view = self.view.lock();
        view.last_error = last_error;
        view.disconnect_counts = disconnect_counts;
    }

    /// The status that the last owner left.
    pub fn begins_with(&self, status: Status, status_at: Option<StoreTime>) {
        let mut view = self.view.lock();
        view.status = status;
        view.status_at = status_at;
    }

    /// The account was claimed.
    pub fn claimed(&self, term: TermView) {
        let mut view = self.view.lock();
        view.term = Some(term);
        view.lease = Some(LeaseState::Held);
    }

    /// What is happening to the lease.
    pub fn lease_is(&self, state: LeaseState) {
        if let Some(held) = &mut self.view.lock().lease {
            *held = state;
        }
    }

    /// An attempt or a connection stalled.
    pub fn stalled(&self, stall: Stall) {
        *self.view.lock().stalls.entry(stall.name()).or_default() += 1;
    }

    /// An engine runs, or none does.
    pub fn runs(&self, running: Option<Running>) {
        if running.is_some() {
            self.engines.fetch_add(1, Ordering::Relaxed);
        }
        self.view.lock().running = running;
    }

    /// The engine that runs, and the account's data key.
    pub fn running(&self) -> Option<(Arc<dyn Link>, Arc<DataKey>)> {
        let view = self.view.lock();
        let (running, term) = (view.running.as_ref()?, view.term.as_ref()?);
        Some((Arc::clone(&running.link), Arc::clone(&term.data_key)))
    }

    /// Through what the claim writes, while it lasts.
    pub fn journal(&self) -> Option<Journal> {
        let view = self.view.lock();
        view.term.as_ref().map(|term| term.journal.clone())
    }

    /// The claim is over.
    pub fn ended(&self) {
        let mut view = self.view.lock();
        view.term = None;
        view.lease = None;
        view.running = None;
    }

    /// What the task left behind; it will not end it any more.
    pub fn take_remains(&self) -> Remains {
        let mut view = self.view.lock();
        Remains {
            running: view.running.take(),
            gates: view.term.take().map(|term| term.gates),
        }
    }

    /// The account as `/health` shows it.
    pub fn snapshot(&self) -> ObservedAccount {
        let view = self.view.lock();
        ObservedAccount {
            lease: view.lease.unwrap_or(LeaseState::Held),
            status: view.status,
            status_at: view.status_at,
            stage: view.stage.map(str::to_owned),
            last_error: view.last_error.clone(),
            disconnect_counts: view.disconnect_counts.clone(),
            last_flush_seq: view
                .term
                .as_ref()
                .map_or(0, |term| term.files.stats().commits),
            debug: self.debug(&view),
        }
    }

    /// What is measured of the account, but for its lease.
    pub fn measure(&self, deadline: Boottime) -> AccountMeasure {
        let view = self.view.lock();
        AccountMeasure {
            status: view.status,
            deadline,
            is_running: view.running.is_some(),
            memory: match view.running {
                Some(_) => self.memory.load(Ordering::Relaxed),
                None => 0,
            },
            queued: self.pump.queued.load(Ordering::Relaxed),
            in_flight: self.pump.in_flight.load(Ordering::Relaxed),
            oldest: self.pump.oldest(),
            webhooks: view
                .term
                .as_ref()
                .map(|term| term.lanes.measure(term.journal.seq()))
                .unwrap_or_default(),
        }
    }

    fn debug(&self, view: &View) -> Value {
        let engine = view.running.as_ref().map(|running| {
            let stats = running.link.stats();
            json!({
                "framesIn": stats.frames_in,
                "framesOut": stats.frames_out,
                "events": stats.events,
                "eventsDropped": stats.events_dropped,
                "inboundMessages": stats.inbound_messages,
                "tasks": stats.tasks,
                "memoryBytes": self.memory.load(Ordering::Relaxed),
                "gates": { "wire": format!("{:?}", running.gates.wire.state()), "store": format!("{:?}", running.gates.store.state()) },
            })
        });
        let session = view.term.as_ref().map(|term| {
            let (records, bytes) = term.files.size();
            let flushes = term.files.stats();
            json!({
                "records": records,
                "bytes": bytes,
                "dirty": term.files.is_dirty(),
                "commits": flushes.commits,
                "filesWritten": flushes.files_written,
                "bytesWritten": flushes.bytes_written,
                "failuresInARow": flushes.failures_in_a_row,
            })
        });
        let journal = view.term.as_ref().map(|term| {
            let (commits, losses) = term.journal.counts();
            json!({ "seq": term.journal.seq(), "commits": commits, "lostRaces": losses })
        });
        json!({
            "handlers": self.handlers(view),
            "trail": view.trail,
            "stalls": stalls(&view.stalls),
            "engines": self.engines.load(Ordering::Relaxed),
            "engine": engine,
            "session": session,
            "journal": journal,
            "inbox": {
                "stored": self.inbox.stored.load(Ordering::Relaxed),
                "repeated": self.inbox.repeated.load(Ordering::Relaxed),
            },
            "outbox": {
                "queued": self.pump.queued.load(Ordering::Relaxed),
                "inFlight": self.pump.in_flight.load(Ordering::Relaxed),
                "attempts": self.pump.attempts.load(Ordering::Relaxed),
                "sent": self.pump.sent.load(Ordering::Relaxed),
                "failed": self.pump.failed.load(Ordering::Relaxed),
                "hung": self.pump.hung.load(Ordering::Relaxed),
                "unanswered": self.pump.unanswered.load(Ordering::Relaxed),
            },
            "receiptsDropped": self.receipts_dropped.load(Ordering::Relaxed),
        })
    }

    fn handlers(&self, view: &View) -> Value {
        let attached = view.running.is_some();
        let handlers: BTreeMap<&str, Value> = HANDLERS
            .into_iter()
            .map(|name| {
                let events = if name == "message" {
                    self.inbox.stored.load(Ordering::Relaxed)
                        + self.inbox.repeated.load(Ordering::Relaxed)
                } else {
                    view.seen.get(name).copied().unwrap_or(0)
                };
                (name, json!({ "attached": attached, "events": events }))
            })
            .collect();
        json!(handlers)
    }
}

/// Every kind, also those that were never seen.
fn stalls(seen: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    Stall::ALL
        .into_iter()
        .map(|stall| (stall.name(), seen.get(stall.name()).copied().unwrap_or(0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_is_bounded_and_keeps_the_latest() {
        let observed = Observed::default();
        for n in 0..TRAIL_MAX * 2 {
            observed.moved(Transition {
                at: StoreTime::from_micros(n as i64),
                from: Status::Connecting,
                to: Status::Connected,
                reason: "connected".to_owned(),
            });
        }
        let view = observed.view.lock();
        assert_eq!(view.trail.len(), TRAIL_MAX);
        assert_eq!(
            view.trail.back().unwrap().at,
            StoreTime::from_micros(TRAIL_MAX as i64 * 2 - 1)
        );
    }

    #[test]
    fn every_event_of_the_engine_has_its_handler_in_the_list() {
        use whatsapp::{DisconnectReason, Stage};
        let events = [
            EngineEvent::Stage(Stage::Dns),
            EngineEvent::QrExhausted,
            EngineEvent::Connected,
            EngineEvent::Disconnected(DisconnectReason::TimedOut),
            EngineEvent::ServerAck {
                id: String::new(),
                error: None,
            },
            EngineEvent::Undecryptable {
                chat: String::new(),
                sender: String::new(),
                sender_alt: None,
                id: String::new(),
                at: chrono::DateTime::UNIX_EPOCH,
            },
            EngineEvent::Call {
                from: String::new(),
                creator: String::new(),
                id: String::new(),
                video: false,
                offline: false,
            },
            EngineEvent::Group {
                group: String::new(),
                news: whatsapp::GroupNews::Added,
            },
            EngineEvent::Presence {
                chat: String::new(),
                person: String::new(),
                state: whatsapp::PresenceState::Available,
                last_seen: None,
            },
            EngineEvent::ChatArchived {
                chat: String::new(),
                archived: true,
            },
            EngineEvent::ContactNamed(whatsapp::history::Person::default()),
            EngineEvent::Stopped,
        ];
        for event in events {
            assert!(HANDLERS.contains(&event.name()), "{}", event.name());
        }
    }
}
