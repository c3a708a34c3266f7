//! The table of WHATSAPP's disconnect reasons, row by row.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick out what they look for"
)]

use super::*;
use whatsapp::UnreachableReason;

const ORDINARY: Ordinary = Ordinary {
    base: Duration::from_secs(1),
    max: Duration::from_secs(300),
};

const PAIRED: History = History {
    paired: true,
    qr_shown: false,
    attempts: 1,
    conflicts: 1,
    locks: 1,
    early_errors: 1,
    taken_over: false,
};

/// What a row of the table says, without waits and texts.
#[derive(Debug, PartialEq)]
enum Outcome {
    Ours,
    AtOnce,
    Retry(Waiting),
    AskForQr,
    LoggedOut,
    GiveUp,
}

fn outcome(reason: &DisconnectReason, history: History) -> Outcome {
    match plan(reason, history, ORDINARY) {
        Plan::Ours => Outcome::Ours,
        Plan::AtOnce => Outcome::AtOnce,
        Plan::Retry(retry) => Outcome::Retry(retry.state),
        Plan::AskForQr { .. } => Outcome::AskForQr,
        Plan::LoggedOut { .. } => Outcome::LoggedOut,
        Plan::GiveUp { .. } => Outcome::GiveUp,
    }
}

fn wait(reason: &DisconnectReason, history: History) -> Wait {
    match plan(reason, history, ORDINARY) {
        Plan::Retry(retry) => retry.wait,
        other => panic!("{reason:?} is not retried: {other:?}"),
    }
}

#[test]
fn every_reason_of_a_linked_account_has_its_row() {
    use DisconnectReason as Reason;
    let rows = [
        (Reason::LoggedOut, 401, Outcome::LoggedOut),
        (
            Reason::TemporaryBan { expires_in: None },
            402,
            Outcome::Retry(Waiting::Banned),
        ),
        (Reason::AccountLocked, 403, Outcome::Retry(Waiting::Locked)),
        (
            Reason::ClientOutdated,
            405,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (Reason::UnknownLogout, 406, Outcome::LoggedOut),
        (Reason::TimedOut, 408, Outcome::Retry(Waiting::Disconnected)),
        (
            Reason::Unreachable(UnreachableReason::Dns),
            408,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (Reason::QrExpired, 408, Outcome::AskForQr),
        (Reason::Refused(400), 400, Outcome::GiveUp),
        (Reason::Refused(409), 409, Outcome::GiveUp),
        (Reason::Refused(415), 415, Outcome::GiveUp),
        (Reason::Refused(418), 418, Outcome::GiveUp),
        (Reason::MultideviceMismatch, 411, Outcome::AskForQr),
        (
            Reason::ConnectionClosed,
            428,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (Reason::Intentional, 428, Outcome::Ours),
        (
            Reason::RateLimited,
            429,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (
            Reason::ConnectionReplaced,
            440,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (
            Reason::ServerError,
            500,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (
            Reason::ServiceUnavailable,
            503,
            Outcome::Retry(Waiting::Disconnected),
        ),
        (Reason::RestartRequired, 515, Outcome::AtOnce),
    ];
    for (reason, code, expected) in rows {
        assert_eq!(reason.code(), code, "{reason:?}");
        assert_eq!(outcome(&reason, PAIRED), expected, "{reason:?}");
    }
}

#[test]
fn an_unscanned_qr_code_is_never_followed_by_another_unasked() {
    let unpaired = History {
        paired: false,
        qr_shown: true,
        ..PAIRED
    };
    for reason in [
        DisconnectReason::QrExpired,
        DisconnectReason::TimedOut,
        DisconnectReason::ConnectionClosed,
        DisconnectReason::ServiceUnavailable,
    ] {
        assert_eq!(outcome(&reason, unpaired), Outcome::AskForQr, "{reason:?}");
    }
    // Nothing was shown yet: an unreachable WhatsApp is tried again.
    let nothing_shown = History {
        qr_shown: false,
        ..unpaired
    };
    let unreachable = DisconnectReason::Unreachable(UnreachableReason::Tcp);
    assert_eq!(
        outcome(&unreachable, nothing_shown),
        Outcome::Retry(Waiting::Disconnected)
    );
}

#[test]
fn ordinary_waits_double_up_to_the_maximum() {
    let seconds: Vec<u64> = (1..=12)
        .map(|attempts| {
            wait(
                &DisconnectReason::ConnectionClosed,
                History { attempts, ..PAIRED },
            )
            .about
            .as_secs()
        })
        .collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(
        doubling(ORDINARY.base, ORDINARY.max, u32::MAX),
        ORDINARY.max
    );
}

#[test]
fn conflicts_climb_their_ladder_and_the_third_is_a_conflict() {
    let plans: Vec<(Waiting, u64, bool, bool)> = (1..=5)
        .map(|conflicts| {
            match plan(
                &DisconnectReason::ConnectionReplaced,
                History {
                    conflicts,
                    ..PAIRED
                },
                ORDINARY,
            ) {
                Plan::Retry(retry) => (
                    retry.state,
                    retry.wait.about.as_secs(),
                    retry.freeze,
                    retry.alert,
                ),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(
        plans,
        [
            (Waiting::Disconnected, 10, true, false),
            (Waiting::Disconnected, 30, true, false),
            (Waiting::Conflict, 120, true, true),
            (Waiting::Conflict, 600, true, true),
            (Waiting::Conflict, 600, true, true),
        ]
    );
    // 5 to 15 seconds.
    let first = wait(&DisconnectReason::ConnectionReplaced, PAIRED);
    assert_eq!(
        first,
        Wait {
            about: Duration::from_secs(10),
            spread: 0.5
        }
    );
}

#[test]
fn locks_climb_their_ladder() {
    let minutes: Vec<u64> = (1..=4)
        .map(|locks| {
            wait(
                &DisconnectReason::AccountLocked,
                History { locks, ..PAIRED },
            )
            .about
            .as_secs()
                / 60
        })
        .collect();
    assert_eq!(minutes, [5, 15, 60, 60]);
}

#[test]
fn a_ban_is_waited_out_in_full_whatever_the_jitter() {
    let hour = Duration::from_secs(3600);
    let wait = wait(
        &DisconnectReason::TemporaryBan {
            expires_in: Some(hour),
        },
        PAIRED,
    );
    let shortest = wait.about.mul_f64(1.0 - wait.spread);
    assert!(shortest >= hour - Duration::from_millis(1), "{shortest:?}");
    assert!(wait.about.mul_f64(1.0 + wait.spread) <= hour.mul_f64(1.3));
}

#[test]
fn five_server_errors_right_after_connecting_are_degraded() {
    let at = |early_errors| {
        outcome(
            &DisconnectReason::ServerError,
            History {
                early_errors,
                ..PAIRED
            },
        )
    };
    assert_eq!(at(4), Outcome::Retry(Waiting::Disconnected));
    assert_eq!(at(5), Outcome::Retry(Waiting::Degraded));
}

#[test]
fn a_logout_right_after_a_takeover_calls_for_a_person() {
    let alert = |reason: &DisconnectReason, taken_over| {
        let history = History {
            taken_over,
            ..PAIRED
        };
        match plan(reason, history, ORDINARY) {
            Plan::LoggedOut { alert } => alert.is_some(),
            other => panic!("{other:?}"),
        }
    };
    assert!(!alert(&DisconnectReason::LoggedOut, false));
    assert!(alert(&DisconnectReason::LoggedOut, true));
    assert!(alert(&DisconnectReason::UnknownLogout, false));
}
