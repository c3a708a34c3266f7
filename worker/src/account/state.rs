//! The account's state machine: pure.
//!
//! ```text
//! idle → connecting(stage) → qr_ready → pairing → connecting → connected
//!             │                 │                                 │
//!             │                 └→ needs_qr (a new code on request only)
//!             └────→ disconnected | banned | locked | conflict | degraded ──retry──→ connecting
//! ends: logged_out, failed(action), stopped
//! ```
//!
//! [`step`] takes what happened and says what follows as [`Effect`]s. It reads
//! no clock and draws no random number: what depends on time arrives as an
//! input with the time in it, and waits leave as [`Wait`]s that the driver
//! jitters. `connected` means that frames flowed: only the engine says so.
//!
//! The machine knows nothing of leases. A lost lease ends the driver, not the
//! machine: nobody is told that the account is disconnected, for it is not.

use std::time::Duration;

use coordinator_lib::clock::Boottime;
use whatsapp::{DisconnectReason, Stage};

use super::AccountConfig;
use super::reconnect::{self, CONFLICT_WINDOW, History, Ordinary, Plan, Retry, Wait, Waiting};
use crate::model::Status;

/// While the account catches up, frames count as progress, but not for longer
/// than this many connecting timeouts: a peer that only pings is no progress.
const SYNC_EXTENSIONS_MAX: u32 = 10;

/// How an account is.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    phase: Phase,
    paired: bool,
    counts: Counts,
}

/// Where the machine stands, with what is only valid there.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Nothing has begun.
    Idle,
    /// An engine is on its way.
    Connecting {
        /// How far it has come, once it has come anywhere.
        stage: Option<Stage>,
        /// How often frames have put off the timeout in the last stage.
        extensions: u32,
    },
    /// A QR code is shown.
    QrReady,
    /// It was scanned; the server asks for a new connection soon.
    Pairing,
    /// Frames flow.
    Connected {
        /// Long enough for the backoff to start anew.
        stable: bool,
    },
    /// No engine; the next attempt is on a timer.
    Waiting {
        /// Under what name.
        state: Waiting,
        /// What a person should do meanwhile.
        action: Option<&'static str>,
    },
    /// No engine; a person must ask for a QR code.
    NeedsQr {
        /// What that person should do.
        action: &'static str,
    },
    /// No engine: unlinked.
    LoggedOut,
    /// No engine: a person must act.
    Failed {
        /// What to do.
        action: &'static str,
    },
    /// No engine, as was asked.
    Stopped,
}

/// What [`reconnect`] needs to remember between attempts.
#[derive(Debug, Clone, Default, PartialEq)]
struct Counts {
    attempts: u32,
    locks: u32,
    early_errors: u32,
    /// When conflicts happened, within [`CONFLICT_WINDOW`].
    conflicts: Vec<Boottime>,
    qr_shown: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The account was claimed and its session files are read.
    Begin {
        /// Linked to a phone.
        paired: bool,
        /// Its status as the last owner left it.
        was: Status,
        /// What is left of the wait that the last owner had begun.
        wait_left: Option<Duration>,
    },
    /// A client asked to begin anew, whatever there is.
    Start,
    /// It is not to run.
    Stop {
        /// Nor to be linked any more.
        log_out: bool,
    },
    /// The engine reached a stage.
    Stage(Stage),
    /// The engine has a QR code to show.
    Qr,
    /// The engine ran out of QR codes.
    QrExhausted,
    /// A phone linked the account.
    Paired,
    /// The engine is connected.
    Connected,
    /// The engine lost its connection.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
        /// When.
        now: Boottime,
    },
    /// The engine's run loop ended.
    EngineStopped,
    /// The engine could not be started.
    EngineFailed {
        /// Why, for people; without secrets.
        message: String,
    },
    /// The connecting timer fired.
    ConnectingTimeout {
        /// Frames came since the timer was set.
        frames_flowed: bool,
    },
    /// The retry timer fired.
    Retry,
    /// The stability timer fired.
    Stable,
    /// No frame came for longer than the limit while connected.
    Silent,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start an engine. There is none.
    StartEngine,
    /// End the engine in an orderly way: it flushes, then its gates close.
    StopEngine,
    /// Close both gates at once, then end the engine.
    FreezeEngine,
    /// Set a timer anew; it replaces one of the same kind.
    SetTimer(Timer, Wait),
    /// Forget a timer.
    ClearTimer(Timer),
    /// Note a failure for people.
    Error {
        /// What happened.
        message: String,
        /// How far the connection had come.
        stage: Option<Stage>,
    },
    /// Count the end of a connection under its number and name.
    Count(DisconnectReason),
    /// Tell the outbox that it can send.
    OpenOutbox,
    /// A person must look: logged as an error.
    Alert(&'static str),
    /// Nothing more will happen here: the lease can be released.
    Release,
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timer {
    /// An attempt without progress.
    Connecting,
    /// The next attempt.
    Retry,
    /// A connection that lasts.
    Stable,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            paired: false,
            counts: Counts::default(),
        }
    }
}

impl Machine {
    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Linked to a phone.
    pub fn is_paired(&self) -> bool {
        self.paired
    }

    /// Attempts since the account was last stable.
    pub fn attempts(&self) -> u32 {
        self.counts.attempts
    }

    /// The status that clients see.
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::Idle => Status::Idle,
            Phase::Connecting { .. } => Status::Connecting,
            Phase::QrReady => Status::QrReady,
            Phase::Pairing => Status::Pairing,
            Phase::Connected { .. } => Status::Connected,
            Phase::Waiting { state, .. } => match state {
                Waiting::Disconnected => Status::Disconnected,
                Waiting::Banned => Status::Banned,
                Waiting::Locked => Status::Locked,
                Waiting::Conflict => Status::Conflict,
                Waiting::Degraded => Status::Degraded,
            },
            Phase::NeedsQr { .. } => Status::NeedsQr,
            Phase::LoggedOut => Status::LoggedOut,
            Phase::Failed { .. } => Status::Failed,
            Phase::Stopped => Status::Stopped,
        }
    }

    /// How far an attempt has come.
    pub fn stage(&self) -> Option<Stage> {
        match &self.phase {
            Phase::Connecting { stage, .. } => *stage,
            Phase::Idle
            | Phase::QrReady
            | Phase::Pairing
            | Phase::Connected { .. }
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => None,
        }
    }

    /// What a person must do, where the worker cannot go on by itself.
    pub fn action_required(&self) -> Option<&'static str> {
        match &self.phase {
            Phase::NeedsQr { action } | Phase::Failed { action } => Some(action),
            Phase::LoggedOut => Some("start the account and scan the QR code to link it anew"),
            Phase::QrReady => Some("scan the QR code with the phone"),
            Phase::Waiting { action, .. } => *action,
            Phase::Idle
            | Phase::Connecting { .. }
            | Phase::Pairing
            | Phase::Connected { .. }
            | Phase::Stopped => None,
        }
    }

    /// Whether an engine exists in this phase.
    pub fn has_engine(&self) -> bool {
        match &self.phase {
            Phase::Connecting { .. }
            | Phase::QrReady
            | Phase::Pairing
            | Phase::Connected { .. } => true,
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => false,
        }
    }
}

/// The text of the connecting timeout: a contract with the predecessor's users.
pub fn connecting_timeout_message(timeout: Duration) -> String {
    format!(
        "Connection timeout - no progress after {}s",
        timeout.as_secs_f64()
    )
}

/// What happens next. What makes no sense in a phase changes nothing: events
/// of an engine that was told to end still arrive.
pub fn step(mut machine: Machine, input: Input, config: &AccountConfig) -> (Machine, Vec<Effect>) {
    let mut effects = Vec::new();
    match input {
        Input::Begin {
            paired,
            was,
            wait_left,
        } => {
            machine.paired = paired;
            machine.begin(was, wait_left, config, &mut effects);
        }
        Input::Start => machine.start(config, &mut effects),
        Input::Stop { log_out } => machine.stop(log_out, &mut effects),
        Input::Stage(stage) => machine.stage_reached(stage, config, &mut effects),
        Input::Qr => machine.qr(&mut effects),
        Input::QrExhausted => {
            // `Disconnected(QrExpired)` follows and decides.
        }
        Input::Paired => machine.linked(config, &mut effects),
        Input::Connected => machine.connected(config, &mut effects),
        Input::Disconnected { reason, now } => {
            machine.disconnected(&reason, now, config, &mut effects)
        }
        Input::EngineStopped => {
            // Its reason came before it, as `Disconnected`. An end without one
            // is a loss like any other.
            if machine.has_engine() {
                machine.lost(&DisconnectReason::ConnectionClosed, config, &mut effects);
            }
        }
        Input::EngineFailed { message } => machine.engine_failed(message, config, &mut effects),
        Input::ConnectingTimeout { frames_flowed } => {
            machine.connecting_timeout(frames_flowed, config, &mut effects);
        }
        Input::Retry => {
            if matches!(machine.phase, Phase::Waiting { .. }) {
                machine.connect(config, &mut effects);
            }
        }
        Input::Stable => {
            if let Phase::Connected { stable } = &mut machine.phase {
                *stable = true;
                machine.counts = Counts {
                    conflicts: std::mem::take(&mut machine.counts.conflicts),
                    ..Counts::default()
                };
            }
        }
        Input::Silent => {
            if matches!(machine.phase, Phase::Connected { .. }) {
                machine.lost(&DisconnectReason::TimedOut, config, &mut effects);
            }
        }
    }
    (machine, effects)
}

impl Machine {
    fn begin(
        &mut self,
        was: Status,
        wait_left: Option<Duration>,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        let state = match was {
            // Without a link an attempt is a new QR code: on request only.
            Status::NeedsQr if !self.paired => {
                self.phase = Phase::NeedsQr {
                    action: "start the account and scan the QR code",
                };
                return;
            }
            // A restart or a takeover does not shorten what WhatsApp imposed.
            Status::Banned => Waiting::Banned,
            Status::Locked => Waiting::Locked,
            Status::Conflict => Waiting::Conflict,
            Status::Degraded => Waiting::Degraded,
            Status::Idle
            | Status::Connecting
            | Status::QrReady
            | Status::NeedsQr
            | Status::Pairing
            | Status::Connected
            | Status::Disconnected
            | Status::LoggedOut
            | Status::Failed
            | Status::Stopped
            | Status::NeedsImport => return self.connect(config, effects),
        };
        match wait_left {
            Some(left) => {
                self.leave(
                    Phase::Waiting {
                        state,
                        action: None,
                    },
                    effects,
                );
                effects.push(Effect::SetTimer(Timer::Retry, exactly(left)));
            }
            None => self.connect(config, effects),
        }
    }

    /// A request to begin anew: no more waiting, no old QR round.
    fn start(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        if self.has_engine() {
            effects.push(Effect::StopEngine);
        }
        self.counts = Counts {
            conflicts: std::mem::take(&mut self.counts.conflicts),
            ..Counts::default()
        };
        self.connect(config, effects);
    }

    fn stop(&mut self, log_out: bool, effects: &mut Vec<Effect>) {
        if self.has_engine() {
            effects.push(Effect::StopEngine);
        }
        self.paired &= !log_out;
        self.leave(
            if log_out {
                Phase::LoggedOut
            } else {
                Phase::Stopped
            },
            effects,
        );
        effects.push(Effect::Release);
    }

    fn connect(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        self.counts.attempts = self.counts.attempts.saturating_add(1);
        self.leave(
            Phase::Connecting {
                stage: None,
                extensions: 0,
            },
            effects,
        );
        effects.push(Effect::StartEngine);
        effects.push(connecting_timer(config));
    }

    fn stage_reached(&mut self, reached: Stage, config: &AccountConfig, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Connecting { stage, .. } => {
                // Only a stage further on is progress.
                if stage.is_none_or(|stage| reached > stage) {
                    *stage = Some(reached);
                    effects.push(connecting_timer(config));
                }
            }
            Phase::Pairing => {
                // The new connection that follows a scan.
                self.leave(
                    Phase::Connecting {
                        stage: Some(reached),
                        extensions: 0,
                    },
                    effects,
                );
                effects.push(connecting_timer(config));
            }
            Phase::Idle
            | Phase::QrReady
            | Phase::Connected { .. }
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => {}
        }
    }

    fn qr(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::QrReady) {
            self.counts.qr_shown = true;
            // Each code has a time of its own; the engine ends the last.
            effects.push(Effect::ClearTimer(Timer::Connecting));
            self.phase = Phase::QrReady;
        }
    }

    fn linked(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        self.paired = true;
        self.counts = Counts::default();
        match self.phase {
            Phase::Connecting { .. } | Phase::QrReady | Phase::Pairing => {
                self.phase = Phase::Pairing;
                effects.push(connecting_timer(config));
            }
            Phase::Idle
            | Phase::Connected { .. }
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => {}
        }
    }

    fn connected(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Connecting { .. } | Phase::QrReady | Phase::Pairing => {
                self.paired = true;
                self.leave(Phase::Connected { stable: false }, effects);
                effects.push(Effect::SetTimer(
                    Timer::Stable,
                    exactly(config.stable_after),
                ));
                effects.push(Effect::OpenOutbox);
            }
            Phase::Connected { .. } => effects.push(Effect::OpenOutbox),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => {}
        }
    }

    fn disconnected(
        &mut self,
        reason: &DisconnectReason,
        now: Boottime,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        if !self.has_engine() {
            return;
        }
        match reason {
            DisconnectReason::ConnectionReplaced => {
                self.counts
                    .conflicts
                    .retain(|at| now - *at < CONFLICT_WINDOW);
                self.counts.conflicts.push(now);
            }
            DisconnectReason::AccountLocked => {
                self.counts.locks = self.counts.locks.saturating_add(1)
            }
            DisconnectReason::ServerError => {
                self.counts.early_errors = match self.phase {
                    Phase::Connected { stable: true } => 1,
                    Phase::Connected { stable: false }
                    | Phase::Idle
                    | Phase::Connecting { .. }
                    | Phase::QrReady
                    | Phase::Pairing
                    | Phase::Waiting { .. }
                    | Phase::NeedsQr { .. }
                    | Phase::LoggedOut
                    | Phase::Failed { .. }
                    | Phase::Stopped => self.counts.early_errors.saturating_add(1),
                };
            }
            DisconnectReason::LoggedOut
            | DisconnectReason::TemporaryBan { .. }
            | DisconnectReason::ClientOutdated
            | DisconnectReason::UnknownLogout
            | DisconnectReason::TimedOut
            | DisconnectReason::QrExpired
            | DisconnectReason::MultideviceMismatch
            | DisconnectReason::ConnectionLost
            | DisconnectReason::ConnectionClosed
            | DisconnectReason::RateLimited
            | DisconnectReason::ServiceUnavailable
            | DisconnectReason::RestartRequired
            | DisconnectReason::Refused(_)
            | DisconnectReason::Intentional
            | DisconnectReason::Unreachable(_) => {}
        }
        self.lost(reason, config, effects);
    }

    /// Does what the table says about the end of a connection.
    fn lost(
        &mut self,
        reason: &DisconnectReason,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        let stage = self.stage();
        let history = History {
            paired: self.paired,
            qr_shown: self.counts.qr_shown,
            attempts: self.counts.attempts,
            conflicts: u32::try_from(self.counts.conflicts.len()).unwrap_or(u32::MAX),
            locks: self.counts.locks,
            early_errors: self.counts.early_errors,
        };
        let plan = reconnect::plan(reason, history, ordinary(config));
        if plan == Plan::Ours {
            return;
        }
        effects.push(Effect::Count(reason.clone()));
        if plan == Plan::AtOnce {
            // The engine is already on its way again; the flush comes first there.
            self.leave(
                Phase::Connecting {
                    stage: None,
                    extensions: 0,
                },
                effects,
            );
            effects.push(connecting_timer(config));
            return;
        }
        effects.push(Effect::Error {
            message: reason.to_string(),
            stage,
        });
        match plan {
            Plan::Ours | Plan::AtOnce => {} // above
            Plan::Retry(retry) => self.wait(retry, effects),
            Plan::AskForQr { action } => {
                effects.push(Effect::StopEngine);
                self.leave(Phase::NeedsQr { action }, effects);
            }
            Plan::LoggedOut { alert } => {
                effects.push(Effect::StopEngine);
                if alert {
                    effects.push(Effect::Alert(
                        "logged out by WhatsApp for a reason that it does not name",
                    ));
                }
                self.paired = false;
                self.leave(Phase::LoggedOut, effects);
                effects.push(Effect::Release);
            }
            Plan::GiveUp { action } => {
                effects.push(Effect::StopEngine);
                effects.push(Effect::Alert(action));
                self.leave(Phase::Failed { action }, effects);
            }
        }
    }

    fn wait(&mut self, retry: Retry, effects: &mut Vec<Effect>) {
        effects.push(if retry.freeze {
            Effect::FreezeEngine
        } else {
            Effect::StopEngine
        });
        if retry.alert {
            effects.push(Effect::Alert(
                retry
                    .action
                    .unwrap_or("the account keeps losing its connection"),
            ));
        }
        self.leave(
            Phase::Waiting {
                state: retry.state,
                action: retry.action,
            },
            effects,
        );
        effects.push(Effect::SetTimer(Timer::Retry, retry.wait));
    }

    fn engine_failed(
        &mut self,
        message: String,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        if !self.has_engine() {
            return;
        }
        let wait = reconnect::doubling(
            config.backoff_base,
            config.backoff_max,
            self.counts.attempts,
        );
        effects.push(Effect::Error {
            message,
            stage: self.stage(),
        });
        // What there is of it must end as any other does.
        effects.push(Effect::StopEngine);
        self.leave(
            Phase::Waiting {
                state: Waiting::Disconnected,
                action: None,
            },
            effects,
        );
        effects.push(Effect::SetTimer(Timer::Retry, Wait::about(wait)));
    }

    fn connecting_timeout(
        &mut self,
        frames_flowed: bool,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        let stage = match &mut self.phase {
            Phase::Connecting { stage, extensions } => {
                if *stage == Some(Stage::Sync) && frames_flowed && *extensions < SYNC_EXTENSIONS_MAX
                {
                    *extensions += 1;
                    effects.push(connecting_timer(config));
                    return;
                }
                *stage
            }
            Phase::Pairing => None,
            Phase::Idle
            | Phase::QrReady
            | Phase::Connected { .. }
            | Phase::Waiting { .. }
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => return,
        };
        let wait = reconnect::doubling(
            config.backoff_base,
            config.backoff_max,
            self.counts.attempts,
        );
        effects.push(Effect::Count(DisconnectReason::TimedOut));
        effects.push(Effect::Error {
            message: connecting_timeout_message(config.connecting_timeout),
            stage,
        });
        effects.push(Effect::StopEngine);
        self.leave(
            Phase::Waiting {
                state: Waiting::Disconnected,
                action: None,
            },
            effects,
        );
        effects.push(Effect::SetTimer(Timer::Retry, Wait::about(wait)));
    }

    /// Goes to a phase, without the timers of the one before.
    fn leave(&mut self, next: Phase, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Connecting { .. } | Phase::Pairing => {
                effects.push(Effect::ClearTimer(Timer::Connecting))
            }
            Phase::Connected { .. } => effects.push(Effect::ClearTimer(Timer::Stable)),
            Phase::Waiting { .. } => effects.push(Effect::ClearTimer(Timer::Retry)),
            Phase::Idle
            | Phase::QrReady
            | Phase::NeedsQr { .. }
            | Phase::LoggedOut
            | Phase::Failed { .. }
            | Phase::Stopped => {}
        }
        self.phase = next;
    }
}

fn connecting_timer(config: &AccountConfig) -> Effect {
    Effect::SetTimer(Timer::Connecting, exactly(config.connecting_timeout))
}

fn exactly(about: Duration) -> Wait {
    Wait { about, spread: 0.0 }
}

fn ordinary(config: &AccountConfig) -> Ordinary {
    Ordinary {
        base: config.backoff_base,
        max: config.backoff_max,
    }
}

#[cfg(test)]
mod tests;
