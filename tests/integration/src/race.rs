//! 24 tasks in 3 processes race for 200 accounts on the Firestore emulator:
//! each has one owner, and one claim said so.
//!
//! No worker is here, only the coordinator's claims. The test starts its own
//! program three times more: a process that finds [`RACE_VARIABLE`] is a racer.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coordinator_lib::claim;
use coordinator_lib::clock::SystemClock;
use coordinator_lib::coordinator::operations::{ClaimOutcome, NotClaimable, Operations};
use coordinator_lib::identity::{AccountId, WorkerIdentity, WorkerSessionId};
use coordinator_lib::lease::{self, LeaseConfig};
use coordinator_lib::rng::{SeededRng, SystemRng};
use coordinator_lib::store::{
    CommitOutcome, Fields, FirestoreOptions, FirestoreStore, Store, Value,
};
use emulator::Emulator;
use harness::wait::{self, Look};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

const ACCOUNTS: usize = 200;
const PROCESSES: usize = 3;
const TASKS: usize = 8;
const RACE_VARIABLE: &str = "LEASEHOLD_RACE";
const START_LIMIT: Duration = Duration::from_secs(30);
const RACE_LIMIT: Duration = Duration::from_secs(120);

/// What a racer is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Race {
    host: String,
    project: String,
    folder: PathBuf,
    racer: usize,
}

/// A claim that said it had succeeded.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Won {
    account: String,
    session: String,
    epoch: i64,
}

impl Race {
    /// There when the racer is ready.
    fn ready_file(&self) -> PathBuf {
        self.folder.join(format!("ready-{}", self.racer))
    }

    /// There when all may begin.
    fn start_file(&self) -> PathBuf {
        self.folder.join("start")
    }

    /// What the racer has won.
    fn won_file(&self) -> PathBuf {
        self.folder.join(format!("won-{}", self.racer))
    }

    async fn store(&self) -> Result<Store> {
        let options = FirestoreOptions {
            emulator_host: Some(self.host.clone()),
            ..FirestoreOptions::new(self.project.clone())
        };
        Ok(Arc::new(FirestoreStore::connect(options).await?))
    }
}

fn accounts() -> Result<Vec<AccountId>> {
    let ids = (0..ACCOUNTS).map(|number| AccountId::new(format!("a{number:03}")));
    Ok(ids.collect::<Result<_, _>>()?)
}

async fn until_there(file: &FilePath) -> Result<()> {
    let what = format!("{} is there", file.display());
    wait::until(&what, START_LIMIT, async || {
        Ok(Look::some(file.exists().then_some(()), "not there"))
    })
    .await
}

/// The part of a racer: each of its tasks, as a worker session of its own,
/// claims all accounts, each in another order.
async fn race(race: Race) -> Result<()> {
    let store = race.store().await?;
    std::fs::write(race.ready_file(), "")?;
    until_there(&race.start_file()).await?;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let name = format!("racer-{}-{task}", race.racer);
        let me = WorkerIdentity {
            name,
            session_id: WorkerSessionId::generate(&SystemRng),
        };
        let operations = Operations::new(
            Arc::clone(&store),
            SystemClock::shared(),
            SeededRng::shared((race.racer * TASKS + task) as u64),
            patient(),
            me,
            claim::is_wanted,
        );
        // Several at a time begin in the same place, and so meet.
        let mut accounts = accounts()?;
        accounts.rotate_left(task * ACCOUNTS / TASKS);
        tasks.spawn(claim_all(operations, accounts));
    }
    let mut won = Vec::new();
    while let Some(task) = tasks.join_next().await {
        won.extend(task??);
    }
    std::fs::write(race.won_file(), serde_json::to_vec(&won)?)?;
    Ok(())
}

/// What is raced for is who wins, not how soon: a claim whose fate nobody knows
/// would end the race.
fn patient() -> LeaseConfig {
    LeaseConfig {
        attempt_timeout: RACE_LIMIT,
        ..LeaseConfig::default()
    }
}

async fn claim_all(operations: Operations, accounts: Vec<AccountId>) -> Result<Vec<Won>> {
    let mut won = Vec::new();
    for account in accounts {
        match operations.claim(&account, true).await? {
            ClaimOutcome::Claimed { lease, .. } => won.push(Won {
                account: account.as_str().to_owned(),
                session: lease.worker_session.as_str().to_owned(),
                epoch: lease.epoch,
            }),
            ClaimOutcome::NotClaimable(NotClaimable::Held) => {}
            ClaimOutcome::NotClaimable(why) => bail!("{account}: {why:?}"),
        }
    }
    Ok(won)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_in_three_processes_race_for_accounts_and_each_has_one_owner() -> Result<()> {
    if let Ok(told) = std::env::var(RACE_VARIABLE) {
        return race(serde_json::from_str(&told)?).await;
    }
    let emulator = Emulator::shared().await?;
    let folder = tempfile::tempdir()?;
    let told = Race {
        host: emulator.host().to_owned(),
        project: emulator::project_id(),
        folder: folder.path().to_owned(),
        racer: 0,
    };
    let store = told.store().await?;
    for account in accounts()? {
        let writes = lease::create_account(&account, Fields::new(), Fields::new());
        let created = store.commit(writes.to_vec()).await?;
        assert!(matches!(created, CommitOutcome::Committed(_)));
    }

    let mut racers = Vec::new();
    for racer in 0..PROCESSES {
        let told = Race {
            racer,
            ..told.clone()
        };
        let name = "race::tasks_in_three_processes_race_for_accounts_and_each_has_one_owner";
        let child = tokio::process::Command::new(std::env::current_exe()?)
            .args(["--exact", name, "--nocapture"])
            .env(RACE_VARIABLE, serde_json::to_string(&told)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        racers.push((told, child));
    }
    for (told, _) in &racers {
        until_there(&told.ready_file()).await?;
    }
    std::fs::write(told.start_file(), "")?;
    let started = Instant::now();
    let mut won: BTreeMap<String, Vec<Won>> = BTreeMap::new();
    for (told, child) in &mut racers {
        let status = tokio::time::timeout(RACE_LIMIT, child.wait()).await??;
        assert!(status.success(), "racer {}: {status}", told.racer);
        let list: Vec<Won> = serde_json::from_slice(&std::fs::read(told.won_file())?)?;
        for one in list {
            won.entry(one.account.clone()).or_default().push(one);
        }
    }
    eprintln!(
        "{} tasks in {PROCESSES} processes raced for {ACCOUNTS} accounts in {:?}",
        PROCESSES * TASKS,
        started.elapsed()
    );

    let mut sessions = BTreeMap::new();
    for account in accounts()? {
        let paths = [account.account_path(), account.head_path()];
        let mut read = store.get(&paths).await?.documents.into_iter().flatten();
        let (stored, head) = (
            read.next().context("account")?,
            read.next().context("head")?,
        );
        let claims = won.remove(account.as_str()).unwrap_or_default();
        let [claim] = &claims[..] else {
            bail!("{account} was claimed {} times: {claims:?}", claims.len());
        };
        let session = Value::Text(claim.session.clone());
        let epoch = Value::Int(claim.epoch);
        assert_eq!(claim.epoch, 1, "{account}");
        assert_eq!(
            (&stored.fields["leaseSession"], &stored.fields["leaseEpoch"]),
            (&session, &epoch)
        );
        assert_eq!(
            (&head.fields["workerSession"], &head.fields["epoch"]),
            (&session, &epoch)
        );
        *sessions.entry(claim.session.clone()).or_insert(0_usize) += 1;
    }
    assert!(won.is_empty(), "{won:?}");
    eprintln!("{} of the tasks own some", sessions.len());
    Ok(())
}
