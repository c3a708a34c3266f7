//! A worker that is stopped for longer than its session lives, and goes on:
//! it finds that others have its accounts, and has sent and stored nothing in
//! its old name. With rules of the protocol broken on purpose, what each of
//! them is there for shows: the fence alone keeps the sessions whole, and
//! without it the oracle sees them fork.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use harness::scene::{DELIVERY_LIMIT, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use wa_sim::fault::{Fault, FaultKind};
use wa_sim::oracle::ViolationKind;

use crate::cluster::{
    Cluster, Line, Owner, StoreKind, apis, for_the_time_of, lock_of, owned_by, owners, say_once,
    session_end, sessions, talk_while, until_taken_over,
};

/// Longer than a session lives.
const PAUSE: Duration = Duration::from_secs(20);
/// For the worker to find that its session has ended, and to begin another.
const COME_BACK_LIMIT: Duration = Duration::from_secs(30);
/// For two owners of one session to write to the same peer with the same key.
const FORK_LIMIT: Duration = Duration::from_secs(60);
/// Accounts that the paused worker has.
const LINES: usize = 3;
/// More than may be sent at once: some still wait in the paused worker.
const BACKLOG: usize = 16;
const MUTATIONS_VARIABLE: &str = "LEASEHOLD_MUTATIONS";
/// What the server says is late by so much: less than it listens to a connection
/// that was replaced, which learns of that too late.
const SERVER_LATE_MS: u64 = 1_800;
/// What the worker logs when the store refuses a late write.
const FENCED: &str = "fenced: another epoch owns the account";

/// Waits until the worker has begun another session than `old`, is at work
/// under it, and shows none of `lost` under its old epoch.
async fn until_back(worker: &Worker, old: &str, lost: &[(Line, Owner)]) -> Result<()> {
    wait::until("it works in a new session", COME_BACK_LIMIT, async || {
        let (session, state) = lock_of(worker.api()).await?;
        let health = worker.api().health().await?;
        let leases = health["lock"]["leases"].as_array().cloned();
        let stale = leases.unwrap_or_default().into_iter().any(|lease| {
            lost.iter().any(|(line, before)| {
                lease["accountId"] == line.account.id.as_str()
                    && lease["epoch"].as_i64() <= Some(before.epoch)
            })
        });
        let is_back = state == "active" && session != old && !stale;
        let instead = format!("{state}, session {session}: {}", health["lock"]);
        Ok(Look::some(is_back.then_some(()), instead))
    })
    .await
}

async fn paused_worker_wakes_to_a_new_session(kind: StoreKind) -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, kind).await?;
        let [bob] = cluster.start(["bob"]).await?;
        let lines = cluster.lines(bob.api(), LINES).await?;
        let [alice] = cluster.start(["alice"]).await?;
        scene.mark_restart();
        let lost = owned_by(alice.api(), &lines, "bob").await?;
        let (old, _) = lock_of(bob.api()).await?;

        for number in 0..BACKLOG {
            say_once(scene, &lines, &apis(&[&bob]), &format!("backlog {number}")).await?;
        }
        bob.pause().await?;
        let paused = Instant::now();
        let absence = async {
            for (line, before) in &lost {
                // Twice: whoever was held up itself looks on for that long anew.
                let limit = 2 * session_end() + DELIVERY_LIMIT;
                until_taken_over(scene, alice.api(), &line.account, before, limit).await?;
            }
            eprintln!("taken over after {:?}", paused.elapsed());
            for_the_time_of(PAUSE.saturating_sub(paused.elapsed())).await;
            bob.resume()?;
            until_back(&bob, &old, &lost).await
        };
        talk_while(scene, &lines, &apis(&[&alice]), absence).await?;

        scene.settle(bob.api(), 4 * DELIVERY_LIMIT).await?;
        let living = sessions(alice.api()).await?;
        let names: Vec<&str> = living.iter().map(|(name, ..)| &**name).collect();
        assert_eq!(
            names.iter().filter(|name| **name == "bob").count(),
            1,
            "{living:?}"
        );
        assert!(living.iter().all(|(_, id, _)| *id != old), "{living:?}");
        for (account, owner) in owners(alice.api()).await? {
            // None: it is on its way to the one that came back.
            assert!(
                owner.is_none_or(|owner| owner.session_id != old),
                "{account}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_worker_wakes_to_a_new_session_on_sqlite() -> Result<()> {
    paused_worker_wakes_to_a_new_session(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_worker_wakes_to_a_new_session_on_firestore() -> Result<()> {
    paused_worker_wakes_to_a_new_session(StoreKind::Firestore).await
}

/// What came of a pause with rules broken.
#[derive(Debug)]
struct Broken {
    /// Accounts whose late writes the store refused.
    fenced: usize,
    /// What the oracle saw.
    violations: Vec<ViolationKind>,
    lost: usize,
    duplicated: usize,
}

/// Pauses a worker that breaks `rules` with work to do, until another has
/// logged in to all its accounts, and lets it go on at that very moment: the
/// server still listens to the older connections, and they do not know yet that
/// they were replaced.
async fn pause_with_broken_rules(scene: &Scene, kind: StoreKind, rules: &str) -> Result<Broken> {
    let cluster = Cluster::new(scene, kind).await?;
    let bob = cluster
        .worker("bob")?
        .with_variable(MUTATIONS_VARIABLE, rules)
        .with(&["--send-rate", "0.5"]);
    let bob = bob.start().await?;
    let lines = cluster.lines(bob.api(), LINES).await?;
    let [alice] = cluster.start(["alice"]).await?;
    let (old, _) = lock_of(bob.api()).await?;

    for number in 0..BACKLOG {
        say_once(scene, &lines, &apis(&[&bob]), &format!("backlog {number}")).await?;
    }
    bob.pause().await?;
    let lost = owned_by(alice.api(), &lines, "bob").await?;
    ensure!(!lost.is_empty(), "bob was at work");
    for (line, _) in &lost {
        scene.sim().inject(Fault {
            account: Some(line.account.number().to_owned()),
            ..Fault::new(FaultKind::Delay { ms: SERVER_LATE_MS })
        })?;
    }
    let logins = |line: &Line| {
        let accounts = scene.sim().oracle().accounts;
        accounts[line.account.number()].logins
    };
    let before: Vec<u64> = lost.iter().map(|(line, _)| logins(line)).collect();
    let what = "logged in elsewhere";
    let limit = session_end() + COME_BACK_LIMIT;
    let all_in = || {
        lost.iter()
            .zip(&before)
            .all(|((line, _), before)| logins(line) > *before)
    };
    scene.sim().wait(what, limit, all_in).await?;
    bob.resume()?;
    if rules.contains("skip-fence") {
        // Nothing tells it that the accounts are another's: both go on.
        let is_seen = || !scene.sim().oracle().violations.is_empty();
        let what = "the oracle sees it";
        let seen = async { Ok(scene.sim().wait(what, FORK_LIMIT, is_seen).await?) };
        talk_while(scene, &lines, &apis(&[&alice]), seen).await?;
    } else {
        until_back(&bob, &old, &lost).await?;
        bob.log().check_errors(&[])?;
    }
    // The other side has all there is.
    let counts = scene.settled(alice.api(), 2 * DELIVERY_LIMIT).await?;
    let violations = scene.sim().oracle().violations;
    Ok(Broken {
        fenced: bob.log().text()?.matches(FENCED).count(),
        violations: violations.into_iter().map(|seen| seen.kind).collect(),
        lost: counts.lost,
        duplicated: counts.duplicated,
    })
}

/// Plays like [`play`], but leaves it to the caller what the oracle may see.
async fn broken(kind: StoreKind, rules: &str) -> Broken {
    let scene = Scene::new().await.unwrap();
    // A failure unwinds, so that the scene prints the logs.
    let broken = pause_with_broken_rules(&scene, kind, rules).await.unwrap();
    eprintln!("without {rules}: {broken:?}");
    broken
}

async fn without_gates_late_writes_are_fenced_and_no_key_is_reused(kind: StoreKind) -> Result<()> {
    let broken = broken(kind, "skip-gate").await;
    assert!(broken.fenced > 0, "no write came late: {broken:?}");
    let left = broken.violations.len();
    if broken
        .violations
        .iter()
        .any(|kind| *kind != ViolationKind::StaleSender)
    {
        bail!("the fence alone must keep sessions whole: {broken:?}");
    }
    eprintln!("{left} frames left after the takeover");
    assert_eq!((broken.lost, broken.duplicated), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gates_late_writes_are_fenced_and_no_key_is_reused_on_sqlite() -> Result<()> {
    without_gates_late_writes_are_fenced_and_no_key_is_reused(StoreKind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gates_late_writes_are_fenced_and_no_key_is_reused_on_firestore() -> Result<()> {
    without_gates_late_writes_are_fenced_and_no_key_is_reused(StoreKind::Firestore).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gates_and_fence_the_oracle_sees_it() -> Result<()> {
    let broken = broken(StoreKind::Sqlite, "skip-fence,skip-order,skip-gate").await;
    assert_eq!(broken.fenced, 0, "{broken:?}");
    assert!(!broken.violations.is_empty(), "{broken:?}");
    Ok(())
}
