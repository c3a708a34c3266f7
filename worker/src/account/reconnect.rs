//! What follows from each reason of a disconnect: the table, as data.
//!
//! Pure. The engine stops on most reasons; whether and when there is another
//! attempt is decided here and nowhere else. Numbers and names are the
//! predecessor's (`DisconnectReason::code`, `name`).

use std::time::Duration;

use whatsapp::DisconnectReason;

/// Five minutes, a quarter of an hour, an hour: a locked account is left alone
/// for longer each time.
const LOCK_LADDER: [Duration; 3] = [minutes(5), minutes(15), minutes(60)];

/// After a foreign client took the connection: 5–15 s, 30 s, 2 min, 10 min.
const CONFLICT_LADDER: [Wait; 4] = [
    Wait {
        about: Duration::from_secs(10),
        spread: 0.5,
    },
    Wait::about(Duration::from_secs(30)),
    Wait::about(minutes(2)),
    Wait::about(minutes(10)),
];

/// Conflicts are counted within this time.
pub const CONFLICT_WINDOW: Duration = minutes(10);

/// So many within [`CONFLICT_WINDOW`] are not an accident.
pub const CONFLICTS_TOLERATED: u32 = 3;

/// So many errors of the server (500) in a row, each soon after connecting,
/// are shown as `degraded`.
pub const EARLY_ERRORS_TOLERATED: u32 = 5;

/// A ban of which WhatsApp does not say how long it lasts.
const BAN_UNKNOWN: Duration = minutes(60);

/// The first wait after a 429 or 405: the peer asked for less, not for more.
const SLOW_BASE: Duration = minutes(2);

/// The longest wait after a 429 or 405, and between attempts while `degraded`.
const SLOW_MAX: Duration = minutes(30);

/// The usual spread of a wait, so that accounts that fell together do not come
/// back together.
const SPREAD: f64 = 0.2;

/// How long to wait: jittered by whoever keeps the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// The middle.
    pub about: Duration,
    /// By what share of it the wait may be longer or shorter.
    pub spread: f64,
}

impl Wait {
    /// With the usual spread.
    pub const fn about(about: Duration) -> Self {
        Self {
            about,
            spread: SPREAD,
        }
    }

    /// Never earlier than this; spread only adds.
    fn at_least(duration: Duration) -> Self {
        Self {
            about: duration.mul_f64(1.0 + SPREAD / 2.0),
            spread: SPREAD / (2.0 + SPREAD),
        }
    }
}

/// What is done about the end of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// We closed it: nothing.
    Ours,
    /// The engine connects again by itself, at once; it is not an error.
    AtOnce,
    /// Another attempt after a wait.
    Retry(Retry),
    /// Nobody scanned: a new QR code on request only, never a loop.
    AskForQr {
        /// What a person should know.
        action: &'static str,
    },
    /// The link is gone; linking anew is for a person. Keys are kept.
    LoggedOut {
        /// What a person must look at, if at anything.
        alert: Option<&'static str>,
    },
    /// Trying again would not help: a person must act.
    GiveUp {
        /// What to do.
        action: &'static str,
    },
}

/// Another attempt after a wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Under what name the account waits.
    pub state: Waiting,
    /// For how long.
    pub wait: Wait,
    /// Both gates close before anything else: somebody else may be the owner.
    pub freeze: bool,
    /// A person must look.
    pub alert: bool,
    /// What that person should do.
    pub action: Option<&'static str>,
}

/// Under what name an account waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Waiting {
    /// An ordinary loss.
    Disconnected,
    /// Banned for a time.
    Banned,
    /// Locked for a time that nobody tells.
    Locked,
    /// A foreign client keeps taking the connection.
    Conflict,
    /// It connects and is thrown out again and again.
    Degraded,
}

/// What the table needs to know besides the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Linked to a phone.
    pub paired: bool,
    /// A QR code was shown since the last request for one.
    pub qr_shown: bool,
    /// Attempts since the account was last stable; this one is counted.
    pub attempts: u32,
    /// Conflicts within [`CONFLICT_WINDOW`]; this one is counted.
    pub conflicts: u32,
    /// Locks since the account was last stable; this one is counted.
    pub locks: u32,
    /// Server errors in a row soon after connecting; this one is counted.
    pub early_errors: u32,
    /// Taken over from an owner that did not give it back, and not stable since.
    pub taken_over: bool,
}

/// The shape of the ordinary backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordinary {
    /// The first wait.
    pub base: Duration,
    /// The longest.
    pub max: Duration,
}

/// The table.
pub fn plan(reason: &DisconnectReason, history: History, ordinary: Ordinary) -> Plan {
    match reason {
        DisconnectReason::Intentional => Plan::Ours,
        DisconnectReason::RestartRequired => Plan::AtOnce,
        DisconnectReason::LoggedOut => Plan::LoggedOut {
            alert: history.taken_over.then_some(
                "logged out right after it was taken over from a dead worker: look whether two programs had its session",
            ),
        },
        DisconnectReason::UnknownLogout => Plan::LoggedOut {
            alert: Some("logged out by WhatsApp for a reason that it does not name"),
        },
        DisconnectReason::TemporaryBan { expires_in } => Plan::Retry(Retry {
            wait: Wait::at_least(expires_in.unwrap_or(BAN_UNKNOWN)),
            alert: true,
            action: Some(
                "write less and only to people who expect it; sending goes on when the ban ends",
            ),
            ..retry(Waiting::Banned, ordinary.base)
        }),
        DisconnectReason::AccountLocked => Plan::Retry(Retry {
            alert: true,
            action: Some("open WhatsApp on the phone and unlock the account"),
            ..retry(Waiting::Locked, *rung(&LOCK_LADDER, history.locks))
        }),
        DisconnectReason::ClientOutdated => Plan::Retry(Retry {
            alert: true,
            action: Some("set a newer WhatsApp client version (--whatsapp-version)"),
            ..retry(
                Waiting::Disconnected,
                doubling(SLOW_BASE, SLOW_MAX, history.attempts),
            )
        }),
        DisconnectReason::QrExpired => Plan::AskForQr {
            action: "start the account and scan the QR code",
        },
        DisconnectReason::MultideviceMismatch => Plan::AskForQr {
            action: "update WhatsApp on the phone, start the account and scan again",
        },
        DisconnectReason::RateLimited => Plan::Retry(retry(
            Waiting::Disconnected,
            doubling(SLOW_BASE, SLOW_MAX, history.attempts),
        )),
        DisconnectReason::ConnectionReplaced => {
            let lasting = history.conflicts >= CONFLICTS_TOLERATED;
            Plan::Retry(Retry {
                state: if lasting {
                    Waiting::Conflict
                } else {
                    Waiting::Disconnected
                },
                wait: *rung(&CONFLICT_LADDER, history.conflicts),
                freeze: true,
                alert: lasting,
                action: lasting.then_some("stop the other program that uses this linked device"),
            })
        }
        DisconnectReason::ServerError if history.early_errors >= EARLY_ERRORS_TOLERATED => {
            Plan::Retry(Retry {
                alert: true,
                ..retry(
                    Waiting::Degraded,
                    doubling(
                        SLOW_BASE,
                        SLOW_MAX,
                        history.early_errors - EARLY_ERRORS_TOLERATED + 1,
                    ),
                )
            })
        }
        DisconnectReason::TimedOut
        | DisconnectReason::ConnectionLost
        | DisconnectReason::ConnectionClosed
        | DisconnectReason::ServerError
        | DisconnectReason::ServiceUnavailable
        | DisconnectReason::Unreachable(_) => {
            if !history.paired && history.qr_shown {
                return Plan::AskForQr {
                    action: "start the account and scan the QR code",
                };
            }
            Plan::Retry(retry(
                Waiting::Disconnected,
                doubling(ordinary.base, ordinary.max, history.attempts),
            ))
        }
        DisconnectReason::Refused(_) => Plan::GiveUp {
            action: "WhatsApp refused the login for good: check version and configuration, then start",
        },
    }
}

fn retry(state: Waiting, about: Duration) -> Retry {
    Retry {
        state,
        wait: Wait::about(about),
        freeze: false,
        alert: false,
        action: None,
    }
}

/// The step for the n-th time (from 1); the last one stays.
fn rung<T>(ladder: &[T], times: u32) -> &T {
    let index = (times.max(1) as usize - 1).min(ladder.len() - 1);
    &ladder[index]
}

/// `base` for the first time (from 1), twice as long each time, at most `max`.
pub fn doubling(base: Duration, max: Duration, times: u32) -> Duration {
    let exponent = times.max(1) - 1;
    2_u32
        .checked_pow(exponent)
        .and_then(|factor| base.checked_mul(factor))
        .map_or(max, |wait| wait.min(max))
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

#[cfg(test)]
mod tests;
