//! The machine's transitions, one function an input; see [`step`](super::step).

use std::time::Duration;

use coordinator_lib::store::StoreTime;
use whatsapp::{DisconnectReason, Stage};

use super::{Action, Effect, Machine, Phase, Timer, connecting_timeout_message};
use crate::account::AccountConfig;
use crate::account::ladder::Ladder;
use crate::account::reconnect::{self, History, Ordinary, Plan, Retry, Wait, Waiting};
use crate::model::Status;

/// While the account catches up, frames count as progress, but not for longer
/// than this many connecting timeouts: a peer that only pings is no progress.
pub(super) const SYNC_EXTENSIONS_MAX: u32 = 10;

impl Machine {
    pub(super) fn begin(
        &mut self,
        was: Status,
        wait_left: Option<Duration>,
        action: Option<String>,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        let action = action.map(Action::from);
        // A restart or a takeover shortens no wait, and makes none longer.
        let state = match was {
            // Without a link an attempt is a new QR code: on request only.
            Status::NeedsQr => {
                let action = action.unwrap_or("start the account and scan the QR code".into());
                return self.leave(Phase::NeedsQr { action }, effects);
            }
            // Nothing that a new owner could do better.
            Status::Failed => {
                let action = action.unwrap_or("see the last error, then start the account".into());
                return self.leave(Phase::Failed { action }, effects);
            }
            Status::Disconnected => Waiting::Disconnected,
            Status::Banned => Waiting::Banned,
            Status::Locked => Waiting::Locked,
            Status::Conflict => Waiting::Conflict,
            Status::Degraded => Waiting::Degraded,
            // The last owner's attempt, or its connection, goes on here: that
            // it changed hands is nothing that went wrong with the account.
            Status::Connecting | Status::QrReady | Status::Pairing | Status::Connected => {
                self.ladder.go_on();
                return self.start_engine(config, effects);
            }
            Status::Idle | Status::LoggedOut | Status::Stopped | Status::NeedsImport => {
                return self.connect(config, effects);
            }
        };
        match wait_left {
            Some(left) => {
                self.leave(Phase::Waiting { state, action }, effects);
                effects.push(Effect::SetTimer(Timer::Retry, exactly(left)));
            }
            None => self.connect(config, effects),
        }
    }

    /// A request to begin anew: no more waiting, no old QR round.
    pub(super) fn start(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        if self.has_engine() {
            effects.push(Effect::StopEngine);
        }
        self.ladder.settle();
        self.connect(config, effects);
    }

    pub(super) fn stop(&mut self, log_out: bool, effects: &mut Vec<Effect>) {
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

    pub(super) fn connect(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        self.ladder.attempt();
        self.start_engine(config, effects);
    }

    fn start_engine(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
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

    pub(super) fn stage_reached(
        &mut self,
        reached: Stage,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
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

    pub(super) fn qr(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::QrReady) {
            self.ladder.qr_shown = true;
            // Each code has a time of its own; the engine ends the last.
            effects.push(Effect::ClearTimer(Timer::Connecting));
            self.phase = Phase::QrReady;
        }
    }

    pub(super) fn linked(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
        self.paired = true;
        self.ladder = Ladder::default();
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

    pub(super) fn connected(&mut self, config: &AccountConfig, effects: &mut Vec<Effect>) {
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

    pub(super) fn disconnected(
        &mut self,
        reason: &DisconnectReason,
        now: StoreTime,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        if !self.has_engine() {
            return;
        }
        match reason {
            DisconnectReason::ConnectionReplaced => self.ladder.conflict(now),
            DisconnectReason::AccountLocked => {
                self.ladder.locks = self.ladder.locks.saturating_add(1)
            }
            DisconnectReason::ServerError => {
                self.ladder.early_errors = match self.phase {
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
                    | Phase::Stopped => self.ladder.early_errors.saturating_add(1),
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
    pub(super) fn lost(
        &mut self,
        reason: &DisconnectReason,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        let stage = self.stage();
        let history = History {
            paired: self.paired,
            qr_shown: self.ladder.qr_shown,
            attempts: self.ladder.attempts,
            conflicts: self.ladder.conflicts(),
            locks: self.ladder.locks,
            early_errors: self.ladder.early_errors,
            taken_over: self.taken_over,
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
                let action = action.into();
                self.leave(Phase::NeedsQr { action }, effects);
            }
            Plan::LoggedOut { alert } => {
                effects.push(Effect::StopEngine);
                if let Some(alert) = alert {
                    effects.push(Effect::Alert(alert.into()));
                }
                self.paired = false;
                self.leave(Phase::LoggedOut, effects);
                effects.push(Effect::Release);
            }
            Plan::GiveUp { action } => {
                effects.push(Effect::StopEngine);
                effects.push(Effect::Alert(action.into()));
                let action = action.into();
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
                    .unwrap_or("the account keeps losing its connection")
                    .into(),
            ));
        }
        self.leave(
            Phase::Waiting {
                state: retry.state,
                action: retry.action.map(Action::from),
            },
            effects,
        );
        effects.push(Effect::SetTimer(Timer::Retry, retry.wait));
    }

    pub(super) fn engine_failed(
        &mut self,
        message: String,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        if !self.has_engine() {
            return;
        }
        self.fail(message, self.stage(), config, effects);
    }

    pub(super) fn connecting_timeout(
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
        effects.push(Effect::Count(DisconnectReason::TimedOut));
        let message = connecting_timeout_message(config.connecting_timeout);
        self.fail(message, stage, config, effects);
    }

    /// Ends an attempt that came to nothing: the next one after the ordinary wait.
    fn fail(
        &mut self,
        message: String,
        stage: Option<Stage>,
        config: &AccountConfig,
        effects: &mut Vec<Effect>,
    ) {
        let wait = reconnect::doubling(
            config.backoff_base,
            config.backoff_max,
            self.ladder.attempts,
        );
        effects.push(Effect::Error { message, stage });
        // What there is of an engine must end as any other does.
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

pub(super) fn exactly(about: Duration) -> Wait {
    Wait { about, spread: 0.0 }
}

fn ordinary(config: &AccountConfig) -> Ordinary {
    Ordinary {
        base: config.backoff_base,
        max: config.backoff_max,
    }
}
