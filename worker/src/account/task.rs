//! The driver of one account: events in, effects out.
//!
//! Takes a claimed account, feeds the state machine with what happens (the engine's
//! events, timers, the wishes in the account document, the lease), carries out
//! its effects, and gives the account back at the end. Decides nothing about
//! connections: that is [`state`](super::state).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::Boottime;
use coordinator_lib::coordinator::{Ownership, ReleaseOutcome, RenewOutcome};
use coordinator_lib::gate::CloseReason;
use coordinator_lib::history::ReleaseReason;
use coordinator_lib::mutation::{self, Mutation};
use coordinator_lib::store::{Document, StoreTime};
use tokio::sync::watch;
use whatsapp::{EngineEvent, Stage};

use super::AccountConfig;
use super::instance::Instance;
use super::link::Links;
use super::observed::{Observed, TermView, Transition};
use super::reconnect::Wait;
use super::state::{self, Effect, Input, Machine, Phase, Timer};
use super::status::StatusRecord;
use super::term::{Term, TermError, TermParts};
use super::timers::Timers;
use crate::health::LeaseState;
use crate::media::MediaFolder;
use crate::messages::inbox::InboxConfig;
use crate::model::account::QR_PURPOSE;
use crate::model::{AccountDoc, Desired, LastError, SealedQr, Status, Stored};
use crate::outbox::{OutboxConfig, held};
use crate::supervisor::pacer::ConnectPacer;

/// How often the task looks at what no event tells: silence, a status that
/// could not be written, a stage that lasts.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

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
    /// Where files are that go with messages.
    pub media: MediaFolder,
    /// Spreads connects over time.
    pub connects: Arc<ConnectPacer>,
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
            files: term.files.clone(),
            journal: term.journal.clone(),
            gates: term.gates.clone(),
        };
        observed.claimed(view);
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
    /// An engine is to be started then.
    start_at: Option<Boottime>,
    connected_at: Option<Boottime>,
    /// Frames that had come in when the connecting timer was set.
    frames_at_timer: u64,
    qr_seq: i64,
    /// It is to be logged out, as soon as it is connected, or then at the latest.
    log_out_by: Option<Boottime>,
    wishes: watch::Receiver<Option<Document>>,
    observed: Arc<Observed>,
}

/// What the loop goes on with.
enum Happened {
    Event(Option<EngineEvent>),
    Wished,
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
        let record = StatusRecord::new(term.account.as_str(), term.doc.clone())?;
        observed.begins_with(term.doc.status, term.doc.status_at);
        observed.failed(
            term.doc.last_error.clone(),
            term.doc.disconnect_counts.clone(),
        );
        Ok(Self {
            parts,
            term,
            record,
            machine: Machine::default(),
            instance: None,
            timers: Timers::default(),
            start_at: None,
            connected_at: None,
            frames_at_timer: 0,
            qr_seq: 0,
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
            self.term
                .archive_session()
                .await
                .map_err(|error| Exit::Failed(with_sources(&error)))?;
        }
        let wall = StoreTime::from_datetime(self.term.clock().wall());
        let wait_left = doc
            .retry_at
            .filter(|at| *at > wall)
            .map(|at| at.since(wall));
        let asked = doc.start_request > doc.start_obeyed;
        self.record
            .change_status("claimed", |doc| doc.start_obeyed = doc.start_request);
        let linked = doc.paired_at.is_some() && doc.status != Status::LoggedOut;
        let off = match doc.desired {
            Desired::Running => None,
            // Its last owner died before it could.
            Desired::Stopped => Some(Input::Stop { log_out: false }),
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
                paired: linked,
                was: doc.status,
                wait_left,
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
        let event = async {
            match &mut self.instance {
                Some(instance) => instance.next(&self.term).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = self.term.gates.store.closed() => Happened::Closed(reason),
            ask = self.term.ownership.asked() => Happened::Asked(ask.reason),
            event = event => Happened::Event(event),
            Ok(()) = self.wishes.changed() => Happened::Wished,
            () = timer => Happened::Timer,
            () = clock.sleep(LOOK_INTERVAL) => Happened::Look,
        }
    }

    async fn handle(&mut self, happened: Happened) -> Result<(), Exit> {
        match happened {
            Happened::Event(Some(event)) => self.event(event).await,
            Happened::Event(None) => self.drive(Input::EngineStopped, "engine ended").await,
            Happened::Wished => self.wished().await,
            Happened::Timer => self.timer().await,
            Happened::Look => self.look().await,
            Happened::Closed(reason) => Err(Exit::Lost(reason)),
            Happened::Asked(reason) => Err(Exit::Release(reason)),
        }
    }

    async fn event(&mut self, event: EngineEvent) -> Result<(), Exit> {
        let now = self.term.clock().boottime();
        match event {
            EngineEvent::Stage(stage) => self.drive(Input::Stage(stage), stage.name()).await,
            EngineEvent::Qr { code, valid_for } => {
                self.note_qr(code.expose(), valid_for);
                self.drive(Input::Qr, "qr").await
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
                self.connected_at = Some(now);
                if self.log_out_by.is_some() {
                    return self.log_out().await;
                }
                self.drive(Input::Connected, "connected").await
            }
            EngineEvent::Disconnected(reason) => {
                let name = reason.name();
                self.drive(Input::Disconnected { reason, now }, name).await
            }
            EngineEvent::Stopped => self.drive(Input::EngineStopped, "engine ended").await,
            EngineEvent::Receipt { .. }
            | EngineEvent::ServerAck { .. }
            | EngineEvent::Undecryptable { .. }
            | EngineEvent::Call { .. } => {
                // Handed on by the instance.
                Ok(())
            }
        }
    }

    /// Obeys what clients want.
    async fn wished(&mut self) -> Result<(), Exit> {
        let document = self.wishes.borrow_and_update().clone();
        let Some(doc) = document
            .as_ref()
            .and_then(AccountDoc::read_or_skip)
            .map(|record| record.value)
        else {
            return Ok(());
        };
        if doc.release_request >= self.term.epoch() {
            return Err(Exit::Release(ReleaseReason::Asked));
        }
        match doc.desired {
            Desired::Running => {
                if doc.start_request > self.record.doc().start_obeyed {
                    self.record.change_status("asked to start", |own| {
                        own.start_obeyed = doc.start_request
                    });
                    self.drive(Input::Start, "asked to start").await?;
                }
                Ok(())
            }
            Desired::Stopped => {
                self.drive(Input::Stop { log_out: false }, "asked to stop")
                    .await
            }
            Desired::LoggedOut if self.log_out_by.is_some() => Ok(()),
            Desired::LoggedOut => {
                let is_connected = matches!(self.machine.phase(), Phase::Connected { .. });
                if is_connected {
                    self.log_out().await
                } else if self.record.doc().paired_at.is_some() {
                    // Once it is connected.
                    self.log_out_by = Some(self.term.clock().boottime() + LOG_OUT_LIMIT);
                    Ok(())
                } else {
                    self.end_link().await
                }
            }
        }
    }

    /// Tells the server that the account is unlinked, and ends.
    async fn log_out(&mut self) -> Result<(), Exit> {
        if let Some(instance) = &self.instance {
            let told = instance.link.log_out();
            tokio::select! {
                biased;
                told = told => if let Err(error) = told {
                    tracing::warn!(account.id = %self.term.account, %error, "the server was not told of the logout");
                },
                () = self.parts.term.clock.sleep(LOG_OUT_CALL_LIMIT) => {
                    tracing::warn!(account.id = %self.term.account, "the server did not answer the logout");
                }
            }
        }
        self.end_link().await
    }

    /// The account is not linked any more, as far as this side is concerned.
    async fn end_link(&mut self) -> Result<(), Exit> {
        self.log_out_by = None;
        self.drive(Input::Stop { log_out: true }, "asked to log out")
            .await
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
                self.drive(
                    Input::ConnectingTimeout { frames_flowed },
                    "connecting timeout",
                )
                .await
            }
            Some(Timer::Retry) => self.drive(Input::Retry, "retry").await,
            Some(Timer::Stable) => self.drive(Input::Stable, "stable").await,
            None => Ok(()),
        }
    }

    /// Before each attempt: whether the account is still ours.
    async fn look_at_lease(&self) -> Result<(), Exit> {
        match self.term.ownership.renew().await {
            Ok(RenewOutcome::Renewed { .. }) => Ok(()),
            Ok(RenewOutcome::Lost) if mutation::is_on(Mutation::SkipGate) => Ok(()),
            Ok(RenewOutcome::Lost) => Err(Exit::Lost(CloseReason::LeaseLost)),
            Err(error) => {
                // The gates' deadlines decide for how long that may go on.
                tracing::warn!(account.id = %self.term.account, %error, "lease was not looked at");
                Ok(())
            }
        }
    }

    /// Looks at what no event tells.
    async fn look(&mut self) -> Result<(), Exit> {
        let stage = self.machine.stage().map(Stage::name);
        if self.record.doc().stage.as_deref() != stage {
            self.record
                .change_status("stage", |doc| doc.stage = stage.map(str::to_owned));
        }
        if self.record.is_dirty() {
            self.write_record().await;
        }
        let now = self.term.clock().boottime();
        if self.log_out_by.is_some_and(|limit| limit <= now) {
            tracing::warn!(account.id = %self.term.account, "logged out without a connection: the phone may still list this device");
            return self.end_link().await;
        }
        let silent = match (self.machine.phase(), self.connected_at, &self.instance) {
            (Phase::Connected { .. }, Some(connected_at), Some(instance)) => {
                let heard = instance
                    .link
                    .stats()
                    .last_frame_in
                    .map_or(connected_at, |at| at.max(connected_at));
                self.term.clock().boottime() - heard > self.parts.account.silence_limit
            }
            _ => false,
        };
        if silent {
            tracing::warn!(account.id = %self.term.account, "connection is silent");
            self.drive(Input::Silent, "silent").await?;
        }
        Ok(())
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

    fn qr_is_new(&self) -> bool {
        *self.machine.phase() == Phase::QrReady
    }

    /// Notes what a step changed: the status and what goes with it.
    fn note(&mut self, before: Status, reason: &str, effects: &[Effect]) {
        let status = self.machine.status();
        let now = StoreTime::from_datetime(self.term.clock().wall());
        for effect in effects {
            match effect {
                Effect::Error { message, stage } => {
                    let (message, stage) =
                        (message.clone(), stage.map(|stage| stage.name().to_owned()));
                    self.record.change(&["lastError"], reason, |doc| {
                        doc.last_error = Some(LastError {
                            message,
                            at: now,
                            stage,
                            retry_at: None,
                        });
                    });
                }
                Effect::Count(reason) => self.record.count_disconnect(reason, now),
                Effect::SetTimer(Timer::Retry, wait) => self.note_retry(*wait, reason, now),
                Effect::SetTimer(Timer::Connecting | Timer::Stable, _)
                | Effect::StartEngine
                | Effect::StopEngine
                | Effect::FreezeEngine
                | Effect::ClearTimer(_)
                | Effect::OpenOutbox
                | Effect::Alert(_)
                | Effect::Release => {}
            }
        }
        self.observed.reached(self.machine.stage().map(Stage::name));
        let doc = self.record.doc();
        self.observed
            .failed(doc.last_error.clone(), doc.disconnect_counts.clone());
        if status == before && doc.status == status {
            return;
        }
        let waits = matches!(self.machine.phase(), Phase::Waiting { .. });
        let (action, attempt) = (
            self.machine.action_required(),
            i64::from(self.machine.attempts()),
        );
        let stage = self.machine.stage().map(|stage| stage.name().to_owned());
        self.record.change_status(reason, |doc| {
            doc.status = status;
            doc.status_at = Some(now);
            doc.stage = stage;
            doc.action_required = action.map(str::to_owned);
            doc.attempt = attempt;
            if !waits {
                doc.retry_at = None;
            }
        });
        if status != Status::QrReady && self.record.doc().qr.is_some() {
            self.record.change(&["qr"], reason, |doc| doc.qr = None);
        }
        if status == Status::LoggedOut {
            self.record
                .change(&["pairedAt"], reason, |doc| doc.paired_at = None);
        }
        tracing::info!(account.id = %self.term.account, from = %before, to = %status, reason, "account status");
        self.observed.moved(Transition {
            at: now,
            from: before,
            to: status,
            reason: reason.to_owned(),
        });
    }

    /// Sets the retry timer, jittered, and notes when that is.
    fn note_retry(&mut self, wait: Wait, reason: &str, now: StoreTime) {
        let wait = self.parts.term.rng.jitter(wait.about, wait.spread);
        self.timers
            .set(Timer::Retry, self.term.clock().boottime() + wait);
        let retry_at = Some(now.saturating_add(wait));
        self.record
            .change(&["retryAt", "lastError"], reason, |doc| {
                doc.retry_at = retry_at;
                if let Some(error) = &mut doc.last_error {
                    error.retry_at = retry_at;
                }
            });
    }

    fn note_qr(&mut self, code: &str, valid_for: Duration) {
        self.qr_seq += 1;
        let clock = self.term.clock();
        let account = self.term.account.as_str();
        let sealed = self.term.data_key.seal_secret(
            self.parts.term.rng.as_ref(),
            account,
            QR_PURPOSE,
            code.as_bytes(),
        );
        let qr = SealedQr {
            sealed: sealed.into(),
            expires_at: StoreTime::from_datetime(clock.wall()).saturating_add(valid_for),
            seq: self.qr_seq,
        };
        self.record.change(&["qr"], "qr", |doc| doc.qr = Some(qr));
    }

    fn note_identity(&mut self, pn: &str, lid: Option<&str>, name: Option<&str>) {
        let now = StoreTime::from_datetime(self.term.clock().wall());
        let (jid, lid) = (
            pn.to_owned(),
            lid.filter(|lid| !lid.is_empty()).map(str::to_owned),
        );
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let doc = self.record.doc();
        if doc.jid.as_ref() == Some(&jid) && doc.lid == lid && doc.paired_at.is_some() {
            return;
        }
        self.record.change(
            &["jid", "lid", "pushName", "phone", "pairedAt"],
            "identity",
            |doc| {
                let number = jid.split([':', '@']).next().unwrap_or_default();
                doc.phone = Some(format!("+{number}"));
                doc.jid = Some(jid);
                doc.lid = lid.or(doc.lid.take());
                doc.push_name = name.or(doc.push_name.take());
                doc.paired_at.get_or_insert(now);
            },
        );
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<(), Exit> {
        match effect {
            Effect::StartEngine => {
                self.start_at = Some(self.parts.connects.reserve(self.term.clock().boottime()));
            }
            Effect::StopEngine => self.end_instance(None).await,
            Effect::FreezeEngine => {
                // Done first. Whether the account is still ours is asked before
                // the next attempt, which cannot begin without it.
            }
            Effect::SetTimer(Timer::Connecting, wait) => {
                // Begins when the engine does.
                if self.start_at.is_none() {
                    self.set_connecting(wait.about);
                }
            }
            Effect::SetTimer(Timer::Stable, wait) => {
                self.timers
                    .set(Timer::Stable, self.term.clock().boottime() + wait.about);
            }
            Effect::SetTimer(Timer::Retry, _) => {
                // Set when it was noted, so that both tell the same time.
            }
            Effect::ClearTimer(timer) => {
                self.timers.clear(timer);
                if timer == Timer::Connecting {
                    self.start_at = None;
                }
            }
            Effect::Error { .. } | Effect::Count(_) => {
                // Noted.
            }
            Effect::OpenOutbox => {
                if let Some(instance) = &self.instance {
                    instance.open_outbox();
                }
            }
            Effect::Alert(action) => {
                tracing::error!(account.id = %self.term.account, status = %self.machine.status(), action, "a person must look at an account");
            }
            Effect::Release => {
                if self.machine.status() == Status::LoggedOut {
                    self.hold_outbox().await;
                }
                return Err(Exit::Release(ReleaseReason::NotWanted));
            }
        }
        Ok(())
    }

    fn set_connecting(&mut self, wait: Duration) {
        self.frames_at_timer = self.frames_in();
        self.timers
            .set(Timer::Connecting, self.term.clock().boottime() + wait);
    }

    fn frames_in(&self) -> u64 {
        self.instance
            .as_ref()
            .map_or(0, |instance| instance.link.stats().frames_in)
    }

    /// Starts an engine, after another look at the lease.
    async fn start_engine(&mut self) -> Result<(), Exit> {
        if let Some(left) = self.instance.take() {
            // The machine ends one before it begins another.
            left.stop(&self.term, self.parts.account.shutdown_limit)
                .await;
        }
        self.look_at_lease().await?;
        match Instance::start(&self.parts, &self.term, &self.observed).await {
            Ok(instance) => {
                self.instance = Some(instance);
                self.set_connecting(self.parts.account.connecting_timeout);
                Ok(())
            }
            Err(error) => {
                let message = with_sources(&error);
                tracing::error!(account.id = %self.term.account, error = message, "engine did not start");
                Box::pin(self.drive(Input::EngineFailed { message }, "engine did not start")).await
            }
        }
    }

    async fn end_instance(&mut self, freeze: Option<CloseReason>) {
        self.connected_at = None;
        self.start_at = None;
        let Some(instance) = self.instance.take() else {
            return;
        };
        let limit = self.parts.account.shutdown_limit;
        match freeze {
            Some(reason) => instance.freeze(&self.term, reason, limit).await,
            None => instance.stop(&self.term, limit).await,
        }
    }

    async fn write_record(&mut self) {
        let write = self.record.write(&self.term.journal);
        tokio::select! {
            biased;
            // What was not written stays noted and is tried again at the next look.
            _ = write => {}
            () = self.parts.term.clock.sleep(STATUS_WRITE_LIMIT) => {
                tracing::warn!(account.id = %self.term.account, "status takes long to write");
            }
        }
    }

    async fn hold_outbox(&self) {
        let account = self.term.account.as_str();
        if let Err(error) = held::hold(&self.parts.term.store, &self.term.journal, account).await {
            tracing::warn!(account.id = account, %error, "outbox was not marked as held");
        }
    }

    /// Gives the account back, or leaves it.
    async fn end(mut self, exit: Exit) -> TaskEnd {
        let limit = self.parts.account.shutdown_limit;
        let account = self.term.account.clone();
        match exit {
            Exit::Lost(reason) => {
                self.observed.lease_is(LeaseState::Lost);
                tracing::warn!(account.id = %account, lease.epoch = self.term.epoch(), %reason, "account lost");
                self.term.gates.freeze(reason);
                self.end_instance(Some(reason)).await;
                self.term.abandon(reason);
                TaskEnd::Lost(reason)
            }
            Exit::Release(reason) => {
                self.give_back(reason, limit).await;
                match reason {
                    ReleaseReason::NotWanted => TaskEnd::Released,
                    ReleaseReason::Drain
                    | ReleaseReason::Rebalance
                    | ReleaseReason::Asked
                    | ReleaseReason::Failed => TaskEnd::Asked(reason),
                }
            }
            Exit::Failed(why) => {
                tracing::error!(account.id = %account, error = why, "account cannot go on");
                self.give_back(ReleaseReason::Failed, limit).await;
                TaskEnd::Failed(why)
            }
        }
    }

    async fn give_back(mut self, reason: ReleaseReason, limit: Duration) {
        self.observed.lease_is(LeaseState::Releasing);
        self.end_instance(None).await;
        if self.record.is_dirty() {
            self.write_record().await;
        }
        let (account, epoch) = (self.term.account.clone(), self.term.epoch());
        match self.term.release(reason, limit).await {
            Ok(ReleaseOutcome::Released) => {
                tracing::info!(account.id = %account, lease.epoch = epoch, "account released");
            }
            Ok(ReleaseOutcome::Lost) => {
                tracing::warn!(account.id = %account, lease.epoch = epoch, "account was lost before its release");
            }
            Err(error) => {
                tracing::warn!(account.id = %account, lease.epoch = epoch, %error, "lease was not given back; it ends by itself");
            }
        }
    }
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
