//! The table of disconnect reasons, every row with real workers and sockets:
//! what the account shows, when it is tried again, what is stored, what
//! `/health` says; and each row again after its owner was killed in the middle.
//!
//! One account a row, all rows at once. What wants a time of its own (a round of
//! QR codes, hanging stages) is in `pairing` and `stalls`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coordinator_lib::identity::AccountId;
use coordinator_lib::store::{Store, StoreTime};
use futures::future::try_join_all;
use harness::api::Api;
use harness::scene::{self, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use harness::worker::Worker;
use serde::Deserialize;
use serde_json::Value;
use wa_sim::fault::{Disconnect, Fault, FaultKind, Stage};

use crate::cluster::{Cluster, StoreKind, lock_of, owned_by, owners, until_met, until_taken_over};

/// The log line that calls for a person.
const CALL: &str = "a person must look at an account";

/// How the row's end comes about.
#[derive(Debug, Clone)]
enum Cause {
    /// On the open connection.
    Open(Disconnect),
    /// At the next login.
    Login(FaultKind),
    /// On the open connection, again and again after a restart.
    Again(Disconnect, usize),
    /// Nothing: what becomes of an account whose owner dies is its row.
    None,
}

/// A row.
struct Row {
    name: &'static str,
    cause: Cause,
    status: &'static str,
    /// The key under which the reason is counted, and how often.
    counted: Option<(&'static str, i64)>,
    /// Seconds from the end to the next attempt.
    retry: Option<RangeInclusive<u64>>,
    /// A person must act.
    action: bool,
    /// An ERROR line calls for one.
    alert: bool,
}

impl Row {
    const fn new(name: &'static str, cause: Cause, status: &'static str) -> Self {
        Self {
            name,
            cause,
            status,
            counted: None,
            retry: None,
            action: false,
            alert: false,
        }
    }

    const fn counted(mut self, key: &'static str) -> Self {
        self.counted = Some((key, 1));
        self
    }

    fn retry(mut self, seconds: RangeInclusive<u64>) -> Self {
        self.retry = Some(seconds);
        self
    }

    const fn action(mut self) -> Self {
        self.action = true;
        self
    }

    const fn alert(mut self) -> Self {
        self.alert = true;
        self
    }

    /// Somebody owns an account in this state.
    fn is_owned(&self) -> bool {
        self.status != "logged_out"
    }
}

/// The first wait after an ordinary loss: long enough to look at everything
/// and to lose the owner meanwhile.
const RECONNECT_WAIT: &str = "100s";
const ORDINARY: RangeInclusive<u64> = 80..=120;
/// 429 and 405 begin with two minutes.
const SLOW: RangeInclusive<u64> = 95..=145;
/// Every account was linked, which ends with a restart.
const LINKING: (&str, i64) = ("515 restartRequired", 1);
const STALLED: &str = "Connection timeout - no progress after 10s";

fn rows() -> Vec<Row> {
    let stream_error = |code| Cause::Open(Disconnect::StreamError { code });
    let failure = |reason| Cause::Login(FaultKind::failure(reason));
    let ban = Cause::Login(FaultKind::Failure {
        reason: 402,
        code: Some(101),
        expire: Some(3_600),
    });
    let stall = Cause::Login(FaultKind::Stall {
        stage: Stage::Login,
    });
    let logged_out = |name, cause| Row::new(name, cause, "logged_out").action();
    let lost = |name, cause| Row::new(name, cause, "disconnected").retry(ORDINARY);
    let failed = |name, cause| Row::new(name, cause, "failed").action().alert();
    vec![
        logged_out("401 removed", Cause::Open(Disconnect::DeviceRemoved)).counted("401 loggedOut"),
        logged_out("401 at login", failure(401)).counted("401 loggedOut"),
        logged_out("516", stream_error(516)).counted("401 loggedOut"),
        Row::new("402", ban, "banned")
            .counted("402 temporaryBan")
            .retry(3_600..=4_680)
            .action()
            .alert(),
        Row::new("403", failure(403), "locked")
            .counted("403 forbidden")
            .retry(240..=360)
            .action()
            .alert(),
        Row::new("405", failure(405), "disconnected")
            .counted("405 clientOutdated")
            .retry(SLOW)
            .action()
            .alert(),
        logged_out("406", failure(406))
            .counted("406 unknownLogout")
            .alert(),
        lost("408 said", stream_error(408)).counted("408 timedOut"),
        lost("408 reset", Cause::Open(Disconnect::Drop)).counted("408 connectionLost"),
        lost("connecting", stall).counted("408 timedOut"),
        failed("400", failure(400)).counted("400 refused"),
        failed("409", failure(409)).counted("409 refused"),
        failed("415", failure(415)).counted("415 refused"),
        failed("418", failure(418)).counted("418 refused"),
        Row::new("411", failure(411), "needs_qr")
            .counted("411 multideviceMismatch")
            .action(),
        lost("428 closed", Cause::Open(Disconnect::Close)).counted("428 connectionClosed"),
        lost("428 stream end", Cause::Open(Disconnect::XmlStreamEnd))
            .counted("428 connectionClosed"),
        Row::new("429", stream_error(429), "disconnected")
            .counted("429 rateLimited")
            .retry(SLOW),
        Row {
            counted: Some(("440 connectionReplaced", 3)),
            ..Row::new("440", Cause::Again(Disconnect::Replaced, 3), "conflict")
                .retry(SLOW)
                .action()
                .alert()
        },
        lost("500", stream_error(500)).counted("500 badSession"),
        lost("503", failure(503)).counted("503 unavailableService"),
        Row {
            counted: Some((LINKING.0, LINKING.1 + 1)),
            ..Row::new("515", stream_error(515), "connected")
        },
        Row::new("lease lost", Cause::None, "connected"),
    ]
}

/// The account's document, as far as the table goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    status: String,
    status_at: StoreTime,
    retry_at: Option<StoreTime>,
    action_required: Option<String>,
    attempt: i64,
    ladder: StoredLadder,
    disconnect_counts: BTreeMap<String, i64>,
    last_error: Option<StoredError>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredLadder {
    locks: i64,
    early_errors: i64,
    conflicts: Vec<StoreTime>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredError {
    message: String,
    stage: Option<String>,
    retry_at: Option<StoreTime>,
}

async fn stored(store: &Store, account: &Linked) -> Result<Stored> {
    let path = AccountId::new(account.id.clone())?.account_path();
    let snapshot = store.get(&[path]).await?;
    let document = snapshot.documents.into_iter().flatten().next();
    Ok(document.context("the account's document")?.decode()?)
}

/// Brings the row about.
async fn play_row(scene: &Scene, api: &Api, row: &Row, account: &Linked) -> Result<()> {
    match &row.cause {
        Cause::Open(how) => {
            ensure!(scene.sim().disconnect(account.number(), None, *how) == 1);
        }
        Cause::Login(fault) => {
            let fault = Fault::new(fault.clone()).for_account(account.number());
            scene.sim().inject(fault)?;
            api.act(&account.id, "restart").await?;
        }
        Cause::Again(how, times) => {
            for n in 0..*times {
                if n > 0 {
                    api.act(&account.id, "restart").await?;
                    scene::until_connected(scene, api, account, LINK_LIMIT).await?;
                }
                let counted = until_counted(api, account, row, n as i64);
                counted.await?;
                scene.sim().disconnect(account.number(), None, *how);
                until_counted(api, account, row, n as i64 + 1).await?;
            }
        }
        Cause::None => {}
    }
    Ok(())
}

async fn until_counted(api: &Api, account: &Linked, row: &Row, times: i64) -> Result<()> {
    let Some((key, _)) = row.counted else {
        return Ok(());
    };
    let what = format!("{key} of {} counted {times} times", row.name);
    wait::until(&what, LINK_LIMIT, async || {
        let path = format!("/debug/accounts/{}", account.id);
        let debug: Value = api.get(&path).await?.expect(200)?.json()?;
        let counts = debug["disconnectCounts"].clone();
        let count = counts[key].as_i64().unwrap_or(0);
        Ok(Look::some((count == times).then_some(()), counts))
    })
    .await
}

/// Waits for the row's end, and compares everything with the row.
async fn check(api: &Api, store: &Store, row: &Row, account: &Linked) -> Result<Stored> {
    if let Some((_, times)) = row.counted {
        until_counted(api, account, row, times).await?;
    }
    api.until_status(&account.id, &[row.status], LINK_LIMIT)
        .await
        .with_context(|| format!("row {}", row.name))?;
    let stored = stored(store, account).await?;
    let shown = format!("row {}: {stored:#?}", row.name);
    ensure!(stored.status == row.status, "{shown}");
    let wait = stored
        .retry_at
        .map(|at| at.since(stored.status_at).as_secs());
    match (&row.retry, wait) {
        (Some(expected), Some(wait)) => ensure!(expected.contains(&wait), "{wait} s, {shown}"),
        (expected, wait) => ensure!(expected.is_none() && wait.is_none(), "{shown}"),
    }
    ensure!(stored.action_required.is_some() == row.action, "{shown}");
    let counts: BTreeMap<String, i64> = [LINKING]
        .into_iter()
        .chain(row.counted)
        .map(|(key, times)| (key.to_owned(), times))
        .collect();
    ensure!(stored.disconnect_counts == counts, "{shown}");
    let is_error = row.status != "connected";
    ensure!(stored.last_error.is_some() == is_error, "{shown}");
    if let Some(error) = &stored.last_error {
        ensure!(error.retry_at == stored.retry_at, "{shown}");
        if row.name == "connecting" {
            ensure!(error.message == STALLED, "{shown}");
            ensure!(error.stage.as_deref() == Some("login"), "{shown}");
        }
    }
    Ok(stored)
}

/// What is stored is told before `/health` knows.
async fn until_healthy(api: &Api, rows: &[(Row, Linked)]) -> Result<()> {
    wait::until("`/health` says so", LINK_LIMIT, async || {
        Ok(match check_health(api, rows).await {
            Ok(()) => Look::Done(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

/// What `/health` of the owner says: counts, errors with their time, reasons.
async fn check_health(api: &Api, rows: &[(Row, Linked)]) -> Result<()> {
    let health = api.health().await?;
    let mut statuses: BTreeMap<&str, u64> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, i64> = BTreeMap::new();
    for (row, account) in rows.iter().filter(|(row, _)| row.is_owned()) {
        *statuses.entry(row.status).or_default() += 1;
        let counts: BTreeMap<&str, i64> = [LINKING].into_iter().chain(row.counted).collect();
        for (key, times) in counts {
            *reasons.entry(key).or_default() += times;
        }
        if row.status == "connected" {
            continue;
        }
        let list = health["errorsByStatus"][row.status].as_array();
        let entry = list
            .into_iter()
            .flatten()
            .find(|entry| entry["accountId"] == account.id)
            .with_context(|| format!("row {} in {}", row.name, health["errorsByStatus"]))?;
        ensure!(
            entry["lastError"].is_string() && entry["at"].is_string(),
            "{entry}"
        );
        ensure!(
            entry["retryAt"].is_string() == row.retry.is_some(),
            "{entry}"
        );
    }
    for (status, count) in statuses {
        ensure!(health["accounts"][status] == count, "{status}: {health}");
    }
    for (reason, count) in reasons {
        ensure!(
            health["lastDisconnectReasons"][reason] == count,
            "{reason}: {health}"
        );
    }
    Ok(())
}

/// Every change of the status is told, with its reason.
async fn check_history(api: &Api, rows: &[(Row, Linked)]) -> Result<()> {
    for (row, account) in rows.iter().filter(|(row, _)| row.status != "connected") {
        let path = format!("/v1/accounts/{}/history?of=status", account.id);
        let body: Value = api.get(&path).await?.expect(200)?.json()?;
        let latest = &body["history"][0];
        let told = latest["to"] == row.status && latest["from"].is_string();
        let reason = latest["reason"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        ensure!(
            told && reason && latest["epoch"] == 1,
            "row {}: {body}",
            row.name
        );
    }
    Ok(())
}

/// The log calls for a person exactly where the row says so.
async fn check_alert(worker: &Worker, row: &Row, account: &Linked) -> Result<()> {
    let log = worker.log();
    let call = [CALL, &account.id];
    if row.alert {
        log.until_line(&call, LINK_LIMIT).await?;
        return Ok(());
    }
    let text = log.text()?;
    let calls = |line: &str| call.iter().all(|part| line.contains(part));
    ensure!(!text.lines().any(calls), "row {}: alert", row.name);
    Ok(())
}

/// After the owner was killed: nothing was forgotten, shortened or tried early.
fn check_taken_over(row: &Row, before: &Stored, after: &Stored) -> Result<()> {
    let shown = format!("row {}: {before:#?}, then {after:#?}", row.name);
    ensure!(after.status == before.status, "{shown}");
    ensure!(after.action_required == before.action_required, "{shown}");
    ensure!(
        after.disconnect_counts == before.disconnect_counts,
        "{shown}"
    );
    if row.status == "connected" {
        return Ok(());
    }
    ensure!(after.status_at == before.status_at, "{shown}");
    ensure!(after.attempt == before.attempt, "{shown}");
    ensure!(after.ladder == before.ladder, "{shown}");
    if let (Some(before), Some(after)) = (before.retry_at, after.retry_at) {
        let moved = after.since(before).max(before.since(after));
        // A wait with jitter of its own would be off by many seconds.
        ensure!(moved < Duration::from_secs(1), "{moved:?}, {shown}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_has_its_reaction_and_survives_a_takeover() -> Result<()> {
    play(async |scene| {
        scene.allow_error(CALL);
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let options = ["--capacity", "60", "--reconnect-wait", RECONNECT_WAIT];
        let setup = |name| {
            let setup = cluster.worker(name)?.with(&options);
            anyhow::Ok(setup.with(&["--connecting-timeout", "10s"]))
        };
        let alice = setup("alice")?.start().await?;
        let api = alice.api();
        let linked = rows().into_iter().map(async |row| {
            let account = scene.link(api, row.name).await?;
            anyhow::Ok((row, account))
        });
        let rows = try_join_all(linked).await?;
        let store = cluster.store().await?;
        scene.mark_restart();

        let played = rows.iter().map(async |(row, account)| {
            play_row(scene, api, row, account).await?;
            check(api, &store, row, account).await
        });
        let before = try_join_all(played).await?;
        until_healthy(api, &rows).await?;
        for (row, account) in &rows {
            check_alert(&alice, row, account).await?;
        }

        let logins = |account: &Linked| scene.sim().oracle().accounts[account.number()].logins;
        let logins_before: Vec<_> = rows.iter().map(|(_, account)| logins(account)).collect();
        alice.kill().await?;
        let bob = setup("bob")?.start().await?;
        let api = bob.api();
        let owned = rows.iter().filter(|(row, _)| row.is_owned()).count();
        wait::until(
            "bob has all that somebody should own",
            LINK_LIMIT,
            async || {
                let health = api.health().await?;
                let all = health["accounts"]["total"] == owned && health["accounts"]["idle"] == 0;
                Ok(Look::some(all.then_some(()), health["accounts"].clone()))
            },
        )
        .await?;
        for (number, (row, account)) in rows.iter().enumerate() {
            let after = check(api, &store, row, account).await?;
            check_taken_over(row, &before[number], &after)?;
            let tried = logins(account) - logins_before[number];
            let expected = u64::from(row.status == "connected");
            ensure!(tried == expected, "row {}: {tried} logins", row.name);
        }
        until_healthy(api, &rows).await?;
        check_history(api, &rows).await?;
        let logged_out = rows.len() - owned;
        wait::until(
            "the cluster's unlinked accounts are shown",
            LINK_LIMIT,
            async || {
                let cluster = api.health().await?["cluster"].clone();
                let all = cluster["loggedOut"] == logged_out;
                Ok(Look::some(all.then_some(()), cluster))
            },
        )
        .await?;

        // Keys were kept, whatever happened: no row needs a new code but those
        // that were unlinked.
        scene.sim().clear_faults();
        let back = rows.iter().map(async |(row, account)| {
            if row.is_owned() {
                api.act(&account.id, "restart").await?;
                scene::until_connected(scene, api, account, LINK_LIMIT).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(back).await?;
        let counts = scene.ledgers(api).await?.count();
        ensure!(counts.qr_after_restart == 0, "{counts:?}");
        Ok(())
    })
    .await
}

/// 500, five times in a row right after connecting; nothing is deleted, and the
/// next owner waits as the last one did.
#[tokio::test(flavor = "multi_thread")]
async fn five_server_errors_in_a_row_are_degraded_and_survive_a_takeover() -> Result<()> {
    play(async |scene| {
        scene.allow_error(CALL);
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let setup = |name| anyhow::Ok(cluster.worker(name)?.with(&["--reconnect-wait", "100ms"]));
        let alice = setup("alice")?.start().await?;
        let account = scene.link(alice.api(), "sales").await?;
        let fault = Fault::new(FaultKind::StreamError { code: 500 });
        scene
            .sim()
            .inject(fault.for_account(account.number()).times(5))?;
        let how = Disconnect::StreamError { code: 428 };
        scene.sim().disconnect(account.number(), None, how);
        let degraded = ["degraded"];
        alice
            .api()
            .until_status(&account.id, &degraded, LINK_LIMIT)
            .await?;
        let store = cluster.store().await?;
        let before = stored(&store, &account).await?;
        let wait = before.retry_at.context("a wait")?.since(before.status_at);
        ensure!(SLOW.contains(&wait.as_secs()), "{before:#?}");
        ensure!(
            before.disconnect_counts["500 badSession"] == 5,
            "{before:#?}"
        );
        ensure!(before.ladder.early_errors == 5, "{before:#?}");
        alice.kill().await?;
        let bob = setup("bob")?.start().await?;
        wait::until("bob has it", LINK_LIMIT, async || {
            let health = bob.api().health().await?;
            let there = health["accounts"]["degraded"] == 1;
            Ok(Look::some(there.then_some(()), health["accounts"].clone()))
        })
        .await?;
        let after = stored(&store, &account).await?;
        let shown = format!("{before:#?}, then {after:#?}");
        ensure!(
            after.ladder == before.ladder && after.status_at == before.status_at,
            "{shown}"
        );
        bob.api().act(&account.id, "restart").await?;
        scene::until_connected(scene, bob.api(), &account, LINK_LIMIT).await?;
        ensure!(scene.sim().oracle().counts.qr_scans == 1);
        Ok(())
    })
    .await
}

/// 440, and the lease is not ours: the next owner has logged in. The one that
/// was thrown out leaves quietly.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_replaced_by_the_next_owner_is_left_quietly() -> Result<()> {
    play(async |scene| {
        let cluster = Cluster::new(scene, StoreKind::Sqlite).await?;
        let [alice] = cluster.start(["alice"]).await?;
        let lines = cluster.lines(alice.api(), 1).await?;
        let account = &lines[0].account;
        let [bob] = cluster.start(["bob"]).await?;
        until_met(&[&alice, &bob]).await?;
        let store = cluster.store().await?;
        let before = stored(&store, account).await?;
        let lost = owned_by(bob.api(), &lines, "alice").await?;
        let (old, _) = lock_of(alice.api()).await?;
        let logins = || scene.sim().oracle().accounts[account.number()].logins;
        let logins_before = logins();

        // Alice stands still with her connection open, and Bob logs in.
        alice.pause().await?;
        for (line, owner) in &lost {
            let limit = 2 * LINK_LIMIT;
            until_taken_over(scene, bob.api(), &line.account, owner, limit).await?;
        }
        // By his login the server has thrown her out, which she reads later.
        wait::until("bob has logged in", LINK_LIMIT, async || {
            let status = bob.api().account(&account.id).await?.status;
            let is_in = status == "connected" && logins() > logins_before;
            Ok(Look::some(is_in.then_some(()), status))
        })
        .await?;
        alice.resume()?;
        wait::until("alice works in a new session", LINK_LIMIT, async || {
            let (session, state) = lock_of(alice.api()).await?;
            let health = alice.api().health().await?;
            let is_back = state == "active" && session != old && health["accounts"]["total"] == 0;
            Ok(Look::some(
                is_back.then_some(()),
                health["accounts"].clone(),
            ))
        })
        .await?;

        // One login more, which is Bob's; nothing was told, counted or tried.
        scene::until_connected(scene, bob.api(), account, LINK_LIMIT).await?;
        ensure!(logins() == logins_before + 1, "{} logins", logins());
        let after = stored(&store, account).await?;
        let shown = format!("{before:#?}, then {after:#?}");
        ensure!(after.status == "connected", "{shown}");
        ensure!(
            after.disconnect_counts == before.disconnect_counts,
            "{shown}"
        );
        ensure!(
            after.ladder == before.ladder && after.last_error.is_none(),
            "{shown}"
        );
        for worker in [&alice, &bob] {
            let health = worker.api().health().await?;
            let replaced = health["lastDisconnectReasons"]["440 connectionReplaced"].as_i64();
            ensure!(replaced.unwrap_or(0) == 0, "{health}");
            ensure!(health["accounts"]["conflict"] == 0, "{health}");
            ensure!(!worker.log().text()?.contains(CALL));
        }
        let path = format!("/v1/accounts/{}/history?of=status", account.id);
        let history: Value = bob.api().get(&path).await?.expect(200)?.json()?;
        let told = history["history"].as_array().into_iter().flatten();
        for entry in told.filter(|entry| entry["epoch"].as_i64() > Some(1)) {
            ensure!(
                entry["to"] != "disconnected" && entry["to"] != "conflict",
                "{history}"
            );
        }
        for (id, owner) in owners(bob.api()).await? {
            let is_bobs = owner.is_some_and(|owner| owner.worker == "bob");
            ensure!(is_bobs, "{id}");
        }
        Ok(())
    })
    .await
}
