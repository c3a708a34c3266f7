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

mod transitions;

use std::borrow::Cow;
use std::time::Duration;

use coordinator_lib::store::StoreTime;
use whatsapp::{DisconnectReason, Stage};

use super::AccountConfig;
use super::ladder::Ladder;
use super::reconnect::{Wait, Waiting};
use crate::model::Status;

/// What a person should do: a text of this program, or one that was stored.
pub type Action = Cow<'static, str>;

/// How an account is.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    phase: Phase,
    paired: bool,
    ladder: Ladder,
    /// Claimed from an owner that did not give it back, and not stable since.
    taken_over: bool,
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
        action: Option<Action>,
    },
    /// No engine; a person must ask for a QR code.
    NeedsQr {
        /// What that person should do.
        action: Action,
    },
    /// No engine: unlinked.
    LoggedOut,
    /// No engine: a person must act.
    Failed {
        /// What to do.
        action: Action,
    },
    /// No engine, as was asked.
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The account was claimed and its session files are read.
    Begin {
        /// Its status as the last owner left it.
        was: Status,
        /// What is left of the wait that the last owner had begun.
        wait_left: Option<Duration>,
        /// What the last owner told people to do.
        action: Option<String>,
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
        now: StoreTime,
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
    Alert(Action),
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
            ladder: Ladder::default(),
            taken_over: false,
        }
    }
}

impl Machine {
    /// A machine in which nothing has begun, with what the last owner left:
    /// whether the account is linked to a phone, what went wrong so far, and
    /// whether that owner never gave the account back.
    pub fn new(paired: bool, ladder: Ladder, taken_over: bool) -> Self {
        Self {
            phase: Phase::Idle,
            paired,
            ladder,
            taken_over,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Linked to a phone.
    pub fn is_paired(&self) -> bool {
        self.paired
    }

    /// What went wrong since the account was last stable.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
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
    pub fn action_required(&self) -> Option<Action> {
        match &self.phase {
            Phase::NeedsQr { action } | Phase::Failed { action } => Some(action.clone()),
            Phase::LoggedOut => {
                Some("start the account and scan the QR code to link it anew".into())
            }
            Phase::QrReady => Some("scan the QR code with the phone".into()),
            Phase::Waiting { action, .. } => action.clone(),
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
            was,
            wait_left,
            action,
        } => machine.begin(was, wait_left, action, config, &mut effects),
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
                machine.ladder.settle();
                machine.taken_over = false;
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

#[cfg(test)]
mod tests;
