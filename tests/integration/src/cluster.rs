//! Several workers on one store, SQLite or the Firestore emulator, seen from
//! outside: who owns what, by the API of any of them; what the ownership
//! history says, from the store itself; and traffic that goes on meanwhile.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::history::ownership;
use anyhow::{Context, Result, bail};
use coordinator_lib::history;
use coordinator_lib::identity::AccountId;
use coordinator_lib::lease::LeaseConfig;
use coordinator_lib::store::{
    FirestoreOptions, FirestoreStore, SqliteOptions, SqliteStore, Store, StoreTime,
};
use emulator::{Emulator, Size};
use harness::api::{Api, Method};
use harness::scene::{Linked, Scene};
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};
use serde::Deserialize;
use serde_json::{Value, json};
use wa_sim::phone::Phone;

/// A file for one machine, or a cluster's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Sqlite,
    Firestore,
}

/// The workers of a scene, and the store that they share.
pub(crate) struct Cluster<'s> {
    scene: &'s Scene,
    backend: Backend,
}

enum Backend {
    Sqlite,
    Firestore { emulator: Emulator, project: String },
}

/// Who owns an account, as the API says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    pub(crate) worker: String,
    pub(crate) session_id: String,
    pub(crate) epoch: i64,
}

/// An entry of an account's ownership history.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) epoch: i64,
    pub(crate) worker: String,
    pub(crate) session: String,
    pub(crate) reason: String,
    pub(crate) at: StoreTime,
}

/// An account and a contact of its own, who talk to each other.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) account: Linked,
    pub(crate) contact: Phone,
}

/// The longest that a session without heartbeats counts as alive, with the
/// durations that are the default.
pub(crate) fn session_end() -> Duration {
    let lease = LeaseConfig::default();
    lease.session_ttl + lease.lock_delay
}

/// For counts to even out: accounts move one by one.
pub(crate) const BALANCE_LIMIT: Duration = Duration::from_secs(90);

/// For a worker that has just started to be seen by the others.
const MEET_LIMIT: Duration = Duration::from_secs(20);

/// For a message to be accepted: longer than the longest outage here.
const ACCEPTED_LIMIT: Duration = Duration::from_secs(7 * 60);

/// Between two rounds of traffic.
const ROUND_INTERVAL: Duration = Duration::from_millis(400);

impl<'s> Cluster<'s> {
    /// A store of this kind, for the workers of the scene.
    pub(crate) async fn new(scene: &'s Scene, kind: StoreKind) -> Result<Self> {
        match kind {
            StoreKind::Sqlite => Ok(Self {
                scene,
                backend: Backend::Sqlite,
            }),
            StoreKind::Firestore => Self::on(scene, Emulator::shared().await?).await,
        }
    }

    /// On an emulator that nobody else uses, so that it can be paused.
    pub(crate) async fn on_own_emulator(scene: &'s Scene) -> Result<Self> {
        Self::on(scene, Emulator::start(Size::Small).await?).await
    }

    async fn on(scene: &'s Scene, emulator: Emulator) -> Result<Self> {
        let cluster = Self {
            scene,
            backend: Backend::Firestore {
                emulator,
                project: emulator::project_id(),
            },
        };
        // Every worker of a cluster needs the same key ring.
        let setup = scene.worker("keys")?;
        let status = tokio::process::Command::new(&setup.binary)
            .args(["keys", "generate", "--data-dir"])
            .arg(setup.data_folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await?;
        if !status.success() {
            bail!("no key ring was made: {status}");
        }
        Ok(cluster)
    }

    /// How to start a worker of this cluster.
    pub(crate) fn worker(&self, name: &str) -> Result<WorkerSetup> {
        let setup = self.scene.worker(name)?;
        Ok(match &self.backend {
            Backend::Sqlite => setup,
            Backend::Firestore { emulator, project } => setup
                .with(&["--store", "firestore", "--firestore-project", project])
                .with(&["--firestore-emulator-host", emulator.host()]),
        })
    }

    /// Starts a worker of each name.
    pub(crate) async fn start<const N: usize>(&self, names: [&str; N]) -> Result<[Worker; N]> {
        let mut workers = Vec::new();
        for name in names {
            workers.push(self.worker(name)?.start().await?);
        }
        let workers: Result<[Worker; N], _> = workers.try_into();
        workers.ok().context("one worker for each name")
    }

    /// The emulator, which must be there.
    pub(crate) fn emulator(&self) -> Result<&Emulator> {
        match &self.backend {
            Backend::Sqlite => bail!("SQLite has no emulator"),
            Backend::Firestore { emulator, .. } => Ok(emulator),
        }
    }

    /// Another client of the store.
    pub(crate) async fn store(&self) -> Result<Store> {
        Ok(match &self.backend {
            Backend::Sqlite => {
                let path = self.scene.worker("reader")?.data_folder();
                let path = path.join("leasehold.db");
                let open = move || SqliteStore::open(&path, SqliteOptions::default());
                Arc::new(tokio::task::spawn_blocking(open).await??)
            }
            Backend::Firestore { emulator, project } => {
                let options = FirestoreOptions {
                    emulator_host: Some(emulator.host().to_owned()),
                    ..FirestoreOptions::new(project.clone())
                };
                Arc::new(FirestoreStore::connect(options).await?)
            }
        })
    }

    /// Links accounts at this worker's API, each with a contact of its own.
    pub(crate) async fn lines(&self, api: &Api, count: usize) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for number in 0..count {
            lines.push(Line {
                account: self.scene.link(api, &format!("account {number}")).await?,
                contact: self.scene.contact(&format!("Peer {number}"))?,
            });
        }
        Ok(lines)
    }

    /// Two workers, alice and bob, each with two accounts that talk. Nothing is
    /// left to be shared out.
    pub(crate) async fn two_and_two(
        &self,
        options: &[&str],
    ) -> Result<(Worker, Worker, Vec<Line>)> {
        let alice = self.worker("alice")?.with(options).start().await?;
        let mut lines = self.lines(alice.api(), 2).await?;
        let bob = self.worker("bob")?.with(options).start().await?;
        until_met(&[&alice, &bob]).await?;
        // Whoever owns less takes what is new.
        lines.extend(self.lines(bob.api(), 2).await?);
        until_even(alice.api(), &["alice", "bob"], BALANCE_LIMIT).await?;
        Ok((alice, bob, lines))
    }
}

/// The ownership history of an account, the oldest entry first; checked.
pub(crate) async fn history_of(store: &Store, account: &str) -> Result<Vec<Entry>> {
    let query = history::of(&AccountId::new(account)?)?;
    let page = store.query(&query).await?;
    let mut entries = Vec::new();
    for document in page.documents.iter().rev() {
        entries.push(document.decode::<Entry>()?);
    }
    let told: Vec<ownership::Entry> = entries.iter().map(Entry::told).collect();
    let wrong = ownership::check(&told, &[], &[]);
    anyhow::ensure!(wrong.is_empty(), "{wrong:?} in {entries:?}");
    Ok(entries)
}

impl Entry {
    /// For the checker.
    fn told(&self) -> ownership::Entry {
        ownership::Entry {
            is_claim: self.kind == "claimed",
            epoch: self.epoch,
            session: self.session.clone(),
            reason: self.reason.clone(),
            at_us: self.at.as_micros(),
        }
    }
}

/// Waits until these workers know of each other, and of nobody else.
pub(crate) async fn until_met(workers: &[&Worker]) -> Result<()> {
    for worker in workers {
        let what = format!("{} knows the others", worker.setup().name);
        wait::until(&what, MEET_LIMIT, async || {
            let known = worker.api().health().await?["cluster"]["workers"].clone();
            let all = known.as_u64() == Some(workers.len() as u64);
            Ok(Look::some(all.then_some(()), known))
        })
        .await?;
    }
    Ok(())
}

/// Who owns an account now.
pub(crate) async fn owner_of(api: &Api, account: &str) -> Result<Option<Owner>> {
    let answer = api.get(&format!("/v1/accounts/{account}")).await?;
    let view: Value = answer.expect(200)?.json()?;
    Ok(serde_json::from_value(view["owner"].clone())?)
}

/// Who owns which account now, of all there are.
pub(crate) async fn owners(api: &Api) -> Result<BTreeMap<String, Option<Owner>>> {
    let answer = api.get("/v1/accounts?limit=200").await?;
    let page: Value = answer.expect(200)?.json()?;
    let accounts = page["accounts"].as_array().context("`accounts`")?;
    let mut owners = BTreeMap::new();
    for view in accounts {
        let id = view["id"].as_str().context("`id`")?.to_owned();
        owners.insert(id, serde_json::from_value(view["owner"].clone())?);
    }
    Ok(owners)
}

/// The worker sessions that have not ended: `(name, session id, state)`.
pub(crate) async fn sessions(api: &Api) -> Result<Vec<(String, String, String)>> {
    let answer = api.get("/v1/workers").await?;
    let page: Value = answer.expect(200)?.json()?;
    let workers = page["workers"].as_array().context("`workers`")?;
    let text = |worker: &Value, name: &str| worker[name].as_str().unwrap_or_default().to_owned();
    Ok(workers
        .iter()
        .map(|worker| {
            (
                text(worker, "name"),
                text(worker, "sessionId"),
                text(worker, "state"),
            )
        })
        .collect())
}

/// The session that a worker runs under now, and its state.
pub(crate) async fn lock_of(api: &Api) -> Result<(String, String)> {
    let health = api.health().await?;
    let text = |name: &str| health["lock"][name].as_str().unwrap_or_default().to_owned();
    Ok((text("sessionId"), text("state")))
}

/// Waits until all accounts have owners among `workers`, whose counts differ
/// by at most one; says who has what.
pub(crate) async fn until_even(
    api: &Api,
    workers: &[&str],
    limit: Duration,
) -> Result<BTreeMap<String, Option<Owner>>> {
    wait::until("accounts are shared out evenly", limit, async || {
        let owners = owners(api).await?;
        let counts = counts_of(&owners, workers);
        let spread = counts.values().max().unwrap_or(&0) - counts.values().min().unwrap_or(&0);
        let all = counts.values().sum::<usize>() == owners.len();
        Ok(Look::some((all && spread <= 1).then_some(owners), counts))
    })
    .await
}

/// How many accounts each of these workers owns.
pub(crate) fn counts_of(
    owners: &BTreeMap<String, Option<Owner>>,
    workers: &[&str],
) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> =
        workers.iter().map(|name| ((*name).to_owned(), 0)).collect();
    for owner in owners.values().flatten() {
        if let Some(count) = counts.get_mut(&owner.worker) {
            *count += 1;
        }
    }
    counts
}

/// Waits until another session than `before` owns the account and has it
/// connected, in its eyes and the server's.
pub(crate) async fn until_taken_over(
    scene: &Scene,
    api: &Api,
    account: &Linked,
    before: &Owner,
    limit: Duration,
) -> Result<Owner> {
    let what = format!("{} is connected elsewhere", account.id);
    let owner = wait::until(&what, limit, async || {
        let answer = api.get(&format!("/v1/accounts/{}", account.id)).await?;
        let view: Value = answer.expect(200)?.json()?;
        let owner: Option<Owner> = serde_json::from_value(view["owner"].clone())?;
        let owner = owner
            .filter(|owner| owner.session_id != before.session_id && view["status"] == "connected");
        let instead = format!("{} of {}, before {before:?}", view["status"], view["owner"]);
        Ok(Look::some(owner, instead))
    })
    .await?;
    scene.sim().wait_connected(account.number(), limit).await?;
    Ok(owner)
}

/// Lets this much time pass, where the time itself is what is played.
pub(crate) async fn for_the_time_of(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Looks again and again for a while; what is seen must not change.
pub(crate) async fn stays<T, F>(what: &str, duration: Duration, mut look: F) -> Result<()>
where
    T: PartialEq + std::fmt::Debug,
    F: AsyncFnMut() -> Result<T>,
{
    let first = look().await?;
    let started = Instant::now();
    while started.elapsed() < duration {
        for_the_time_of(ROUND_INTERVAL).await;
        let now = look().await?;
        if now != first {
            bail!("{what} did not stay so: {first:#?}, then {now:#?}");
        }
    }
    Ok(())
}

/// Talk on all lines, in both directions, as long as `work` takes. Requests go
/// to these APIs in turn until one accepts: some may be gone.
pub(crate) async fn talk_while<T>(
    scene: &Scene,
    lines: &[Line],
    apis: &[Api],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (done, is_done) = tokio::sync::watch::channel(false);
    let talk = async {
        let mut rounds = tokio::time::interval(ROUND_INTERVAL);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round = 0;
        // A failure of the work ends the talk, too.
        while !*is_done.borrow() {
            rounds.tick().await;
            say_once(scene, lines, apis, &format!("round {round}")).await?;
            round += 1;
        }
        anyhow::Ok(())
    };
    let work = async {
        let outcome = work.await;
        done.send_replace(true);
        outcome
    };
    let (talked, outcome) = tokio::join!(talk, work);
    let outcome = outcome?;
    talked?;
    Ok(outcome)
}

/// One message each way on every line.
pub(crate) async fn say_once(
    scene: &Scene,
    lines: &[Line],
    apis: &[Api],
    label: &str,
) -> Result<()> {
    for line in lines {
        scene.write(&line.contact, &line.account, label)?;
    }
    for line in lines {
        let text = scene.text(label);
        post(apis, line, &text).await?;
        scene.note_accepted(&line.account.id, &line.contact, &text);
    }
    Ok(())
}

/// Sends under an idempotency key, to one API after the other, until one
/// accepts.
async fn post(apis: &[Api], line: &Line, text: &str) -> Result<()> {
    let path = format!("/v1/accounts/{}/messages", line.account.id);
    let body = json!({ "to": line.contact.number(), "text": text }).to_string();
    // The text is unlike all others.
    let key = text.rsplit(' ').next().unwrap_or_default().to_owned();
    let mut turns = apis.iter().cycle();
    wait::until("a message is accepted", ACCEPTED_LIMIT, async || {
        let api = turns.next().context("no API")?;
        let headers = [("Idempotency-Key", key.as_str())];
        match api
            .request(Method::Post, &path, &headers, Some(body.clone()))
            .await
        {
            Ok(answer) if answer.status == 202 => Ok(Look::Done(())),
            Ok(answer) if answer.status >= 500 => Ok(Look::NotYet(answer.text())),
            Ok(answer) => bail!("{}", answer.text()),
            Err(error) => Ok(Look::NotYet(format!("{error:#}"))),
        }
    })
    .await
}

/// The API of each.
pub(crate) fn apis(workers: &[&Worker]) -> Vec<Api> {
    workers.iter().map(|worker| worker.api().clone()).collect()
}

/// What of `lines` is owned by the worker of this name, and by whom exactly.
pub(crate) async fn owned_by(api: &Api, lines: &[Line], name: &str) -> Result<Vec<(Line, Owner)>> {
    let mut owned = Vec::new();
    for line in lines {
        if let Some(owner) = owner_of(api, &line.account.id).await?
            && owner.worker == name
        {
            owned.push((line.clone(), owner));
        }
    }
    Ok(owned)
}
