//! What happens to the pods.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use harness::wait::{self, Look};
use serde::Serialize;
use tokio::time::Instant;

use crate::options::{ActKind, Options};
use crate::pod::Ending;
use crate::stage::Stage;
use crate::watch::Watch;

/// For every account to be owned and connected again: after a loss, once the
/// sessions are sealed; on a busy machine.
const CALM_LIMIT: Duration = Duration::from_secs(180);

/// What came of one act.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Act {
    /// Which one.
    pub(crate) kind: ActKind,
    /// From its beginning until every account was connected again.
    pub(crate) seconds: f64,
    /// How the pods ended that were told to.
    pub(crate) endings: Vec<Ending>,
    /// The longest that nobody owned an account.
    pub(crate) unowned_max_s: f64,
    /// Logins that ended an older connection of the same account: each is a 440.
    pub(crate) replaced: usize,
}

/// Plays the acts, one after the other; each begins and ends with all accounts
/// connected.
///
/// # Errors
/// A pod does not do as it is told, or accounts are not connected in time.
pub(crate) async fn play_all(
    stage: &Stage<'_>,
    watch: &Watch<'_>,
    options: &Options,
) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    until_calm(stage).await?;
    for kind in options.acts() {
        println!("{kind:?}");
        watch.begin_act();
        let begun = Instant::now();
        let replaced_before = replaced(stage);
        let endings = play(stage, kind).await?;
        until_calm(stage).await?;
        acts.push(Act {
            kind,
            seconds: begun.elapsed().as_secs_f64(),
            endings,
            unowned_max_s: watch.act_max().as_secs_f64(),
            replaced: replaced(stage) - replaced_before,
        });
    }
    Ok(acts)
}

async fn play(stage: &Stage<'_>, kind: ActKind) -> Result<Vec<Ending>> {
    let deployment = &stage.deployment;
    let replicas = stage.manifest.replicas;
    match kind {
        ActKind::Roll => deployment.roll(&stage.new).await,
        ActKind::Scale => {
            deployment.scale(&stage.new, 2 * replicas).await?;
            until_calm(stage).await?;
            let endings = deployment.scale(&stage.new, 2).await?;
            until_calm(stage).await?;
            deployment.scale(&stage.new, replicas).await?;
            Ok(endings)
        }
        ActKind::NodeLoss => {
            deployment.lose(2).await?;
            // Pods of a lost node are replaced minutes later: the others must do.
            until_calm(stage).await?;
            deployment.scale(&stage.new, replicas).await
        }
        ActKind::Hang => deployment.hang_one(&stage.new).await,
    }
}

/// Waits until each account is owned by a pod that is there, and connected.
async fn until_calm(stage: &Stage<'_>) -> Result<()> {
    let api = stage.api();
    wait::until("every account is connected", CALM_LIMIT, async || {
        let pods: BTreeSet<String> = stage.service.pods().into_keys().collect();
        let Ok(accounts) = api.accounts().await else {
            return Ok(Look::NotYet("no pod answers".to_owned()));
        };
        let is_held = |account: &&harness::api::Account| {
            account.status == "connected"
                && account
                    .owner
                    .as_ref()
                    .is_some_and(|owner| pods.contains(&owner.worker))
        };
        let held = accounts.iter().filter(is_held).count();
        let is_calm = held == stage.accounts.len();
        Ok(Look::some(is_calm.then_some(()), held))
    })
    .await
}

/// How often a login has ended an older connection of the same account.
fn replaced(stage: &Stage<'_>) -> usize {
    let oracle = stage.scene.sim().oracle();
    let connections = oracle.connections.iter();
    connections
        .filter(|connection| connection.superseded_ms.is_some())
        .count()
}
