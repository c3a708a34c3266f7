use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;

use super::*;
use crate::clock::{Clock, ManualClock, SystemClock};

fn manual() -> (ManualClock, Gate) {
    let clock = ManualClock::new();
    let gate = Gate::new(Arc::new(clock.clone()));
    (clock, gate)
}

#[test]
fn an_open_gate_counts_those_who_pass() {
    let (_, gate) = manual();
    let first = gate.try_pass().unwrap();
    let second = gate.try_pass().unwrap();
    assert_eq!(gate.in_flight(), 2);
    drop((first, second));
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn a_closed_gate_never_opens_again_and_keeps_its_first_reason() {
    let (_, gate) = manual();
    gate.close(CloseReason::Fenced);
    gate.close(CloseReason::Stopped);
    let closed = GateClosed {
        reason: CloseReason::Fenced,
    };
    assert_eq!(gate.open(), Err(closed));
    assert_eq!(gate.suspend(), Err(closed));
    assert_eq!(gate.try_pass().unwrap_err(), NotOpen::Closed(closed));
    assert_eq!(gate.pass().now_or_never().unwrap().unwrap_err(), closed);
    assert_eq!(gate.closed().now_or_never(), Some(CloseReason::Fenced));
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn every_reason_survives_its_number() {
    for reason in CloseReason::ALL {
        let (_, gate) = manual();
        gate.close(reason);
        assert_eq!(gate.state(), GateState::Closed(reason));
    }
}

#[test]
fn calls_wait_at_a_suspended_gate_and_go_on_when_it_opens() {
    let (_, gate) = manual();
    gate.suspend().unwrap();
    let mut waiting = Box::pin(gate.pass());
    assert!((&mut waiting).now_or_never().is_none());
    gate.open().unwrap();
    assert!(waiting.now_or_never().unwrap().is_ok());
}

#[test]
fn calls_that_wait_fail_when_the_gate_closes() {
    let (_, gate) = manual();
    gate.suspend().unwrap();
    let mut waiting = Box::pin(gate.pass());
    assert!((&mut waiting).now_or_never().is_none());
    gate.close(CloseReason::Sealed);
    let closed = waiting.now_or_never().unwrap().unwrap_err();
    assert_eq!(closed.reason, CloseReason::Sealed);
}

#[test]
fn a_gate_is_suspended_from_its_deadline_on_until_it_moves_ahead() {
    let clock = ManualClock::new();
    let in_10_s = clock.boottime() + Duration::from_secs(10);
    let (session, account) = (deadline(in_10_s), deadline(Boottime::FAR_FUTURE));
    let gate = Gate::under(
        Arc::new(clock.clone()),
        vec![Arc::clone(&session), Arc::clone(&account)],
    );
    assert!(gate.is_open());
    assert_eq!(gate.deadline(), in_10_s);
    clock.advance(Duration::from_secs(10));
    assert_eq!(gate.state(), GateState::Suspended);
    // Opening is no proof of the lease, nor is the other deadline.
    gate.open().unwrap();
    let mut waiting = Box::pin(gate.pass());
    account.set(Boottime::FAR_FUTURE);
    assert!((&mut waiting).now_or_never().is_none());
    session.set(clock.boottime() + Duration::from_secs(1));
    assert!(waiting.now_or_never().unwrap().is_ok());
}

#[test]
fn a_closed_deadline_closes_all_its_gates_for_good() {
    let clock: SharedClock = Arc::new(ManualClock::new());
    let session = deadline(Boottime::FAR_FUTURE);
    let gates = Gates::under(Arc::clone(&clock), vec![Arc::clone(&session)]);
    let mut closed = Box::pin(gates.wire.closed());
    assert!((&mut closed).now_or_never().is_none());
    session.close(CloseReason::Sealed);
    session.close(CloseReason::Outage);
    assert_eq!(closed.now_or_never(), Some(CloseReason::Sealed));
    session.set(Boottime::FAR_FUTURE);
    assert!(gates.store.open().is_err());
    // One that is made too late is closed from the start.
    assert!(!Gate::under(clock, vec![session]).is_open());
}

fn deadline(at: Boottime) -> Arc<Deadline> {
    Arc::new(Deadline::new(at))
}

#[test]
fn freezing_closes_both_gates() {
    let gates = Gates::new(SystemClock::shared());
    gates.suspend();
    assert!(!gates.wire.is_open() && !gates.store.is_open());
    gates.freeze(CloseReason::LeaseLost);
    assert_eq!(
        gates.wire.state(),
        GateState::Closed(CloseReason::LeaseLost)
    );
    assert_eq!(
        gates.store.state(),
        GateState::Closed(CloseReason::LeaseLost)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_closed_and_drained_nothing_passes() {
    for _ in 0..50 {
        let gate = Gate::new(SystemClock::shared());
        let drained = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let (gate, drained) = (gate.clone(), Arc::clone(&drained));
            tasks.spawn(async move {
                let mut passed = 0u32;
                loop {
                    match gate.pass().await {
                        Ok(_pass) => {
                            assert!(!drained.load(Ordering::SeqCst), "passed after the drain");
                            passed += 1;
                            tokio::task::yield_now().await;
                            assert!(!drained.load(Ordering::SeqCst), "in flight after the drain");
                        }
                        Err(closed) => {
                            assert_eq!(closed.reason, CloseReason::Fenced);
                            return passed;
                        }
                    }
                }
            });
        }
        for _ in 0..20 {
            gate.suspend().unwrap();
            tokio::task::yield_now().await;
            gate.open().unwrap();
        }
        gate.close(CloseReason::Fenced);
        gate.drained().await;
        drained.store(true, Ordering::SeqCst);
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        assert_eq!(gate.in_flight(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_waiter_is_forgotten() {
    let gate = Gate::new(SystemClock::shared());
    gate.suspend().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let gate = gate.clone();
        tasks.spawn(async move { drop(gate.pass().await.unwrap()) });
    }
    gate.open().unwrap();
    let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .unwrap();
}
