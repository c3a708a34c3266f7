//! SIGTERM: a worker gives its accounts back and ends.

use anyhow::{Context, Result, bail};
use harness::logins;
use harness::scene::Linked;

use super::{CONNECTED_LIMIT, Times};
use crate::stage::{Stage, max_s};

/// Stops a worker in the orderly way, waits until its accounts are connected
/// elsewhere, and starts it again.
///
/// # Errors
/// It does not end in an orderly way; an account is not connected again.
pub(super) async fn play(stage: &Stage<'_>, name: &str, times: &mut Times) -> Result<()> {
    stage.screen.head(&format!("Act 2: {name} is stopped"));
    let owned = stage.owned_by(name).await?;
    if owned.is_empty() {
        bail!("{name} owned nothing, so its end shows nothing");
    }
    let stopped_ms = logins::now_ms();
    stage.screen.say(&format!(
        "SIGTERM to {name}, which owns {} accounts",
        owned.len()
    ));
    stage.cluster.terminate(name).await?;
    stage.screen.say(&format!(
        "{name} has ended after {:.1} s, with code 0",
        (logins::now_ms() - stopped_ms) as f64 / 1_000.0
    ));
    let numbers: Vec<&str> = owned
        .iter()
        .map(|account| Linked::number(account))
        .collect();
    let sim = stage.scene.sim();
    logins::until_all_since(sim, &numbers, stopped_ms, CONNECTED_LIMIT).await?;
    for number in numbers {
        let gap = logins::gap_before_first_since(sim, number, stopped_ms);
        times
            .handoff_disconnected
            .push(gap.context("a connected account had been connected before")?);
    }
    stage.screen.say(&format!(
        "all of them are connected elsewhere; none was disconnected for longer than {:.2} s",
        max_s(&times.handoff_disconnected).unwrap_or_default()
    ));
    stage.start(name).await
}
