//! SIGSTOP and SIGCONT: a worker that knows nothing of the time it missed.
//!
//! This is played twice. First for long: it wakes when its connections are gone
//! and its accounts have been others' for a while. Then until the worst moment:
//! it wakes right after others have logged its accounts in, while the server
//! still listens to its own connections, with messages of these accounts in its
//! hands. Only gate and fence keep it silent then.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::try_join_all;
use harness::logins;
use harness::scene::Linked;

use super::{CONNECTED_LIMIT, Times};
use crate::chat;
use crate::options::Options;
use crate::stage::{Stage, max_s};

/// Messages for each account just before the pause: more than it may send at
/// once, so that some are still to be sent when it wakes.
const IN_HAND: usize = 25;
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
    times.woken_logins += pause.end().await?;

    let rounds = if options.unfenced { UNFENCED_ROUNDS } else { 1 };
    for _ in 0..rounds {
        let name = stage.busiest(None).await?;
        stage.screen.head(&format!(
            "Act 3: {name} is paused, and wakes at the worst moment"
        ));
        fill_hands(stage, &name).await?;
        let pause = Pause::begin(stage, &name).await?;
        pause.until_elsewhere().await?;
        pause.tempt().await?;
        times.woken_logins += pause.end().await?;
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

/// Queues messages for every account of a worker, and has a phone write to
/// each, so that it is in the middle of its work.
async fn fill_hands(stage: &Stage<'_>, name: &str) -> Result<()> {
    let owned = stage.owned_by(name).await?;
    let filling = owned.iter().enumerate().map(async |(number, account)| {
        let api = stage.api.for_client(number);
        for message in 0..IN_HAND {
            let label = format!("in hand {message}");
            chat::send(stage, &api, account, &stage.pen_friends[0], &label).await?;
        }
        stage
            .scene
            .write(&stage.pen_friends[0], account, "are you there")
    });
    try_join_all(filling).await.map(drop)
}

/// A pause of one worker.
struct Pause<'a> {
    stage: &'a Stage<'a>,
    name: &'a str,
    begun: tokio::time::Instant,
    begun_ms: u64,
    /// What it owned.
    lost: Vec<&'a Linked>,
}

impl<'a> Pause<'a> {
    async fn begin(stage: &'a Stage<'a>, name: &'a str) -> Result<Self> {
        stage.cluster.pause(name).await?;
        let pause = Self {
            stage,
            name,
            begun: tokio::time::Instant::now(),
            begun_ms: logins::now_ms(),
            lost: stage.owned_by(name).await?,
        };
        stage.screen.say(&format!(
            "SIGSTOP to {name}, which owns {} accounts",
            pause.lost.len()
        ));
        if pause.lost.is_empty() {
            bail!("{name} owned nothing, so its pause shows nothing");
        }
        Ok(pause)
    }

    /// Waits until others have connected its accounts.
    async fn until_elsewhere(&self) -> Result<Vec<Duration>> {
        let numbers: Vec<&str> = self.lost.iter().map(|account| account.number()).collect();
        let sim = self.stage.scene.sim();
        let waits = logins::until_all_since(sim, &numbers, self.begun_ms, CONNECTED_LIMIT).await?;
        self.stage.screen.say(&format!(
            "all of them are connected elsewhere, the last one {:.1} s after the SIGSTOP",
            max_s(&waits).unwrap_or_default()
        ));
        Ok(waits)
    }

    /// Gives everybody who thinks that they own one of its accounts something
    /// to send: a message in a conversation where nothing else waits. The owner
    /// is paced, as it has just taken over what was in hand; the worker that
    /// wakes has not sent for a while and may send at once.
    async fn tempt(&self) -> Result<()> {
        let (stage, api) = (self.stage, self.stage.cluster.api_of_running()?);
        let friend = &stage.pen_friends[1];
        let tempting = self.lost.iter().enumerate().map(async |(number, account)| {
            stage.scene.write(friend, account, "wake up")?;
            chat::send(stage, &api.for_client(number), account, friend, "woken").await
        });
        try_join_all(tempting).await.map(drop)
    }

    /// Wakes the worker and watches it. Returns how many logins of its lost
    /// accounts there were then that no change of owner explains.
    async fn end(self) -> Result<usize> {
        let (stage, sim) = (self.stage, self.stage.scene.sim());
        let logins_of = |account: &Linked| logins::all(sim, account.number()).len();
        let before: Vec<usize> = self.lost.iter().map(|account| logins_of(account)).collect();
        let epochs = self.epochs().await?;
        stage.cluster.resume(self.name)?;
        stage.screen.say(&format!(
            "SIGCONT to {} after {:.1} s",
            self.name,
            self.begun.elapsed().as_secs_f64()
        ));
        tokio::time::sleep(WATCHED).await;
        let mut unexplained = 0;
        for ((account, before), (epoch_before, epoch)) in self
            .lost
            .iter()
            .zip(before)
            .zip(epochs.into_iter().zip(self.epochs().await?))
        {
            let claims = usize::try_from(epoch - epoch_before).unwrap_or_default();
            unexplained += (logins_of(account) - before).saturating_sub(claims);
        }
        Ok(unexplained)
    }

    /// The epoch of each of its accounts.
    async fn epochs(&self) -> Result<Vec<i64>> {
        // One request: the moment is short.
        let views = self.stage.cluster.api_of_running()?.accounts().await?;
        let epoch_of = |account: &&Linked| {
            let view = views.iter().find(|view| view.id == account.id)?;
            Some(view.owner.as_ref()?.epoch)
        };
        Ok(self
            .lost
            .iter()
            .map(|account| epoch_of(account).unwrap_or_default())
            .collect())
    }
}
