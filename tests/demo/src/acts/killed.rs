//! SIGKILL: a worker ends without a word.

use anyhow::{Result, bail};
use harness::logins;
use harness::scene::Linked;

use super::{CONNECTED_LIMIT, Times};
use crate::stage::{Stage, max_s};

/// Kills a worker, waits until its accounts are connected elsewhere, and starts
/// it again under its name.
///
/// # Errors
/// An account is not connected again.
pub(super) async fn play(stage: &Stage<'_>, name: &str, times: &mut Times) -> Result<()> {
    stage.screen.head(&format!("Act 1: {name} is killed"));
    let killed_ms = logins::now_ms();
    stage.cluster.kill(name).await?;
    // It can give nothing back any more: what the store says is what it had.
    let orphans = stage.owned_by(name).await?;
    stage.screen.say(&format!(
        "SIGKILL to {name}; {} accounts have no running owner",
        orphans.len()
    ));
    if orphans.is_empty() {
        bail!("{name} owned nothing, so its end shows nothing");
    }
    let numbers: Vec<&str> = orphans
        .iter()
        .map(|account| Linked::number(account))
        .collect();
    let sim = stage.scene.sim();
    times.failover = logins::until_all_since(sim, &numbers, killed_ms, CONNECTED_LIMIT).await?;
    stage.screen.say(&format!(
        "all of them are connected elsewhere, the last one {:.1} s after the SIGKILL",
        max_s(&times.failover).unwrap_or_default()
    ));
    stage.start(name).await
}
