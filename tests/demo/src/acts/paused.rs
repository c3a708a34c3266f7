//! SIGSTOP and SIGCONT: a worker that knows nothing of the time it missed.
//!
//! This is played twice. First for long: it wakes when its connections are gone
//! and its accounts have been others' for a while. Then until the worst moment:
//! it wakes as another logs in its accounts, with messages of these accounts in
//! its hands. The server still listens to its connections, and what the server
//! says is a little late, so nothing tells it that it was replaced. Only gate
//! and fence keep it silent then.

mod hunt;

use std::time::Duration;

use anyhow::{Result, bail};
use harness::logins;
use harness::scene::Linked;
use wa_sim::fault::{Fault, FaultKind};

use super::{CONNECTED_LIMIT, Times};
use crate::options::Options;
use crate::stage::{Stage, max_s};

/// What the server says is late by so much: less than it listens to a
/// connection that was replaced.
const SERVER_LATE_MS: u64 = 1_800;
/// In this time a woken worker has noticed; until then it is watched.
const WATCHED: Duration = Duration::from_secs(4);
/// Where the rules are broken it is a matter of chance what a woken worker does
/// in its first moments.
const UNFENCED_ROUNDS: usize = 4;

/// Pauses a worker for long, and then one until the worst moment.
///
/// # Errors
/// An account is not connected elsewhere.
pub(super) async fn play(stage: &Stage<'_>, options: &Options, times: &mut Times) -> Result<()> {
    let name = stage.busiest(None).await?;
    stage.screen.head(&format!(
        "Act 3: {name} is paused for {} s",
        options.pause().as_secs()
    ));
    let pause = Pause::begin(stage, &name).await?;
    times.paused_failover = pause.until_elsewhere().await?;
    tokio::time::sleep_until(pause.begun + options.pause()).await;
    pause.wake()?;
    times.woken_logins += pause.watch().await?;

    let rounds = if options.unfenced { UNFENCED_ROUNDS } else { 1 };
    for _ in 0..rounds {
        let name = stage.busiest(None).await?;
        stage.screen.head(&format!(
            "Act 3: {name} is paused, and wakes at the worst moment"
        ));
        times.woken_logins += until_worst_moment(stage, &name).await?;
        let violations = stage.scene.sim().oracle().violations.len();
        stage
            .screen
            .say(&format!("the oracle has seen {violations} violations"));
        if violations > 0 {
            break;
        }
    }
    Ok(())
}

/// Pauses a worker with a message in its hands until another logs in the first of
/// its accounts.
async fn until_worst_moment(stage: &Stage<'_>, name: &str) -> Result<usize> {
    let sim = stage.scene.sim();
    let pause = hunt::pause_while_sending(stage, name).await?;
    let mut faults = Vec::new();
    for number in pause.numbers() {
        let late = FaultKind::Delay { ms: SERVER_LATE_MS };
        faults.push(sim.inject(Fault {
            account: Some(number.to_owned()),
            ..Fault::new(late)
        })?);
    }
    let numbers = pause.numbers();
    logins::until_one_since(sim, &numbers, pause.begun_ms, CONNECTED_LIMIT).await?;
    pause.wake()?;
    let unexplained = pause.watch().await;
    for fault in faults {
        sim.clear_fault(fault);
    }
    pause.until_elsewhere().await?;
    unexplained
}

/// A pause of one worker.
struct Pause<'a> {
    stage: &'a Stage<'a>,
    name: &'a str,
    begun: tokio::time::Instant,
    begun_ms: u64,
    /// What it owned, and in which epochs.
    lost: Vec<(&'a Linked, i64)>,
}

impl<'a> Pause<'a> {
    async fn begin(stage: &'a Stage<'a>, name: &'a str) -> Result<Self> {
        stage.cluster.pause(name).await?;
        Self::begun(stage, name).await
    }

    /// Of a worker that was paused just now.
    async fn begun(stage: &'a Stage<'a>, name: &'a str) -> Result<Self> {
        let (begun, begun_ms) = (tokio::time::Instant::now(), logins::now_ms());
        let mut lost = Vec::new();
        for owned in stage.owners().await? {
            let account = stage.accounts.iter().find(|known| known.id == owned.id);
            if let Some(account) = account
                && owned.worker.as_deref() == Some(name)
            {
                lost.push((account, owned.epoch));
            }
        }
        stage.screen.say(&format!(
            "SIGSTOP to {name}, which owns {} accounts",
            lost.len()
        ));
        if lost.is_empty() {
            bail!("{name} owned nothing, so its pause shows nothing");
        }
        Ok(Self {
            stage,
            name,
            begun,
            begun_ms,
            lost,
        })
    }

    fn numbers(&self) -> Vec<&'a str> {
        self.lost
            .iter()
            .map(|(account, _)| account.number())
            .collect()
    }

    /// Waits until others have connected its accounts.
    async fn until_elsewhere(&self) -> Result<Vec<Duration>> {
        let (numbers, sim) = (self.numbers(), self.stage.scene.sim());
        let waits = logins::until_all_since(sim, &numbers, self.begun_ms, CONNECTED_LIMIT).await?;
        self.stage.screen.say(&format!(
            "all of them are connected elsewhere, the last one logged in {:.1} s after the SIGSTOP",
            max_s(&waits).unwrap_or_default()
        ));
        Ok(waits)
    }

    fn wake(&self) -> Result<()> {
        self.stage.cluster.resume(self.name)?;
        self.stage.screen.say(&format!(
            "SIGCONT to {} after {:.1} s",
            self.name,
            self.begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Watches the worker that woke up. Returns how many logins of its lost
    /// accounts there were since it was paused that no change of owner explains.
    async fn watch(&self) -> Result<usize> {
        tokio::time::sleep(WATCHED).await;
        let owners = self.stage.owners().await?;
        let sim = self.stage.scene.sim();
        let mut unexplained = 0;
        for (account, epoch_before) in &self.lost {
            let logins = logins::all(sim, account.number())
                .into_iter()
                .filter(|login| login.at_ms >= self.begun_ms)
                .count();
            let claims = owners
                .iter()
                .find(|owned| owned.id == account.id)
                .map_or(0, |owned| owned.epoch - epoch_before);
            unexplained += logins.saturating_sub(usize::try_from(claims).unwrap_or_default());
        }
        Ok(unexplained)
    }
}
