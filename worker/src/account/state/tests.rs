//! The machine as a table: from a phase, on an input, to a phase.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick out what they look for"
)]

use super::transitions::{SYNC_EXTENSIONS_MAX, exactly};
use super::*;
use proptest::prelude::*;
use whatsapp::UnreachableReason;

fn config() -> AccountConfig {
    AccountConfig::default()
}

fn begin(was: Status) -> Input {
    Input::Begin {
        was,
        wait_left: None,
        action: None,
    }
}

fn at(seconds: u64) -> StoreTime {
    StoreTime::from_micros(seconds as i64 * 1_000_000)
}

fn lost(reason: DisconnectReason) -> Input {
    Input::Disconnected { reason, now: at(0) }
}

/// Runs the inputs; gives the machine and the effects of the last one.
fn run(inputs: impl IntoIterator<Item = Input>) -> (Machine, Vec<Effect>) {
    let config = config();
    inputs
        .into_iter()
        .fold((Machine::default(), Vec::new()), |(machine, _), input| {
            step(machine, input, &config)
        })
}

fn status_after(inputs: impl IntoIterator<Item = Input>) -> Status {
    run(inputs).0.status()
}

const PATH_CONNECTED: [Input; 3] = [
    Input::Begin {
        was: Status::Idle,
        wait_left: None,
        action: None,
    },
    Input::Stage(Stage::Login),
    Input::Connected,
];

/// A way into each phase.
fn ways() -> Vec<(Status, Vec<Input>)> {
    let connected = PATH_CONNECTED.to_vec();
    let then =
        |path: &[Input], input: Input| path.iter().cloned().chain([input]).collect::<Vec<_>>();
    vec![
        (Status::Idle, vec![]),
        (Status::Connecting, vec![begin(Status::Idle)]),
        (Status::QrReady, vec![begin(Status::Idle), Input::Qr]),
        (Status::NeedsQr, vec![begin(Status::NeedsQr)]),
        (
            Status::Pairing,
            vec![begin(Status::Idle), Input::Qr, Input::Paired],
        ),
        (Status::Connected, connected.clone()),
        (
            Status::Disconnected,
            then(&connected, lost(DisconnectReason::ConnectionClosed)),
        ),
        (
            Status::Banned,
            then(
                &connected,
                lost(DisconnectReason::TemporaryBan { expires_in: None }),
            ),
        ),
        (
            Status::Locked,
            then(&connected, lost(DisconnectReason::AccountLocked)),
        ),
        (
            Status::LoggedOut,
            then(&connected, lost(DisconnectReason::LoggedOut)),
        ),
        (
            Status::Failed,
            then(&connected, lost(DisconnectReason::Refused(409))),
        ),
        (
            Status::Stopped,
            then(&connected, Input::Stop { log_out: false }),
        ),
    ]
}

#[test]
fn every_status_has_a_way_into_it() {
    for (status, way) in ways() {
        assert_eq!(status_after(way), status);
    }
}

#[test]
fn a_start_begins_anew_from_wherever_it_is_asked_for() {
    for (status, way) in ways() {
        let had_engine = run(way.clone()).0.has_engine();
        let (machine, effects) = run(way.into_iter().chain([Input::Start]));
        assert_eq!(machine.status(), Status::Connecting, "from {status}");
        let place = |wanted: &Effect| effects.iter().position(|effect| effect == wanted);
        let (stop, start) = (place(&Effect::StopEngine), place(&Effect::StartEngine));
        assert_eq!(stop.is_some(), had_engine, "from {status}");
        assert!(start > stop, "from {status}: {effects:?}");
    }
}

#[test]
fn a_stop_ends_every_engine_and_releases() {
    for (status, way) in ways() {
        let had_engine = run(way.clone()).0.has_engine();
        let (machine, effects) = run(way.into_iter().chain([Input::Stop { log_out: false }]));
        assert_eq!(machine.status(), Status::Stopped, "from {status}");
        assert_eq!(
            effects.contains(&Effect::StopEngine),
            had_engine,
            "from {status}"
        );
        assert_eq!(effects.last(), Some(&Effect::Release), "from {status}");
    }
}

#[test]
fn an_attempt_without_progress_is_given_up_with_the_predecessors_words() {
    for (reached, stage) in [
        (None, None),
        (Some(Stage::Handshake), Some(Stage::Handshake)),
    ] {
        let way = [begin(Status::Idle)]
            .into_iter()
            .chain(reached.map(Input::Stage));
        let (machine, effects) = run(way.chain([Input::ConnectingTimeout {
            frames_flowed: false,
        }]));
        assert_eq!(machine.status(), Status::Disconnected);
        assert!(effects.contains(&Effect::Error {
            message: "Connection timeout - no progress after 60s".to_owned(),
            stage
        }));
        assert!(effects.contains(&Effect::StopEngine));
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::SetTimer(Timer::Retry, _)))
        );
    }
}

#[test]
fn the_timeout_names_the_configured_seconds() {
    assert_eq!(
        connecting_timeout_message(Duration::from_secs(2)),
        "Connection timeout - no progress after 2s"
    );
    assert_eq!(
        connecting_timeout_message(Duration::from_millis(1500)),
        "Connection timeout - no progress after 1.5s"
    );
}

#[test]
fn only_a_later_stage_is_progress() {
    let way = [begin(Status::Idle), Input::Stage(Stage::Handshake)];
    let (machine, effects) = run(way.clone());
    assert_eq!(machine.stage(), Some(Stage::Handshake));
    assert!(matches!(
        effects[..],
        [Effect::SetTimer(Timer::Connecting, _)]
    ));
    let (machine, effects) = run(way.into_iter().chain([Input::Stage(Stage::Tcp)]));
    assert_eq!((machine.stage(), effects), (Some(Stage::Handshake), vec![]));
}

#[test]
fn catching_up_may_take_longer_while_frames_flow_but_not_for_ever() {
    let timeout = Input::ConnectingTimeout {
        frames_flowed: true,
    };
    let way = [begin(Status::Idle), Input::Stage(Stage::Sync)];
    let times = |n: u32| {
        way.iter()
            .cloned()
            .chain((0..n).map(|_| timeout.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(status_after(times(SYNC_EXTENSIONS_MAX)), Status::Connecting);
    assert_eq!(
        status_after(times(SYNC_EXTENSIONS_MAX + 1)),
        Status::Disconnected
    );
    // Before the login's verdict frames are no progress.
    let login = [begin(Status::Idle), Input::Stage(Stage::Login), timeout];
    assert_eq!(status_after(login), Status::Disconnected);
}

#[test]
fn a_qr_code_is_not_hurried_by_the_connecting_timeout() {
    let (_, effects) = run([begin(Status::Idle), Input::Qr]);
    assert!(effects.contains(&Effect::ClearTimer(Timer::Connecting)));
    let waiting = [
        begin(Status::Idle),
        Input::Qr,
        Input::ConnectingTimeout {
            frames_flowed: false,
        },
    ];
    assert_eq!(status_after(waiting), Status::QrReady);
}

#[test]
fn qr_codes_run_out_once_and_come_again_on_request_only() {
    let exhausted = [
        begin(Status::Idle),
        Input::Qr,
        Input::QrExhausted,
        lost(DisconnectReason::QrExpired),
        Input::EngineStopped,
    ];
    let (machine, _) = run(exhausted.clone());
    assert_eq!(machine.status(), Status::NeedsQr);
    // Nothing but a request starts another round.
    for input in [
        Input::Retry,
        Input::EngineStopped,
        Input::Stable,
        Input::Silent,
    ] {
        let (machine, effects) = run(exhausted.iter().cloned().chain([input]));
        assert_eq!((machine.status(), effects), (Status::NeedsQr, vec![]));
    }
    // Nor does a restart of the worker.
    assert_eq!(status_after([begin(Status::NeedsQr)]), Status::NeedsQr);
    assert_eq!(
        status_after(exhausted.into_iter().chain([Input::Start])),
        Status::Connecting
    );
}

#[test]
fn pairing_goes_through_the_requested_restart_without_an_error() {
    let config = config();
    let mut machine = Machine::default();
    let mut seen = Vec::new();
    for input in [
        begin(Status::Idle),
        Input::Stage(Stage::Handshake),
        Input::Qr,
        Input::Paired,
        lost(DisconnectReason::RestartRequired),
        Input::Stage(Stage::Login),
        Input::Connected,
    ] {
        let (next, effects) = step(machine, input, &config);
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::Error { .. } | Effect::StopEngine)),
            "{effects:?}"
        );
        machine = next;
        seen.push(machine.status());
    }
    use Status::{Connected, Connecting, Pairing, QrReady};
    assert_eq!(
        seen,
        [
            Connecting, Connecting, QrReady, Pairing, Connecting, Connecting, Connected
        ]
    );
    assert!(machine.is_paired());
}

#[test]
fn backoff_starts_anew_only_after_a_stable_connection() {
    let config = config();
    let wait = |machine: Machine| {
        let (machine, effects) = step(machine, lost(DisconnectReason::ConnectionClosed), &config);
        let wait = effects.iter().find_map(|effect| match effect {
            Effect::SetTimer(Timer::Retry, wait) => Some(wait.about.as_secs()),
            _ => None,
        });
        (step(machine, Input::Retry, &config).0, wait.unwrap())
    };
    let connect = |machine: Machine| step(machine, Input::Connected, &config).0;
    let machine = connect(step(Machine::default(), begin(Status::Idle), &config).0);
    let (machine, first) = wait(machine);
    let (machine, second) = wait(connect(machine));
    let (machine, third) = wait(connect(machine));
    assert_eq!([first, second, third], [1, 2, 4]);
    let stable = step(connect(machine), Input::Stable, &config).0;
    // The attempt that was stable is forgotten too; the next loss is the first.
    assert_eq!(wait(stable).1, 1);
}

#[test]
fn a_replaced_connection_freezes_and_conflicts_outlive_stability() {
    let config = config();
    let mut machine = run(PATH_CONNECTED).0;
    let mut seen = Vec::new();
    for minute in 0..3 {
        let now = at(60 * minute);
        let (next, effects) = step(
            machine,
            Input::Disconnected {
                reason: DisconnectReason::ConnectionReplaced,
                now,
            },
            &config,
        );
        assert!(effects.contains(&Effect::FreezeEngine));
        assert!(!effects.contains(&Effect::StopEngine));
        seen.push(next.status());
        let (next, _) = step(next, Input::Retry, &config);
        let (next, _) = step(next, Input::Connected, &config);
        machine = step(next, Input::Stable, &config).0;
    }
    assert_eq!(
        seen,
        [Status::Disconnected, Status::Disconnected, Status::Conflict]
    );
    // Later than the window, it is a first time again.
    let now = at(3600);
    let (machine, _) = step(
        machine,
        Input::Disconnected {
            reason: DisconnectReason::ConnectionReplaced,
            now,
        },
        &config,
    );
    assert_eq!(machine.status(), Status::Disconnected);
}

#[test]
fn a_takeover_shortens_no_wait_and_keeps_what_people_were_told() {
    let left = Duration::from_secs(3600);
    for was in [
        Status::Disconnected,
        Status::Banned,
        Status::Locked,
        Status::Conflict,
        Status::Degraded,
    ] {
        let begin = |wait_left| Input::Begin {
            was,
            wait_left,
            action: Some("look".to_owned()),
        };
        let (machine, effects) = run([begin(Some(left))]);
        assert_eq!(machine.status(), was);
        assert_eq!(machine.action_required().as_deref(), Some("look"));
        assert_eq!(effects, [Effect::SetTimer(Timer::Retry, exactly(left))]);
        assert_eq!(status_after([begin(None)]), Status::Connecting, "{was}");
    }
}

#[test]
fn what_waits_for_a_person_waits_on_after_a_takeover() {
    for was in [Status::Failed, Status::NeedsQr] {
        for action in [None, Some("look".to_owned())] {
            let (machine, effects) = run([Input::Begin {
                was,
                wait_left: None,
                action: action.clone(),
            }]);
            assert_eq!((machine.status(), effects), (was, vec![]));
            let told = machine.action_required().expect("people are told");
            assert!(action.is_none_or(|action| action == told));
        }
        assert_eq!(status_after([begin(was), Input::Start]), Status::Connecting);
    }
}

#[test]
fn a_ladder_goes_on_where_the_last_owner_stood() {
    let ladder = Ladder {
        attempts: 5,
        locks: 2,
        early_errors: 4,
        ..Ladder::default()
    };
    let wait = |reason| {
        let machine = Machine::new(true, ladder.clone(), true);
        let (machine, _) = step(machine, begin(Status::Connected), &config());
        let (machine, effects) = step(machine, lost(reason), &config());
        let wait = effects.iter().find_map(|effect| match effect {
            Effect::SetTimer(Timer::Retry, wait) => Some(wait.about.as_secs()),
            _ => None,
        });
        (machine.status(), wait.unwrap())
    };
    let hour = 3_600;
    assert_eq!(
        wait(DisconnectReason::AccountLocked),
        (Status::Locked, hour)
    );
    assert_eq!(wait(DisconnectReason::ServerError).0, Status::Degraded);
    // The fifth attempt still: that it was taken over is no sixth.
    let ordinary = wait(DisconnectReason::ConnectionClosed);
    assert_eq!(ordinary, (Status::Disconnected, 16));
}

#[test]
fn an_account_that_is_handed_on_again_and_again_waits_no_longer_for_it() {
    let attempts_after = |was, ladder: Ladder| {
        let mut machine = Machine::new(true, ladder, false);
        for _ in 0..8 {
            let ladder = machine.ladder().clone();
            machine = step(Machine::new(true, ladder, true), begin(was), &config()).0;
        }
        machine.ladder().attempts
    };
    let third = Ladder {
        attempts: 3,
        ..Ladder::default()
    };
    for was in [
        Status::Connecting,
        Status::QrReady,
        Status::Pairing,
        Status::Connected,
    ] {
        assert_eq!(attempts_after(was, third.clone()), 3, "{was}");
        // A connection that had lasted has ended its ladder.
        assert_eq!(attempts_after(was, Ladder::default()), 1, "{was}");
    }
    // A wait that is over ends in an attempt of its own.
    let next = step(
        Machine::new(true, third, true),
        begin(Status::Disconnected),
        &config(),
    );
    assert_eq!(next.0.ladder().attempts, 4);
}

#[test]
fn a_logout_right_after_a_takeover_is_an_alert() {
    let alerts = |inputs: &[Input]| {
        let machine = Machine::new(true, Ladder::default(), true);
        let inputs = inputs.iter().cloned();
        let (_, effects) = inputs.fold((machine, vec![]), |(machine, _), input| {
            step(machine, input, &config())
        });
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Alert(_)))
    };
    let end = lost(DisconnectReason::LoggedOut);
    assert!(alerts(&[begin(Status::Connected), end.clone()]));
    let later = [
        begin(Status::Connected),
        Input::Connected,
        Input::Stable,
        end,
    ];
    assert!(!alerts(&later));
}

#[test]
fn a_silent_connection_is_given_up_and_tried_again() {
    let (machine, effects) = run(PATH_CONNECTED.into_iter().chain([Input::Silent]));
    assert_eq!(machine.status(), Status::Disconnected);
    assert!(effects.contains(&Effect::Count(DisconnectReason::TimedOut)));
    assert!(effects.contains(&Effect::StopEngine));
}

#[test]
fn our_own_shutdown_is_nobodys_disconnect() {
    let (machine, effects) = run(PATH_CONNECTED
        .into_iter()
        .chain([lost(DisconnectReason::Intentional)]));
    assert_eq!((machine.status(), effects), (Status::Connected, vec![]));
    let after_stop = PATH_CONNECTED.into_iter().chain([
        Input::Stop { log_out: false },
        lost(DisconnectReason::ConnectionClosed),
    ]);
    assert_eq!(run(after_stop).1, []);
}

#[test]
fn an_unlinked_account_is_released_and_its_keys_are_nobodys_to_wipe() {
    let (machine, effects) = run(PATH_CONNECTED
        .into_iter()
        .chain([lost(DisconnectReason::LoggedOut)]));
    assert_eq!(machine.status(), Status::LoggedOut);
    assert_eq!(effects.last(), Some(&Effect::Release));
    assert!(machine.action_required().is_some());
}

#[test]
fn an_engine_that_ends_without_a_word_is_a_loss() {
    let (machine, effects) = run(PATH_CONNECTED.into_iter().chain([Input::EngineStopped]));
    assert_eq!(machine.status(), Status::Disconnected);
    assert!(effects.contains(&Effect::Count(DisconnectReason::ConnectionClosed)));
}

fn any_reason() -> impl Strategy<Value = DisconnectReason> {
    prop_oneof![
        Just(DisconnectReason::LoggedOut),
        Just(DisconnectReason::TemporaryBan { expires_in: None }),
        Just(DisconnectReason::AccountLocked),
        Just(DisconnectReason::ClientOutdated),
        Just(DisconnectReason::TimedOut),
        Just(DisconnectReason::QrExpired),
        Just(DisconnectReason::ConnectionClosed),
        Just(DisconnectReason::RateLimited),
        Just(DisconnectReason::ConnectionReplaced),
        Just(DisconnectReason::ServerError),
        Just(DisconnectReason::ServiceUnavailable),
        Just(DisconnectReason::RestartRequired),
        Just(DisconnectReason::Intentional),
        Just(DisconnectReason::Unreachable(UnreachableReason::Tls)),
        (400_u16..600).prop_map(DisconnectReason::Refused),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(Input::Start),
        any::<bool>().prop_map(|log_out| Input::Stop { log_out }),
        Just(Input::Stage(Stage::Tcp)),
        Just(Input::Stage(Stage::Sync)),
        Just(Input::Qr),
        Just(Input::QrExhausted),
        Just(Input::Paired),
        Just(Input::Connected),
        (any_reason(), 0_u64..100_000).prop_map(|(reason, seconds)| Input::Disconnected {
            reason,
            now: at(seconds),
        }),
        Just(Input::EngineStopped),
        Just(Input::EngineFailed {
            message: "no".to_owned()
        }),
        any::<bool>().prop_map(|frames_flowed| Input::ConnectingTimeout { frames_flowed }),
        Just(Input::Retry),
        Just(Input::Stable),
        Just(Input::Silent),
    ]
}

proptest! {
    /// Whatever happens in whatever order: an engine is started only where there
    /// is none, ended only where there is one, and a phase that waits has the
    /// timer that ends it.
    #[test]
    fn engines_and_timers_follow_the_phase(paired: bool, inputs in prop::collection::vec(any_input(), 0..60)) {
        let config = config();
        let mut machine = Machine::new(paired, Ladder::default(), false);
        let mut engine = false;
        let mut timers = std::collections::HashSet::new();
        for input in std::iter::once(begin(Status::Idle)).chain(inputs) {
            // A timer that fires is gone.
            match &input {
                Input::Retry if !timers.remove(&Timer::Retry) => continue,
                Input::Stable if !timers.remove(&Timer::Stable) => continue,
                Input::ConnectingTimeout { .. } if !timers.remove(&Timer::Connecting) => continue,
                _ => {}
            }
            let (next, effects) = step(machine, input, &config);
            machine = next;
            for effect in effects {
                match effect {
                    Effect::StartEngine => { prop_assert!(!engine); engine = true; }
                    Effect::StopEngine | Effect::FreezeEngine => { prop_assert!(engine); engine = false; }
                    Effect::SetTimer(timer, _) => { timers.insert(timer); }
                    Effect::ClearTimer(timer) => { timers.remove(&timer); }
                    Effect::Error { .. } | Effect::Count(_) | Effect::OpenOutbox | Effect::Alert(_) | Effect::Release => {}
                }
            }
            prop_assert_eq!(engine, machine.has_engine());
            let wanted = match machine.phase() {
                Phase::Connecting { .. } | Phase::Pairing => Some(Timer::Connecting),
                Phase::Connected { stable: false } => Some(Timer::Stable),
                Phase::Waiting { .. } => Some(Timer::Retry),
                _ => None,
            };
            let expected: std::collections::HashSet<_> = wanted.into_iter().collect();
            prop_assert_eq!(&timers, &expected, "in {:?}", machine.phase());
        }
    }
}
