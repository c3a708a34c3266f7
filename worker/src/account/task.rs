//! The driver of one account: events in, effects out.
//!
//! Takes a claimed account, feeds the state machine with what happens (the engine's
//! events, timers, the wishes in the account document, the lease), carries out
//! its effects, and gives the account back at the end. Decides nothing about
//! connections: that is [`state`](super::state).

mod connecting;
mod effects;
mod ending;
mod looking;
mod record;
mod wishes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coordinator_lib::clock::Boottime;
use coordinator_lib::coordinator::Ownership;
use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::store::{Document, StoreTime};
use tokio::sync::{Semaphore, watch};
use whatsapp::EngineEvent;
use whatsapp::media::MediaFetcher;

use self::connecting::ConnectAttempt;
use super::AccountConfig;
use super::archive;
use super::instance::Instance;
use super::ladder::Ladder;
use super::link::Links;
use super::observed::{Observed, TermView};
use super::pulse::Stall;
use super::state::{self, Effect, Input, Machine, Phase, Timer};
use super::status::StatusRecord;
use super::term::{Term, TermError, TermParts};
use super::timers::Timers;
use crate::baileys::original::keeper::Keeper;
use crate::media::MediaStore;
use crate::media::keeping::Keeping;
use crate::messages::expiry::Sweeper;
use crate::messages::inbox::InboxConfig;
use crate::messages::merge::Merger;
use crate::model::{AccountDoc, Desired, Status};
use crate::outbox::OutboxConfig;
use crate::supervisor::connects::{Connects, Turn};
use crate::supervisor::versions::{Version, Versions};
use crate::webhooks::lane::LaneParts;
use crate::webhooks::lanes::Lanes;
use crate::webhooks::{HookBook, Post};

/// How often the task looks at what no event tells while something is under way:
/// a stage that lasts, a status that could not be written.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// And while nothing is, but silence: most of what an idle account costs is being
/// woken.
const QUIET_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// A status write that takes longer does not hold the account up: it is queued
/// and lands by itself.
const STATUS_WRITE_LIMIT: Duration = Duration::from_secs(2);

/// How long an account that is to be logged out tries to connect, to tell the
/// server.
const LOG_OUT_LIMIT: Duration = Duration::from_secs(90);

/// For the server's answer.
const LOG_OUT_CALL_LIMIT: Duration = Duration::from_secs(10);

/// What every account of a worker works with.
pub struct AccountParts {
    /// Store, keys, clocks.
    pub term: TermParts,
    /// Starts engines.
    pub links: Arc<dyn Links>,
    /// Limits and waits.
    pub account: AccountConfig,
    /// How it sends.
    pub outbox: OutboxConfig,
    /// What it keeps of what arrives.
    pub inbox: InboxConfig,
    /// One piece of history is read at a time, whosever it is.
    pub history_turn: Arc<Semaphore>,
    /// Where files are that go with messages.
    pub media: MediaStore,
    /// Fetches files that came.
    pub fetcher: MediaFetcher,
    /// Some are fetched at a time, whosever they are.
    pub fetch_turn: Arc<Semaphore>,
    /// Where events go.
    pub hooks: HookBook,
    /// Sends them there.
    pub post: Arc<Post>,
    /// Spreads connects over time.
    pub connects: Connects,
    /// Which client version is announced.
    pub versions: Versions,
}

/// How an account's task ended.
#[derive(Debug)]
pub enum TaskEnd {
    /// The account ended or is not wanted any more, and was given back.
    Released,
    /// It was given back because that was asked for.
    Asked(ReleaseReason),
    /// The account is another's, or must be taken for lost.
    Lost(CloseReason),
    /// It cannot go on; to be tried again later.
    Failed(String),
}

/// One account's task, before it runs.
pub struct AccountTask {
    /// What it works with.
    pub parts: Arc<AccountParts>,
    /// The right to act for the account.
    pub ownership: Ownership,
    /// For others to look at.
    pub observed: Arc<Observed>,
}

impl AccountTask {
    /// Runs from the claim to the release.
    pub async fn run(self) -> TaskEnd {
        let Self {
            parts,
            ownership,
            observed,
        } = self;
        let wishes = ownership.document();
        let term = match Term::begin(parts.term.clone(), ownership).await {
            Ok(term) => term,
            Err(error) => return TaskEnd::Failed(with_sources(&error)),
        };
        let view = TermView {
            lanes: Arc::clone(&term.lanes),
            files: term.files.clone(),
            journal: term.journal.clone(),
            gates: term.gates.clone(),
            data_key: Arc::clone(&term.data_key),
        };
        observed.claimed(view);
        let sweeper = Sweeper {
            account_id: term.account.to_string(),
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            clock: Arc::clone(&parts.term.clock),
            next: Arc::clone(&term.expiries),
            interval: parts.inbox.expiry_interval,
        };
        term.track(sweeper.run(term.gates.store.clone()));
        let merger = Merger {
            account_id: term.account.to_string(),
            store: Arc::clone(&parts.term.store),
            journal: term.journal.clone(),
            threads: Arc::clone(&term.threads),
            sent: Arc::clone(&term.sent),
            clock: Arc::clone(&parts.term.clock),
        };
        term.track(merger.run(term.gates.store.clone()));
        if let Some(config) = parts.inbox.keep_media.clone() {
            let keeping = Keeping {
                account_id: term.account.to_string(),
                store: Arc::clone(&parts.term.store),
                journal: term.journal.clone(),
                media: parts.media.clone(),
                fetcher: parts.fetcher.clone().behind(term.gates.wire.clone()),
                data_key: Arc::clone(&term.data_key),
                config,
                turn: Arc::clone(&parts.fetch_turn),
                news: Arc::clone(&term.files_came),
                clock: Arc::clone(&parts.term.clock),
                rng: Arc::clone(&parts.term.rng),
            };
            term.track(keeping.run(term.gates.store.clone()));
        }
        if let Some(noted) = term.doc.original.clone() {
            let keeper = Keeper {
                account: term.account.clone(),
                store: Arc::clone(&parts.term.store),
                writer: term.writer().clone(),
                observed: Arc::clone(&observed),
                clock: Arc::clone(&parts.term.clock),
                healthy_time: parts.account.keep_original,
                noted,
            };
            term.track(keeper.run(term.gates.store.clone()));
        }
        let lanes = Lanes {
            parts: LaneParts {
                account_id: term.account.to_string(),
                store: Arc::clone(&parts.term.store),
                journal: term.journal.clone(),
                claimed_seq: term.journal.seq(),
                post: Arc::clone(&parts.post),
                clock: Arc::clone(&parts.term.clock),
                rng: Arc::clone(&parts.term.rng),
            },
            hooks: parts.hooks.subscribe(),
            board: Arc::clone(&term.lanes),
        };
        term.track(lanes.run(term.gates.store.clone()));
        let end = match Driver::new(parts, term, wishes, Arc::clone(&observed)) {
            Ok(driver) => Box::pin(driver.run()).await,
            Err(error) => TaskEnd::Failed(with_sources(&error)),
        };
        observed.ended();
        end
    }
}

/// The account while it is claimed.
struct Driver {
    parts: Arc<AccountParts>,
    term: Term,
    record: StatusRecord,
    machine: Machine,
    instance: Option<Instance>,
    timers: Timers,
    /// An engine is to be started once it is the account's turn.
    turn: Option<Turn>,
    /// An engine is to be started then.
    start_at: Option<Boottime>,
    connected_at: Option<Boottime>,
    /// The attempt to connect that is under way.
    attempt: Option<ConnectAttempt>,
    /// Trace context of the claim, until the first attempt.
    claim_trace: Option<String>,
    /// Frames that had come in when the connecting timer was set.
    frames_at_timer: u64,
    /// Sends without an answer on the connections before this one.
    unanswered_before: u64,
    qr_seq: i64,
    /// When the engine's memory is to be looked at next.
    memory_at: Boottime,
    /// The version that the last attempt announced.
    announced: Version,
    /// WhatsApp refused it as too old.
    is_outdated: bool,
    other_version: watch::Receiver<Version>,
    /// It is to be logged out, as soon as it is connected, or then at the latest.
    log_out_by: Option<Boottime>,
    wishes: watch::Receiver<Option<Document>>,
    observed: Arc<Observed>,
}

/// What the loop goes on with.
enum Happened {
    Event(Option<EngineEvent>),
    Wished,
    Turn(Option<Boottime>),
    OtherVersion,
    Timer,
    Look,
    Closed(CloseReason),
    Asked(ReleaseReason),
}

/// Why the loop ends.
enum Exit {
    Release(ReleaseReason),
    Lost(CloseReason),
    Failed(String),
}

impl Driver {
    fn new(
        parts: Arc<AccountParts>,
        term: Term,
        wishes: watch::Receiver<Option<Document>>,
        observed: Arc<Observed>,
    ) -> Result<Self, TermError> {
        let doc = &term.doc;
        let record = StatusRecord::new(term.account.as_str(), doc.clone())?;
        observed.begins_with(doc.status, doc.status_at);
        observed.failed(doc.last_error.clone(), doc.disconnect_counts.clone());
        let linked = doc.paired_at.is_some() && doc.status != Status::LoggedOut;
        let now = StoreTime::from_datetime(term.clock().wall());
        let ladder = Ladder::of(doc, now, parts.account.stable_after);
        let machine = Machine::new(linked, ladder, was_abandoned(doc, term.epoch()));
        let claim_trace = doc.lease_trace.clone();
        let (announced, other_version) = (parts.versions.current(), parts.versions.subscribe());
        Ok(Self {
            parts,
            term,
            record,
            machine,
            instance: None,
            timers: Timers::default(),
            turn: None,
            start_at: None,
            connected_at: None,
            attempt: None,
            claim_trace,
            frames_at_timer: 0,
            unanswered_before: 0,
            qr_seq: 0,
            memory_at: Boottime::ZERO,
            announced,
            is_outdated: false,
            other_version,
            log_out_by: None,
            wishes,
            observed,
        })
    }

    async fn run(mut self) -> TaskEnd {
        let exit = match self.begin().await {
            Ok(()) => loop {
                let happened = self.wait().await;
                if let Err(exit) = self.handle(happened).await {
                    break exit;
                }
            },
            Err(exit) => exit,
        };
        self.end(exit).await
    }

    async fn begin(&mut self) -> Result<(), Exit> {
        let doc = self.term.doc.clone();
        if doc.status == Status::LoggedOut {
            // A new link needs a session of its own; the old one is kept.
            archive::keep(&self.term)
                .await
                .map_err(|error| Exit::Failed(with_sources(&error)))?;
        }
        let wall = StoreTime::from_datetime(self.term.clock().wall());
        let wait_left = wait_left(doc.retry_at, doc.status_at, wall);
        let asked = doc.start_request > doc.start_obeyed;
        self.record
            .change_status("claimed", |doc| doc.start_obeyed = doc.start_request);
        let linked = doc.paired_at.is_some() && doc.status != Status::LoggedOut;
        let off = match doc.desired {
            Desired::Running => None,
            // Its last owner died before it could.
            Desired::Stopped | Desired::Purging | Desired::Purged => {
                Some(Input::Stop { log_out: false })
            }
            // It connects once more, to tell the server.
            Desired::LoggedOut if linked => {
                self.log_out_by = Some(self.term.clock().boottime() + LOG_OUT_LIMIT);
                None
            }
            Desired::LoggedOut => Some(Input::Stop { log_out: true }),
        };
        let input = if let Some(off) = off {
            off
        } else if asked {
            Input::Start
        } else {
            Input::Begin {
                was: doc.status,
                wait_left,
                action: doc.action_required,
            }
        };
        self.drive(input, "claimed").await
    }

    /// Waits for the next thing that happens.
    async fn wait(&mut self) -> Happened {
        let clock = Arc::clone(self.term.clock());
        let next_timer = [self.timers.next(), self.start_at]
            .into_iter()
            .flatten()
            .min();
        let timer = async {
            match next_timer {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let look = clock.sleep_loosely(self.look_interval());
        let event = async {
            match &mut self.instance {
                Some(instance) => instance.next(&self.term).await,
                None => std::future::pending().await,
            }
        };
        let turn = async {
            match &mut self.turn {
                Some(turn) => turn.granted().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = self.term.gates.store.closed() => Happened::Closed(reason),
            ask = self.term.ownership.asked() => Happened::Asked(ask.reason),
            event = event => Happened::Event(event),
            Ok(()) = self.wishes.changed() => Happened::Wished,
            at = turn => Happened::Turn(at),
            Ok(()) = self.other_version.changed() => Happened::OtherVersion,
            () = timer => Happened::Timer,
            () = self.observed.pump.timeout() => Happened::Look,
            () = look => Happened::Look,
        }
    }

    /// How long until what no event tells is looked at.
    fn look_interval(&self) -> Duration {
        let is_under_way = match self.machine.phase() {
            Phase::Idle | Phase::Connecting { .. } | Phase::QrReady | Phase::Pairing => true,
            Phase::Connected { .. }
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => self.log_out_by.is_some() || self.record.is_dirty(),
        };
        if is_under_way {
            LOOK_INTERVAL
        } else {
            QUIET_LOOK_INTERVAL
        }
    }

    async fn handle(&mut self, happened: Happened) -> Result<(), Exit> {
        match happened {
            Happened::Event(Some(event)) => self.event(event).await,
            Happened::Event(None) => self.drive(Input::EngineStopped, "engine ended").await,
            Happened::Wished => self.wished().await,
            Happened::Turn(at) => {
                self.turn = None;
                // Where nobody hands out turns any more, unpaced rather than stuck.
                self.start_at = Some(at.unwrap_or_else(|| self.term.clock().boottime()));
                Ok(())
            }
            Happened::OtherVersion => self.retry_with_other_version().await,
            Happened::Timer => self.timer().await,
            Happened::Look => self.look().await,
            Happened::Closed(reason) => Err(Exit::Lost(reason)),
            Happened::Asked(reason) => Err(Exit::Release(reason)),
        }
    }

    async fn event(&mut self, event: EngineEvent) -> Result<(), Exit> {
        match event {
            EngineEvent::Stage(stage) => self.drive(Input::Stage(stage), stage.name()).await,
            EngineEvent::Qr { code, valid_for } => {
                self.note_qr(code.expose(), valid_for);
                self.drive(Input::Qr, "qr").await
            }
            EngineEvent::Passkey(step) => {
                self.note_passkey(&step);
                self.write_record().await;
                Ok(())
            }
            EngineEvent::QrExhausted => self.drive(Input::QrExhausted, "qr codes ran out").await,
            EngineEvent::Paired {
                pn,
                lid,
                name,
                platform: _,
            } => {
                self.note_identity(&pn, Some(&lid), Some(&name));
                self.drive(Input::Paired, "paired").await
            }
            EngineEvent::Connected => {
                if let Some(own) = self
                    .instance
                    .as_ref()
                    .and_then(|instance| instance.link.own_jid())
                {
                    self.note_identity(&own.pn, own.lid.as_deref(), None);
                }
                self.connected_at = Some(self.term.clock().boottime());
                let pump = &self.observed.pump;
                self.unanswered_before = pump.unanswered.load(Ordering::Relaxed);
                pump.hung_in_a_row.store(0, Ordering::Relaxed);
                if self.log_out_by.is_some() {
                    return self.log_out().await;
                }
                self.drive(Input::Connected, "connected").await
            }
            EngineEvent::Disconnected(reason) => {
                let name = reason.name();
                let now = StoreTime::from_datetime(self.term.clock().wall());
                self.drive(Input::Disconnected { reason, now }, name).await
            }
            EngineEvent::Stopped => self.drive(Input::EngineStopped, "engine ended").await,
            EngineEvent::Receipt { .. }
            | EngineEvent::ServerAck { .. }
            | EngineEvent::Undecryptable { .. }
            | EngineEvent::Call { .. }
            | EngineEvent::Group { .. }
            | EngineEvent::Presence { .. }
            | EngineEvent::ChatArchived { .. }
            | EngineEvent::ContactNamed(_) => {
                // Handed on by the instance.
                Ok(())
            }
        }
    }

    async fn timer(&mut self) -> Result<(), Exit> {
        let now = self.term.clock().boottime();
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            return self.start_engine().await;
        }
        match self.timers.fired(now) {
            Some(Timer::Connecting) => {
                let frames_flowed = self.frames_in() > self.frames_at_timer;
                let input = Input::ConnectingTimeout { frames_flowed };
                self.drive(input, "connecting timeout").await?;
                if !self.machine.has_engine() {
                    self.observed.stalled(Stall::Connecting);
                }
                Ok(())
            }
            Some(Timer::Retry) => self.drive(Input::Retry, "retry").await,
            Some(Timer::Stable) => self.drive(Input::Stable, "stable").await,
            None => Ok(()),
        }
    }

    /// Steps the machine, and carries out what follows, until nothing does.
    async fn drive(&mut self, input: Input, reason: &str) -> Result<(), Exit> {
        let mut inputs = VecDeque::from([(input, reason.to_owned())]);
        while let Some((input, reason)) = inputs.pop_front() {
            let before = self.machine.status();
            let machine = std::mem::take(&mut self.machine);
            let (machine, effects) = state::step(machine, input, &self.parts.account);
            self.machine = machine;
            self.note(before, &reason, &effects);
            // Freezing comes before everything, the record of it included.
            if effects.contains(&Effect::FreezeEngine) {
                self.end_instance(Some(CloseReason::Replaced)).await;
                // Replaced by the next owner, perhaps: then nothing is told.
                self.look_at_lease().await?;
            }
            if self.record.is_dirty() && self.machine.status() != before {
                self.write_record().await;
            }
            for effect in effects {
                self.carry_out(effect).await?;
            }
            if self.record.is_dirty() && self.qr_is_new() {
                self.write_record().await;
            }
        }
        Ok(())
    }
}

/// What is left of a wait. Its end was noted by another worker's clock, and this
/// one's may be hours behind it: it is no longer than it was when it began.
fn wait_left(
    retry_at: Option<StoreTime>,
    begun: Option<StoreTime>,
    wall: StoreTime,
) -> Option<Duration> {
    let until = retry_at.filter(|at| *at > wall)?;
    let whole = begun.map_or(Duration::MAX, |begun| until.since(begun));
    Some(until.since(wall).min(whole))
}

/// Whether the owner before this epoch never gave the account back.
fn was_abandoned(doc: &AccountDoc, epoch: i64) -> bool {
    epoch > 1 && doc.released_epoch != Some(epoch - 1)
}

/// An error with what caused it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
